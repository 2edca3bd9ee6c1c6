//! Gate and norm of the mixer, `norm(y silu(z))`, and their reverse, for one token.

use pulp::Simd;

use super::dims::SsmDims;
use crate::fused::lanes::{Lane, Vectors, ZERO, load, splat, store, sum};

/// `out = y silu(z)`; returns `1 / rms(out)`.
#[inline(always)]
pub(super) fn gate<S: Simd>(
    v: Vectors<S>,
    dims: &SsmDims,
    y: &[Lane],
    z: &[f32],
    out: &mut [f32],
) -> f32 {
    let mut squares = ZERO;
    for (block, y) in y.iter().enumerate() {
        let z = load(z, block);
        let gated = v.mul(v.mul(*y, z), v.sigmoid(z));
        squares = v.fma(gated, gated, squares);
        store(gated, block, out);
    }
    scale(dims, squares)
}

/// `1 / rms` of values with these sums of squares.
#[inline(always)]
fn scale(dims: &SsmDims, squares: Lane) -> f32 {
    (sum(squares) / dims.d_inner as f32 + dims.norm_eps)
        .sqrt()
        .recip()
}

/// A token for [`ungate`]; slices are `[d_inner]`, lanes `[blocks]`.
pub(super) struct Gated<'a> {
    pub(super) z: &'a [f32],
    /// Gain of the norm.
    pub(super) norm: &'a [f32],
    /// Gradient of the output.
    pub(super) grad: &'a [f32],
    /// Output of the recurrence; becomes its gradient.
    pub(super) y: &'a mut [Lane],
    /// Gradient of the gain, which is added to.
    pub(super) d_norm: &'a mut [f32],
    /// Gradient of `z`, which is written.
    pub(super) d_z: &'a mut [f32],
}

/// The reverse of gate and norm. With `g = y silu(z)` and `xhat = g / rms(g)`:
/// `dg = (dxhat - xhat mean(dxhat xhat)) / rms(g)`.
#[inline(always)]
pub(super) fn ungate<S: Simd>(v: Vectors<S>, dims: &SsmDims, token: Gated<'_>) {
    let Gated {
        z,
        norm,
        grad,
        y,
        d_norm,
        d_z,
    } = token;
    let (mut squares, mut products) = (ZERO, ZERO);
    for (block, y) in y.iter().enumerate() {
        let (silu, _) = v.silu(load(z, block));
        let gated = v.mul(*y, silu);
        let d_hat = v.mul(load(grad, block), load(norm, block));
        squares = v.fma(gated, gated, squares);
        products = v.fma(d_hat, gated, products);
    }
    let scale = scale(dims, squares);
    let mean = sum(products) / dims.d_inner as f32 * scale * scale;
    for (block, y) in y.iter_mut().enumerate() {
        let (silu, slope) = v.silu(load(z, block));
        let grad = load(grad, block);
        let gated = v.mul(*y, silu);
        let d_gain = v.fma(v.mul(grad, gated), splat(scale), load(d_norm, block));
        store(d_gain, block, d_norm);
        let d_hat = v.mul(grad, load(norm, block));
        let d_gated = v.mul(splat(scale), v.sub(d_hat, v.mul(gated, splat(mean))));
        store(v.mul(v.mul(d_gated, *y), slope), block, d_z);
        *y = v.mul(d_gated, silu);
    }
}
