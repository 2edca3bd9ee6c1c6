//! The weights of a checkpoint as constants of a graph.
//!
//! | stored as | constant | nodes |
//! |---|---|---|
//! | fp32 | `[inputs, outputs]` | none |
//! | fp16 | the same in half precision | `Cast` |
//! | int8, int4 | `[groups, group]`, groups of a row one after the other; of int4 two in a byte | `Cast` of the scales, `DequantizeLinear` along axis 0, `Reshape` to `[outputs, inputs]` |
//!
//! Integers and scales are the very ones of the checkpoint. This form needs no blocks, which not every runtime
//! has. Nor does ONNX Runtime take it for a product of 4-bit weights, whose inputs it would round to 8 bits
//! unasked: with blocks along the inputs, logits were wrong by several percent.

use half::f16;
use itera_core::{
    checkpoint::{Checkpoint, Tensor, TensorData},
    config::ModelConfig,
};
use tract_onnx::pb::tensor_proto::DataType;

use super::{
    builder::{Attribute, Builder, Value},
    ops::{Matrix, reshape, to_float},
};

/// Two matrices of a feed-forward.
#[derive(Clone, Debug)]
pub(crate) struct Expert {
    /// `[2 * width, d_model]`: gates, then ups.
    pub(crate) w_in: Matrix,
    /// `[d_model, width]`.
    pub(crate) w_out: Matrix,
}

/// The weights of one layer, by the names of their values.
#[derive(Clone, Debug)]
pub(crate) struct LayerWeights {
    pub(crate) mixer_norm: Value,     // [d_model]
    pub(crate) in_proj: Matrix,       // [d_in_proj, d_model]
    pub(crate) conv_weight: Value,    // [channels, 1, d_conv]
    pub(crate) conv_bias: Value,      // [channels]
    pub(crate) dt_bias: Value,        // [n_heads]
    pub(crate) a: Value,              // [n_heads, 1, 1], -exp(a_log)
    pub(crate) d: Value,              // [n_heads, 1, 1]
    pub(crate) norm: Value,           // [d_inner]
    pub(crate) out_proj: Matrix,      // [d_model, d_inner]
    pub(crate) moe_norm: Value,       // [d_model]
    pub(crate) router: Option<Value>, // [d_model, n_experts]
    pub(crate) experts: Expert,       // all of them side by side
    pub(crate) shared: Option<Expert>,
}

/// A tensor in the layout of the graph.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) label: &'static str,
    shape: Vec<usize>,
    data: Data,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Floats(Vec<f32>),
    Halves(Vec<f16>),
    /// Rows `[outputs, inputs]` with the scales of their groups.
    Integers {
        is_int4: bool,
        group: usize,
        values: Vec<i8>,
        scales: Vec<f16>,
    },
}

impl Stored {
    /// Whether another tensor can be stacked on this one.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.shape == other.shape
            && match (&self.data, &other.data) {
                (Data::Floats(_), Data::Floats(_)) | (Data::Halves(_), Data::Halves(_)) => true,
                (
                    Data::Integers {
                        is_int4: a,
                        group: g,
                        ..
                    },
                    Data::Integers {
                        is_int4: b,
                        group: h,
                        ..
                    },
                ) => a == b && g == h,
                _ => false,
            }
    }

    /// Tensors of all layers as one, with the layers in front.
    pub(crate) fn stack(layers: &[&Self]) -> Self {
        let mut stacked = layers[0].clone();
        for layer in &layers[1..] {
            match (&mut stacked.data, &layer.data) {
                (Data::Floats(all), Data::Floats(more)) => all.extend(more),
                (Data::Halves(all), Data::Halves(more)) => all.extend(more),
                (
                    Data::Integers {
                        values: all,
                        scales: all_scales,
                        ..
                    },
                    Data::Integers { values, scales, .. },
                ) => {
                    all.extend(values);
                    all_scales.extend(scales);
                }
                _ => unreachable!("only tensors that are alike are stacked"),
            }
        }
        stacked.shape.insert(0, layers.len());
        stacked
    }

    /// Writes the constant, and the nodes that make floats of it.
    pub(crate) fn write(&self, b: &mut Builder, label: &str) -> Matrix {
        let plain = |value| Matrix {
            value,
            transposed: false,
        };
        match &self.data {
            Data::Floats(values) => plain(b.floats(label, &self.shape, values)),
            Data::Halves(values) => {
                let halves = b.halves(&format!("{label}.f16"), &self.shape, values);
                plain(to_float(b, label, &halves))
            }
            Data::Integers {
                is_int4,
                group,
                values,
                scales,
            } => {
                let (kind, bytes) = if *is_int4 {
                    (DataType::Int4, pack(values))
                } else {
                    let bytes = values.iter().map(|q| q.cast_unsigned()).collect();
                    (DataType::Int8, bytes)
                };
                let at = |part: &str| format!("{label}.{part}");
                let integers = b.constant(&at("q"), kind, &[scales.len(), *group], bytes);
                let halves = b.halves(&at("s16"), &[scales.len()], scales);
                let scales = to_float(b, &at("s"), &halves);
                let axis = vec![("axis", Attribute::Int(0))];
                let floats = b.op(&at("f"), "DequantizeLinear", &[&integers, &scales], axis);
                let shape: Vec<i64> = self.shape.iter().map(|&size| size as i64).collect();
                Matrix {
                    value: reshape(b, label, &floats, &shape),
                    transposed: true,
                }
            }
        }
    }
}

