//! From files to [`Inputs`].

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;
use itera_record::{
    AblationRecord, EngineBenchRecord, Envelope, ExportRecord, PowerRecord, QuantizationRecord,
    Record, ServeBenchRecord, SimulationRecord, TrainingRecord, ValidationRecord,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    CurvePoint, Inputs, Of, Place, Problem, Source, Training, clash,
    code::CodeRecord,
    curve, feedback,
    files::{self, File},
    gate_check::GateCheck,
    machine,
    training_bench::TrainingBench,
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

struct Loader {
    place: Place,
    inputs: Inputs,
}

/// A file that has bytes.
#[derive(Clone, Copy)]
struct Named<'f> {
    path: &'f Path,
    label: &'f str,
    bytes: &'f [u8],
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
        if file.path.extension().is_some_and(|kind| kind == "jsonl") {
            let item = feedback::read(file.bytes)?;
            let source = self.source(file, "feedback log", None)?;
            self.inputs.feedback.push(Of { source, item });
            return Ok(());
        }
        let head: Head = parse(file.bytes)?;
        let schema = head.schema.unwrap_or_default();
        match schema.as_str() {
            ValidationRecord::SCHEMA => {
                let Of { source, item } = self.record(file, |r: &ValidationRecord| &r.envelope)?;
                let rows = item.rows.into_iter().map(|item| Of { source, item });
                self.inputs.validation.extend(rows);
            }
            TrainingRecord::SCHEMA => self.training(file)?,
            PowerRecord::SCHEMA => {
                let record = self.record(file, |record: &PowerRecord| &record.envelope)?;
                self.inputs.power.push(record);
            }
            AblationRecord::SCHEMA => {
                let record = self.record(file, |record: &AblationRecord| &record.envelope)?;
                self.inputs.ablations.push(record);
            }
            EngineBenchRecord::SCHEMA => {
                let record = self.record(file, |record: &EngineBenchRecord| &record.envelope)?;
                self.inputs.engine.push(record);
            }
            ExportRecord::SCHEMA => {
                let record = self.record(file, |record: &ExportRecord| &record.envelope)?;
                self.inputs.export.push(record);
            }
            QuantizationRecord::SCHEMA => {
                let record = self.record(file, |record: &QuantizationRecord| &record.envelope)?;
                self.inputs.quantization.push(record);
            }
            ServeBenchRecord::SCHEMA => {
                let record = self.record(file, |record: &ServeBenchRecord| &record.envelope)?;
                self.inputs.serve_bench.push(record);
            }
            SimulationRecord::SCHEMA => {
                let record = self.record(file, |record: &SimulationRecord| &record.envelope)?;
                self.inputs.simulation.push(record);
            }
            TrainingBench::SCHEMA => {
                let item: TrainingBench = parse(file.bytes)?;
                item.check()?;
                let source = self.source(file, TrainingBench::SCHEMA, None)?;
                self.inputs.training_bench.push(Of { source, item });
            }
            GateCheck::SCHEMA => {
                let item: GateCheck = parse(file.bytes)?;
                item.check()?;
                let source = self.source(file, GateCheck::SCHEMA, Some(&item.envelope))?;
                self.inputs.gate_check.push(Of { source, item });
            }
            CodeRecord::SCHEMA => {
                let item: CodeRecord = parse(file.bytes)?;
                item.check()?;
                let source = self.source(file, CodeRecord::SCHEMA, Some(&item.envelope))?;
                self.inputs.code.push(Of { source, item });
            }
            other => self.other(file.label, other)?,
        }
        Ok(())
    }

    /// Reads a record that checks itself.
    fn record<R: Record>(
        &mut self,
        file: Named<'_>,
        envelope: fn(&R) -> &Envelope,
    ) -> Result<Of<R>, String> {
        let item = R::from_json(file.bytes).map_err(|error| format!("is broken: {error}"))?;
        let source = self.source(file, R::SCHEMA, Some(envelope(&item)))?;
        Ok(Of { source, item })
    }

    /// A training record; without its curve it is still shown.
    fn training(&mut self, file: Named<'_>) -> Result<(), String> {
        let Of { source, item } = self.record(file, |record: &TrainingRecord| &record.envelope)?;
        let path = file.path;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name
            .strip_suffix(".training.json")
            .or_else(|| name.strip_suffix(".json"));
        let name = stem.unwrap_or(&name).to_owned();
        // A run that was given another name has its curve beside it, under that name.
        let beside = path.with_file_name(format!("{name}.metrics.csv"));
        let said = item.curve.as_ref().map(|curve| path.with_file_name(curve));
        let curve = if beside.is_file() { Some(beside) } else { said };
        let points = curve.map_or(Ok(Vec::new()), |curve| self.curve(&curve, file.label))?;
        let item = Training {
            name,
            record: item,
            curve: points,
        };
        self.inputs.training.push(Of { source, item });
        Ok(())
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

    /// A file of no form that is rendered: another version of one, or another one.
    fn other(&mut self, label: &str, schema: &str) -> Result<(), String> {
        if schema.is_empty() {
            return Err("has no field `schema`, so it is no result of this project".to_owned());
        }
        let family = |schema: &str| schema.rsplit_once('/').map(|(name, _)| name.to_owned());
        let known = [
            ValidationRecord::SCHEMA,
            TrainingRecord::SCHEMA,
            AblationRecord::SCHEMA,
            EngineBenchRecord::SCHEMA,
            ExportRecord::SCHEMA,
            PowerRecord::SCHEMA,
            QuantizationRecord::SCHEMA,
            ServeBenchRecord::SCHEMA,
            SimulationRecord::SCHEMA,
            TrainingBench::SCHEMA,
            CodeRecord::SCHEMA,
            GateCheck::SCHEMA,
        ];
        if let Some(known) = known
            .into_iter()
            .find(|known| family(known) == family(schema))
        {
            return Err(format!(
                "is of the form `{schema}`, this program reads `{known}`; use the version of \
                 itera-report that belongs to it, or write the result anew"
            ));
        }
        if !schema.starts_with(FAMILY) {
            return Err(format!(
                "is of the form `{schema}`, which is none of this project"
            ));
        }
        self.inputs.unknown.push(Problem {
            label: label.to_owned(),
            reason: format!("of the form `{schema}`, which has no report"),
        });
        Ok(())
    }

    /// Notes a file and what it says about itself; gives back its position.
    fn source(
        &mut self,
        file: Named<'_>,
        schema: &str,
        envelope: Option<&Envelope>,
    ) -> Result<usize, String> {
        let link = self
            .place
            .link(file.path)
            .map_err(|error| error.to_string())?;
        let say = |what: fn(&Envelope) -> String| envelope.map(what).unwrap_or_default();
        self.inputs.sources.push(Source {
            label: file.label.to_owned(),
            link,
            sha256: hex(&Sha256::digest(file.bytes)),
            schema: schema.to_owned(),
            created_at: say(|envelope| envelope.created_at.clone()),
            tool: say(|envelope| format!("{} {}", envelope.tool.name, envelope.tool.version)),
            commit: say(|envelope| envelope.tool.commit.clone()),
            host: say(|envelope| machine(&envelope.host)),
        });
        Ok(self.inputs.sources.len() - 1)
    }
}

/// Reads a form that this crate checks.
fn parse<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("is malformed: {error}"))
}

/// Bytes in lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
