//! NEON with products of four bytes at once (`sdot`), which processors have since Armv8.4 and many before.

use core::arch::{
    aarch64::{int8x16_t, int32x4_t, vcvtq_f32_s32, vdupq_n_s32, vld1q_s32, vreinterpretq_s8_s32},
    asm,
};

use super::{
    Op,
    lanes::{self, Block, Lanes, WIDTH, Weights, floats_of, halves_by_dot4, same},
    neon::Neon,
};

/// Proof that this processor has NEON and its dot products. Floats are those of [`Neon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeonDotprod(Neon);

impl NeonDotprod {
    /// `Some` if this CPU has the required features.
    pub(super) fn new() -> Option<Self> {
        #[cfg(feature = "std")]
        let has = std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(feature = "std"))]
        let has = cfg!(target_feature = "dotprod");
        Neon::new().filter(|_| has).map(Self)
    }

    /// Runs `op` compiled for these instructions.
    pub(super) fn run<O: Op>(self, op: O) -> O::Output {
        #[target_feature(enable = "neon,dotprod")]
        fn compiled<O: Op>(lanes: NeonDotprod, op: O) -> O::Output {
            op.run(lanes)
        }
        // SAFETY: `self` exists only where `new` found every feature that `compiled` enables.
        unsafe { compiled(self, op) }
    }
}

/// An expression for each of the four registers.
macro_rules! four {
    ($i:ident => $call:expr) => {
        // SAFETY: `self` proves that the processor has the instruction, see `NeonDotprod::new`; where a
        // pointer is read, it comes from a reference to as many bytes as that takes.
        unsafe { lanes::four!($i => $call) }
    };
}

impl Lanes for NeonDotprod {
    type Sums = [int32x4_t; 4];
    type W = <Neon as Lanes>::W;

    const PANEL: usize = Neon::PANEL;
    const REGISTERS: usize = Neon::REGISTERS;
    const INPUT_OFFSET: i32 = Neon::INPUT_OFFSET;

    floats_of!(Neon);

    same! {
        fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
        load_weights(from: &Weights) -> Self::W;
        low_nibbles(w: Self::W) -> Self::W;
        high_nibbles(w: Self::W) -> Self::W;
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32; WIDTH]) -> Self::Sums {
        let quarters = from.as_chunks::<4>().0;
        four!(i => vld1q_s32(quarters[i].as_ptr()))
    }

    #[inline(always)]
    fn dot4(self, sums: Self::Sums, w: Self::W, x: [u8; 4]) -> Self::Sums {
        // The four bytes stand in each lane.
        let x = i32::from_ne_bytes(x);
        four!(i => sdot(sums[i], w[i], vreinterpretq_s8_s32(vdupq_n_s32(x))))
    }

    halves_by_dot4!();

    #[inline(always)]
    fn finish_sums(self, sums: Self::Sums) -> Self::F {
        four!(i => vcvtq_f32_s32(sums[i]))
    }
}

/// `sums[lane] += w[lane] . x[lane]` over four bytes each.
///
/// # Safety
/// The processor must have the instruction.
#[inline(always)]
unsafe fn sdot(mut sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: it reads and writes registers alone. The intrinsic, `vdotq_s32`, is not stable.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
