//! Every figure that can be compared over time, with its direction, its noise and what has to be
//! equal for a comparison.

use itera_record::{
    EnergyFigure, EngineBenchRecord, EngineBenchRow, GateVerdict, HostInfo, PowerRecord, PowerRow,
    Summary, ValidationRow,
};

use crate::{
    input::{Direction, Inputs, Metric, Of, Source, TrainingBench, TrainingBenchRow},
    views,
};

/// The name that itera-power has for it too.
const LATENCY: &str = "latency / calibration";

/// The first thing that was not equal when both were measured.
pub(super) fn difference(old: &Metric, new: &Metric) -> Option<String> {
    let mut pairs = old.protocol.iter().zip(&new.protocol);
    let (old, new) = pairs.find(|(old, new)| old != new)?;
    Some(format!("{} was {}, is {}", old.0, old.1, new.1))
}

/// A metric of a file, exact and without conditions.
fn metric(
    source: &Source,
    subject: String,
    name: &str,
    unit: &str,
    direction: Direction,
    value: f64,
) -> Metric {
    Metric {
        subject,
        name: name.to_owned(),
        unit: unit.to_owned(),
        direction,
        value,
        interval: None,
        protocol: Vec::new(),
        source: source.label.clone(),
        source_sha256: source.sha256.clone(),
        judged: None,
    }
}