/// The embedding: `[vocab_size, d_model]`, also the output head.
pub(crate) fn embedding(checkpoint: &Checkpoint) -> Stored {
    let tensor = &checkpoint.tensors["embedding.weight"];
    rows(
        "embedding",
        tensor,
        (0..tensor.shape[0]).collect(),
        &tensor.shape,
    )
}

/// The final norm, `[d_model]`.
pub(crate) fn final_norm(checkpoint: &Checkpoint) -> Stored {
    let tensor = &checkpoint.tensors["final_norm.weight"];
    float("final_norm", tensor, tensor.shape.clone())
}

/// The tensors of a layer, in the order of [`names`].
pub(crate) fn layer(checkpoint: &Checkpoint, layer: usize) -> Vec<Stored> {
    let c = &checkpoint.config;
    let part = |part: &str| &checkpoint.tensors[&format!("layers.{layer}.{part}")];
    let matrix = |label, name: &str| {
        let tensor = part(name);
        turned(rows(
            label,
            tensor,
            (0..tensor.shape[0]).collect(),
            &tensor.shape,
        ))
    };
    let a: Vec<f32> = part("mixer.a_log")
        .to_f32()
        .into_iter()
        .map(|x| -x.exp())
        .collect();
    let heads = vec![c.n_heads(), 1, 1];
    let mut all = vec![
        float("mixer_norm", part("mixer_norm.weight"), vec![c.d_model]),
        matrix("in_proj", "mixer.in_proj.weight"),
        float(
            "conv",
            part("mixer.conv.weight"),
            vec![c.d_conv_channels(), 1, c.d_conv],
        ),
        float(
            "conv_bias",
            part("mixer.conv.bias"),
            vec![c.d_conv_channels()],
        ),
        float("dt_bias", part("mixer.dt_bias"), vec![c.n_heads()]),
        Stored {
            label: "A",
            shape: heads.clone(),
            data: Data::Floats(a),
        },
        float("D", part("mixer.d"), heads),
        float("norm", part("mixer.norm.weight"), vec![c.d_inner]),
        matrix("out_proj", "mixer.out_proj.weight"),
        float("moe_norm", part("moe_norm.weight"), vec![c.d_model]),
        experts_in("w_in", part("moe.w_in"), c.n_experts, c.d_expert),
        experts_out("w_out", part("moe.w_out"), c.n_experts, c.d_model),
    ];
    if c.n_experts > 1 {
        all.push(router(part("moe.router.weight"), c));
    }
    if c.d_shared > 0 {
        all.push(matrix("shared_in", "moe.shared.w_in"));
        all.push(matrix("shared_out", "moe.shared.w_out"));
    }
    all
}

/// Gives the values of [`layer`] their names, in its order.
pub(crate) fn names(config: &ModelConfig, values: Vec<Matrix>) -> LayerWeights {
    let mut values = values.into_iter();
    let mut next = || values.next().expect("as many as `layer` writes");
    LayerWeights {
        mixer_norm: next().value,
        in_proj: next(),
        conv_weight: next().value,
        conv_bias: next().value,
        dt_bias: next().value,
        a: next().value,
        d: next().value,
        norm: next().value,
        out_proj: next(),
        moe_norm: next().value,
        experts: Expert {
            w_in: next(),
            w_out: next(),
        },
        router: (config.n_experts > 1).then(|| next().value),
        shared: (config.d_shared > 0).then(|| Expert {
            w_in: next(),
            w_out: next(),
        }),
    }
}

/// `[n_experts, 2 * width, d_model]` to `[2 * n_experts * width, d_model]`: the gates of all
/// experts, then their ups.
fn experts_in(label: &'static str, tensor: &Tensor, experts: usize, width: usize) -> Stored {
    let halves = (0..2).flat_map(|half| {
        (0..experts).flat_map(move |e| (0..width).map(move |w| (2 * e + half) * width + w))
    });
    let shape = [2 * experts * width, tensor.shape[2]];
    turned(rows(label, tensor, halves.collect(), &shape))
}

/// `[n_experts, d_model, width]` to `[d_model, n_experts * width]`.
fn experts_out(label: &'static str, tensor: &Tensor, experts: usize, d_model: usize) -> Stored {
    let order = (0..d_model).flat_map(|d| (0..experts).map(move |e| e * d_model + d));
    let shape = [d_model, experts * tensor.shape[2]];
    turned(rows(label, tensor, order.collect(), &shape))
}

