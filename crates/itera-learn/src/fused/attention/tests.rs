//! The operator against the same in plain tensor operations.

use burn::tensor::{Bool, Device, Tensor, TensorData, activation};

use super::*;
use crate::host;

const DIMS: AttentionDims = AttentionDims {
    batch: 2,
    length: 37,
    n_heads: 4,
    n_kv_heads: 2,
    head_dim: 6,
};

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Values without a pattern.
fn noise(len: usize, seed: f32) -> Vec<f32> {
    (0..len)
        .map(|i| 2.0 * ((i as f32 + seed) * 1.7).sin())
        .collect()
}

fn operator() -> Attention {
    let starts = |t: usize| if t >= 20 { 20 } else { 0 };
    let mut all: Vec<usize> = (0..DIMS.length).map(starts).collect();
    all.extend((0..DIMS.length).map(|t| t.saturating_sub(t % 9)));
    Attention {
        dims: DIMS,
        rope: Arc::new(Rope::new(DIMS.length, DIMS.head_dim)),
        starts: all.into(),
    }
}

/// Heads turned by a complex multiplication, `[batch, heads, length, head_dim]`.
fn turned(x: Tensor<4>, rope: &Rope) -> Tensor<4> {
    let [batch, heads, length, width] = x.dims();
    let device = x.device();
    let part = |pick: fn(&(f32, f32)) -> f32| {
        let values = rope.0.iter().map(pick).collect();
        tensor::<5>(values, [1, 1, length, width / 2, 1], &device)
    };
    let (cos, sin) = (part(|turn| turn.0), part(|turn| turn.1));
    let pairs = x.reshape([batch, heads, length, width / 2, 2]);
    let (a, b) = (pairs.clone().narrow(4, 0, 1), pairs.narrow(4, 1, 1));
    let real = a.clone() * cos.clone() - b.clone() * sin.clone();
    Tensor::cat(vec![real, a * sin + b * cos], 4).reshape([batch, heads, length, width])
}

/// The operator in plain tensor operations.
fn plain(op: &Attention, qkv: &Tensor<2>) -> Tensor<2> {
    let AttentionDims {
        batch,
        length,
        n_heads,
        n_kv_heads,
        head_dim,
    } = op.dims;
    let device = qkv.device();
    let heads = |from: usize, heads: usize| {
        let part = qkv.clone().narrow(1, from, heads * head_dim);
        let part = part
            .reshape([batch, length, heads, head_dim])
            .swap_dims(1, 2);
        let group = n_heads / heads;
        let shape = [batch, heads, group, length, head_dim];
        let part = part.unsqueeze_dim::<5>(2).expand(shape);
        part.reshape([batch, n_heads, length, head_dim])
    };
    let q = turned(heads(0, n_heads), &op.rope);
    let k = turned(heads(op.dims.d_query(), n_kv_heads), &op.rope);
    let v = heads(op.dims.d_query() + op.dims.d_key(), n_kv_heads);
    let hidden: Vec<bool> = (0..batch * length * length)
        .map(|i| {
            let (row, s) = (i / length, i % length);
            s < op.starts[row] || s > row % length
        })
        .collect();
    let shape = [batch, 1, length, length];
    let hidden = Tensor::<4, Bool>::from_data(TensorData::new(hidden, shape), &device);
    let scores = q.matmul(k.swap_dims(2, 3)) / (head_dim as f32).sqrt();
    let hidden = hidden.expand([batch, n_heads, length, length]);
    let p = activation::softmax(scores.mask_fill(hidden, -1e9), 3);
    let out = p.matmul(v).swap_dims(1, 2);
    out.reshape([batch * length, n_heads * head_dim])
}

#[test]
fn the_operator_and_its_gradient_are_those_of_plain_operations() {
    let device = Device::flex().autodiff();
    let op = operator();
    let rows = DIMS.batch * DIMS.length;
    let results = [true, false].map(|fused| {
        let values = noise(rows * DIMS.d_qkv(), 0.0);
        let qkv = tensor(values, [rows, DIMS.d_qkv()], &device).require_grad();
        let out = if fused {
            let inputs = [qkv.clone().into_dispatch()];
            Tensor::<2>::from_dispatch(host::apply(op.clone(), inputs).0)
        } else {
            plain(&op, &qkv)
        };
        let weights = tensor(noise(rows * DIMS.d_query(), 0.5), out.dims(), &device);
        let grads = (out.clone() * weights).sum().backward();
        let grad = qkv.grad(&grads).expect("a leaf has a gradient");
        [out.detach(), grad].map(|x| x.into_data().try_into_vec::<f32>().unwrap())
    });
    let [fused, plain] = results;
    for (fused, plain) in fused.iter().flatten().zip(plain.iter().flatten()) {
        assert!(
            (fused - plain).abs() < 2e-5 * (1.0 + plain.abs()),
            "{fused} and {plain}"
        );
    }
}
