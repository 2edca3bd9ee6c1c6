//! Values for the sentences of the templates.

use std::collections::BTreeSet;

use itera_record::{ExportVerdict, ModelInfo, PowerMode, SpeedBasis, ValidationRow};
use serde_json::{Value, json};

use super::{
    ablation, changes, engine, export, headline,
    power::{energy_of, is_platform, rows, source_name, sources},
    quality::{self, Cost, best, groups, is_large, shipped, text_label},
    serve::load,
    training,
};
use crate::input::{Inputs, Kind, Prototype, machine};

/// A latency whose standard deviation is above this share of its mean is worth a word.
const WIDE_SPREAD: f64 = 0.1;

/// Everything that sentences are made of.
pub(super) fn facts(inputs: &Inputs, prototype: &Prototype) -> Value {
    let names = |kinds: Vec<&'static Kind>| -> Value {
        let entry = |kind: &'static Kind| json!({"what": kind.what, "schema": kind.schema, "command": kind.command});
        kinds.into_iter().map(entry).collect()
    };
    let sum = |values: &mut dyn Iterator<Item = u64>| -> u64 { values.sum() };
    let checks = || inputs.export.iter().flat_map(|of| &of.item.checks);
    let studies = || inputs.ablations.iter().flat_map(|of| &of.item.studies);
    json!({
        "texts": texts(inputs),
        "costs": costs(inputs),
        "teacher": teacher(inputs),
        "engine": engine_facts(inputs),
        "power": power(inputs),
        "training": training_facts(inputs),
        "server": server(inputs),
        "learning": learning(inputs),
        "gate_check": inputs.gate_check.first().map(|of| json!({
            "same_passed": of.item.same_build_passed,
            "same_runs": of.item.same_build_runs,
            "slowed_failed": of.item.slowed_build_failed,
            "slowed_runs": of.item.slowed_build_runs,
            "slowed_by": of.item.slowed_by_percent,
            "limit": of.item.max_regression_percent,
            "holds": of.item.holds(),
            "date": inputs.source(of).created_at.get(..10),
            "commit": inputs.source(of).commit.get(..7),
        })),
        "runtimes": runtimes(inputs),
        "ablations": ablation::facts(inputs),
        "caveats": caveats(inputs),
        "changes": changes::facts(inputs),
        "missing": names(Kind::missing(inputs)),
        "unknown": inputs.unknown.iter().map(|file| json!({"file": file.label, "reason": file.reason})).collect::<Value>(),
        "problems": inputs.problems.len(),
        "prototype": {"origin": prototype.origin, "parameters": prototype.parameters},
        "counts": {
            "scores": inputs.validation.len(),
            "scored_bytes": sum(&mut inputs.validation.iter().map(|row| row.item.bytes)),
            "runs": inputs.training.len(),
            "trained_tokens": sum(&mut inputs.training.iter().map(|run| run.item.record.tokens)),
            "engine_rows": engine::rows(inputs).len(),
            "export_files": inputs.export.iter().map(|of| of.item.files.len()).sum::<usize>(),
            "checks": checks().count(),
            "passed": checks().filter(|check| check.verdict == ExportVerdict::Passed).count(),
            "failed": checks().filter(|check| check.verdict == ExportVerdict::Failed).count(),
            "studies": studies().count(),
            "variants": studies().map(|study| study.variants.len()).sum::<usize>(),
            "ablation_runs": studies().flat_map(|study| &study.variants).map(|v| v.runs.len()).sum::<usize>(),
            "feedback": sum(&mut inputs.feedback.iter().map(|of| of.item.records)),
            "corrections": sum(&mut inputs.feedback.iter().map(|of| of.item.corrections)),
        },
        "platform": source_name(headline::PLATFORM),
        "models": training::models(inputs),
    })
}

fn text_row(row: &ValidationRow) -> Value {
    let baselines = &row.baselines;
    json!({
        "model": row.model.base_name(),
        "precision": row.precision,
        "params": row.model.params,
        "active_params": row.model.active_params,
        "bytes": row.model.bytes,
        "text": row.text_name(),
        "label": text_label(row),
        "documents": row.documents,
        "text_bytes": row.bytes,
        "sha256": row.dataset_sha256,
        "is_official": row.is_official(),
        "protocol": row.protocol.to_string(),
        "bits": row.bits_per_byte,
        "ci": row.bits_per_byte_ci95,
        "word_perplexity": row.word_perplexity,
        "zstd": baselines.zstd_bits_per_byte,
        "less_than_zstd": 1.0 - row.bits_per_byte / baselines.zstd_bits_per_byte,
        "uniform": baselines.uniform_bits_per_byte,
        "unigram": baselines.unigram_bits_per_byte,
    })
}

/// The best model on each text; null where no score covers a text.
fn texts(inputs: &Inputs) -> Value {
    let entry = |group: &quality::Group<'_>| {
        let label = group.first().map(|row| text_label(&row.item));
        json!({"label": label, "best": best(group).map(|row| text_row(&row.item))})
    };
    groups(inputs).iter().map(entry).collect()
}

