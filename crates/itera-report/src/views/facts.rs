//! Values for the sentences of the templates.

use std::collections::BTreeSet;

use itera_record::{
    ExportVerdict, GateResult, ModelInfo, PowerMode, PowerRow, ServeBar, SimulationAttack,
    ValidationRow,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    ablation, changes, edge, engine, export,
    power::{energy_of, is_platform, rows, source_name, sources},
    quality::{self, Cost, best, groups, is_large, is_reference, leading, shipped, text_label},
    rows_of,
    serve::load,
    training,
};
use crate::input::{Inputs, Kind, Problem, Prototype, items, machine};

/// A latency whose standard deviation is above this share of its mean is worth a word.
const WIDE_SPREAD: f64 = 0.1;

/// What a record says, and more.
pub(super) fn with(record: &impl Serialize, more: Value) -> Value {
    let mut all = json!(record);
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

/// Everything that sentences are made of.
pub(super) fn facts(inputs: &Inputs, prototype: &Prototype) -> Value {
    let kind = |kind: &Kind| json!({"what": kind.what, "command": kind.command});
    let other = |file: &Problem| json!(format!("`{}`", file.label));
    let checks = || items(&inputs.export).flat_map(|of| &of.checks);
    let with_verdict = |verdict| checks().filter(|check| check.verdict == verdict).count();
    let studies = || items(&inputs.ablations).flat_map(|of| &of.studies);
    let variants = || studies().flat_map(|study| &study.variants);
    let gate_check = inputs.gate_check.first().map(|of| {
        let (holds, source) = (of.item.holds(), inputs.source(of));
        let (date, commit) = (source.created_at.get(..10), source.commit.get(..7));
        with(
            &of.item,
            json!({"holds": holds, "date": date, "commit": commit}),
        )
    });
    json!({
        "texts": texts(inputs),
        "costs": costs(inputs),
        "teacher": teacher(inputs),
        "engine": engine_facts(inputs),
        "power": power(inputs),
        "training": training_facts(inputs),
        "server": server(inputs),
        "learning": learning(inputs),
        "edge": edge::facts(inputs),
        "gate_check": gate_check,
        "runtimes": runtimes(inputs),
        "ablations": ablation::facts(inputs),
        "caveats": caveats(inputs),
        "changes": changes::facts(inputs),
        "missing": Kind::missing(inputs).into_iter().map(kind).collect::<Value>(),
        "unknown": inputs.unknown.iter().map(other).collect::<Value>(),
        "problems": inputs.problems.len(),
        "prototype": {"origin": prototype.origin, "parameters": prototype.parameters},
        "counts": {
            "scores": inputs.validation.len(),
            "scored_bytes": items(&inputs.validation).map(|row| row.bytes).sum::<u64>(),
            "runs": inputs.training.len(),
            "trained_tokens": items(&inputs.training).map(|run| run.record.tokens).sum::<u64>(),
            "engine_rows": engine::rows(inputs).len(),
            "export_files": inputs.export.iter().map(|of| of.item.files.len()).sum::<usize>(),
            "checks": checks().count(),
            "passed": with_verdict(ExportVerdict::Passed),
            "failed": with_verdict(ExportVerdict::Failed),
            "variants": variants().count(),
            "ablation_runs": variants().map(|variant| variant.runs.len()).sum::<usize>(),
            "feedback": items(&inputs.feedback).map(|log| log.records).sum::<u64>(),
        },
        "models": training::models(inputs),
    })
}

fn text_row(row: &ValidationRow) -> Value {
    json!({
        "model": row.model.base_name(),
        "params": row.model.params,
        "bytes": row.model.bytes,
        "label": text_label(row),
        "bits": row.bits_per_byte,
        "ci": row.bits_per_byte_ci95,
        "code_length": row.code_length,
        "zstd": row.baselines.zstd_bits_per_byte,
        "zstd_bytes": row.zstd_bytes(),
        "ppmd": row.baselines.ppmd_bits_per_byte,
        "ppmd_primed": row.baselines.ppmd_primed_bits_per_byte,
    })
}

/// The best model on each text; null where no score covers a text.
fn texts(inputs: &Inputs) -> Value {
    let entry = |group: &quality::Group<'_>| {
        let label = group.first().map(|row| text_label(&row.item));
        let reference = group.iter().find(|row| is_reference(&row.item));
        json!({
            "label": label,
            "best": best(group).map(|row| text_row(&row.item)),
            "reference": reference.map(|row| text_row(&row.item)),
        })
    };
    groups(inputs).iter().map(entry).collect()
}