fn conditions<const N: usize>(pairs: [(&str, String); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// All metrics of a set of results.
pub(crate) fn metrics(inputs: &Inputs) -> Vec<Metric> {
    let mut all = Vec::new();
    for of in &inputs.validation {
        all.push(score(&of.item, inputs.source(of)));
    }
    for run in &inputs.training {
        let record = &run.item.record;
        let digests: Vec<&str> = record.data.iter().map(|data| &data.sha256[..12]).collect();
        all.extend(record.valid_bits_per_byte.map(|value| Metric {
            protocol: conditions([("texts", digests.join(" "))]),
            ..metric(
                inputs.source(run),
                format!("training {}", run.item.name),
                "validation bits/byte",
                "bits/byte",
                Direction::Lower,
                value,
            )
        }));
    }
    for of in &inputs.training_bench {
        let bench = &of.item;
        all.extend(
            bench
                .rows
                .iter()
                .map(|row| training_speed(bench, row, inputs.source(of))),
        );
    }
    for of in &inputs.engine {
        all.extend(
            of.item
                .rows
                .iter()
                .map(|row| engine_speed(&of.item, row, inputs.source(of))),
        );
    }
    for of in &inputs.power {
        for row in &of.item.rows {
            all.extend(power(&of.item, row, inputs.source(of)));
        }
    }
    sizes(inputs, &mut all);
    all
}

fn score(row: &ValidationRow, source: &Source) -> Metric {
    let name = match row.engine.as_str() {
        "native" => "bits/byte".to_owned(),
        engine => format!("bits/byte, engine {engine}"),
    };
    let subject = format!("{} on {}", row.model.label(), row.text_name());
    Metric {
        // The text is read whole: an interval over documents says how well the figure stands for other
        // texts, and not that it would come out otherwise.
        protocol: conditions([
            ("text", row.dataset_sha256[..12].to_owned()),
            ("protocol", row.protocol.to_string()),
            (
                "shard",
                row.shard
                    .map_or("all".to_owned(), |shard| shard.to_string()),
            ),
        ]),
        ..metric(
            source,
            subject,
            &name,
            "bits/byte",
            Direction::Lower,
            row.bits_per_byte,
        )
    }
}

fn training_speed(bench: &TrainingBench, row: &TrainingBenchRow, source: &Source) -> Metric {
    let subject = format!(
        "training {}, batch {}, {} replicas",
        bench.preset, row.batch, row.replicas
    );
    // The record has the 10th and 90th percentile: a normal distribution between them has these quartiles.
    let half = 0.263 * (row.tokens_per_s_p90 - row.tokens_per_s_p10);
    let median = row.tokens_per_s_median;
    Metric {
        interval: Some([median - half, median + half]),
        protocol: conditions([
            ("cores", bench.cores.to_string()),
            ("length", bench.length.to_string()),
            ("vocabulary", bench.vocab_size.to_string()),
        ]),
        ..metric(
            source,
            subject,
            "tokens/s",
            "tokens/s",
            Direction::Higher,
            median,
        )
    }
}

/// The speed of a workload, on equal machines.
fn engine_speed(record: &EngineBenchRecord, row: &EngineBenchRow, source: &Source) -> Metric {
    let model = record.envelope.model.as_ref();
    let name = model.map_or("model", |model| &model.name);
    let subject = format!("{name} {} {}", row.workload, views::row_name(row));
    let speeds: Vec<f64> = row
        .sample_seconds
        .iter()
        .map(|seconds| row.tokens as f64 / seconds)
        .collect();
    Metric {
        interval: quartiles(&speeds),
        protocol: conditions([
            ("machine", machine(&record.envelope.host)),
            ("tokens", row.tokens.to_string()),
        ]),
        ..metric(
            source,
            subject,
            "tokens/s",
            "tokens/s",
            Direction::Higher,
            row.tokens_per_s,
        )
    }
}

/// Latency as a multiple of the calibration workload's, so that a slower machine is no regression;
/// energy as it is, on equal machines.
fn power(record: &PowerRecord, row: &PowerRow, source: &Source) -> Vec<Metric> {
    let subject = format!("{} {}", row.model.label(), row.mode.name());
    let exact = metric(
        source,
        subject,
        "multiply-adds per token",
        "operations",
        Direction::Lower,
        row.multiply_adds_per_token as f64,
    );
    let protocol = conditions([
        (
            "tokens per pass",
            record.protocol.seq_len_tokens.to_string(),
        ),
        ("threads", record.protocol.threads.to_string()),
        ("calibration", record.protocol.calibration.clone()),
        ("kernel", row.kernel.clone()),
    ]);
    let measured = Metric {
        protocol,
        ..exact.clone()
    };
    let passes = row.passes_per_sample as f64;
    let samples = &row.samples;
    let pairs = samples
        .wall_seconds
        .iter()
        .zip(&samples.calibration_seconds);
    let ratios: Vec<f64> = pairs.map(|(wall, unit)| wall / passes / unit).collect();
    let latency = Summary::quantile(&ratios, 0.5).map(|value| Metric {
        name: LATENCY.to_owned(),
        unit: "times".to_owned(),
        value,
        interval: quartiles(&ratios),
        judged: judged(record, row),
        ..measured.clone()
    });
    let machine = machine(&record.envelope.host);
    let energies = row
        .energy
        .iter()
        .filter_map(|figure| energy(row, figure, &measured, &machine));
    std::iter::once(exact)
        .chain(latency)
        .chain(energies)
        .collect()
}

/// What itera-power found about the latency of a row, and in comparison with which file.
fn judged(record: &PowerRecord, row: &PowerRow) -> Option<(String, GateVerdict)> {
    let gate = record.gate.as_ref()?;
    let found = gate.comparisons.iter().find(|comparison| {
        comparison.metric == LATENCY
            && comparison.model == row.model.name
            && comparison.precision == row.model.precision
            && comparison.mode == Some(row.mode)
    })?;
    Some((gate.baseline_sha256.clone(), found.verdict))
}

/// Energy with the noise of its samples. Its bounds are those of the model of the platform, which two
/// runs have in common: they would hide any regression.
fn energy(
    row: &PowerRow,
    figure: &EnergyFigure,
    measured: &Metric,
    machine: &str,
) -> Option<Metric> {
    let joules = figure.gross_joules_per_token?;
    let samples = &row.samples;
    let counter = samples
        .counters
        .iter()
        .find(|counter| counter.source == figure.source);
    let noise = counter.map_or(&samples.wall_seconds, |counter| &counter.joules);
    let median = Summary::quantile(noise, 0.5)?;
    let value = 1e6 * joules.nominal;
    let kind = figure.method.split('(').next().unwrap_or_default();
    let mut metric = Metric {
        name: format!("energy per token, {kind}({})", figure.source),
        unit: "µJ".to_owned(),
        value,
        interval: quartiles(noise).map(|bounds| bounds.map(|bound| value * bound / median)),
        ..measured.clone()
    };
    metric
        .protocol
        .extend(conditions([("machine", machine.to_owned())]));
    Some(metric)
}

fn machine(host: &HostInfo) -> String {
    format!("{} with {} cores", host.cpu, host.cores)
}

/// The noise of a measured figure: the quartiles of its samples. The whole spread of the samples would hide
/// a loss of a fifth; the interval of the median alone says nothing of how far two runs of one build lie
/// apart on a shared machine.
fn quartiles(samples: &[f64]) -> Option<[f64; 2]> {
    Some([
        Summary::quantile(samples, 0.25)?,
        Summary::quantile(samples, 0.75)?,
    ])
}

/// Parameters and bytes of every model, each once.
fn sizes(inputs: &Inputs, all: &mut Vec<Metric>) {
    let of_validation = inputs
        .validation
        .iter()
        .map(|row| (&row.item.model, inputs.source(row)));
    let of_power = inputs.power.iter().flat_map(|of: &Of<PowerRecord>| {
        of.item
            .rows
            .iter()
            .map(|row| (&row.model, inputs.source(of)))
    });
    for (model, source) in of_validation.chain(of_power) {
        let subject = model.label();
        if all
            .iter()
            .any(|other| other.subject == subject && other.name == "bytes")
        {
            continue;
        }
        for (name, value) in [("parameters", model.params), ("bytes", model.bytes)] {
            all.push(metric(
                source,
                subject.clone(),
                name,
                name,
                Direction::Lower,
                value as f64,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_middle_half_of_the_samples() {
        let samples: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quartiles(&samples), Some([25.0, 75.0]));
        assert_eq!(quartiles(&[]), None);
    }
}
