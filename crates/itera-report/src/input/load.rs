//! From files to [`Inputs`].

use std::path::Path;

use anyhow::Context as _;
use itera_core::digest::sha256_hex;
use itera_record::{Envelope, TrainingRecord};
use serde::Deserialize;

use super::{
    CurvePoint, FeedbackLog, Inputs, Of, Place, Problem, Source, Training, clash, curve,
    files::{self, File},
    kinds::{Kind, parsed},
    machine,
};

/// All forms start so.
const FAMILY: &str = "itera.";

/// What every result says about itself, as far as it does.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

/// Reads the results, and the training records beside the models. Files are named as seen from the
/// folder of the reports.
///
/// # Errors
/// If the folder of results cannot be listed.
pub(crate) fn load(results: &Path, models: &Path, reports: &Path) -> anyhow::Result<Inputs> {
    let place = Place::new(reports).context("cannot find the current directory")?;
    let mut loader = Loader {
        place,
        inputs: Inputs::default(),
    };
    for file in files::of(results, models)? {
        loader.file(&file)?;
    }
    clash::resolve(&mut loader.inputs);
    Ok(loader.inputs)
}

/// What has been read so far.
pub(super) struct Loader {
    place: Place,
    pub(super) inputs: Inputs,
}

/// A file that has bytes.
#[derive(Clone, Copy)]
pub(super) struct Named<'f> {
    path: &'f Path,
    label: &'f str,
    pub(super) bytes: &'f [u8],
}

impl Loader {
    /// Reads one file; what is wrong with it becomes a problem.
    fn file(&mut self, file: &File) -> anyhow::Result<()> {
        let label = self.place.label(&file.path).context("cannot name a file")?;
        let outcome = match &file.bytes {
            Err(error) => Err(format!("cannot be read: {error}")),
            Ok(bytes) if bytes.trim_ascii().is_empty() => {
                Err("is empty; run the tool that writes it again".to_owned())
            }
            Ok(bytes) => self.content(Named {
                path: &file.path,
                label: &label,
                bytes,
            }),
        };
        if let Err(reason) = outcome {
            self.inputs.problems.push(Problem { label, reason });
        }
        Ok(())
    }

    fn content(&mut self, file: Named<'_>) -> Result<(), String> {
        let is_log = file.path.extension().is_some_and(|kind| kind == "jsonl");
        let schema = if is_log {
            FeedbackLog::SCHEMA.to_owned()
        } else {
            parsed::<Head>(file)?.schema.unwrap_or_default()
        };
        match Kind::of(&schema) {
            Some(kind) => (kind.read)(self, file),
            None => self.other(file.label, &schema),
        }
    }

    /// Keeps what a file holds.
    pub(super) fn keep<T>(
        &mut self,
        file: Named<'_>,
        schema: &str,
        item: T,
        list: fn(&mut Inputs) -> &mut Vec<Of<T>>,
    ) -> Result<(), String> {
        let source = self.source(file, schema)?;
        list(&mut self.inputs).push(Of { source, item });
        Ok(())
    }

    /// A training record; without its curve it is still shown.
    pub(super) fn training(
        &mut self,
        file: Named<'_>,
        record: TrainingRecord,
    ) -> Result<(), String> {
        let path = file.path;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name
            .strip_suffix(".training.json")
            .or_else(|| name.strip_suffix(".json"));
        let name = stem.unwrap_or(&name).to_owned();
        // A run that was given another name has its curve beside it, under that name.
        let beside = path.with_file_name(format!("{name}.metrics.csv"));
        let said = record
            .curve
            .as_ref()
            .map(|curve| path.with_file_name(curve));
        let curve = if beside.is_file() { Some(beside) } else { said };
        let curve = curve.map_or(Ok(Vec::new()), |curve| self.curve(&curve, file.label))?;
        let item = Training {
            name,
            record,
            curve,
        };
        self.keep(file, "itera.training/1", item, |all| &mut all.training)
    }

    /// The curve of a training record; one that cannot be read becomes a problem of its own.
    fn curve(&mut self, path: &Path, record: &str) -> Result<Vec<CurvePoint>, String> {
        match curve::read(path) {
            Ok(points) => Ok(points),
            Err(reason) => {
                let label = self.place.label(path).map_err(|error| error.to_string())?;
                let reason = format!("the curve of {record} is left out: {reason}");
                self.inputs.problems.push(Problem { label, reason });
                Ok(Vec::new())
            }
        }
    }

    /// A file of a form that is not rendered: another version, or another kind.
    fn other(&mut self, label: &str, schema: &str) -> Result<(), String> {
        if schema.is_empty() {
            return Err("has no field `schema`, so it is not a result of this project".to_owned());
        }
        if let Some(known) = Kind::relative_of(schema) {
            return Err(format!(
                "has the form `{schema}`; this program reads `{}`: use the itera-report of that \
                 version, or write the result again",
                known.schema
            ));
        }
        if !schema.starts_with(FAMILY) {
            return Err(format!(
                "has the form `{schema}`, which does not belong to this project"
            ));
        }
        self.inputs.unknown.push(Problem {
            label: label.to_owned(),
            reason: format!("has the form `{schema}`, which no report shows"),
        });
        Ok(())
    }

    /// Notes a file and what it says about itself; gives back its position.
    pub(super) fn source(&mut self, file: Named<'_>, schema: &str) -> Result<usize, String> {
        let link = self
            .place
            .link(file.path)
            .map_err(|error| error.to_string())?;
        // Some forms have no envelope, or a part of one.
        let envelope: Option<Envelope> = serde_json::from_slice(file.bytes).ok();
        let say = |what: fn(&Envelope) -> String| envelope.as_ref().map(what).unwrap_or_default();
        self.inputs.sources.push(Source {
            label: file.label.to_owned(),
            link,
            sha256: sha256_hex(file.bytes),
            schema: schema.to_owned(),
            created_at: say(|envelope| envelope.created_at.clone()),
            tool: say(|envelope| format!("{} {}", envelope.tool.name, envelope.tool.version)),
            commit: say(|envelope| envelope.tool.commit.clone()),
            host: say(|envelope| machine(&envelope.host)),
        });
        Ok(self.inputs.sources.len() - 1)
    }
}
