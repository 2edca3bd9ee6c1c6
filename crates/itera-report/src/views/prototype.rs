//! The figures of the prototype beside those of the model that is its like here.

use itera_record::{
    EngineBenchRecord, EngineBenchRow,
    Form::{Si, Times},
    PowerMode, PowerRow, Table, ValidationRow, columns, num,
};

use super::{View, engine, power, quality};
use crate::input::{Inputs, Prototype, PrototypeClaim, PrototypeFigure};

/// Whether a model is of the prototype's size and kind: nothing smaller is compared with it.
fn is_like_it(name: &str) -> bool {
    name.starts_with("micro-") && !name.contains("char")
}

/// How a note begins on figures that no ratio is given for.
const NOT_COMPARABLE: &str = "not comparable";

/// A figure of both.
struct Pair<'p> {
    there: &'p PrototypeFigure,
    /// The value here, and what a uniform guess has where that says something.
    here: Option<(f64, Option<f64>)>,
}

impl Pair<'_> {
    fn text(&self, value: f64, chance: Option<f64>) -> String {
        let Some(chance) = chance else {
            return format!("{}{}", Si.text(value), self.there.unit);
        };
        format!(
            "{}, {} that of chance",
            num::short(value),
            num::times(value, chance)
        )
    }

    /// How many times better the figure here is.
    fn ratio(&self) -> Option<f64> {
        let (here, _) = self
            .here
            .filter(|_| !self.there.note.starts_with(NOT_COMPARABLE))?;
        let there = self.there.value;
        Some(if self.there.here.0 == "speed" {
            here / there
        } else {
            there / here
        })
    }
}

/// The comparison, and the prototype's own ratios.
pub(super) fn views(inputs: &Inputs, prototype: &Prototype) -> Vec<View> {
    let figures = columns! { Pair<'_>:
        text   "what"  "figure"      "" |pair| &pair.there.what;
        number "there" "prototype"   "" |pair| pair.text(pair.there.value, pair.there.chance);
        number "here"  "here"        "" |pair| pair.here.map_or("not measured".to_owned(), |(value, chance)| pair.text(value, chance));
        number "ratio" "ratio"       "" |pair| Times.of(pair.ratio());
        text   "note"  "comparable?" "" |pair| &pair.there.note;
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
    let pair = |there| Pair {
        there,
        here: here(inputs, there),
    };
    let pairs: Vec<Pair<'_>> = prototype.figures.iter().map(pair).collect();
    let claims = Table::of(&claims, &prototype.claims);
    vec![
        View::new(
            "prototype",
            "Against the prototype",
            &sources,
            Table::of(&figures, &pairs),
        ),
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

/// Whether the published ratio follows from the published figures.
fn verdict(claim: &PrototypeClaim) -> &'static str {
    let quotient = claim.numerator / claim.denominator;
    // Rounding of two figures of three digits.
    let is_near = |ratio: &&f64| (*ratio / quotient - 1.0).abs() < 0.02;
    match claim.published.iter().filter(is_near).count() {
        0 => "contradicts its figures",
        agreeing if agreeing == claim.published.len() => "agrees",
        _ => "contradicts itself",
    }
}

/// The figure of the model of the prototype's size, with floats unless it says otherwise.
fn here(inputs: &Inputs, there: &PrototypeFigure) -> Option<(f64, Option<f64>)> {
    let (kind, of) = &there.here;
    let plain = |value: f64| (value, None);
    match kind.as_str() {
        "perplexity" => {
            let row = score(inputs, of, "fp32")?;
            let bits = row.baselines.uniform_bits_per_byte * row.bytes as f64 / row.chars as f64;
            Some((row.char_perplexity, Some(bits.exp2())))
        }
        "bytes" => {
            let row =
                score(inputs, "tinystories", of).or_else(|| score(inputs, "wikitext2", of))?;
            Some(plain(row.model.bytes as f64))
        }
        "speed" => speed(inputs, of, 2).map(plain),
        "seconds" => {
            let tokens: f64 = of.strip_prefix("prefill-")?.parse().ok()?;
            Some(plain(tokens / speed(inputs, of, 1)?))
        }
        _ => joules(inputs, of).map(plain),
    }
}

/// The score on a data set at a precision.
fn score<'i>(inputs: &'i Inputs, dataset: &str, precision: &str) -> Option<&'i ValidationRow> {
    let is_like = |row: &&ValidationRow| {
        let is_text = row.dataset.starts_with(dataset) && row.precision == precision;
        is_like_it(row.model.base_name()) && row.is_complete() && is_text
    };
    quality::leading(inputs)
        .into_iter()
        .map(|row| &row.item)
        .find(is_like)
}

/// Tokens per second of a workload by the fastest kernel.
fn speed(inputs: &Inputs, workload: &str, threads: u64) -> Option<f64> {
    let is_meant = |row: &&EngineBenchRow| {
        row.workload == workload && row.threads == threads && row.precision == "fp32"
    };
    let is_like = |record: &EngineBenchRecord| {
        let model = record.envelope.model.as_ref();
        model.is_some_and(|model| is_like_it(model.base_name()))
    };
    let rows = engine::rows(inputs).into_iter();
    let rows = rows.filter(|(of, _)| is_like(&of.item)).map(|(_, row)| row);
    rows.filter(is_meant)
        .map(|row| row.tokens_per_s)
        .reduce(f64::max)
}

/// Joules that reading a token takes by a source.
fn joules(inputs: &Inputs, source: &str) -> Option<f64> {
    let is_like = |row: &&PowerRow| {
        let model = &row.model;
        row.mode == PowerMode::Prefill && model.precision == "fp32" && is_like_it(model.base_name())
    };
    let row = power::rows(inputs).map(|(_, row)| row).find(is_like)?;
    Some(
        power::energy_of(row, source)?
            .gross_joules_per_token?
            .nominal,
    )
}