/// The most that each precision costs a model that ships, on the text that leads.
fn costs(inputs: &Inputs) -> Value {
    let rows = leading(inputs).into_iter();
    let rows = rows.map(|row| (row.item.model.base_name(), row.item.text_name()));
    let rows: BTreeSet<(&str, String)> = rows.collect();
    let mut all = Cost::all(inputs);
    all.retain(|cost| rows.contains(&(cost.model.as_str(), cost.text.clone())));
    let of = |precision: &str| {
        let costs = || all.iter().filter(|cost| cost.precision == precision);
        let worst = costs().max_by(|a, b| a.difference().total_cmp(&b.difference()))?;
        let least = costs().map(|cost| cost.smaller).reduce(f64::min);
        Some(json!({
            "model": worst.model, "difference": worst.difference(), "ci": worst.interval,
            "relative": worst.difference() / worst.exact, "smaller": least,
        }))
    };
    json!({"int8": of("int8"), "int4": of("int4")})
}

/// What weights at 4 bits are against those of a larger model in floats.
fn teacher(inputs: &Inputs) -> Option<Value> {
    let is_teacher = |row: &&ValidationRow| row.precision == "fp32" && is_large(row);
    let teachers = items(&inputs.validation).filter(is_teacher);
    let teacher = teachers.max_by_key(|row| row.model.params)?;
    let is_student = |row: &&ValidationRow| {
        row.precision == "int4"
            && row.dataset_sha256 == teacher.dataset_sha256
            && row.protocol == teacher.protocol
    };
    let smaller = |row: &ValidationRow| {
        json!({
            "model": row.model.base_name(),
            "times": teacher.model.bytes as f64 / row.model.bytes as f64,
            // Of the weights, whatever their precision.
            "at_equal_precision": teacher.model.params as f64 / row.model.params as f64,
            "difference": row.bits_per_byte - teacher.bits_per_byte,
        })
    };
    let students = shipped(inputs)
        .into_iter()
        .map(|of| &of.item)
        .filter(is_student);
    let smaller: Value = students.map(smaller).collect();
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
    let record = &inputs.power.first()?.item;
    let all = || rows(inputs).flat_map(|(_, row)| row.energy.iter());
    let known = || all().filter(|figure| figure.gross_joules_per_token.is_some());
    let estimated = known().filter(|figure| is_platform(&figure.source)).count();
    // One model, the first of a record: the best of several would be of another size.
    let is_shown = |row: &PowerRow| row.mode == PowerMode::Decode && row.model.precision == "int4";
    let energy = |source| {
        let (_, row) = rows(inputs).find(|(_, row)| is_shown(row))?;
        let figure = energy_of(row, source)?;
        let joules = figure.gross_joules_per_token?;
        if figure.is_projection() {
            return None;
        }
        let (label, name) = (row.model.label(), source_name(source));
        Some(with(
            &joules,
            json!({"model": label, "source": name, "is_estimate": is_platform(source)}),
        ))
    };
    let gate = |gate: &GateResult| {
        json!({
            "passed": gate.passed, "limit": gate.max_regression_percent, "alpha": gate.alpha,
            "comparisons": gate.comparisons.len(),
        })
    };
    let more = json!({
        "machine": machine(&record.envelope.host),
        "measured": known().count() - estimated,
        "estimated": estimated,
        "unavailable": all().count() - known().count(),
        "energies": sources(inputs).into_iter().filter_map(energy).collect::<Value>(),
        "gate": inputs.power.iter().find_map(|of| of.item.gate.as_ref()).map(gate),
    });
    Some(with(&record.protocol, more))
}

fn training_facts(inputs: &Inputs) -> Option<Value> {
    let speeds = rows_of(&inputs.training_bench, |bench| &bench.rows);
    let (bench, row) =
        speeds.max_by(|a, b| a.1.tokens_per_s_median.total_cmp(&b.1.tokens_per_s_median))?;
    Some(with(
        row,
        json!({"preset": bench.item.preset, "cores": bench.item.cores}),
    ))
}

fn server(inputs: &Inputs) -> Option<Value> {
    let record = &inputs.serve_bench.first()?.item;
    let measured = &record.measured;
    Some(json!({
        "model": record.envelope.model.as_ref().map(ModelInfo::label),
        "cores": record.envelope.host.cores,
        "half": load(&measured.loads, "half"),
        "full": load(&measured.loads, "full"),
        "serving_peak_bytes": measured.serving_peak_bytes,
        "adaptation": measured.adaptation,
        "score": measured.score,
        "context": measured.context,
        "targets": record.bars.len(),
        "met": record.bars.iter().filter(|bar| bar.holds).count(),
        "margins": margins(&record.bars),
    }))
}

