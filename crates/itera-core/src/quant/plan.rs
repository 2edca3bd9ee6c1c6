//! Which groups of a tensor share a scale, and in which order tensors are rounded.

use half::f16;

use super::{Method, Options, QuantError};
use crate::{
    checkpoint::{Precision, rounding::RowFormat},
    config::{ModelConfig, TensorRole, TensorSpec},
    model::observe::Site,
};

/// The smallest group that a file may have.
const SMALL_GROUP: usize = 16;

/// An embedding of more than one in so many parameters keeps the groups of other tensors.
const LARGE_PART: usize = 4;

/// What happens to each tensor.
#[derive(Debug)]
pub(super) struct Plan {
    /// Tensors that stay float, with fp32 or fp16.
    pub(super) floats: Vec<(String, Precision)>,
    /// Tensors to round, in stages. A stage is calibrated after all stages before it are rounded.
    pub(super) stages: Vec<Vec<PlannedTensor>>,
}

/// A tensor to round.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlannedTensor {
    pub(super) name: String,
    /// Int8 or int4.
    pub(super) precision: Precision,
    /// Values that share a scale as stored.
    pub(super) group: usize,
    /// See [`Options::steps`]; none where each group has a scale of its own.
    pub(super) steps: Vec<f16>,
    /// Values.
    pub(super) len: usize,
    /// Where its inputs are seen: one site for each equal share of its rows.
    pub(super) sites: Vec<Site>,
    /// Inputs.
    pub(super) cols: usize,
}

impl Plan {
    /// The plan for a model.
    ///
    /// # Errors
    /// Precisions that the model cannot have.
    pub(super) fn new(config: &ModelConfig, options: &Options<'_>) -> Result<Self, QuantError> {
        options.precisions.check(config)?;
        let mut plan = Self {
            floats: Vec::new(),
            stages: Vec::new(),
        };
        for spec in &config.tensors() {
            let precision = options.precisions.of(spec);
            match group(spec, config, precision, options.method) {
                None => plan.floats.push((spec.name.clone(), precision)),
                Some(group) => plan.stages.push(vec![PlannedTensor {
                    name: spec.name.clone(),
                    precision,
                    group,
                    steps: options.steps.get(&spec.name).cloned().unwrap_or_default(),
                    len: spec.len(),
                    sites: sites(spec, config),
                    cols: spec.shape.last().copied().unwrap_or(0),
                }]),
            }
        }
        Ok(plan)
    }
}

impl PlannedTensor {
    /// How a group is rounded.
    pub(super) fn format(&self) -> Option<RowFormat> {
        RowFormat::new(self.precision, self.group)
    }

    /// The step of a row, if it has one for all of its weights.
    pub(super) fn step(&self, row: usize) -> Option<f16> {
        self.steps.get(row).or(self.steps.first()).copied()
    }
}

/// Values that share a scale; `None` for floats. The embedding loses most of all tensors, being both
/// the first and the last matrix of the model, so that at 4 bits its groups are the small ones; but
/// not where a large vocabulary makes it a large part of the file, nor for the method `nearest`, the
/// plain rounding that `Tensor::quantized` does too.
fn group(
    spec: &TensorSpec,
    config: &ModelConfig,
    precision: Precision,
    method: Method,
) -> Option<usize> {
    let row = spec.shape.last().copied().unwrap_or(0);
    let usual = precision.group(row)?;
    let small = spec.role == TensorRole::Embedding
        && precision == Precision::Int4
        && method != Method::Nearest
        && LARGE_PART * spec.len() <= config.parameters();
    Some(if small { usual.min(SMALL_GROUP) } else { usual })
}

/// Where the inputs of a tensor are seen.
fn sites(spec: &TensorSpec, config: &ModelConfig) -> Vec<Site> {
    let Some((layer, part)) = spec
        .name
        .strip_prefix("layers.")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(layer, part)| Some((layer.parse().ok()?, part)))
    else {
        return vec![Site::Head];
    };
    let experts = 0..config.n_experts;
    match part {
        "mixer.in_proj.weight" => vec![Site::InProj(layer)],
        "mixer.out_proj.weight" => vec![Site::OutProj(layer)],
        "moe.w_in" => experts.map(|e| Site::ExpertIn(layer, e)).collect(),
        "moe.w_out" => experts.map(|e| Site::ExpertOut(layer, e)).collect(),
        "moe.shared.w_in" => vec![Site::SharedIn(layer)],
        _ => vec![Site::SharedOut(layer)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    fn plan(config: &ModelConfig, precision: Precision) -> Plan {
        Plan::new(config, &Options::data_free(precision)).unwrap()
    }

    #[test]
    fn every_tensor_is_planned_once_and_dynamics_stay_fp32() {
        let config = Preset::Micro.config(512);
        let plan = plan(&config, Precision::Int4);
        let items: Vec<&PlannedTensor> = plan.stages.iter().flatten().collect();
        assert_eq!(plan.floats.len() + items.len(), config.tensors().len());
        for (name, precision) in &plan.floats {
            let spec = config
                .tensors()
                .into_iter()
                .find(|spec| spec.name == *name)
                .unwrap();
            let is_dynamics = spec.role == TensorRole::Dynamics;
            assert_eq!(*precision == Precision::Fp32, is_dynamics, "{name}");
        }
        assert!(items.iter().all(|item| item.precision == Precision::Int4));
        assert_eq!(
            (items[0].name.as_str(), items[0].group),
            ("embedding.weight", 16)
        );
        assert_eq!(
            (items[1].group, items[2].group),
            (32, 16),
            "rows of 64 and of 112"
        );
        let large = self::plan(&Preset::Micro.config(2048), Precision::Int4);
        assert_eq!(large.stages[0][0].group, 32, "most of the file");
    }

    #[test]
    fn rows_that_int4_cannot_store_become_int8() {
        let config = Preset::Test.config(257);
        let plan = plan(&config, Precision::Int4);
        let stored = |part: &str| {
            let mut items = plan.stages.iter().flatten();
            let item = items.find(|item| item.name.ends_with(part)).unwrap();
            (item.precision, item.group)
        };
        assert_eq!(stored("in_proj.weight"), (Precision::Int4, 16));
        assert_eq!(stored("out_proj.weight"), (Precision::Int8, 24));
        assert_eq!(stored("w_out"), (Precision::Int8, 8));
    }

    #[test]
    fn experts_have_a_site_each_for_an_equal_share_of_the_rows() {
        let config = ModelConfig {
            d_shared: 8,
            ..Preset::Test.config(257)
        };
        let plan = plan(&config, Precision::Int8);
        let sites = |name: &str| {
            let item = plan
                .stages
                .iter()
                .flatten()
                .find(|item| item.name == name)
                .unwrap();
            item.sites.clone()
        };
        assert_eq!(sites("layers.1.moe.w_in")[3], Site::ExpertIn(1, 3));
        assert_eq!(sites("layers.1.moe.w_out").len(), 4);
        assert_eq!(sites("layers.1.moe.shared.w_out"), [Site::SharedOut(1)]);
        assert_eq!(sites("layers.0.mixer.out_proj.weight"), [Site::OutProj(0)]);
        assert_eq!(sites("embedding.weight"), [Site::Head]);
    }
}
