//! Every kind of result: its form, what makes it, and how it is read. A new kind is an entry here and a
//! list in [`Inputs`].

use itera_record::{
    AblationRecord, Documents, EngineBenchRecord, ExportRecord, PowerRecord, QuantizationRecord,
    Record, ServeBenchRecord, SimulationRecord, TrainingRecord, ValidationRecord, ZipRecord, ci95,
};
use serde::de::DeserializeOwned;

use super::{
    Inputs, Of,
    edge::{CExport, Cluster, Web},
    feedback::FeedbackLog,
    gate_check::GateCheck,
    load::{Loader, Named},
    metrics::MetricsRecord,
    training_bench::TrainingBench,
};

/// The kind of a file that is one item of a list in [`Inputs`]. How it is read: `checked` by its own type,
/// `plain` by this crate, `log` line by line.
macro_rules! record {
    ($how:ident $Record:ident as $list:ident, $what:literal, $command:literal) => {
        Kind {
            schema: $Record::SCHEMA,
            what: $what,
            command: $command,
            read: |loader, file| {
                let item: $Record = $how(file)?;
                loader.keep(file, $Record::SCHEMA, item, |all| &mut all.$list)
            },
            is_there: |inputs| $what.is_empty() || !inputs.$list.is_empty(),
        }
    };
}

/// A kind of result.
pub(crate) struct Kind {
    /// Name and version of the form.
    pub(crate) schema: &'static str,
    /// What is measured; empty where nothing is missing without it.
    pub(crate) what: &'static str,
    /// The command that writes it.
    pub(crate) command: &'static str,
    pub(super) read: fn(&mut Loader, Named<'_>) -> Result<(), String>,
    is_there: fn(&Inputs) -> bool,
}

/// All kinds, in the order in which reports name what is missing.
pub(crate) static KINDS: [Kind; 17] = [
    Kind {
        schema: ValidationRecord::SCHEMA,
        what: "scores on text",
        command: "cargo run --release -p itera-validate",
        read: |loader, file| {
            let record: ValidationRecord = checked(file)?;
            let source = loader.source(file, ValidationRecord::SCHEMA)?;
            let rows = record.rows.into_iter().map(|mut item| {
                // Other programs leave it to the reader.
                let Documents {
                    document_bytes,
                    document_nll_nats,
                    ..
                } = &item.per_document;
                item.bits_per_byte_ci95 = item
                    .bits_per_byte_ci95
                    .or_else(|| ci95(document_nll_nats, document_bytes, item.protocol.bootstrap));
                Of { source, item }
            });
            loader.inputs.validation.extend(rows);
            Ok(())
        },
        is_there: |inputs| !inputs.validation.is_empty(),
    },
    Kind {
        schema: TrainingRecord::SCHEMA,
        what: "training runs",
        command: "cargo run --release -p itera-train -- fit",
        read: |loader, file| loader.training(file, checked(file)?),
        is_there: |inputs| !inputs.training.is_empty(),
    },
    record!(checked AblationRecord as ablations, "ablations", "cargo run --release -p itera-train -- ablate"),
    record!(plain TrainingBench as training_bench, "speed of training", "cargo bench -p itera-train --bench training"),
    record!(checked EngineBenchRecord as engine, "speed of the native engine", "cargo run --release -p itera-validate -- bench"),
    record!(checked PowerRecord as power, "energy", "cargo run --release -p itera-power"),
    record!(checked ExportRecord as export, "exported models", "cargo run --release -p itera-export -- verify"),
    record!(checked QuantizationRecord as quantization, "", "scripts/quantize-all.sh"),
    record!(checked ServeBenchRecord as serve_bench, "speed of the server", "scripts/serve-bench.py"),
    record!(checked SimulationRecord as simulation, "learning from feedback", "cargo run --release -p itera-serve --example simulate --"),
    record!(plain GateCheck as gate_check, "", "scripts/check-gate.sh"),
    record!(plain Web as web, "", "OUTPUT=results/web.json scripts/check-web.sh"),
    record!(plain CExport as c_export, "", "OUTPUT=results/c-export.json scripts/check-c.sh"),
    record!(checked ZipRecord as zip, "", "cargo run --release -p itera-zip -- bench"),
    record!(plain Cluster as cluster, "", "scripts/serve-cluster.sh"),
    record!(plain MetricsRecord as released, "", "cargo run --release -p itera-report -- --format metrics"),
    record!(log FeedbackLog as feedback, "feedback of users", "itera-serve feedback export"),
];

impl Kind {
    /// The kind of a form.
    pub(crate) fn of(schema: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.schema == schema)
    }

    /// Another version of the same form.
    pub(super) fn relative_of(schema: &str) -> Option<&'static Self> {
        let family = |schema: &'static str| schema.rsplit_once('/').map_or("", |(name, _)| name);
        let (name, _) = schema.rsplit_once('/')?;
        KINDS.iter().find(|kind| family(kind.schema) == name)
    }

    /// The kinds that there are no results of.
    pub(crate) fn missing(inputs: &Inputs) -> Vec<&'static Self> {
        let is_missing = |kind: &&Self| !kind.what.is_empty() && !(kind.is_there)(inputs);
        KINDS.iter().filter(is_missing).collect()
    }
}

/// Reads a record that checks itself.
fn checked<R: Record>(file: Named<'_>) -> Result<R, String> {
    R::from_json(file.bytes).map_err(|error| format!("is broken: {error}"))
}

/// Reads a form of this crate.
fn plain<T: Plain>(file: Named<'_>) -> Result<T, String> {
    let item: T = parsed(file)?;
    item.check()?;
    Ok(item)
}

/// Reads a log.
fn log(file: Named<'_>) -> Result<FeedbackLog, String> {
    super::feedback::read(file.bytes)
}

/// A form that only this crate reads.
pub(super) trait Plain: DeserializeOwned {
    /// Refuses what contradicts itself.
    fn check(&self) -> Result<(), String>;
}

/// Parses JSON.
pub(super) fn parsed<T: DeserializeOwned>(file: Named<'_>) -> Result<T, String> {
    serde_json::from_slice(file.bytes).map_err(|error| format!("is malformed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_one_entry() {
        for (i, kind) in KINDS.iter().enumerate() {
            assert!(
                KINDS[i + 1..]
                    .iter()
                    .all(|other| other.schema != kind.schema)
            );
            assert!(std::ptr::eq(Kind::of(kind.schema).unwrap(), kind));
        }
        assert!(Kind::relative_of("itera.power/9").is_some_and(|kind| kind.what == "energy"));
        assert!(Kind::relative_of("itera.other/1").is_none());
    }
}
