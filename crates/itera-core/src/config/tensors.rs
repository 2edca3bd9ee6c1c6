//! The tensors of a model.

use alloc::{borrow::ToOwned, format, string::String, vec, vec::Vec};

use self::TensorRole::{Conv, Dynamics, Embedding, Norm, Projection, Router};
use super::ModelConfig;

/// Name inside a layer, shape and role.
type LayerTensor = (&'static str, Vec<usize>, TensorRole);

/// Purpose of a tensor; decides how it is initialised, decayed and quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    /// Token embedding, tied to the output head.
    Embedding,
    /// A large matrix applied to activations; rows are outputs, columns inputs.
    Projection,
    /// Router of the experts.
    Router,
    /// Taps or bias of the depthwise convolution.
    Conv,
    /// `a_log`, `d` or `dt_bias`: dynamics of the state space.
    Dynamics,
    /// Gain of an `RMSNorm`.
    Norm,
}

/// Name, shape and role of one tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the checkpoint, for example `layers.0.mixer.in_proj.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Purpose of the tensor.
    pub role: TensorRole,
}

impl TensorSpec {
    /// Elements of the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// [`Self::len`] before it is known to fit the machine.
    pub(super) fn elements(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ModelConfig {
    /// Every tensor of a checkpoint with this config, in the order of the forward pass.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let d_model = self.d_model;
        let spec = |name: &str, shape, role| TensorSpec {
            name: name.to_owned(),
            shape,
            role,
        };
        let embedding = vec![self.vocab_size, d_model];
        let mut specs = vec![spec("embedding.weight", embedding, Embedding)];
        for layer in 0..self.n_layers {
            let parts = self.mixer_tensors().into_iter().chain(self.moe_tensors());
            specs.extend(
                parts.map(|(part, shape, role)| {
                    spec(&format!("layers.{layer}.{part}"), shape, role)
                }),
            );
        }
        specs.push(spec("final_norm.weight", vec![d_model], Norm));
        specs
    }

    fn mixer_tensors(&self) -> [LayerTensor; 9] {
        let (d_model, d_inner, heads) = (self.d_model, self.d_inner, self.n_heads());
        let channels = self.d_conv_channels();
        [
            ("mixer_norm.weight", vec![d_model], Norm),
            (
                "mixer.in_proj.weight",
                vec![self.d_in_proj(), d_model],
                Projection,
            ),
            ("mixer.conv.weight", vec![channels, self.d_conv], Conv),
            ("mixer.conv.bias", vec![channels], Conv),
            ("mixer.dt_bias", vec![heads], Dynamics),
            ("mixer.a_log", vec![heads], Dynamics),
            ("mixer.d", vec![heads], Dynamics),
            ("mixer.norm.weight", vec![d_inner], Norm),
            ("mixer.out_proj.weight", vec![d_model, d_inner], Projection),
        ]
    }

    fn moe_tensors(&self) -> Vec<LayerTensor> {
        let (d_model, experts) = (self.d_model, self.n_experts);
        let (width, shared) = (self.d_expert, self.d_shared);
        let mut tensors = vec![("moe_norm.weight", vec![d_model], Norm)];
        if experts > 1 {
            tensors.push(("moe.router.weight", vec![experts, d_model], Router));
        }
        tensors.extend([
            ("moe.w_in", vec![experts, 2 * width, d_model], Projection),
            ("moe.w_out", vec![experts, d_model, width], Projection),
        ]);
        if shared > 0 {
            tensors.extend([
                ("moe.shared.w_in", vec![2 * shared, d_model], Projection),
                ("moe.shared.w_out", vec![d_model, shared], Projection),
            ]);
        }
        tensors
    }
}
