//! What design decisions are worth: variants of a base on the same text.

use itera_record::{
    AblationStudy, AblationVariant,
    Form::{Fixed, Signed},
    Table, Value, columns,
    columns::name_of_text,
    student_t,
};

use super::View;
use crate::input::{Inputs, items};

/// Seeds that a claim takes at least.
const CLAIM_SEEDS: usize = 3;

/// A variant against the base: the mean over the seeds that both have of the difference in bits per
/// byte, and its 95 % interval (paired t) if there are several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) mean: f64,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) seeds: usize,
}

/// What a difference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    Worse,
    /// The interval has both signs.
    Open,
    /// Too few seeds for a claim.
    TooFew,
}

impl Difference {
    /// None without a seed that both have.
    pub(crate) fn of(base: &AblationVariant, variant: &AblationVariant) -> Option<Self> {
        let differences = variant.against(base);
        let seeds = differences.len();
        if seeds == 0 {
            return None;
        }
        let mean = differences.iter().sum::<f64>() / seeds as f64;
        let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
        let interval = (seeds > 1).then(|| {
            let half = student_t(seeds - 1) * (squares / (seeds - 1) as f64 / seeds as f64).sqrt();
            [mean - half, mean + half]
        });
        Some(Self {
            mean,
            interval,
            seeds,
        })
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self.interval {
            _ if self.seeds < CLAIM_SEEDS => Verdict::TooFew,
            Some([_, high]) if high < 0.0 => Verdict::Better,
            Some([low, _]) if low > 0.0 => Verdict::Worse,
            _ => Verdict::Open,
        }
    }
}

impl Verdict {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Open => "no difference shown",
            Self::TooFew => "too few seeds",
        }
    }
}

/// A variant with its study.
struct Row<'i> {
    study: &'i AblationStudy,
    variant: &'i AblationVariant,
    difference: Option<Difference>,
}

impl Row<'_> {
    fn seconds(&self) -> Option<f64> {
        let runs = &self.variant.runs;
        let seconds: f64 = runs.iter().map(|run| run.seconds).sum();
        (!runs.is_empty()).then(|| seconds / runs.len() as f64)
    }

    fn verdict(&self) -> Option<Verdict> {
        self.difference.map(|difference| difference.verdict())
    }
}

fn bits(variant: &AblationVariant) -> Value {
    match variant.bits() {
        Some((mean, Some(deviation))) => {
            let text = format!("{} ± {}", Fixed(4).text(mean), Fixed(4).text(deviation));
            Value::Said(mean, text)
        }
        Some((mean, None)) => Fixed(4).of(mean),
        None if variant.runs.is_empty() => Value::None,
        None => "NaN".into(),
    }
}

/// What a variant has beside the base, so that each run can be repeated by `itera-train fit`.
fn arguments(of: &Row<'_>) -> Value {
    let base = of
        .study
        .variants
        .first()
        .map_or(&[][..], |base| &base.arguments);
    let own = differing(&of.variant.arguments, base);
    let what = match (of.variant.is_transformer, of.variant.has_own_head) {
        (true, _) => "the transformer",
        (_, true) => "an output head of its own",
        _ => return Value::code(own),
    };
    Value::from(if own.is_empty() {
        what.to_owned()
    } else {
        format!("{what}, {own}")
    })
}

/// The variants of a study that have a run, the base first.
fn rows(study: &AblationStudy) -> Vec<Row<'_>> {
    let base = study.variants.first();
    let with_runs = study.variants.iter().enumerate();
    with_runs
        .filter(|(index, variant)| *index == 0 || !variant.runs.is_empty())
        .map(|(index, variant)| Row {
            study,
            variant,
            difference: base
                .filter(|_| index > 0)
                .and_then(|base| Difference::of(base, variant)),
        })
        .collect()
}

/// The name of a study for files: `tinystories-nano`.
pub(super) fn slug(study: &AblationStudy) -> String {
    let words = study
        .name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// For each study what claims rest on, the rest, and the arguments.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let results = columns! { Row<'_>:
        text   "decision"        "decision"              ""   |of| &of.variant.axis;
        text   "variant"         "variant"               ""   |of| &of.variant.name;
        number "params"          "parameters"            ""   |of| of.variant.params;
        number "active"          "per token"             ""   |of| of.variant.active_params;
        number "bytes_per_token" "bytes/token"           ""   |of| Fixed(3).of(of.variant.bytes_per_token);
        number "text_mb"         "text"                  "MB" |of| Fixed(1).of(of.variant.text_bytes.unwrap_or(of.study.text_bytes) as f64 / 1e6);
        number "seconds"         "time"                  "s"  |of| Fixed(0).of(of.seconds());
        number "seeds"           "seeds"                 ""   |of| of.variant.runs.len() as u64;
        number "bits_per_byte"   "bits/byte ± sd"        ""   |of| bits(of.variant);
        number "difference"      "against the base"      ""   |of| Signed(4).of(of.difference.map(|difference| difference.mean));
        number "ci95"            "95 % interval, paired" ""   |of| Signed(4).bounds(of.difference.and_then(|difference| difference.interval));
        text   "verdict"         "verdict"               ""   |of| of.verdict().map(Verdict::words);
    };
    let repeat = columns! { Row<'_>:
        text "decision"  "decision"                        "" |of| &of.variant.axis;
        text "variant"   "variant"                         "" |of| &of.variant.name;
        text "arguments" "arguments beside those of the base" "" |of| arguments(of);
    };
    let sources = Inputs::files(&inputs.ablations);
    let mut views = Vec::new();
    for study in items(&inputs.ablations).flat_map(|of| &of.studies) {
        let (claims, hints): (Vec<Row<'_>>, Vec<Row<'_>>) = rows(study)
            .into_iter()
            .partition(|row| row.verdict() != Some(Verdict::TooFew));
        let slug = slug(study);
        let mut view = |kind: &str, table: Table| {
            let name = format!("ablation-{slug}{kind}");
            views.push(View::new(&name, &study.name, &sources, table));
        };
        view("", Table::of(&results, &claims));
        view("-few", Table::of(&results, &hints));
        view(
            "-arguments",
            Table::of(&repeat, claims.iter().chain(&hints).skip(1)),
        );
    }
    views
}

