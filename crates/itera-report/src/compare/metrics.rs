//! Every figure that can be compared over time, with its direction, its noise and what has to be
//! equal for a comparison.

use itera_record::{
    EngineBenchRecord, EngineBenchRow, GateComparison, GateVerdict, HostInfo, PowerProtocol,
    PowerRecord, PowerRow, Summary, ValidationRow,
};

use crate::{
    input::{Direction, Inputs, Metric, Source, Training, TrainingBench, TrainingBenchRow},
    views,
};

/// Processes whose medians are too few to be noise.
const FEW_PROCESSES: usize = 3;

/// The first thing that was not equal when both were measured.
pub(super) fn difference(old: &Metric, new: &Metric) -> Option<String> {
    let of = |metric: &Metric, name: &str| {
        let mut conditions = metric.protocol.iter();
        let found = conditions.find(|(other, _)| other == name);
        found.map_or("not said".to_owned(), |(_, value)| value.clone())
    };
    let mut names = new.protocol.iter().chain(&old.protocol);
    names.find_map(|(name, _)| {
        let (was, is) = (of(old, name), of(new, name));
        (was != is).then(|| format!("{name} was {was}, is {is}"))
    })
}

/// An exact metric of a file, without conditions; the lower the better.
fn metric(source: &Source, subject: &str, name: &str, unit: &str, value: f64) -> Metric {
    Metric {
        subject: subject.to_owned(),
        name: name.to_owned(),
        unit: unit.to_owned(),
        direction: Direction::Lower,
        value,
        interval: None,
        calibration: None,
        protocol: Vec::new(),
        source: source.label.clone(),
        source_sha256: source.sha256.clone(),
        judged: None,
    }
}

impl Metric {
    /// What has to be equal for a comparison.
    fn under<const N: usize>(mut self, conditions: [(&str, String); N]) -> Self {
        let conditions = conditions.map(|(name, value)| (name.to_owned(), value));
        self.protocol.extend(conditions);
        self
    }

    /// A speed with its noise.
    fn speed(mut self, interval: Option<[f64; 2]>) -> Self {
        self.direction = Direction::Higher;
        self.interval = interval;
        self
    }
}