/// By how much the targets are met, as factors: the least and the most.
fn margins(bars: &[ServeBar]) -> Option<[f64; 2]> {
    let factor = |bar: &ServeBar| match bar.relation.as_str() {
        "at least" => bar.value / bar.bar,
        _ => bar.bar / bar.value,
    };
    let factors = || bars.iter().map(factor).filter(|factor| factor.is_finite());
    Some([factors().reduce(f64::min)?, factors().reduce(f64::max)?])
}

fn learning(inputs: &Inputs) -> Option<Value> {
    let record = &inputs.simulation.first()?.item;
    let gains = record.runs.iter().map(|run| run.improvement_percent);
    Some(json!({
        "records": record.protocol.records,
        "domain": record.protocol.domain,
        "streams": record.runs.len(),
        "least": record.least_improvement_percent / 100.0,
        "most": gains.fold(record.least_improvement_percent, f64::max) / 100.0,
        "loss": record.largest_base_loss_percent / 100.0,
        "attack": record.attack.as_ref().map(attack),
    }))
}

fn attack(attack: &SimulationAttack) -> Value {
    let unlimited = attack.runs.iter().find_map(|run| {
        let nats = run.unlimited_nats?;
        Some((run.static_nats - nats).exp())
    });
    json!({
        "sources": attack.honest_sources,
        "factor": attack.largest_factor,
        "unlimited": unlimited,
        "least": attack.least_improvement_percent / 100.0,
    })
}

fn runtimes(inputs: &Inputs) -> Option<Value> {
    let (_, bench) = export::benches(inputs).next()?;
    let more = json!({"model": bench.model.base_name(), "missing": bench.missing});
    Some(with(&bench.protocol, more))
}

/// What qualifies the results: from flags that the files carry, never typed in.
fn caveats(inputs: &Inputs) -> Value {
    let scores = || items(&inputs.validation);
    let texts: BTreeSet<(String, &str)> = scores()
        .filter(|row| !row.is_official())
        .map(|row| (text_label(row), row.dataset_sha256.as_str()))
        .collect();
    let text = |(text, sha256): (String, &str)| json!({"text": text, "sha256": sha256});
    let is_doubtful =
        |row: &&ValidationRow| !row.is_complete() || !row.verdict().starts_with("better");
    let doubt = |row: &ValidationRow| {
        format!(
            "`{}` on {}: {}",
            row.model.label(),
            row.text_name(),
            row.verdict()
        )
    };
    let experts = inputs.training.iter().filter_map(|run| {
        let dead = run.item.curve.last()?.dead_experts;
        (dead > 0).then(|| json!({"run": run.item.name, "dead": dead}))
    });
    let figures = || {
        let all = rows(inputs).flat_map(|(_, row)| row.energy.iter());
        all.filter(|figure| figure.gross_joules_per_token.is_some())
    };
    let projected: BTreeSet<&str> = figures()
        .filter(|figure| figure.is_projection())
        .map(|figure| source_name(&figure.source))
        .collect();
    let counters: BTreeSet<(&str, &str)> = items(&inputs.power)
        .flat_map(|of| &of.counters)
        .filter_map(|counter| Some((counter.source.as_str(), counter.reason.as_deref()?)))
        .collect();
    let counter = |(source, reason)| json!({"source": source, "reason": reason});
    let spreads = || rows(inputs).map(|(_, row)| row.latency_seconds.sd / row.latency_seconds.mean);
    let commits: BTreeSet<&str> = inputs
        .sources
        .iter()
        .map(|source| source.commit.as_str())
        .collect();
    let is_unscored = |precision: &&str| {
        scores().next().is_some() && !scores().any(|row| row.precision == *precision)
    };
    let unscored: Vec<&str> = ["fp32", "int8", "int4"]
        .into_iter()
        .filter(is_unscored)
        .collect();
    json!({
        "texts": texts.into_iter().map(text).collect::<Value>(),
        "doubtful": scores().filter(is_doubtful).map(doubt).collect::<Value>(),
        "experts": experts.collect::<Value>(),
        "is_measured": inputs.power.is_empty() || figures().any(|figure| !is_platform(&figure.source)),
        "projected": projected,
        "counters": counters.into_iter().map(counter).collect::<Value>(),
        "wide": {
            "count": spreads().filter(|spread| *spread > WIDE_SPREAD).count(),
            "of": spreads().count(),
            "limit": WIDE_SPREAD,
            "most": spreads().fold(0.0, f64::max),
        },
        "commits": commits.iter().filter(|commit| !commit.is_empty()).count(),
        "unscored": unscored,
    })
}
