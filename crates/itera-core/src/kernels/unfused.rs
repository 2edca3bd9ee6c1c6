//! Lanes that round twice where others round once, so that every processor computes the same.

use super::{
    Op,
    lanes::{Block, Lanes, WIDTH, Weights, floats_of, same},
};

/// The lanes of `L`, but for [`fma`](Lanes::fma), which is a multiplication and an addition: what [`Scalar`] does.
///
/// With them a result is the same to the last bit on every kernel. A fused operation in software would be slow where
/// it is missing (WebAssembly, small controllers), and this costs little where it is not.
///
/// [`Scalar`]: super::scalar::Scalar
#[derive(Clone, Copy, Debug)]
struct Unfused<L>(L);

/// An operation on [`Unfused`] lanes.
pub(super) struct WithoutFma<O>(pub(super) O);

impl<O: Op> Op for WithoutFma<O> {
    type Output = O::Output;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> O::Output {
        self.0.run(Unfused(l))
    }
}

impl<L: Lanes> Lanes for Unfused<L> {
    type Sums = L::Sums;
    type Halves = L::Halves;
    type W = L::W;

    const PANEL: usize = L::PANEL;
    const REGISTERS: usize = L::REGISTERS;
    const INPUT_OFFSET: i32 = L::INPUT_OFFSET;
    const NEEDS_TOTALS: bool = L::NEEDS_TOTALS;

    #[inline(always)]
    fn fma(self, a: L::F, b: L::F, c: L::F) -> L::F {
        self.0.add(self.0.mul(a, b), c)
    }

    floats_of!(L);

    same! {
        load_weights(from: &Weights) -> L::W;
        low_nibbles(w: L::W) -> L::W;
        high_nibbles(w: L::W) -> L::W;
        load_sums(from: &[i32; WIDTH]) -> L::Sums;
        dot4(sums: L::Sums, w: L::W, x: [u8; 4]) -> L::Sums;
        finish_sums(sums: L::Sums) -> L::F;
        begin_halves(sums: L::Sums) -> L::Halves;
        dot8(halves: L::Halves, w: L::W, low: [u8; 4], high: [u8; 4]) -> L::Halves;
        finish_halves(sums: L::Sums, halves: L::Halves, total: i32) -> L::Sums;
    }
}
