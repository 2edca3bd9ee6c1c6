//! Gate and norm of the mixer, `norm(y silu(z))`, and their reverse, for one token.

use pulp::Simd;

use super::{
    lanes::{Lane, Vectors, ZERO, load, splat, store, sum},
    ssm::SsmDims,
};

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

/// What [`ungate`] reads of a token, each `[d_inner]`.
pub(super) struct Gated<'a> {
    pub(super) z: &'a [f32],
    /// Gain of the norm.
    pub(super) norm: &'a [f32],
    /// Gradient of the output.
    pub(super) grad: &'a [f32],
}

/// The reverse of gate and norm: turns `y` into its gradient, adds to the gradient of the norm's
/// gain, writes the gradient of `z`.
///
/// With `g = y silu(z)` and `xhat = g / rms(g)`: `dg = (dxhat - xhat mean(dxhat xhat)) / rms(g)`.
#[inline(always)]
pub(super) fn ungate<S: Simd>(
    v: Vectors<S>,
    dims: &SsmDims,
    y: &mut [Lane],
    token: &Gated<'_>,
    d_norm: &mut [f32],
    d_z: &mut [f32],
) {
    let (mut squares, mut products) = (ZERO, ZERO);
    for (block, y) in y.iter().enumerate() {
        let (silu, _) = v.silu(load(token.z, block));
        let gated = v.mul(*y, silu);
        let d_hat = v.mul(load(token.grad, block), load(token.norm, block));
        squares = v.fma(gated, gated, squares);
        products = v.fma(d_hat, gated, products);
    }
    let scale = scale(dims, squares);
    let mean = sum(products) / dims.d_inner as f32 * scale * scale;
    for (block, y) in y.iter_mut().enumerate() {
        let (silu, slope) = v.silu(load(token.z, block));
        let grad = load(token.grad, block);
        let gated = v.mul(*y, silu);
        let d_gain = v.fma(v.mul(grad, gated), splat(scale), load(d_norm, block));
        store(d_gain, block, d_norm);
        let d_hat = v.mul(grad, load(token.norm, block));
        let d_gated = v.mul(splat(scale), v.sub(d_hat, v.mul(gated, splat(mean))));
        store(v.mul(v.mul(d_gated, *y), slope), block, d_z);
        *y = v.mul(d_gated, silu);
    }
}
