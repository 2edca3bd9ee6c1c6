//! What design decisions are worth: variants of a base on the same text.

use itera_record::{AblationStudy, AblationVariant};

use crate::{
    md::{Table, code},
    num::{fixed, interval, thousands},
};

/// Decimals of bits per byte.
const DECIMALS: usize = 4;

/// Seeds that a claim takes at least.
const CLAIM_SEEDS: usize = 3;

/// 97.5 % quantiles of Student's t distribution with 1, 2, ... degrees of freedom; the last stands for more, of
/// which the quantile is smaller.
const STUDENT_T: [f64; 15] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131,
];

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
        let quantile = seeds
            .checked_sub(2)
            .map(|i| STUDENT_T[i.min(STUDENT_T.len() - 1)]);
        let interval = quantile.map(|t| {
            let half = t * (squares / (seeds - 1) as f64 / seeds as f64).sqrt();
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
            Some(_) | None if self.seeds < CLAIM_SEEDS => Verdict::TooFew,
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
            Self::TooFew => "too few seeds for a claim",
        }
    }
}

/// Every variant of a study that has a run.
pub(crate) fn table(study: &AblationStudy) -> Table {
    let mut table = Table::new([
        "decision",
        "variant",
        ">parameters",
        ">per token",
        ">bytes/token",
        ">text, MB",
        ">seconds",
        ">seeds",
        ">bits/byte",
        ">against base",
        ">95 % interval",
        "verdict",
    ]);
    let base = study.variants.first();
    for (index, variant) in with_runs(study).enumerate() {
        let difference = base
            .filter(|_| index > 0)
            .and_then(|base| Difference::of(base, variant));
        table.row([
            variant.axis.clone(),
            variant.name.clone(),
            thousands(variant.params),
            thousands(variant.active_params),
            fixed(variant.bytes_per_token, 3),
            fixed(text_bytes(study, variant) as f64 / 1e6, 1),
            mean_seconds(variant).map_or_else(none, |seconds| fixed(seconds, 0)),
            variant.runs.len().to_string(),
            bits(variant),
            difference.map_or_else(none, |d| signed(d.mean)),
            difference
                .and_then(|d| d.interval)
                .map_or_else(none, |bounds| interval(bounds, DECIMALS)),
            difference.map_or_else(none, |d| d.verdict().words().to_owned()),
        ]);
    }
    table
}

/// The arguments of every variant, so that each run can be repeated by `itera-train fit`.
pub(crate) fn arguments_table(study: &AblationStudy) -> Table {
    let mut table = Table::new(["decision", "variant", "arguments beside those of the base"]);
    let base: &[String] = study
        .variants
        .first()
        .map_or(&[], |variant| &variant.arguments);
    for variant in with_runs(study).skip(1) {
        let own = differing(&variant.arguments, base);
        let model = if variant.is_transformer {
            Some("the transformer")
        } else if variant.has_own_head {
            Some("an output head of its own")
        } else {
            None
        };
        let arguments = match (model, own.is_empty()) {
            (Some(model), true) => model.to_owned(),
            (Some(model), false) => format!("{model}, {}", code(&own)),
            (None, _) => code(&own),
        };
        table.row([variant.axis.clone(), variant.name.clone(), arguments]);
    }
    table
}

/// A sentence for each decision: every variant, with what is shown of it.
pub(crate) fn conclusions(study: &AblationStudy) -> Vec<String> {
    let Some(base) = study.variants.first() else {
        return Vec::new();
    };
    let mut axes: Vec<&str> = Vec::new();
    for variant in with_runs(study).skip(1) {
        if !axes.contains(&variant.axis.as_str()) {
            axes.push(&variant.axis);
        }
    }
    let sentence = |axis: &str| {
        let of_axis = with_runs(study).skip(1).filter(|v| v.axis == axis);
        let measured = of_axis.filter_map(|v| Some((v, Difference::of(base, v)?)));
        let sentences: Vec<String> = measured
            .map(|(variant, d)| {
                format!(
                    "{} {} ({} bits/byte)",
                    variant.name,
                    d.verdict().words(),
                    signed(d.mean)
                )
            })
            .collect();
        format!("**{axis}**: {}.", sentences.join("; "))
    };
    axes.into_iter().map(sentence).collect()
}

fn with_runs(study: &AblationStudy) -> impl Iterator<Item = &AblationVariant> {
    let base = study.variants.first().map(|base| &base.axis);
    let variants = study.variants.iter();
    variants.filter(move |variant| !variant.runs.is_empty() || Some(&variant.axis) == base)
}

fn bits(variant: &AblationVariant) -> String {
    match variant.bits() {
        Some((mean, Some(deviation))) => {
            format!("{} ± {}", fixed(mean, DECIMALS), fixed(deviation, DECIMALS))
        }
        Some((mean, None)) => fixed(mean, DECIMALS),
        None if variant.runs.is_empty() => "not measured".to_owned(),
        None => "the loss was no number".to_owned(),
    }
}

/// Bytes of text that a run reads.
fn text_bytes(study: &AblationStudy, variant: &AblationVariant) -> u64 {
    variant.text_bytes.unwrap_or(study.text_bytes)
}

fn mean_seconds(variant: &AblationVariant) -> Option<f64> {
    let seconds: f64 = variant.runs.iter().map(|run| run.seconds).sum();
    (!variant.runs.is_empty()).then(|| seconds / variant.runs.len() as f64)
}

fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", fixed(value, DECIMALS))
}

fn none() -> String {
    "–".to_owned()
}

/// The options of `arguments` that `base` does not have, or has with another value.
fn differing(arguments: &[String], base: &[String]) -> String {
    let pairs = |words: &[String]| -> Vec<[String; 2]> {
        let (pairs, _) = words.as_chunks::<2>();
        pairs.to_vec()
    };
    let base = pairs(base);
    let own = pairs(arguments)
        .into_iter()
        .filter(|pair| !base.contains(pair));
    own.map(|pair| pair.join(" ")).collect::<Vec<_>>().join(" ")
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