/// The most that each precision costs a model that ships.
fn costs(inputs: &Inputs) -> Value {
    let shipped: BTreeSet<String> = shipped(inputs)
        .iter()
        .map(|row| row.item.model.base_name().to_owned())
        .collect();
    let all: Vec<Cost> = Cost::all(inputs)
        .into_iter()
        .filter(|cost| shipped.contains(&cost.model))
        .collect();
    let of = |precision: &str| {
        let costs = all.iter().filter(|cost| cost.precision == precision);
        let worst = costs
            .clone()
            .max_by(|a, b| a.difference().total_cmp(&b.difference()))?;
        let least = costs.map(|cost| cost.smaller).reduce(f64::min);
        Some(json!({
            "model": worst.model, "text": worst.text, "difference": worst.difference(), "ci": worst.interval,
            "relative": worst.difference() / worst.exact, "smaller": least,
        }))
    };
    json!({"int8": of("int8"), "int4": of("int4")})
}

/// What weights at 4 bits are against those of a larger model in floats.
fn teacher(inputs: &Inputs) -> Option<Value> {
    let large = inputs
        .validation
        .iter()
        .filter(|of| of.item.precision == "fp32" && is_large(&of.item));
    let teacher = &large.max_by_key(|of| of.item.model.params)?.item;
    let smaller = shipped(inputs)
        .into_iter()
        .map(|of| &of.item)
        .filter(|row| {
            row.precision == "int4"
                && row.dataset_sha256 == teacher.dataset_sha256
                && row.protocol == teacher.protocol
        });
    let smaller: Value = smaller
        .map(|row| {
            json!({
                "model": row.model.base_name(),
                "times": teacher.model.bytes as f64 / row.model.bytes as f64,
                "difference": row.bits_per_byte - teacher.bits_per_byte,
            })
        })
        .collect();
    Some(json!({"row": text_row(teacher), "smaller": smaller}))
}

fn engine_facts(inputs: &Inputs) -> Option<Value> {
    let of = inputs.engine.first()?;
    let fastest = |workload: &str| {
        let (_, row) = engine::fastest_of(inputs, workload, 1)?;
        Some(json!({
            "tokens_per_s": row.tokens_per_s,
            "precision": row.precision,
            "kernel": row.kernel,
            "of_roofline": row.tokens_per_s / row.roofline_tokens_per_s,
        }))
    };
    let memory = of.item.memory.first();
    Some(json!({
        "model": of.item.envelope.model.as_ref().map(ModelInfo::base_name),
        "machine": machine(&of.item.envelope.host),
        "decode": fastest("decode"),
        "prefill": fastest("prefill-128"),
        "state_bytes": memory.map(|memory| memory.state_bytes),
    }))
}

fn power(inputs: &Inputs) -> Option<Value> {
    let of = inputs.power.first()?;
    let protocol = &of.item.protocol;
    let all = || rows(inputs).flat_map(|(_, row)| row.energy.iter());
    let with_energy = || all().filter(|figure| figure.gross_joules_per_token.is_some());
    // One model, the first of a record: the best of several would be of another size.
    let energies: Value = sources(inputs)
        .into_iter()
        .filter_map(|source| {
            let mut decode = rows(inputs).filter(|(_, row)| row.mode == PowerMode::Decode && row.model.precision == "int4");
            let (_, row) = decode.next()?;
            let joules = energy_of(row, source)?.gross_joules_per_token?;
            Some(json!({
                "model": row.model.label(), "source": source_name(source), "is_estimate": is_platform(source),
                "low": joules.low, "nominal": joules.nominal, "high": joules.high,
            }))
        })
        .collect();
    Some(json!({
        "machine": machine(&of.item.envelope.host),
        "samples": protocol.samples,
        "min_seconds": protocol.min_seconds,
        "seq_len": protocol.seq_len_tokens,
        "threads": protocol.threads,
        "carbon": protocol.carbon_intensity_g_per_kwh,
        "calibration": protocol.calibration,
        "tokens": protocol.tokens,
        "busy": of.item.idle_busy_share,
        "rows": rows(inputs).count(),
        "measured": with_energy().filter(|figure| !is_platform(&figure.source)).count(),
        "estimated": with_energy().filter(|figure| is_platform(&figure.source)).count(),
        "unavailable": all().count() - with_energy().count(),
        "energies": energies,
        "gate": inputs.power.iter().find_map(|of| of.item.gate.as_ref()).map(|gate| json!({
            "passed": gate.passed, "limit": gate.max_regression_percent, "alpha": gate.alpha,
            "comparisons": gate.comparisons.len(),
        })),
    }))
}

fn training_facts(inputs: &Inputs) -> Option<Value> {
    let speeds = inputs.training_bench.iter();
    let speeds = speeds.flat_map(|of| of.item.rows.iter().map(move |row| (&of.item, row)));
    let (bench, row) =
        speeds.max_by(|a, b| a.1.tokens_per_s_median.total_cmp(&b.1.tokens_per_s_median))?;
    Some(json!({
        "preset": bench.preset, "cores": bench.cores, "length": bench.length, "batch": row.batch,
        "replicas": row.replicas, "tokens_per_s": row.tokens_per_s_median, "command": bench.command,
    }))
}

