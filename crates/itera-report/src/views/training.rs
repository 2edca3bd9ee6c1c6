//! Training runs: what they cost and what came out.

use itera_record::{Column, Form, Table, TrainingRecord, Value};

use super::View;
use crate::input::{CurvePoint, Inputs, Training, TrainingBenchRow};

const RUNS: [Column<Training>; 14] = [
    Column::words("run", "run", |run| Value::code(&run.name)),
    Column::words("text", "text", |run| Value::Text(texts(&run.record))),
    Column::words("tokenizer", "tokenizer", |run| {
        Value::text(&run.record.tokenizer)
    }),
    Column::words("device", "on", |run| Value::Text(device(&run.record))),
    Column::number("params", "parameters", "", |run| {
        run.record
            .envelope
            .model
            .as_ref()
            .map_or(Value::None, |model| Value::count(model.params))
    }),
    Column::number("steps", "steps", "", |run| Value::count(run.record.steps)),
    Column::number("tokens", "tokens", "", |run| {
        Value::Number(run.record.tokens as f64, Form::Si)
    }),
    Column::number("passes", "passes", "", |run| {
        run.curve
            .last()
            .map_or(Value::None, |point| Value::count(point.epoch + 1))
    }),
    Column::number("minutes", "time", "min", |run| {
        Value::Number(run.record.seconds / 60.0, Form::Short)
    }),
    Column::number("tokens_per_s", "tokens/s", "", |run| {
        Value::Number(run.record.tokens_per_s, Form::Si)
    }),
    Column::number("train_nats_per_token", "train", "nats/token", |run| {
        Value::Number(run.record.train_nats_per_token, Form::Fixed(4))
    }),
    Column::number("valid_bits_per_byte", "validation", "bits/byte", |run| {
        Value::number(run.record.valid_bits_per_byte, Form::Fixed(4))
    }),
    Column::words("lowest", "lowest", |run| lowest(&run.curve)),
    Column::number("dead_experts", "dead experts", "", |run| {
        run.curve
            .last()
            .map_or(Value::None, |point| Value::count(point.dead_experts))
    }),
];

/// The speed of one way to divide a batch, with what the whole bench has in common.
struct Speed<'i> {
    bench: &'i crate::input::TrainingBench,
    row: &'i TrainingBenchRow,
}

fn speed_columns<'i>() -> [Column<Speed<'i>>; 8] {
    [
        Column::words("preset", "preset", |of| Value::text(&of.bench.preset)),
        Column::number("vocab_size", "vocabulary", "", |of| {
            Value::count(of.bench.vocab_size)
        }),
        Column::number("cores", "cores", "", |of| Value::count(of.bench.cores)),
        Column::number("replicas", "replicas", "", |of| {
            Value::count(of.row.replicas)
        }),
        Column::number("batch", "batch", "", |of| Value::count(of.row.batch)),
        Column::number("length", "length", "", |of| Value::count(of.bench.length)),
        Column::number("steps", "steps", "", |of| Value::count(of.row.steps)),
        Column::number("tokens_per_s", "tokens/s [10 %, 90 %]", "", |of| {
            let range = [of.row.tokens_per_s_p10, of.row.tokens_per_s_p90];
            Value::Within(of.row.tokens_per_s_median, range, Form::Si)
        }),
    ]
}

/// Runs and speeds.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let runs = Table::of(&RUNS, inputs.training.iter().map(|run| &run.item));
    let speeds: Vec<Speed<'_>> = inputs
        .training_bench
        .iter()
        .flat_map(|of| {
            of.item.rows.iter().map(|row| Speed {
                bench: &of.item,
                row,
            })
        })
        .collect();
    vec![
        View::new(
            "training",
            "Training runs",
            runs,
            Inputs::files(&inputs.training),
        ),
        View::new(
            "training-speed",
            "Speed of training",
            Table::of(&speed_columns(), &speeds),
            Inputs::files(&inputs.training_bench),
        ),
    ]
}

/// The texts that a run was trained on.
fn texts(record: &TrainingRecord) -> String {
    let trained = record.data.iter().filter(|source| source.split != "valid");
    let names: Vec<String> = trained
        .map(|source| {
            let kind = if source.verdict.starts_with("official") {
                ""
            } else {
                ", selection"
            };
            format!("{} {}{kind}", source.dataset, source.split)
        })
        .collect();
    names.join("; ")
}

/// What the run was computed on: speeds of different machines do not compare.
fn device(record: &TrainingRecord) -> String {
    let after = |option: &str| {
        let mut words = record.command.iter().skip_while(|word| *word != option);
        words.nth(1).map(String::as_str)
    };
    match after("--backend") {
        Some("cuda") => "NVIDIA card".to_owned(),
        _ => super::count_of(record.envelope.host.cores, "core"),
    }
}

/// Where validation was lowest among the evaluations before the last, which read the same documents: a
/// run that goes on for too long has it before its end.
fn lowest(curve: &[CurvePoint]) -> Value {
    let valid = curve
        .iter()
        .filter_map(|point| Some((point.tokens, point.valid_bits_per_byte?)));
    let mut valid: Vec<(u64, f64)> = valid.collect();
    valid.pop();
    let lowest = valid.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
    match (lowest, valid.last()) {
        (Some(lowest), Some(last)) if lowest == last => Value::text("at the end"),
        (Some((tokens, _)), _) => {
            Value::Text(format!("after {} tokens", Form::Si.text(*tokens as f64)))
        }
        _ => Value::None,
    }
}

/// Models that were scored, with the files of the run that made them; and every run with its command.
pub(super) fn models(inputs: &Inputs) -> serde_json::Value {
    let is_scored = |sha256: &str| {
        inputs
            .validation
            .iter()
            .any(|row| row.item.model.file_sha256 == sha256)
    };
    let run = |of: &crate::input::Of<Training>| {
        let Training { name, record, .. } = &of.item;
        let label = &inputs.source(of).label;
        let stem = label.strip_suffix(".training.json").unwrap_or(label);
        serde_json::json!({
            "name": name,
            "stem": stem,
            "text": texts(record),
            "bytes": record.data.iter().filter(|data| data.split != "valid").map(|data| data.bytes).sum::<u64>(),
            "tokenizer": record.tokenizer,
            "params": record.envelope.model.as_ref().map(|model| model.params),
            // Models on their way, and runs for integers, end with files that are not kept.
            "is_shipped": record.envelope.model.as_ref().is_some_and(|model| is_scored(&model.file_sha256)),
            "steps": record.steps,
            "tokens": record.tokens,
            "minutes": record.seconds / 60.0,
            "valid": record.valid_bits_per_byte,
            "is_rounded": record.command.iter().any(|word| word == "--quantize"),
            "command": record.command.join(" "),
        })
    };
    inputs.training.iter().map(run).collect()
}