/// All metrics of a set of results.
pub(crate) fn metrics(inputs: &Inputs) -> Vec<Metric> {
    let mut all = Vec::new();
    for of in &inputs.validation {
        all.push(score(&of.item, inputs.source(of)));
    }
    for of in &inputs.training {
        let Training { name, record, .. } = &of.item;
        let digests: Vec<&str> = record.data.iter().map(|data| &data.sha256[..12]).collect();
        let (source, subject) = (inputs.source(of), format!("training {name}"));
        all.extend(record.valid_bits_per_byte.map(|value| {
            metric(source, &subject, "validation bits/byte", "bits/byte", value)
                .under([("texts", digests.join(" "))])
        }));
    }
    for of in &inputs.training_bench {
        let speed = |row| training_speed(&of.item, row, inputs.source(of));
        all.extend(of.item.rows.iter().map(speed));
    }
    for of in &inputs.engine {
        let speed = |row| engine_speed(&of.item, row, inputs.source(of));
        all.extend(of.item.rows.iter().map(speed));
    }
    for of in &inputs.power {
        let figures = |row| power(&of.item, row, inputs.source(of));
        all.extend(of.item.rows.iter().flat_map(figures));
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
    // The text is read whole: an interval over documents says how well the figure stands for other
    // texts, and not that it would come out otherwise.
    metric(source, &subject, &name, "bits/byte", row.bits_per_byte).under([
        ("text", row.dataset_sha256[..12].to_owned()),
        ("protocol", row.protocol.to_string()),
        (
            "shard",
            row.shard
                .map_or("all".to_owned(), |shard| shard.to_string()),
        ),
    ])
}

fn training_speed(bench: &TrainingBench, row: &TrainingBenchRow, source: &Source) -> Metric {
    let subject = format!(
        "training {}, batch {}, {} replicas",
        bench.preset, row.batch, row.replicas
    );
    // The record has the 10th and 90th percentile: a normal distribution between them has these quartiles.
    let half = 0.263 * (row.tokens_per_s_p90 - row.tokens_per_s_p10);
    let median = row.tokens_per_s_median;
    metric(source, &subject, "tokens/s", "tokens/s", median)
        .speed(Some([median - half, median + half]))
        .under([
            ("cores", bench.cores.to_string()),
            ("length", bench.length.to_string()),
            ("vocabulary", bench.vocab_size.to_string()),
        ])
}

/// The speed of a workload, on equal machines.
fn engine_speed(record: &EngineBenchRecord, row: &EngineBenchRow, source: &Source) -> Metric {
    let model = record.envelope.model.as_ref();
    let name = model.map_or("model", |model| &model.name);
    let subject = format!("{name} {} {}", row.workload, views::row_name(row));
    let speeds = row
        .sample_seconds
        .iter()
        .map(|seconds| row.tokens as f64 / seconds);
    metric(source, &subject, "tokens/s", "tokens/s", row.tokens_per_s)
        .speed(quartiles(&speeds.collect::<Vec<_>>()))
        .under([
            ("machine", machine(&record.envelope.host)),
            ("tokens", row.tokens.to_string()),
        ])
}

/// CPU time and latency as multiples of the calibration workload's, so that a slower machine is no regression;
/// energy as it is, on equal machines, with the calibration beside it for the same reason. Where other
/// programs ran, only CPU time is the program's own: a long sample is interrupted more often than the short
/// calibration beside it.
fn power(record: &PowerRecord, row: &PowerRow, source: &Source) -> Vec<Metric> {
    let subject = format!("{} {}", row.model.label(), row.mode.name());
    let adds = row.multiply_adds_per_token as f64;
    let mut all = vec![metric(
        source,
        &subject,
        "multiply-adds per token",
        "operations",
        adds,
    )];
    let protocol = &record.protocol;
    let measured = |name: &str, unit: &str, value: f64| {
        metric(source, &subject, name, unit, value).under([
            ("tokens per pass", protocol.seq_len_tokens.to_string()),
            ("threads", protocol.threads.to_string()),
            ("calibration", protocol.calibration.clone()),
            ("kernel", row.kernel.clone()),
        ])
    };
    let samples = &row.samples;
    let rest = || rest_of_machine(record).map(|rest| ("rest of the machine".to_owned(), rest));
    let (times, cpu_times) = (row.latency_ratios(), row.cpu_ratios());
    all.extend(Summary::quantile(&times, 0.5).map(|value| {
        let mut latency = Metric {
            interval: noise(protocol, &times),
            judged: judged(record, row, GateComparison::LATENCY),
            ..measured(GateComparison::LATENCY, "times", value)
        };
        latency.protocol.extend(rest());
        latency
    }));
    let cpu_time = Summary::quantile(&cpu_times, 0.5).filter(|value| value.is_finite());
    all.extend(cpu_time.map(|value| Metric {
        interval: noise(protocol, &cpu_times),
        judged: judged(record, row, GateComparison::CPU_TIME),
        ..measured(GateComparison::CPU_TIME, "times", value)
    }));
    // The bounds of an estimate are those of the model of the platform, which two runs have in common: they
    // would hide any regression. So its noise is that of the time.
    all.extend(row.energy.iter().filter_map(|figure| {
        let value = 1e6 * figure.gross_joules_per_token?.nominal;
        let mut counters = samples.counters.iter();
        let counter = counters.find(|counter| counter.source == figure.source);
        let ratios = counter.map_or_else(
            || times.clone(),
            |counter| row.ratios(&counter.joules, &counter.calibration_joules),
        );
        let calibration = counter.map_or(&samples.calibration_seconds, |counter| {
            &counter.calibration_joules
        });
        let median = Summary::quantile(&ratios, 0.5)?;
        let kind = figure.method.split('(').next().unwrap_or_default();
        let name = format!("energy per token, {kind}({})", figure.source);
        let metric = Metric {
            interval: noise(protocol, &ratios)
                .map(|bounds| bounds.map(|bound| value * bound / median)),
            calibration: Summary::quantile(calibration, 0.5),
            ..measured(&name, "µJ", value)
        };
        let mut metric = metric.under([("machine", machine(&record.envelope.host))]);
        metric.protocol.extend(rest());
        metric.protocol.extend(
            platform(record, &figure.source).map(|platform| ("platform".to_owned(), platform)),
        );
        Some(metric)
    }));
    all
}

/// What the estimate for a platform stands on; none for a counter.
fn platform(record: &PowerRecord, source: &str) -> Option<String> {
    let name = source.strip_prefix("tdp:")?;
    let mut platforms = record.platforms.iter();
    let platform = platforms.find(|platform| platform.name == name)?;
    let speed = platform.relative_speed.unwrap_or(1.0);
    Some(format!(
        "{} W, {} W at rest, {} cores, speed {speed}",
        platform.tdp_watts, platform.idle_watts, platform.cores
    ))
}

/// What else the machine did, if it did: no other hour has that in common.
fn rest_of_machine(record: &PowerRecord) -> Option<String> {
    let share = record
        .idle_busy_share
        .filter(|share| *share > PowerRecord::BUSY_SHARE)?;
    Some(format!(
        "busy ({:.0} % of the cores on {})",
        100.0 * share,
        record.envelope.created_at
    ))
}

/// What itera-power found about a metric of a row, and in comparison with which file.
fn judged(record: &PowerRecord, row: &PowerRow, metric: &str) -> Option<(String, GateVerdict)> {
    let gate = record.gate.as_ref()?;
    let found = gate.comparisons.iter().find(|comparison| {
        comparison.metric == metric
            && comparison.model == row.model.name
            && comparison.precision == row.model.precision
            && comparison.mode == Some(row.mode)
    })?;
    Some((gate.baseline_sha256.clone(), found.verdict))
}

fn machine(host: &HostInfo) -> String {
    format!("{} with {} cores", host.cpu, host.cores)
}

/// The noise of a figure of several processes: their medians, but for the outermost tenth on either side.
/// That is how far one build lies from itself; samples of one process lie closer together. Of a few
/// processes, all samples.
fn noise(protocol: &PowerProtocol, samples: &[f64]) -> Option<[f64; 2]> {
    let medians = protocol.process_medians(samples);
    if medians.len() < FEW_PROCESSES {
        return between(samples, [0.0, 1.0]);
    }
    between(&medians, [0.1, 0.9])
}

/// The noise of a figure of one process: the quartiles of its samples. The whole spread of the samples would
/// hide a loss of a fifth; the interval of the median alone says nothing of how far two runs of one build lie
/// apart on a shared machine.
fn quartiles(samples: &[f64]) -> Option<[f64; 2]> {
    between(samples, [0.25, 0.75])
}

fn between(values: &[f64], [low, high]: [f64; 2]) -> Option<[f64; 2]> {
    Some([
        Summary::quantile(values, low)?,
        Summary::quantile(values, high)?,
    ])
}

/// Parameters and bytes of every model, each once.
fn sizes(inputs: &Inputs, all: &mut Vec<Metric>) {
    let validation = inputs.validation.iter();
    let validation = validation.map(|row| (&row.item.model, inputs.source(row)));
    let power = inputs.power.iter().flat_map(|of| {
        let source = inputs.source(of);
        of.item.rows.iter().map(move |row| (&row.model, source))
    });
    for (model, source) in validation.chain(power) {
        let subject = model.label();
        if all
            .iter()
            .any(|other| other.subject == subject && other.name == "bytes")
        {
            continue;
        }
        for (name, value) in [("parameters", model.params), ("bytes", model.bytes)] {
            all.push(metric(source, &subject, name, name, value as f64));
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
