//! The figures of the prototype beside those of the model that is its like here.

use itera_record::{
    EngineBenchRow, Form::Times, PowerMode, PowerRow, Table, ValidationRow, columns, num,
};

use super::{View, engine, power, quality};
use crate::input::{Inputs, Prototype, PrototypeClaim};

/// The model of the prototype's size.
const MODEL: &str = "micro-";

/// A figure of both.
struct Pair {
    what: String,
    there: String,
    here: Option<String>,
    ratio: Option<f64>,
    note: &'static str,
}

/// Whether the published ratio follows from the published figures.
fn verdict(claim: &PrototypeClaim) -> &'static str {
    let quotient = claim.numerator / claim.denominator;
    // Rounding of two figures of three digits.
    let near = claim
        .published
        .iter()
        .filter(|ratio| (*ratio / quotient - 1.0).abs() < 0.02);
    match near.count() {
        0 => "contradicts its figures",
        agreeing if agreeing == claim.published.len() => "agrees",
        _ => "contradicts itself",
    }
}

/// The comparison, and the prototype's own ratios.
pub(super) fn views(inputs: &Inputs, prototype: &Prototype) -> Vec<View> {
    let figures = columns! { Pair:
        text   "what"  "figure"      "" |pair| &pair.what;
        number "there" "prototype"   "" |pair| &pair.there;
        number "here"  "here"        "" |pair| pair.here.as_deref().unwrap_or("not measured");
        number "ratio" "ratio"       "" |pair| Times.of(pair.ratio);
        text   "note"  "comparable?" "" |pair| pair.note;
    };
    let claims = columns! { PrototypeClaim:
        text   "of"        "ratio"        "" |claim| &claim.of;
        text   "figures"   "figures"      "" |claim| format!("{} / {}", claim.numerator, claim.denominator);
        text   "published" "published as" "" |claim| published(claim);
        number "gives"     "they give"    "" |claim| Times.of(claim.numerator / claim.denominator);
        text   "verdict"   "verdict"      "" |claim| verdict(claim);
    };
    let mut sources = Inputs::files(&inputs.validation);
    sources.extend(Inputs::files(&inputs.engine));
    sources.extend(Inputs::files(&inputs.power));
    let figures = Table::of(&figures, &pairs(inputs, prototype));
    let claims = Table::of(&claims, &prototype.claims);
    vec![
        View::new("prototype", "Against the prototype", &sources, figures),
        View::new(
            "prototype-claims",
            "Ratios of the prototype's report",
            &[],
            claims,
        ),
    ]
}

fn published(claim: &PrototypeClaim) -> String {
    let ratios: Vec<String> = claim
        .published
        .iter()
        .map(|ratio| format!("{ratio}×"))
        .collect();
    ratios.join(" and ")
}

/// The score of the model of the prototype's size at a precision, on a data set.
fn like<'i>(inputs: &'i Inputs, dataset: &str, precision: &str) -> Option<&'i ValidationRow> {
    let rows = quality::shipped(inputs).into_iter().map(|row| &row.item);
    let mut rows = rows.filter(|row| row.is_complete() && row.dataset == dataset);
    let is_like = |row: &&ValidationRow| {
        row.precision == precision
            && row.model.name.starts_with(MODEL)
            && !row.model.name.contains("char")
    };
    rows.find(is_like)
}

/// The fp32 rows of the engine, or of the power results, of the model that is its like.
fn engine_speed(inputs: &Inputs, workload: &str, threads: u64) -> Option<f64> {
    let rows = engine::rows(inputs).into_iter().map(|(_, row)| row);
    let is_meant = |row: &&EngineBenchRow| {
        row.workload == workload && row.threads == threads && row.precision == "fp32"
    };
    rows.filter(is_meant)
        .map(|row| row.tokens_per_s)
        .reduce(f64::max)
}

/// Joules that reading a token takes on a platform.
fn joules(inputs: &Inputs, platform: &str) -> Option<f64> {
    let is_like = |row: &&PowerRow| {
        let model = &row.model;
        row.mode == PowerMode::Prefill && model.precision == "fp32" && model.name.starts_with(MODEL)
    };
    let row = power::rows(inputs).map(|(_, row)| row).find(is_like)?;
    let figure = power::energy_of(row, &format!("tdp:{platform}"))?;
    Some(figure.gross_joules_per_token?.nominal)
}

fn pairs(inputs: &Inputs, prototype: &Prototype) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut add = |what: String, there: String, here: Option<String>, ratio, note| {
        pairs.push(Pair {
            what,
            there,
            here,
            ratio,
            note,
        });
    };
    for score in &prototype.validation {
        let chance = num::times(score.char_perplexity, score.characters as f64);
        let here = like(inputs, &score.dataset, "fp32").map(|row| {
            let bits = row.baselines.uniform_bits_per_byte * row.bytes as f64 / row.chars as f64;
            let chance = num::times(row.char_perplexity, bits.exp2());
            format!(
                "{}, {chance} that of chance",
                num::short(row.char_perplexity)
            )
        });
        add(
            format!("perplexity per character, {}", score.dataset),
            format!(
                "{}, {chance} that of chance",
                num::thousands(score.char_perplexity as u64)
            ),
            here,
            None,
            "no: other text and vocabulary; only the distance from chance",
        );
    }
    let machine = "roughly: other machine";
    let decode = engine_speed(inputs, "decode", 2);
    add(
        "tokens/s on 2 cores, fp32".to_owned(),
        num::thousands(prototype.tokens_per_s_two_cores as u64),
        decode.map(|speed| format!("{}, decode", num::si(speed))),
        decode.map(|speed| speed / prototype.tokens_per_s_two_cores),
        machine,
    );
    let length = prototype.tokens_per_sample;
    let prefill = engine_speed(inputs, &format!("prefill-{length}"), 1);
    let prefill = prefill.map(|speed| length as f64 / speed);
    for (runtime, milliseconds) in [
        ("ONNX Runtime", prototype.onnx_runtime_ms),
        ("TorchScript", prototype.torchscript_ms),
    ] {
        add(
            format!("{length} tokens at once, fp32 ({runtime} there)"),
            format!("{milliseconds} ms"),
            prefill.map(|seconds| format!("{}s", num::si(seconds))),
            prefill.map(|seconds| milliseconds / 1e3 / seconds),
            machine,
        );
    }
    for there in &prototype.power {
        let here = joules(inputs, &there.platform);
        add(
            format!(
                "energy/token, {} W TDP ({}), fp32",
                there.tdp_watts, there.platform
            ),
            format!("{} mJ", there.millijoules_per_token),
            here.map(|joules| format!("{}J", num::si(joules))),
            here.map(|joules| there.millijoules_per_token / 1e3 / joules),
            "roughly: both estimated, other machines",
        );
    }
    let here = like(inputs, "tinystories", "int8").or_else(|| like(inputs, "wikitext2", "int8"));
    let bytes = prototype.int8_megabytes * 1e6;
    let size =
        |bytes: f64, bits: f64| format!("{}B, {} bits/weight", num::si(bytes), num::fixed(bits, 1));
    add(
        "weights at int8".to_owned(),
        size(bytes, 8.0 * bytes / prototype.parameters as f64),
        here.map(|row| size(row.model.bytes as f64, row.model.bits_per_weight)),
        here.map(|row| bytes / row.model.bytes as f64),
        "yes, at equal kind of weights",
    );
    pairs
}
