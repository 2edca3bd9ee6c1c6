//! Dropout of the outputs that layers add to the residual stream (Srivastava et al. 2014; placed as in Vaswani et
//! al. 2017, section 5.4).

use burn::tensor::{Tensor, TensorData};
use itera_data::{Domain, rng};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// The draws of one replica for one step.
#[derive(Debug)]
pub struct Dropout {
    rate: f32,
    rng: ChaCha8Rng,
}

impl Dropout {
    /// Keeps everything.
    pub(crate) fn none() -> Self {
        Self::new(0.0, 0, 0)
    }

    /// Drops with probability `rate`; `stream` differs for every step and replica, so that a resumed
    /// run draws what an uninterrupted one draws.
    pub(crate) fn new(rate: f32, seed: u64, stream: u64) -> Self {
        Self {
            rate,
            rng: rng(seed, Domain::Dropout, stream),
        }
    }

    /// `x` with elements dropped and the others scaled up, so that the mean stays.
    ///
    /// # Shapes
    /// `x [..., d_model]`, the result alike.
    pub(crate) fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        if self.rate == 0.0 {
            return x;
        }
        let (dims, device) = (x.dims(), x.device());
        let kept = 1.0 / (1.0 - self.rate);
        let mut draw = || {
            if self.rng.random::<f32>() < self.rate {
                0.0
            } else {
                kept
            }
        };
        let mask: Vec<f32> = (0..dims.iter().product()).map(|_| draw()).collect();
        x * Tensor::from_data(TensorData::new(mask, dims), &device)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn dropped(stream: u64) -> Vec<f32> {
        let ones = Tensor::<2>::ones([100, 50], &Device::flex());
        let x = Dropout::new(0.2, 7, stream).apply(ones);
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn a_share_is_dropped_and_the_mean_stays() {
        let x = dropped(1);
        let zeros = x.iter().filter(|x| **x == 0.0).count() as f32 / x.len() as f32;
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        assert!((zeros - 0.2).abs() < 0.02, "{zeros}");
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
    }

    #[test]
    fn draws_depend_on_the_stream_alone() {
        assert_eq!(dropped(1), dropped(1));
        assert_ne!(dropped(1), dropped(2));
    }
}
