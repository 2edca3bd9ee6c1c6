//! The runtimes that files are checked in, and what came of a check.

use itera_cli::warn;
use itera_core::checkpoint::Precision;
use itera_record::{ExportCheck, ExportFigures, ExportVerdict};

use super::{
    compare,
    reference::Reference,
    shapes::{self, Shape},
};
use crate::{
    args::RuntimeArg,
    file::OnnxFile,
    runtime::{Session, library, onnxruntime::OnnxRuntime, tract, tract::Tract},
};

/// The runtimes to check files in.
pub(super) struct Runtimes {
    tract: bool,
    onnxruntime: Option<Result<OnnxRuntime, String>>,
}

impl Runtimes {
    /// A library that is missing is an error only where it was asked for by name.
    pub(super) fn new(wanted: RuntimeArg) -> anyhow::Result<Self> {
        let onnxruntime = match wanted {
            RuntimeArg::Tract | RuntimeArg::Burn => None,
            RuntimeArg::All if library::find().is_none() => {
                let reason = format!("not installed; {}", library::REMEDY);
                warn(format!("ONNX Runtime is {reason}"));
                Some(Err(reason))
            }
            RuntimeArg::All | RuntimeArg::Onnxruntime => Some(Ok(OnnxRuntime::load()?)),
        };
        Ok(Self {
            tract: matches!(wanted, RuntimeArg::Tract | RuntimeArg::All),
            onnxruntime,
        })
    }

    /// One check for each runtime.
    pub(super) fn check(
        &self,
        name: &str,
        file: &OnnxFile,
        reference: &Reference,
    ) -> Vec<ExportCheck> {
        let mut checks = Vec::new();
        let check = |runtime: &str, version: &str, outcome| {
            let (verdict, reason, figures) = verdict(outcome);
            ExportCheck {
                file: name.to_owned(),
                file_sha256: file.sha256.clone(),
                runtime: runtime.to_owned(),
                version: version.to_owned(),
                verdict,
                reason,
                figures,
            }
        };
        if self.tract {
            let loaded = Tract::load(file).map(|session| Box::new(session) as Box<dyn Session>);
            let outcome = match loaded {
                // tract 0.23 has no integers of 4 bits.
                Err(error) if file.precision == Precision::Int4 => Outcome::Lacks(chain(&error)),
                loaded => measure(loaded, file, reference, &shapes::shapes(file, "tract")),
            };
            checks.push(check("tract", tract::VERSION, outcome));
        }
        match &self.onnxruntime {
            Some(Ok(library)) => {
                let loaded = library.session(file, 1);
                let loaded = loaded.map(|session| Box::new(session) as Box<dyn Session>);
                let shapes = shapes::shapes(file, "onnxruntime");
                let outcome = measure(loaded, file, reference, &shapes);
                checks.push(check("onnxruntime", &library.version, outcome));
            }
            Some(Err(reason)) => {
                checks.push(check("onnxruntime", "none", Outcome::Lacks(reason.clone())));
            }
            None => {}
        }
        checks
    }
}

/// What came of a check.
pub(super) enum Outcome {
    Ran(Box<ExportFigures>),
    /// The runtime cannot run such a file.
    Lacks(String),
    /// It should have been able to.
    Broke(String),
}

/// Loads, runs and compares.
pub(super) fn measure(
    loaded: anyhow::Result<Box<dyn Session>>,
    file: &OnnxFile,
    reference: &Reference,
    shapes: &[Shape],
) -> Outcome {
    let figures = loaded.and_then(|mut session| {
        let mut figures = compare::figures(session.as_mut(), file, reference)?;
        figures.shapes = shapes::check(session.as_mut(), file, reference, shapes)?;
        Ok(figures)
    });
    match figures {
        Ok(figures) => Outcome::Ran(Box::new(figures)),
        Err(error) => Outcome::Broke(chain(&error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// Whether the outcome is good enough, why not, and what was compared.
pub(super) fn verdict(outcome: Outcome) -> (ExportVerdict, Option<String>, Option<ExportFigures>) {
    match outcome {
        Outcome::Ran(figures) => match compare::breach(&figures) {
            None => (ExportVerdict::Passed, None, Some(*figures)),
            Some(reason) => (ExportVerdict::Failed, Some(reason), Some(*figures)),
        },
        Outcome::Lacks(reason) => (ExportVerdict::Unavailable, Some(reason), None),
        Outcome::Broke(reason) => (ExportVerdict::Failed, Some(reason), None),
    }
}
