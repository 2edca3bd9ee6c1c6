//! The figures of the prototype beside those of the model that is its like here.

use itera_record::{Column, Form, PowerMode, Table, ValidationRow, Value, num};

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
    note: String,
}

const PAIRS: [Column<Pair>; 5] = [
    Column::words("what", "figure", |pair| Value::text(&pair.what)),
    Column::number("there", "prototype", "", |pair| Value::text(&pair.there)),
    Column::number("here", "here", "", |pair| {
        pair.here
            .as_ref()
            .map_or(Value::text("not measured"), Value::text)
    }),
    Column::number("ratio", "ratio", "", |pair| {
        Value::number(pair.ratio, Form::Times)
    }),
    Column::words("note", "comparable?", |pair| Value::text(&pair.note)),
];

const CLAIMS: [Column<PrototypeClaim>; 5] = [
    Column::words("of", "ratio", |claim| Value::text(&claim.of)),
    Column::words("figures", "figures", |claim| {
        Value::Text(format!("{} / {}", claim.numerator, claim.denominator))
    }),
    Column::words("published", "published as", |claim| {
        let published: Vec<String> = claim
            .published
            .iter()
            .map(|ratio| format!("{ratio}×"))
            .collect();
        Value::Text(published.join(" and "))
    }),
    Column::number("gives", "they give", "", |claim| {
        Value::Number(claim.numerator / claim.denominator, Form::Times)
    }),
    Column::words("verdict", "verdict", |claim| Value::text(verdict(claim))),
];

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
    let mut sources = Inputs::files(&inputs.validation);
    sources.extend(Inputs::files(&inputs.engine));
    sources.extend(Inputs::files(&inputs.power));
    vec![
        View::new(
            "prototype",
            "Against the prototype",
            Table::of(&PAIRS, &pairs(inputs, prototype)),
            sources,
        ),
        View::new(
            "prototype-claims",
            "Ratios of the prototype's report",
            Table::of(&CLAIMS, &prototype.claims),
            Vec::new(),
        ),
    ]
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

fn pairs(inputs: &Inputs, prototype: &Prototype) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for score in &prototype.validation {
        let here = like(inputs, &score.dataset, "fp32");
        let chance = score.char_perplexity / score.characters as f64;
        pairs.push(Pair {
            what: format!("perplexity per character, {}", score.dataset),
            there: format!(
                "{}, {} that of chance",
                num::fixed(score.char_perplexity, 0),
                num::times(chance, 1.0)
            ),
            here: here.map(|row| {
                let uniform = (row.baselines.uniform_bits_per_byte * row.bytes as f64
                    / row.chars as f64)
                    .exp2();
                let chance = num::times(row.char_perplexity, uniform);
                format!(
                    "{}, {chance} that of chance",
                    num::short(row.char_perplexity)
                )
            }),
            ratio: None,
            note: "no: other text and vocabulary; only the distance from chance".to_owned(),
        });
    }
    pairs.extend(speeds(inputs, prototype));
    for published in &prototype.power {
        let source = format!("tdp:{}", published.platform);
        let here = like_power(inputs, PowerMode::Prefill).and_then(|row| {
            Some(
                1e3 * power::energy_of(row, &source)?
                    .gross_joules_per_token?
                    .nominal,
            )
        });
        pairs.push(Pair {
            what: format!(
                "energy/token, {} W TDP ({}), fp32",
                published.tdp_watts, published.platform
            ),
            there: format!("{} mJ", published.millijoules_per_token),
            here: here.map(|joules| format!("{}J", num::si(joules / 1e3))),
            ratio: here.map(|joules| published.millijoules_per_token / joules),
            note: "roughly: both estimated, other machines".to_owned(),
        });
    }
    pairs.push(size(inputs, prototype));
    pairs
}

fn like_power(inputs: &Inputs, mode: PowerMode) -> Option<&itera_record::PowerRow> {
    let is_like = |row: &&itera_record::PowerRow| {
        row.mode == mode && row.model.precision == "fp32" && row.model.name.starts_with(MODEL)
    };
    power::rows(inputs).map(|(_, row)| row).find(is_like)
}

fn speeds(inputs: &Inputs, prototype: &Prototype) -> Vec<Pair> {
    let fp32 = |workload: &str, threads: u64| {
        let rows = engine::rows(inputs).into_iter().map(|(_, row)| row);
        let rows = rows.filter(|row| {
            row.workload == workload && row.threads == threads && row.precision == "fp32"
        });
        rows.map(|row| row.tokens_per_s).reduce(f64::max)
    };
    let machine = || "roughly: other machine".to_owned();
    let decode = fp32("decode", 2);
    let length = prototype.tokens_per_sample;
    let prefill = fp32(&format!("prefill-{length}"), 1).map(|speed| length as f64 / speed);
    let passes = [
        ("ONNX Runtime", prototype.onnx_runtime_ms),
        ("TorchScript", prototype.torchscript_ms),
    ];
    let mut pairs = vec![Pair {
        what: "tokens/s on 2 cores, fp32".to_owned(),
        there: num::thousands(prototype.tokens_per_s_two_cores as u64),
        here: decode.map(|speed| format!("{}, decode", num::si(speed))),
        ratio: decode.map(|speed| speed / prototype.tokens_per_s_two_cores),
        note: machine(),
    }];
    pairs.extend(passes.map(|(runtime, milliseconds)| Pair {
        what: format!("{length} tokens at once, fp32 ({runtime} there)"),
        there: format!("{milliseconds} ms"),
        here: prefill.map(|seconds| format!("{}s", num::si(seconds))),
        ratio: prefill.map(|seconds| milliseconds / 1e3 / seconds),
        note: machine(),
    }));
    pairs
}

fn size(inputs: &Inputs, prototype: &Prototype) -> Pair {
    let row = like(inputs, "tinystories", "int8").or_else(|| like(inputs, "wikitext2", "int8"));
    let bytes = prototype.int8_megabytes * 1e6;
    let bits = 8.0 * bytes / prototype.parameters as f64;
    Pair {
        what: "weights at int8".to_owned(),
        there: format!("{}B, {} bits/weight", num::si(bytes), num::fixed(bits, 1)),
        here: row.map(|row| {
            let bits = num::fixed(row.model.bits_per_weight, 1);
            format!("{}B, {bits} bits/weight", num::si(row.model.bytes as f64))
        }),
        ratio: row.map(|row| bytes / row.model.bytes as f64),
        note: "yes, at equal kind of weights".to_owned(),
    }
}