fn server(inputs: &Inputs) -> Option<Value> {
    let of = inputs.serve_bench.first()?;
    let measured = &of.item.measured;
    let load = |name: &str| load(&measured.loads, name).map(|load| json!(load));
    Some(json!({
        "model": of.item.envelope.model.as_ref().map(ModelInfo::label),
        "cores": of.item.envelope.host.cores,
        "generator": measured.protocol.generator,
        "idle": load("idle"), "half": load("half"), "full": load("full"), "adapting": load("adapting"),
        "serving_peak_bytes": measured.serving_peak_bytes,
        "adaptation": measured.adaptation,
        "targets": of.item.bars.len(),
        "met": of.item.bars.iter().filter(|bar| bar.holds).count(),
    }))
}

fn learning(inputs: &Inputs) -> Option<Value> {
    let record = &inputs.simulation.first()?.item;
    let gains = record.runs.iter().map(|run| run.improvement_percent);
    let losses = record.runs.iter().map(|run| run.base_loss_percent);
    Some(json!({
        "records": record.protocol.records,
        "domain": record.protocol.domain,
        "streams": record.runs.len(),
        "least": record.least_improvement_percent / 100.0,
        "most": gains.fold(record.least_improvement_percent, f64::max) / 100.0,
        "loss": record.largest_base_loss_percent / 100.0,
        "least_loss": losses.fold(record.largest_base_loss_percent, f64::min) / 100.0,
    }))
}

fn runtimes(inputs: &Inputs) -> Option<Value> {
    let (_, bench) = export::benches(inputs).next()?;
    let missing: Value = bench
        .missing
        .iter()
        .map(
            |gap| json!({"runtime": gap.runtime, "precision": gap.precision, "reason": gap.reason}),
        )
        .collect();
    Some(json!({
        "model": bench.model.base_name(),
        "tokens": bench.protocol.seq_len,
        "threads": bench.protocol.threads,
        "samples": bench.protocol.samples,
        "missing": missing,
    }))
}

/// What qualifies the results: from flags that the files carry, never typed in.
fn caveats(inputs: &Inputs) -> Value {
    let all = || inputs.validation.iter().map(|row| &row.item);
    let texts: BTreeSet<(String, String)> = all()
        .filter(|row| !row.is_official())
        .map(|row| (text_label(row), row.dataset_sha256.clone()))
        .collect();
    let doubtful: Vec<String> = all()
        .filter(|row| !row.is_complete() || row.verdict() != "better than zstd")
        .map(|row| {
            format!(
                "`{}` on {}: {}",
                row.model.label(),
                row.text_name(),
                row.verdict()
            )
        })
        .collect();
    let experts: Value = inputs
        .training
        .iter()
        .filter_map(|run| {
            let dead = run.item.curve.last()?.dead_experts;
            (dead > 0).then(|| json!({"run": run.item.name, "dead": dead}))
        })
        .collect();
    let figures = || rows(inputs).flat_map(|(_, row)| row.energy.iter());
    let projected: BTreeSet<&str> = figures()
        .filter(|figure| {
            figure.speed == SpeedBasis::ThisMachine && figure.gross_joules_per_token.is_some()
        })
        .map(|figure| source_name(&figure.source))
        .collect();
    let counters: BTreeSet<(&str, &str)> = inputs
        .power
        .iter()
        .flat_map(|of| &of.item.counters)
        .filter_map(|counter| Some((counter.source.as_str(), counter.reason.as_deref()?)))
        .collect();
    let spreads: Vec<f64> = rows(inputs)
        .map(|(_, row)| row.latency_seconds.sd / row.latency_seconds.mean)
        .collect();
    let wide: Vec<f64> = spreads
        .iter()
        .copied()
        .filter(|spread| *spread > WIDE_SPREAD)
        .collect();
    let commits: BTreeSet<&str> = inputs
        .sources
        .iter()
        .map(|source| source.commit.as_str())
        .filter(|commit| !commit.is_empty())
        .collect();
    let notes: Vec<&String> = inputs.power.iter().flat_map(|of| &of.item.notes).collect();
    let is_scored = |precision: &&str| all().any(|row| row.precision == *precision);
    let unscored: Vec<&str> = ["fp32", "int8", "int4"]
        .into_iter()
        .filter(|p| !is_scored(p))
        .collect();
    json!({
        "texts": texts.into_iter().map(|(text, sha256)| json!({"text": text, "sha256": sha256})).collect::<Value>(),
        "doubtful": doubtful,
        "experts": experts,
        "is_measured": inputs.power.is_empty()
            || figures().any(|figure| !is_platform(&figure.source) && figure.gross_joules_per_token.is_some()),
        "projected": projected,
        "counters": counters.into_iter().map(|(source, reason)| json!({"source": source, "reason": reason})).collect::<Value>(),
        "wide": {"count": wide.len(), "of": spreads.len(), "limit": WIDE_SPREAD,
            "most": wide.iter().copied().fold(0.0, f64::max)},
        "commits": commits.len(),
        "notes": notes,
        "unscored": if inputs.validation.is_empty() { Vec::new() } else { unscored },
    })
}
