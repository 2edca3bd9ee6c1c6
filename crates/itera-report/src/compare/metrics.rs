//! Every figure that can be compared over time, with its direction, its noise and what has to be
//! equal for a comparison.

use itera_record::{
    EngineBenchRecord, EngineBenchRow, GateVerdict, HostInfo, Interval, ValidationRow,
};

use super::power;
use crate::{
    input::{Inputs, Source, TrainingBench, TrainingBenchRow},
    view::{
        engine, model_name,
        power::rows,
        quality::{scored_name, text_name},
    },
};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Lower,
    Higher,
}

/// A figure.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    /// What it is about.
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) direction: Direction,
    pub(crate) value: f64,
    /// Where the value may lie; none for a figure without noise.
    pub(crate) interval: Option<[f64; 2]>,
    /// What has to be equal, by name.
    pub(crate) protocol: Vec<(&'static str, String)>,
    /// The file that it comes from.
    pub(crate) source: String,
    /// SHA-256 of that file.
    pub(crate) source_sha256: String,
    /// What itera-power found in comparison with the file of this SHA-256.
    pub(crate) judged: Option<(String, GateVerdict)>,
}

impl Metric {
    /// What tells metrics apart.
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.subject, &self.name)
    }

    /// The first thing that was not equal when both were measured.
    pub(super) fn difference(&self, new: &Self) -> Option<String> {
        let pairs = self.protocol.iter().zip(&new.protocol);
        let differs = pairs
            .filter(|(old, new)| old != new)
            .map(|((name, old), (_, new))| format!("{name} is {old} there and {new} here"));
        differs.into_iter().next()
    }
}

/// All metrics of a set of results.
pub(crate) fn metrics(inputs: &Inputs) -> Vec<Metric> {
    let mut all = Vec::new();
    for row in &inputs.validation {
        let source = inputs.source(row);
        all.push(score(&row.item, source));
    }
    for run in &inputs.training {
        let record = &run.item.record;
        let digests: Vec<&str> = record.data.iter().map(|data| &data.sha256[..12]).collect();
        all.extend(record.valid_bits_per_byte.map(|value| Metric {
            subject: format!("training {}", run.item.name),
            name: "validation bits/byte".to_owned(),
            unit: "bits/byte",
            direction: Direction::Lower,
            value,
            interval: None,
            protocol: vec![("texts", digests.join(" "))],
            source: inputs.source(run).label.clone(),
            source_sha256: inputs.source(run).sha256.clone(),
            judged: None,
        }));
    }
    for bench in &inputs.training_bench {
        all.extend(training_speeds(&bench.item, inputs.source(bench)));
    }
    for (record, row) in engine::rows(inputs) {
        all.push(engine_speed(&record.item, row, inputs.source(record)));
    }
    for (record, row) in rows(inputs) {
        all.extend(power::metrics(&record.item, row, inputs.source(record)));
    }
    sizes(inputs, &mut all);
    all
}

fn score(row: &ValidationRow, source: &Source) -> Metric {
    Metric {
        subject: format!("{} on {}", scored_name(row), text_name(row)),
        name: match row.engine.as_str() {
            "native" => "bits/byte".to_owned(),
            engine => format!("bits/byte, engine {engine}"),
        },
        unit: "bits/byte",
        direction: Direction::Lower,
        value: row.bits_per_byte,
        // The text is read whole: the interval over documents says how well the figure stands for
        // other texts, and not that it would come out otherwise.
        interval: None,
        protocol: vec![
            ("text", row.dataset_sha256[..12].to_owned()),
            ("protocol", row.protocol.to_string()),
            (
                "shard",
                row.shard
                    .map_or("all".to_owned(), |shard| shard.to_string()),
            ),
        ],
        source: source.label.clone(),
        source_sha256: source.sha256.clone(),
        judged: None,
    }
}

fn training_speeds(bench: &TrainingBench, source: &Source) -> Vec<Metric> {
    let metric = |row: &TrainingBenchRow| Metric {
        subject: format!(
            "training {}, batch {}, {} replicas",
            bench.preset, row.batch, row.replicas
        ),
        name: "tokens/s".to_owned(),
        unit: "tokens/s",
        direction: Direction::Higher,
        value: row.tokens_per_s_median,
        interval: Some([row.tokens_per_s_p10, row.tokens_per_s_p90]),
        protocol: vec![
            ("cores", bench.cores.to_string()),
            ("length", bench.length.to_string()),
            ("vocabulary", bench.vocab_size.to_string()),
        ],
        source: source.label.clone(),
        source_sha256: source.sha256.clone(),
        judged: None,
    };
    bench.rows.iter().map(metric).collect()
}

/// The speed of a workload, on equal machines.
fn engine_speed(record: &EngineBenchRecord, row: &EngineBenchRow, source: &Source) -> Metric {
    let name = record
        .envelope
        .model
        .as_ref()
        .map_or("model", |model| &model.name);
    let Interval { low, high, .. } = engine::speed(row);
    Metric {
        subject: format!("{name} {} {}", row.workload, engine::row_name(row)),
        name: "tokens/s".to_owned(),
        unit: "tokens/s",
        direction: Direction::Higher,
        value: row.tokens_per_s,
        interval: Some([low, high]),
        protocol: vec![
            ("machine", machine(&record.envelope.host)),
            ("tokens", row.tokens.to_string()),
        ],
        source: source.label.clone(),
        source_sha256: source.sha256.clone(),
        judged: None,
    }
}

pub(super) fn machine(host: &HostInfo) -> String {
    format!("{} with {} cores", host.cpu, host.cores)
}

/// Parameters and bytes of every model, each once.
fn sizes(inputs: &Inputs, all: &mut Vec<Metric>) {
    let of_validation = inputs
        .validation
        .iter()
        .map(|row| (&row.item.model, inputs.source(row)));
    let of_power = rows(inputs).map(|(record, row)| (&row.model, inputs.source(record)));
    for (model, source) in of_validation.chain(of_power) {
        let subject = model_name(model);
        if all.iter().any(|other| other.key() == (&subject, "bytes")) {
            continue;
        }
        for (name, unit, value) in [
            ("parameters", "parameters", model.params),
            ("bytes", "bytes", model.bytes),
        ] {
            all.push(Metric {
                subject: subject.clone(),
                name: name.to_owned(),
                unit,
                direction: Direction::Lower,
                value: value as f64,
                interval: None,
                protocol: Vec::new(),
                source: source.label.clone(),
                source_sha256: source.sha256.clone(),
                judged: None,
            });
        }
    }
}
