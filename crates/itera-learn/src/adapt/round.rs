//! The rounded candidate: 4 bits where that loses little, else 8.

use std::collections::BTreeMap;

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor, TensorData},
    quant::{Options, Precisions, QuantError, quantize},
};

/// The threshold is this many times ...
const MARGIN: f64 = 1.1;

/// ... this percentile of the errors of all groups.
const PERCENTILE: f64 = 0.95;

/// A rounded checkpoint, and which tensors have how many bits.
pub(super) struct Rounded {
    pub(super) checkpoint: Checkpoint,
    pub(super) threshold: f64,
    pub(super) int4: Vec<String>,
    pub(super) fallen_back: Vec<String>,
}

/// Rounds an fp32 checkpoint. Tensors whose error at 4 bits is above the threshold get 8 bits.
pub(super) fn round(checkpoint: &Checkpoint, precision: Precision) -> Result<Rounded, QuantError> {
    let (rounded, _) = quantize(checkpoint, &Options::data_free(precision))?;
    let errors: BTreeMap<&String, Vec<f64>> = checkpoint
        .tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name, group_errors(tensor, &rounded.tensors[name])?)))
        .collect();
    let threshold = MARGIN * percentile(errors.values().flatten().copied().collect());
    let above = |errors: &Vec<f64>| root_mean_square(errors.iter().copied()) > threshold;
    let (fallen_back, int4): (Vec<_>, Vec<_>) = errors.iter().partition(|(_, e)| above(e));
    let names = |list: Vec<(&&String, &Vec<f64>)>| -> Vec<String> {
        list.into_iter().map(|(name, _)| (*name).clone()).collect()
    };
    let (fallen_back, int4) = (names(fallen_back), names(int4));
    let overrides = fallen_back
        .iter()
        .map(|name| (name.clone(), Precision::Int8));
    let precisions = Precisions {
        overrides: overrides.collect(),
        ..precision.into()
    };
    let checkpoint = if fallen_back.is_empty() {
        rounded
    } else {
        quantize(checkpoint, &Options::data_free(precisions))?.0
    };
    Ok(Rounded {
        checkpoint,
        threshold,
        int4,
        fallen_back,
    })
}

/// Root of the mean square of `stored - original` of each group of a tensor with 4 bits; `None` for
/// other tensors.
fn group_errors(original: &Tensor, stored: &Tensor) -> Option<Vec<f64>> {
    let TensorData::Int4 { group, .. } = stored.data else {
        return None;
    };
    let (original, stored) = (original.to_f32(), stored.to_f32());
    let groups = original.chunks(group).zip(stored.chunks(group));
    let error = |(original, stored): (&[f32], &[f32])| {
        let pairs = original.iter().zip(stored);
        root_mean_square(pairs.map(|(a, b)| f64::from(*b) - f64::from(*a)))
    };
    Some(groups.map(error).collect())
}

fn root_mean_square(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let len = values.len().max(1) as f64;
    (values.map(|value| value * value).sum::<f64>() / len).sqrt()
}

/// The least value that 95 % of `values` are at most; 0 if there are none.
fn percentile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (PERCENTILE * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "a percentile is one of the values")]
mod tests {
    use itera_core::{
        config::Preset,
        tokenizer::{BytesTokenizer, Tokenizer},
    };

    use super::*;
    use crate::{Backend, model::LanguageModel};

    #[test]
    fn a_small_tensor_of_large_weights_falls_back() {
        let config = Preset::Micro.config(257);
        let model = LanguageModel::new(&config, 1, &Backend::Flex.device());
        let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
        let mut checkpoint = model.to_checkpoint(&tokenizer, serde_json::Value::Null);
        let name = "layers.0.mixer.out_proj.weight";
        let tensor = checkpoint.tensors.get_mut(name).unwrap();
        let values = tensor.to_f32().into_iter().map(|value| 40.0 * value);
        *tensor = Tensor::f32(tensor.shape.clone(), values.collect());

        let rounded = round(&checkpoint, Precision::Int4).unwrap();
        assert_eq!(rounded.fallen_back, [name]);
        assert!(!rounded.int4.is_empty() && !rounded.int4.iter().any(|other| other == name));
        let precision = |name: &str| rounded.checkpoint.tensors[name].precision();
        assert_eq!(precision(name), Precision::Int8);
        assert!(
            rounded
                .int4
                .iter()
                .all(|name| precision(name) == Precision::Int4)
        );
        // Every tensor that has 4 bits is within the threshold.
        for name in &rounded.int4 {
            let stored = &rounded.checkpoint.tensors[name];
            let errors = group_errors(&checkpoint.tensors[name], stored).unwrap();
            assert!(
                root_mean_square(errors.into_iter()) <= rounded.threshold,
                "{name}"
            );
        }

        let all_8 = round(&checkpoint, Precision::Int8).unwrap();
        assert_eq!((all_8.int4.len(), all_8.fallen_back.len()), (0, 0));
    }

    #[test]
    fn the_percentile_leaves_a_twentieth_above() {
        assert_eq!(percentile((1..=100).map(f64::from).collect()), 95.0);
        assert_eq!(percentile(vec![3.0]), 3.0);
        assert_eq!(percentile(Vec::new()), 0.0);
    }
}
