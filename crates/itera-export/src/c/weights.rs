//! The tensors as constant arrays, and the tables of `model.c` that refer to them.

use std::fmt::Write as _;

use anyhow::ensure;
use itera_core::{
    checkpoint::{Checkpoint, Tensor, TensorData},
    kernels::double::exp_f32,
};

use super::array;
use crate::granite;

/// Fields of a `block` in `model.c`, and the tensors of a layer.
const FIELDS: [(&str, &str); 15] = [
    ("mixer_norm", "mixer_norm.weight"),
    ("in_proj", "mixer.in_proj.weight"),
    ("taps", "mixer.conv.weight"),
    ("conv_bias", "mixer.conv.bias"),
    ("dt_bias", "mixer.dt_bias"),
    ("a", A_LOG),
    ("d", "mixer.d"),
    ("norm", "mixer.norm.weight"),
    ("out_proj", "mixer.out_proj.weight"),
    ("moe_norm", "moe_norm.weight"),
    ("router", "moe.router.weight"),
    ("w_in", "moe.w_in"),
    ("w_out", "moe.w_out"),
    ("shared_in", "moe.shared.w_in"),
    ("shared_out", "moe.shared.w_out"),
];

/// What C has as `-exp(a_log)`.
const A_LOG: &str = "mixer.a_log";

/// The arrays and tables, and the bytes of the arrays.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    pub(super) code: String,
    pub(super) bytes: usize,
}

impl Weights {
    /// All tensors of a checkpoint.
    ///
    /// # Errors
    /// A decay that is infinite.
    pub(super) fn of(checkpoint: &Checkpoint) -> anyhow::Result<Self> {
        let mut weights = Self::default();
        let embedding = granite::tensor(checkpoint, "embedding.weight")?;
        let embedding = weights.tensor("embedding_weight", embedding);
        let final_norm = granite::tensor(checkpoint, "final_norm.weight")?;
        let final_norm = weights.tensor("final_norm_weight", final_norm);
        let mut blocks = String::new();
        for layer in 0..checkpoint.config.n_layers {
            blocks.push_str("    {\n");
            for (field, part) in FIELDS {
                let name = format!("layers.{layer}.{part}");
                // A model may have no router, and no shared expert.
                let Some(tensor) = checkpoint.tensors.get(&name) else {
                    continue;
                };
                let array = format!("layer_{layer}_{field}");
                let tensor = if part == A_LOG {
                    weights.tensor(&array, &decay(&name, tensor)?)
                } else {
                    weights.tensor(&array, tensor)
                };
                let _ = writeln!(blocks, "        .{field} = {tensor},");
            }
            blocks.push_str("    },\n");
        }
        let _ = write!(
            weights.code,
            "\nstatic const tensor embedding = {embedding};\nstatic const tensor final_norm = {final_norm};\n\
             static const block blocks[N_LAYERS] = {{\n{blocks}}};\n"
        );
        Ok(weights)
    }

    /// Adds the arrays of a tensor and gives what refers to them.
    fn tensor(&mut self, array: &str, tensor: &Tensor) -> String {
        let cols = tensor.shape.last().copied().unwrap_or(1);
        match &tensor.data {
            TensorData::F32(values) => {
                let values = values.iter().map(|x| format!("{x:?}f"));
                self.array(4, "float", array, values);
                format!("{{FLOATS, {cols}, 0, {array}, NULL}}")
            }
            TensorData::F16(values) => {
                let values = values.iter().map(|x| x.to_bits().to_string());
                self.array(2, "uint16_t", array, values);
                format!("{{HALVES, {cols}, 0, {array}, NULL}}")
            }
            TensorData::Int8 {
                values,
                scales,
                group,
            } => {
                let values = values.iter().map(i8::to_string);
                self.array(1, "int8_t", array, values);
                self.scales(array, scales);
                format!("{{INT8, {cols}, {group}, {array}, {array}_scales}}")
            }
            TensorData::Int4 {
                packed,
                scales,
                group,
            } => {
                // Adding 8 to four bits of two's complement flips the highest.
                let values = packed.iter().map(|byte| (byte ^ 0x88).to_string());
                self.array(1, "uint8_t", array, values);
                self.scales(array, scales);
                format!("{{INT4, {cols}, {group}, {array}, {array}_scales}}")
            }
        }
    }

    fn scales(&mut self, name: &str, scales: &[half::f16]) {
        let scales = scales.iter().map(|x| x.to_bits().to_string());
        self.array(2, "uint16_t", &format!("{name}_scales"), scales);
    }

    fn array(
        &mut self,
        bytes: usize,
        kind: &str,
        name: &str,
        values: impl ExactSizeIterator<Item = String>,
    ) {
        self.bytes += bytes * values.len();
        self.code
            .push_str(&array(&format!("{kind} {name}[]"), values));
    }
}

/// `-exp(a_log)`, which the native engine makes when it loads a model.
fn decay(name: &str, a_log: &Tensor) -> anyhow::Result<Tensor> {
    let a: Vec<f32> = a_log
        .to_f32()
        .into_iter()
        .map(|a_log| -exp_f32(a_log))
        .collect();
    ensure!(
        a.iter().all(|a| a.is_finite()),
        "`{name}` has a value whose exponential is infinite; such a state forgets at once, train it again"
    );
    Ok(Tensor::f32(a_log.shape.clone(), a))
}
