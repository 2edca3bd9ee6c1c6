//! Every kind of result: its form, what makes it, and how it is read. A new kind is an entry here and a
//! list in [`Inputs`].

use itera_record::{
    AblationRecord, EngineBenchRecord, ExportRecord, PowerRecord, QuantizationRecord, Record,
    ServeBenchRecord, SimulationRecord, TrainingRecord, ValidationRecord,
};
use serde::de::DeserializeOwned;

use super::{
    Inputs, Of,
    gate_check::GateCheck,
    load::{Loader, Named},
    metrics::MetricsRecord,
    training_bench::TrainingBench,
};

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
pub(crate) static KINDS: [Kind; 13] = [
    Kind {
        schema: ValidationRecord::SCHEMA,
        what: "scores on text",
        command: "cargo run --release -p itera-validate",
        read: |loader, file| {
            let record: ValidationRecord = checked(file)?;
            let source = loader.source(file, ValidationRecord::SCHEMA)?;
            let rows = record.rows.into_iter().map(|item| Of { source, item });
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
    Kind {
        schema: AblationRecord::SCHEMA,
        what: "ablations",
        command: "cargo run --release -p itera-train -- ablate",
        read: |loader, file| {
            loader.keep(file, AblationRecord::SCHEMA, checked(file)?, |all| {
                &mut all.ablations
            })
        },
        is_there: |inputs| !inputs.ablations.is_empty(),
    },
    Kind {
        schema: TrainingBench::SCHEMA,
        what: "speed of training",
        command: "cargo bench -p itera-learn --bench training",
        read: |loader, file| {
            let bench: TrainingBench = parsed(file)?;
            bench.check()?;
            loader.keep(file, TrainingBench::SCHEMA, bench, |all| {
                &mut all.training_bench
            })
        },
        is_there: |inputs| !inputs.training_bench.is_empty(),
    },
    Kind {
        schema: EngineBenchRecord::SCHEMA,
        what: "speed of the native engine",
        command: "cargo run --release -p itera-validate -- bench",
        read: |loader, file| {
            loader.keep(file, EngineBenchRecord::SCHEMA, checked(file)?, |all| {
                &mut all.engine
            })
        },
        is_there: |inputs| !inputs.engine.is_empty(),
    },
    Kind {
        schema: PowerRecord::SCHEMA,
        what: "energy",
        command: "cargo run --release -p itera-power",
        read: |loader, file| {
            loader.keep(file, PowerRecord::SCHEMA, checked(file)?, |all| {
                &mut all.power
            })
        },
        is_there: |inputs| !inputs.power.is_empty(),
    },
    Kind {
        schema: ExportRecord::SCHEMA,
        what: "exported models",
        command: "cargo run --release -p itera-export -- verify",
        read: |loader, file| {
            loader.keep(file, ExportRecord::SCHEMA, checked(file)?, |all| {
                &mut all.export
            })
        },
        is_there: |inputs| !inputs.export.is_empty(),
    },
    Kind {
        schema: QuantizationRecord::SCHEMA,
        what: "",
        command: "scripts/quantize-all.sh",
        read: |loader, file| {
            loader.keep(file, QuantizationRecord::SCHEMA, checked(file)?, |all| {
                &mut all.quantization
            })
        },
        is_there: |_| true,
    },
    Kind {
        schema: ServeBenchRecord::SCHEMA,
        what: "speed of the server",
        command: "scripts/serve-bench.py",
        read: |loader, file| {
            loader.keep(file, ServeBenchRecord::SCHEMA, checked(file)?, |all| {
                &mut all.serve_bench
            })
        },
        is_there: |inputs| !inputs.serve_bench.is_empty(),
    },
    Kind {
        schema: SimulationRecord::SCHEMA,
        what: "learning from feedback",
        command: "cargo run --release -p itera-serve -- simulate",
        read: |loader, file| {
            loader.keep(file, SimulationRecord::SCHEMA, checked(file)?, |all| {
                &mut all.simulation
            })
        },
        is_there: |inputs| !inputs.simulation.is_empty(),
    },
    Kind {
        schema: GateCheck::SCHEMA,
        what: "",
        command: "scripts/check-gate.sh",
        read: |loader, file| {
            let check: GateCheck = parsed(file)?;
            check.check()?;
            loader.keep(file, GateCheck::SCHEMA, check, |all| &mut all.gate_check)
        },
        is_there: |_| true,
    },
    Kind {
        schema: MetricsRecord::SCHEMA,
        what: "",
        command: "cargo run --release -p itera-report -- --format metrics",
        read: |loader, file| {
            loader.keep(file, MetricsRecord::SCHEMA, parsed(file)?, |all| {
                &mut all.released
            })
        },
        is_there: |_| true,
    },
    Kind {
        schema: "feedback log (.jsonl)",
        what: "feedback of users",
        command: "itera-serve feedback export",
        read: |loader, file| {
            let log = super::feedback::read(file.bytes)?;
            loader.keep(file, "feedback log (.jsonl)", log, |all| &mut all.feedback)
        },
        is_there: |inputs| !inputs.feedback.is_empty(),
    },
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

/// Reads a plain form.
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
