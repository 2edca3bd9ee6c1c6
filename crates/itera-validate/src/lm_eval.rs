//! The result in the layout of lm-evaluation-harness 0.4 (`EvalResults` in its `result_schema.py`), for
//! programs that read that.

use anyhow::{Context as _, ensure};
use itera_record::{ValidationRecord, ValidationRow};
use serde_json::{Map, Value, json};

/// The result as the harness writes it: a task for each text, its metrics those of a rolling likelihood.
///
/// # Errors
/// The rows are of several models, which that layout has no place for.
pub(crate) fn to_json(record: &ValidationRecord) -> anyhow::Result<String> {
    let model = record.envelope.model.as_ref().context(
        "the layout of lm-eval holds one model at one precision; name one with `--checkpoint` and `--precision`",
    )?;
    ensure_one_row_per_text(&record.rows)?;
    let of_tasks = |value: fn(&ValidationRow) -> Value| -> Map<String, Value> {
        record
            .rows
            .iter()
            .map(|row| (task(row), value(row)))
            .collect()
    };
    let precision = record.rows.first().map(|row| &row.precision);
    let seconds: f64 = record.rows.iter().map(|row| row.seconds).sum();
    let result = json!({
        "results": of_tasks(metrics),
        "group_subtasks": of_tasks(|_| json!([])),
        "configs": of_tasks(config),
        "versions": of_tasks(|_| json!(1.0)),
        "n-shot": of_tasks(|_| json!(0)),
        "higher_is_better": of_tasks(|_| METRICS.map(|metric| (metric, json!(false))).into_iter().collect()),
        "n-samples": of_tasks(|row| json!({"original": row.documents, "effective": row.documents})),
        "config": {
            "model": "itera",
            "model_args": {"model": model.name, "precision": precision},
            "model_num_parameters": model.params,
            "model_dtype": precision,
            "model_sha": model.file_sha256,
            "batch_size": null,
            "device": "cpu",
            "limit": null,
            "bootstrap_iters": 0,
        },
        "git_hash": record.envelope.tool.commit,
        "date": record.envelope.created_at,
        "model_source": "itera",
        "model_name": model.name,
        "model_name_sanitized": model.name.replace('/', "__"),
        "task_hashes": of_tasks(|row| json!(row.dataset_sha256)),
        "total_evaluation_time_seconds": seconds.to_string(),
    });
    let json = serde_json::to_string_pretty(&result).context("cannot write the result")?;
    Ok(json + "\n")
}

const METRICS: [&str; 3] = ["word_perplexity", "byte_perplexity", "bits_per_byte"];

fn ensure_one_row_per_text(rows: &[ValidationRow]) -> anyhow::Result<()> {
    for (at, row) in rows.iter().enumerate() {
        ensure!(
            rows[..at].iter().all(|other| task(other) != task(row)),
            "the layout of lm-eval holds one row for each text, and {} has several; name one precision with \
             `--precision`",
            row.text_name()
        );
    }
    Ok(())
}

/// The text as the name of a task.
fn task(row: &ValidationRow) -> String {
    row.text_name().replace(' ', "_")
}

fn metrics(row: &ValidationRow) -> Value {
    let values = [
        row.word_perplexity,
        Some(row.byte_perplexity),
        Some(row.bits_per_byte),
    ];
    let mut metrics = json!({"name": task(row), "alias": task(row), "sample_len": row.documents});
    for (metric, value) in METRICS.iter().zip(values) {
        metrics[format!("{metric},none")] = json!(value);
        metrics[format!("{metric}_stderr,none")] = json!("N/A");
    }
    metrics
}

fn config(row: &ValidationRow) -> Value {
    let metric = |metric| json!({"metric": metric, "higher_is_better": false});
    json!({
        "task": task(row),
        "dataset_path": row.dataset,
        "test_split": row.split,
        "output_type": "loglikelihood_rolling",
        "doc_to_target": "text",
        "metric_list": METRICS.map(metric),
        "metadata": {"version": 1.0, "protocol": row.protocol.to_string(), "dataset_sha256": row.dataset_sha256},
    })
}
