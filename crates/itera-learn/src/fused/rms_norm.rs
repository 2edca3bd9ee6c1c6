//! `RMSNorm(x) = x / sqrt(mean(x²) + eps) * gain`.

use pulp::Simd;

use super::lanes::{Vectors, dispatch, dot, kernel};
use crate::host::{HostBackend, Operator};

/// # Shapes
/// Inputs: `x [rows, width]`, `gain [width]`. Output: `[rows, width]`.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    pub eps: f32,
}

impl RmsNorm {
    /// `1 / sqrt(mean(x²) + eps)`.
    #[inline(always)]
    fn scale<S: Simd>(&self, v: Vectors<S>, x: &[f32]) -> f32 {
        (dot(v, x, x) / x.len() as f32 + self.eps).sqrt().recip()
    }
}

impl Operator<2> for RmsNorm {
    type Saved = ();

    fn forward<B: HostBackend>(&self, [x, gain]: [&[f32]; 2]) -> (Vec<f32>, Vec<usize>, ()) {
        let width = gain.len();
        let mut out = vec![0.0; x.len()];
        dispatch(Forward((self, x, gain, &mut out)));
        (out, vec![x.len() / width, width], ())
    }

    fn backward<B: HostBackend>(
        &self,
        [x, gain]: [&[f32]; 2],
        (): (),
        grad: &[f32],
    ) -> [Vec<f32>; 2] {
        let width = gain.len();
        let (mut d_x, mut d_gain) = (vec![0.0; x.len()], vec![0.0; width]);
        dispatch(Backward((self, x, gain, grad, &mut d_x, &mut d_gain)));
        [d_x, d_gain]
    }
}

type ForwardArgs<'a> = (&'a RmsNorm, &'a [f32], &'a [f32], &'a mut [f32]);
kernel!(Forward<'a>(ForwardArgs<'a>) -> () = forward);

#[inline(always)]
fn forward<S: Simd>(v: Vectors<S>, (norm, x, gain, out): ForwardArgs<'_>) {
    let width = gain.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let scale = norm.scale(v, x);
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = x * scale * gain;
        }
    }
}

type BackwardArgs<'a> = (
    &'a RmsNorm,
    &'a [f32],
    &'a [f32],
    &'a [f32],
    &'a mut [f32],
    &'a mut [f32],
);

kernel!(Backward<'a>(BackwardArgs<'a>) -> () = backward);

/// `dx = (g - xhat mean(g xhat)) / rms(x)` with `g = grad * gain`.
#[inline(always)]
fn backward<S: Simd>(v: Vectors<S>, (norm, x, gain, grad, d_x, d_gain): BackwardArgs<'_>) {
    let width = gain.len();
    let rows = x.chunks_exact(width).zip(grad.chunks_exact(width));
    for ((x, grad), d_x) in rows.zip(d_x.chunks_exact_mut(width)) {
        let scale = norm.scale(v, x);
        for ((d_x, grad), gain) in d_x.iter_mut().zip(grad).zip(gain) {
            *d_x = grad * gain;
        }
        let mean = dot(v, d_x, x) / width as f32 * scale * scale;
        for ((d_x, x), (d_gain, grad)) in d_x.iter_mut().zip(x).zip(d_gain.iter_mut().zip(grad)) {
            *d_gain += grad * x * scale;
            *d_x = scale * (*d_x - x * mean);
        }
    }
}