/// `[d_model, n_experts]`.
fn router(tensor: &Tensor, config: &ModelConfig) -> Stored {
    turned(float(
        "router",
        tensor,
        vec![config.n_experts, config.d_model],
    ))
}

/// A tensor that is no matrix, in another shape.
fn float(label: &'static str, tensor: &Tensor, shape: Vec<usize>) -> Stored {
    let data = match &tensor.data {
        TensorData::F16(values) => Data::Halves(values.clone()),
        _ => Data::Floats(tensor.to_f32()),
    };
    Stored { label, shape, data }
}

/// The rows of a tensor in another order. Groups lie within rows, so their scales go with them.
fn rows(label: &'static str, tensor: &Tensor, order: Vec<usize>, shape: &[usize]) -> Stored {
    let width = *tensor.shape.last().expect("no matrix is a scalar");
    let data = match &tensor.data {
        TensorData::F32(values) => Data::Floats(permuted(values, width, &order)),
        TensorData::F16(values) => Data::Halves(permuted(values, width, &order)),
        TensorData::Int8 {
            values,
            scales,
            group,
        } => Data::Integers {
            is_int4: false,
            group: *group,
            values: permuted(values, width, &order),
            scales: permuted(scales, width / group, &order),
        },
        TensorData::Int4 {
            packed,
            scales,
            group,
        } => Data::Integers {
            is_int4: true,
            group: *group,
            values: permuted(&unpack(packed), width, &order),
            scales: permuted(scales, width / group, &order),
        },
    };
    drop(order);
    Stored {
        label,
        shape: shape.to_vec(),
        data,
    }
}

/// A matrix `[outputs, inputs]` of floats as `[inputs, outputs]`; integers are turned when written.
fn turned(stored: Stored) -> Stored {
    let [outputs, inputs] = stored.shape[..] else {
        unreachable!("a matrix has two dimensions");
    };
    let data = match stored.data {
        Data::Floats(values) => Data::Floats(turn(&values, outputs, inputs)),
        Data::Halves(values) => Data::Halves(turn(&values, outputs, inputs)),
        integers @ Data::Integers { .. } => {
            return Stored {
                data: integers,
                ..stored
            };
        }
    };
    Stored {
        shape: vec![inputs, outputs],
        data,
        ..stored
    }
}

fn permuted<T: Copy>(values: &[T], width: usize, order: &[usize]) -> Vec<T> {
    let rows = order.iter().map(|&row| &values[row * width..][..width]);
    rows.flatten().copied().collect()
}

/// `[.., rows, cols]` to `[.., cols, rows]`.
fn turn<T: Copy>(values: &[T], rows: usize, cols: usize) -> Vec<T> {
    let matrices = values.chunks_exact(rows * cols);
    let columns = matrices.flat_map(|m| (0..cols).flat_map(|col| m[col..].iter().step_by(cols)));
    columns.copied().collect()
}

/// Two values in a byte, the first in the low half: the order of checkpoints and of ONNX.
fn pack(integers: &[i8]) -> Vec<u8> {
    let nibble = |q: i8| q.cast_unsigned() & 0x0f;
    let pairs = integers.chunks(2);
    pairs
        .map(|pair| nibble(pair[0]) | nibble(pair.get(1).copied().unwrap_or(0)) << 4)
        .collect()
}

fn unpack(packed: &[u8]) -> Vec<i8> {
    let halves = |&byte: &u8| [(byte << 4).cast_signed() >> 4, byte.cast_signed() >> 4];
    packed.iter().flat_map(halves).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_lie_side_by_side() {
        // Two experts of width 2 on two inputs; the value names expert, row and column.
        let values = (0..16).map(|i| i as f32).collect();
        let w_in = experts_in("w_in", &Tensor::f32([2, 4, 2], values), 2, 2);
        assert_eq!(w_in.shape, [2, 8]);
        let Data::Floats(columns) = w_in.data else {
            panic!()
        };
        // Gates of expert 0 (rows 0, 1) and 1 (rows 4, 5), then the ups.
        assert_eq!(columns[..8], [0.0, 2.0, 8.0, 10.0, 4.0, 6.0, 12.0, 14.0]);
        let values = (0..8).map(|i| i as f32).collect();
        let w_out = experts_out("w_out", &Tensor::f32([2, 2, 2], values), 2, 2);
        let Data::Floats(columns) = w_out.data else {
            panic!()
        };
        // Output 0 takes rows 0 and 2, output 1 rows 1 and 3.
        assert_eq!(columns, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }

    #[test]
    fn packing_is_the_inverse_of_unpacking() {
        let integers: Vec<i8> = (-8..8).collect();
        assert_eq!(unpack(&pack(&integers)), integers);
        assert_eq!(
            pack(&[1, -1])[0],
            0xf1,
            "the first value is in the low half"
        );
    }

    #[test]
    fn stacks_of_matrices_turn_one_by_one() {
        assert_eq!(
            turn(&[1, 2, 3, 4, 5, 6, 7, 8], 2, 2),
            [1, 3, 2, 4, 5, 7, 6, 8]
        );
    }
}
