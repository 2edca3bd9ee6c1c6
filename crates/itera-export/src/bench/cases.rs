//! What is measured: a runtime at a precision, ready to read the sequence from a fresh state.

use std::rc::Rc;

use anyhow::Context as _;
use itera_cli::warn;
use itera_core::{
    checkpoint::Precision,
    model::{Model, Sequence},
    models::LoadedCheckpoint,
};
use itera_record::ExportBenchGap;

use crate::{
    file::OnnxFile,
    graph::{Kind, Request},
    onnx::Encoded,
    runtime::{Session, State, library, onnxruntime::OnnxRuntime, tract, tract::Tract},
};

/// A runtime at a precision.
pub(super) struct Case {
    pub(super) runtime: String,
    pub(super) version: String,
    pub(super) precision: Precision,
    pub(super) file_bytes: usize,
    /// Reads the sequence once and makes the logits after every token.
    pub(super) run: Box<dyn FnMut() -> anyhow::Result<()>>,
}

/// Every runtime at every precision of the checkpoint, and what could not be had.
pub(super) fn all(
    loaded: &[LoadedCheckpoint],
    tokens: &[u32],
    threads: usize,
) -> anyhow::Result<(Vec<Case>, Vec<ExportBenchGap>)> {
    let tokens: Rc<[u32]> = tokens.into();
    let (mut cases, mut missing) = (Vec::new(), Vec::new());
    let onnxruntime = if library::find().is_some() {
        Some(OnnxRuntime::load()?)
    } else {
        warn(format!(
            "ONNX Runtime is not installed; {}",
            library::REMEDY
        ));
        None
    };
    for loaded in loaded {
        let precision = loaded.checkpoint.precision();
        let mut gap = |runtime: &str, reason: String| {
            missing.push(ExportBenchGap {
                runtime: runtime.to_owned(),
                precision: precision.to_string(),
                reason,
            });
        };
        cases.push(native(loaded, &tokens)?);
        let file = sequence_file(loaded)?;
        match &onnxruntime {
            Some(library) => {
                let session = library.session(&file, threads)?;
                cases.push(graph(
                    "onnxruntime",
                    &library.version,
                    &file,
                    session,
                    &tokens,
                ));
            }
            None => gap("onnxruntime", format!("not installed; {}", library::REMEDY)),
        }
        match Tract::load(&file) {
            Ok(session) => cases.push(graph("tract", tract::VERSION, &file, session, &tokens)),
            Err(error) => gap("tract", format!("{error:#}").replace('\n', " ")),
        }
    }
    #[cfg(feature = "burn")]
    cases.extend(super::burn::all(&loaded[0], &tokens)?);
    #[cfg(not(feature = "burn"))]
    for runtime in ["burn-flex", "burn-ndarray"] {
        missing.push(ExportBenchGap {
            runtime: runtime.to_owned(),
            precision: Precision::Fp32.to_string(),
            reason: "not in this build; build with `--features burn`".to_owned(),
        });
    }
    Ok((cases, missing))
}

/// The sequence graph of a checkpoint, as `itera-export onnx` writes it.
fn sequence_file(loaded: &LoadedCheckpoint) -> anyhow::Result<OnnxFile> {
    let request = Request {
        kind: Kind::Sequence,
        opset: 21,
        layout: None,
    };
    OnnxFile::from_bytes(Encoded::new(loaded, request)?.bytes)
}

/// The native engine: like the graphs, it makes the logits after every token, and like their runtimes it hands all
/// of them over, with the state.
fn native(loaded: &LoadedCheckpoint, tokens: &Rc<[u32]>) -> anyhow::Result<Case> {
    let model = Model::from_checkpoint(&loaded.checkpoint)
        .with_context(|| format!("cannot run {}", loaded.name))?;
    let (mut work, fresh) = (model.new_workspace(), model.new_state());
    let version = format!("{} {}", env!("CARGO_PKG_VERSION"), model.kernel());
    let tokens = Rc::clone(tokens);
    Ok(Case {
        runtime: "native".to_owned(),
        version,
        precision: loaded.checkpoint.precision(),
        file_bytes: loaded.file_bytes,
        run: Box::new(move || {
            let mut state = fresh.clone();
            let mut all = Vec::new();
            let sequences = &mut [Sequence::predicting(&tokens, tokens[0], &mut state)];
            model.predict_batch(sequences, &mut work, &mut |_, _, logits| {
                all.extend_from_slice(logits);
            });
            std::hint::black_box((all, state));
            Ok(())
        }),
    })
}

/// A graph in a runtime.
fn graph(
    runtime: &str,
    version: &str,
    file: &OnnxFile,
    mut session: impl Session + 'static,
    tokens: &Rc<[u32]>,
) -> Case {
    let (tokens, fresh) = (Rc::clone(tokens), State::new(&file.config, 1));
    Case {
        runtime: runtime.to_owned(),
        version: version.to_owned(),
        precision: file.precision,
        file_bytes: file.bytes.len(),
        run: Box::new(move || {
            let mut state = fresh.clone();
            std::hint::black_box(session.run(&tokens, 1, &mut state)?);
            Ok(())
        }),
    }
}
