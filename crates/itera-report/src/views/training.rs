//! Training runs: what they cost and what came out.

use itera_record::{
    Form::{Fixed, Short, Si},
    ModelInfo, Table, TrainingRecord, Value, columns,
};

use serde_json::json;

use super::{View, facts::with, rows_of};
use crate::input::{CurvePoint, Inputs, Of, Training, TrainingBench, TrainingBenchRow, items};

/// The speed of one way to divide a batch, with what the whole bench has in common.
struct Speed<'i> {
    bench: &'i TrainingBench,
    row: &'i TrainingBenchRow,
}

/// Runs and speeds.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let runs = columns! { Training:
        text   "run"                  "run"          ""           |run| Value::code(&run.name);
        text   "text"                 "text"         ""           |run| texts(&run.record);
        text   "tokenizer"            "tokenizer"    ""           |run| &run.record.tokenizer;
        text   "device"               "on"           ""           |run| device(&run.record);
        number "params"               "parameters"   ""           |run| run.record.envelope.model.as_ref().map(|model| model.params);
        number "steps"                "steps"        ""           |run| run.record.steps;
        number "tokens"               "tokens"       ""           |run| Si.of(run.record.tokens as f64);
        number "passes"               "passes"       ""           |run| run.curve.last().map(|point| point.epoch + 1);
        number "minutes"              "time"         "min"        |run| Short.of(run.record.seconds / 60.0);
        number "tokens_per_s"         "tokens/s"     ""           |run| Si.of(run.record.tokens_per_s);
        number "train_nats_per_token" "train"        "nats/token" |run| Fixed(4).of(run.record.train_nats_per_token);
        number "valid_bits_per_byte"  "validation"   "bits/byte"  |run| Fixed(4).of(run.record.valid_bits_per_byte);
        text   "lowest"               "lowest"       ""           |run| lowest(&run.curve);
        number "dead_experts"         "dead experts" ""           |run| run.curve.last().map(|point| point.dead_experts);
    };
    let speeds = columns! { Speed<'_>:
        text   "preset"       "preset"                ""  |of| &of.bench.preset;
        number "vocab_size"   "vocabulary"            ""  |of| of.bench.vocab_size;
        number "cores"        "cores"                 ""  |of| of.bench.cores;
        number "replicas"     "replicas"              ""  |of| of.row.replicas;
        number "batch"        "batch"                 ""  |of| of.row.batch;
        number "length"       "length"                ""  |of| of.bench.length;
        number "steps"        "steps"                 ""  |of| of.row.steps;
        number "tokens_per_s" "tokens/s [10 %, 90 %]" ""  |of| Si.within(of.row.tokens_per_s_median, [of.row.tokens_per_s_p10, of.row.tokens_per_s_p90]);
    };
    let rows = rows_of(&inputs.training_bench, |bench| &bench.rows);
    let rows: Vec<Speed<'_>> = rows
        .map(|(of, row)| Speed {
            bench: &of.item,
            row,
        })
        .collect();
    let trained = items(&inputs.training);
    let bench = Inputs::files(&inputs.training_bench);
    vec![
        View::new(
            "training",
            "Training runs",
            &Inputs::files(&inputs.training),
            Table::of(&runs, trained),
        ),
        View::new(
            "training-speed",
            "Speed of training",
            &bench,
            Table::of(&speeds, &rows),
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
    let cpu = &record.envelope.host.cpu;
    match after("--backend") {
        Some("cuda") => format!("NVIDIA card beside {cpu}"),
        _ => format!(
            "{cpu}, {}",
            super::count_of(record.envelope.host.cores, "core")
        ),
    }
}

/// Where validation was lowest among the evaluations before the last, which read the same documents: a
/// run that goes on for too long has it before its end.
fn lowest(curve: &[CurvePoint]) -> Option<String> {
    let valid = curve
        .iter()
        .filter_map(|point| Some((point.tokens, point.valid_bits_per_byte?)));
    let mut valid: Vec<(u64, f64)> = valid.collect();
    valid.pop();
    let lowest = valid.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
    match (lowest, valid.last()) {
        (Some(lowest), Some(last)) if lowest == last => Some("at the end".to_owned()),
        (Some((tokens, _)), _) => Some(format!("after {} tokens", Si.text(*tokens as f64))),
        _ => None,
    }
}

/// Every run with its record; those that made a model that was scored ship.
pub(super) fn models(inputs: &Inputs) -> serde_json::Value {
    let is_scored = |model: &ModelInfo| {
        items(&inputs.validation).any(|row| row.model.file_sha256 == model.file_sha256)
    };
    let run = |of: &Of<Training>| {
        let Training { name, record, .. } = &of.item;
        let label = &inputs.source(of).label;
        let model = record.envelope.model.as_ref();
        let trained = record.data.iter().filter(|data| data.split != "valid");
        let more = json!({
            "name": name,
            "stem": label.strip_suffix(".training.json").unwrap_or(label),
            "text": texts(record),
            "bytes": trained.map(|data| data.bytes).sum::<u64>(),
            "params": model.map(|model| model.params),
            // Models on their way, and runs for integers, end with files that are not kept.
            "is_shipped": model.is_some_and(is_scored),
            "is_rounded": record.command.iter().any(|word| word == "--quantize"),
        });
        with(record, more)
    };
    inputs.training.iter().map(run).collect()
}
