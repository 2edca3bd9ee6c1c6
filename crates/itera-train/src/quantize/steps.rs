//! Steps between integers for a file that keeps to a number of bytes: fine where rounding costs most.
//!
//! Rounding to steps of width `s` costs about `c s^2`, and each halving of `s` one bit a weight. So the cost is least
//! for its bytes where `c s^2` of each weight is the same (Choi et al. 2016, arXiv:1612.01543). `c` of a tensor is
//! measured on text. In the embedding, a row matters as often as its token is read and written, so that steps there
//! are in inverse proportion to the root of that number.

use std::{collections::BTreeMap, ops::RangeInclusive};

use anyhow::{Context as _, ensure};
use half::f16;
use itera_cli::note;
use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::TensorRole,
    quant::{self, Options},
};

use super::cost::Text;

/// The steps that costs are measured with, as a share of the root mean square of a tensor's weights.
const TRIAL: f64 = 0.2;

/// Lower bound of a tensor's cost per weight, as a share of the mean over all tensors: smaller measured costs are noise.
const LEAST_COST: f64 = 0.1;

/// What is added to the number of a token, as a share of the mean: how often a rare one occurs is not certain.
const RARE: f64 = 0.03;

/// How often the steps are adjusted at most until the file has its size.
const ADJUSTMENTS: usize = 8;

/// Factors of the trial's steps. Above, weights are hardly told apart; below, they have all 8 bits.
const FACTORS: RangeInclusive<f64> = 0.02..=8.0;

/// A file that takes less than its bytes by no more than this share of them is not adjusted any more.
const TOLERANCE: f64 = 0.001;

/// Steps of each tensor up to a common factor.
pub(super) struct Steps {
    tensors: BTreeMap<String, Rows>,
    /// Weights that are integers.
    weights: usize,
}

/// The steps of the rows of a tensor.
struct Rows {
    /// Width that all of them are multiples of, times the common factor.
    width: f64,
    /// For each row, or for all: the multiple, and the least and the largest width.
    rows: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    /// A power of two.
    multiple: f64,
    least: f64,
    largest: f64,
}

impl Steps {
    /// Measures on `text` what rounding each tensor of `source` costs. `counts`: how often each token occurs in the
    /// text of the training.
    pub(super) fn measure(
        source: &Checkpoint,
        options: &Options<'_>,
        text: &Text,
        counts: &[u64],
    ) -> anyhow::Result<Self> {
        let specs = source.config.tensors();
        let (plain, _) = quant::quantize(source, &Options::data_free(options.precisions.clone()))?;
        let mut tensors = BTreeMap::new();
        for spec in &specs {
            if plain.tensors[&spec.name].precision() == Precision::Int8 {
                let counts = (spec.role == TensorRole::Embedding).then_some(counts);
                tensors.insert(
                    spec.name.clone(),
                    Rows::of(&source.tensors[&spec.name], counts),
                );
            }
        }
        let len = |name: &String| source.tensors[name].len();
        let mut steps = Self {
            weights: tensors.keys().map(len).sum(),
            tensors,
        };
        let trial = Options {
            steps: steps.scaled(1.0),
            ..Options::data_free(options.precisions.clone())
        };
        let (rounded, _) = quant::quantize(source, &trial)?;
        let costs = text.alone(source, &rounded)?;
        let mean = costs.values().sum::<f64>() / steps.weights as f64;
        ensure!(
            mean > 0.0,
            "rounding costs nothing on this text, so that no steps can be chosen by it; give another `--dataset`"
        );
        for (name, rows) in &mut steps.tensors {
            let cost = costs[name] / len(name) as f64;
            rows.width /= (cost.max(LEAST_COST * mean) / mean).sqrt();
        }
        Ok(steps)
    }

    /// The steps times a common factor.
    fn scaled(&self, factor: f64) -> BTreeMap<String, Vec<f16>> {
        let of = |rows: &Rows| {
            let width = rows.width * factor;
            let steps = rows.rows.iter().map(|row| row.step(width));
            steps.map(f16::from_f64).collect()
        };
        let tensors = self.tensors.iter();
        tensors
            .map(|(name, rows)| (name.clone(), of(rows)))
            .collect()
    }

    /// The finest steps with which `quantise` makes a file of at most `bytes`; what it returns with them has the
    /// file's bytes.
    pub(super) fn fit<T>(
        &self,
        bytes: usize,
        quantise: impl Fn(BTreeMap<String, Vec<f16>>) -> anyhow::Result<(usize, T)>,
    ) -> anyhow::Result<T> {
        let mut factor = 1.0;
        let mut best: Option<(usize, T)> = None;
        let mut least = usize::MAX;
        for _ in 0..ADJUSTMENTS {
            let (size, made) = quantise(self.scaled(factor))?;
            note(format_args!("steps times {factor:.4}: {size} bytes"));
            least = least.min(size);
            if size <= bytes && best.as_ref().is_none_or(|(largest, _)| size > *largest) {
                best = Some((size, made));
            }
            if size <= bytes && (bytes - size) as f64 <= TOLERANCE * bytes as f64 {
                break;
            }
            // Half the tolerance below the bytes, at one bit a weight for each halving.
            let wanted = (1.0 - TOLERANCE / 2.0) * bytes as f64;
            let next = factor * (8.0 * (size as f64 - wanted) / self.weights as f64).exp2();
            let next = next.clamp(*FACTORS.start(), *FACTORS.end());
            if next.to_bits() == factor.to_bits() {
                break;
            }
            factor = next;
        }
        let (_, made) = best.with_context(|| {
            format!(
                "`--bytes` is {bytes}, but the smallest file that was tried has {least}; give more"
            )
        })?;
        Ok(made)
    }
}

impl Rows {
    /// Steps of a tensor before its cost is known; with `counts`, those of its rows differ.
    fn of(tensor: &Tensor, counts: Option<&[u64]>) -> Self {
        let weights = tensor.to_f32();
        let multiples = match counts {
            None => vec![1.0],
            Some(counts) => {
                let mean = counts.iter().sum::<u64>().max(1) as f64 / counts.len() as f64;
                let share = counts.iter().map(|count| *count as f64 / mean + RARE);
                // To a power of two, so that few widths are different.
                share
                    .map(|share| (-share.log2() / 2.0).round().exp2())
                    .collect()
            }
        };
        let row = |(weights, multiple): (&[f32], f64)| {
            let largest = weights
                .iter()
                .fold(0.0_f32, |most, weight| most.max(weight.abs()));
            Row {
                multiple,
                least: f64::from(largest) / 127.0,
                largest: root_mean_square(weights),
            }
        };
        let rows = weights.chunks((weights.len() / multiples.len()).max(1));
        Self {
            width: TRIAL * root_mean_square(&weights),
            rows: rows.zip(multiples).map(row).collect(),
        }
    }
}

impl Row {
    /// A power of two times `width`, as near to the multiple as the bounds allow. A width of the root mean square
    /// still tells the weights of a row apart.
    fn step(self, width: f64) -> f64 {
        let mut step = width * self.multiple;
        while step > self.largest && self.largest > 0.0 {
            step /= 2.0;
        }
        while step < self.least {
            step *= 2.0;
        }
        step
    }
}

fn root_mean_square(weights: &[f32]) -> f64 {
    let squares = weights.iter().map(|weight| f64::from(*weight).powi(2));
    (squares.sum::<f64>() / weights.len().max(1) as f64).sqrt()
}
