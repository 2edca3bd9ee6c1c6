//! `RMSNorm(x) = x / sqrt(mean(x²) + eps) * gain`.

use pulp::Simd;

use super::lanes::{Kernel, Vectors, dispatch, dot};
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
        dispatch(Forward {
            norm: self,
            x,
            gain,
            out: &mut out,
        });
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
        dispatch(Backward {
            norm: self,
            x,
            gain,
            grad,
            d_x: &mut d_x,
            d_gain: &mut d_gain,
        });
        [d_x, d_gain]
    }
}

struct Forward<'a> {
    norm: &'a RmsNorm,
    x: &'a [f32],       // [rows, width]
    gain: &'a [f32],    // [width]
    out: &'a mut [f32], // [rows, width]
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let width = self.gain.len();
        let rows = self.x.chunks_exact(width);
        for (x, out) in rows.zip(self.out.chunks_exact_mut(width)) {
            let scale = self.norm.scale(v, x);
            for ((out, x), gain) in out.iter_mut().zip(x).zip(self.gain) {
                *out = x * scale * gain;
            }
        }
    }
}

/// `dx = (g - xhat mean(g xhat)) / rms(x)` with `g = grad * gain`.
struct Backward<'a> {
    norm: &'a RmsNorm,
    x: &'a [f32],          // [rows, width]
    gain: &'a [f32],       // [width]
    grad: &'a [f32],       // [rows, width]
    d_x: &'a mut [f32],    // [rows, width]
    d_gain: &'a mut [f32], // [width]
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let (width, d_gain) = (self.gain.len(), self.d_gain);
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.grad.chunks_exact(width));
        for ((x, grad), d_x) in rows.zip(self.d_x.chunks_exact_mut(width)) {
            let scale = self.norm.scale(v, x);
            for ((d_x, grad), gain) in d_x.iter_mut().zip(grad).zip(self.gain) {
                *d_x = grad * gain;
            }
            let mean = dot(v, d_x, x) / width as f32 * scale * scale;
            let pairs = d_x.iter_mut().zip(x);
            for ((d_x, x), (d_gain, grad)) in pairs.zip(d_gain.iter_mut().zip(grad)) {
                *d_gain += grad * x * scale;
                *d_x = scale * (*d_x - x * mean);
            }
        }
    }
}