/// What is shown of each study: decisions with a verdict.
pub(super) fn facts(inputs: &Inputs) -> serde_json::Value {
    let study = |study: &AblationStudy| {
        let rows = rows(study);
        let of = |wanted: Verdict| -> Vec<String> {
            let found = rows.iter().filter(|row| row.verdict() == Some(wanted));
            found
                .filter_map(|row| {
                    let difference = Signed(4).text(row.difference?.mean);
                    Some(format!(
                        "{}: {} ({difference})",
                        row.variant.axis, row.variant.name
                    ))
                })
                .collect()
        };
        let base = study.variants.first().map(|base| base.arguments.join(" "));
        serde_json::json!({
            "name": study.name,
            "slug": slug(study),
            "text_bytes": study.text_bytes,
            "validation": validation(study),
            "variants": rows.len(),
            "better": of(Verdict::Better),
            "worse": of(Verdict::Worse),
            "open": of(Verdict::Open),
            "few": of(Verdict::TooFew).len(),
            "base": base,
        })
    };
    items(&inputs.ablations)
        .flat_map(|of| &of.studies)
        .map(study)
        .collect()
}

/// The options of `arguments` that `base` does not have, or has with another value.
fn differing(arguments: &[String], base: &[String]) -> String {
    let pairs = |words: &[String]| -> Vec<[String; 2]> { words.as_chunks::<2>().0.to_vec() };
    let base = pairs(base);
    let own = pairs(arguments)
        .into_iter()
        .filter(|pair| !base.contains(pair));
    own.map(|pair| pair.join(" ")).collect::<Vec<_>>().join(" ")
}

/// The text of validation and how it was read; a text that has another name now by that.
fn validation(study: &AblationStudy) -> String {
    let name = study
        .data
        .last()
        .and_then(|data| name_of_text(&data.sha256));
    let old = study
        .data
        .last()
        .map(|data| format!("{} {}", data.dataset, data.split));
    match (name, old) {
        (Some(name), Some(old)) => study.validation.replace(&old, name),
        _ => study.validation.clone(),
    }
}

#[cfg(test)]
mod tests {
    use itera_record::AblationRun;

    use super::*;

    fn variant(bits: &[f64]) -> AblationVariant {
        let run = |(seed, bits): (usize, &f64)| AblationRun {
            seed: seed as u64,
            steps: 10,
            tokens: 100,
            epochs: 0.5,
            seconds: 1.0,
            cpu: None,
            valid_bits_per_byte: Some(*bits),
        };
        AblationVariant {
            axis: "axis".to_owned(),
            name: "name".to_owned(),
            arguments: ["--batch", "8", "--size", "d_state=8"]
                .map(str::to_owned)
                .into(),
            is_transformer: false,
            has_own_head: false,
            text_bytes: None,
            params: 10,
            active_params: 10,
            bytes_per_token: 2.0,
            runs: bits.iter().enumerate().map(run).collect(),
        }
    }

    #[test]
    fn differences_are_paired_by_seed() {
        let base = variant(&[1.0, 1.1, 1.2]);
        let better = variant(&[0.91, 1.0, 1.11]);
        let difference = Difference::of(&base, &better).unwrap();
        assert!((difference.mean + 0.28 / 3.0).abs() < 1e-12);
        assert_eq!(difference.verdict(), Verdict::Better);
        assert_eq!(
            Difference::of(&better, &base).unwrap().verdict(),
            Verdict::Worse
        );
        let open = variant(&[0.9, 1.2, 1.2]);
        assert_eq!(
            Difference::of(&base, &open).unwrap().verdict(),
            Verdict::Open
        );
    }

    #[test]
    fn a_claim_takes_three_seeds() {
        let base = variant(&[1.0, 1.1]);
        let better = variant(&[0.5, 0.6]);
        let difference = Difference::of(&base, &better).unwrap();
        assert_eq!(difference.verdict(), Verdict::TooFew);
        assert!(difference.interval.is_some());
        assert_eq!(Difference::of(&base, &variant(&[])), None);
    }

    #[test]
    fn only_what_differs_is_said() {
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let own = differing(
            &words("--batch 8 --size d_state=8 --size d_conv=2"),
            &words("--batch 8 --warmup 70 --size d_state=8"),
        );
        assert_eq!(own, "--size d_conv=2");
    }
}
