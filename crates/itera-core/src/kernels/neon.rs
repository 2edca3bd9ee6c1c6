//! NEON, which every 64-bit ARM processor has: a vector is four registers.

use core::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, int32x4x2_t, vaddq_f32, vaddq_s32, vandq_s8, vcombine_s8,
    vcombine_s16, vcvtnq_s32_f32, vcvtq_f32_s32, vdivq_f32, vdup_n_s32, vdupq_n_f32, vdupq_n_s8,
    vdupq_n_s32, vfmaq_f32, vget_high_s8, vget_low_s8, vld1q_f32, vld1q_s8, vld1q_s32, vmaxq_f32,
    vmaxvq_f32, vminq_f32, vmovn_s16, vmovn_s32, vmull_s8, vmulq_f32, vpadalq_s16, vpaddq_s32,
    vreinterpret_s8_s32, vreinterpretq_f32_s32, vrndnq_f32, vshlq_n_s8, vshlq_n_s32, vst1q_f32,
    vst1q_s8, vsubq_f32, vzipq_s32,
};

use super::{
    Op,
    lanes::{self, Block, Lanes, WIDTH, Weights, halves_by_dot4},
};

/// Proof that this processor has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neon(());

impl Neon {
    /// `Some` if this CPU has the required features.
    pub(super) fn new() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Self(()))
    }

    /// Runs `op` compiled for these instructions.
    pub(super) fn run<O: Op>(self, op: O) -> O::Output {
        #[target_feature(enable = "neon")]
        fn compiled<O: Op>(lanes: Neon, op: O) -> O::Output {
            op.run(lanes)
        }
        // SAFETY: `self` exists only where `new` found every feature that `compiled` enables.
        unsafe { compiled(self, op) }
    }
}

/// An intrinsic for each of the four registers.
macro_rules! four {
    ($i:ident => $call:expr) => {
        // SAFETY: `self` proves that the processor has the instruction, see `Neon::new`; where a
        // pointer is read or written, it comes from a reference to as many bytes as that takes.
        unsafe { lanes::four!($i => $call) }
    };
}

/// Methods that are one intrinsic for each register.
macro_rules! binary {
    ($($name:ident = $intrinsic:ident),+) => {$(
        #[inline(always)]
        fn $name(self, a: Self::F, b: Self::F) -> Self::F {
            four!(i => $intrinsic(a[i], b[i]))
        }
    )+};
}

impl Lanes for Neon {
    type F = [float32x4_t; 4];
    /// Register `2 i` and `2 i + 1` hold rows `4 i` to `4 i + 3`, two partial sums of each.
    type Sums = [int32x4_t; 8];
    type W = [int8x16_t; 4];

    const PANEL: usize = 4;
    const REGISTERS: usize = 8;
    const INPUT_OFFSET: i32 = 0;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        four!(_i => vdupq_n_f32(x))
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::F {
        let (quarters, _) = from.as_chunks::<4>();
        four!(i => vld1q_f32(quarters[i].as_ptr()))
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut Block) {
        let (quarters, _) = to.as_chunks_mut::<4>();
        four!(i => vst1q_f32(quarters[i].as_mut_ptr(), x[i]));
    }

    binary!(
        add = vaddq_f32,
        sub = vsubq_f32,
        mul = vmulq_f32,
        div = vdivq_f32,
        min = vminq_f32,
        max = vmaxq_f32
    );

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        four!(i => vfmaq_f32(c[i], a[i], b[i]))
    }

    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        four!(i => vrndnq_f32(x[i]))
    }

    #[inline(always)]
    fn scale_by_exp2(self, x: Self::F, n: Self::F) -> Self::F {
        four!(i => {
            let exponent = vaddq_s32(vcvtnq_s32_f32(n[i]), vdupq_n_s32(127));
            vmulq_f32(x[i], vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        })
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        let mut block = [0.0; WIDTH];
        self.store(x, &mut block);
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                block[i] += block[i + half];
            }
        }
        block[0]
    }

    #[inline(always)]
    fn max_of_lanes(self, x: Self::F) -> f32 {
        let largest: [f32; 4] = four!(i => vmaxvq_f32(x[i]));
        largest.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn store_bytes(self, x: Self::F, to: &mut [u8; WIDTH]) {
        let words = four!(i => vmovn_s32(vcvtnq_s32_f32(x[i])));
        // SAFETY: see `four!`.
        unsafe {
            let low = vmovn_s16(vcombine_s16(words[0], words[1]));
            let high = vmovn_s16(vcombine_s16(words[2], words[3]));
            vst1q_s8(to.as_mut_ptr().cast(), vcombine_s8(low, high));
        }
    }

    #[inline(always)]
    fn load_weights(self, from: &Weights) -> Self::W {
        let quarters = from.as_chunks::<16>().0;
        four!(i => vld1q_s8(quarters[i].as_ptr()))
    }

    #[inline(always)]
    fn low_nibbles(self, w: Self::W) -> Self::W {
        four!(i => vshlq_n_s8::<4>(w[i]))
    }

    #[inline(always)]
    fn high_nibbles(self, w: Self::W) -> Self::W {
        four!(i => vandq_s8(w[i], vdupq_n_s8(!0x0f)))
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32; WIDTH]) -> Self::Sums {
        // A row's sum goes into the first of its two parts.
        let quarters = from.as_chunks::<4>().0;
        let zipped: [int32x4x2_t; 4] =
            four!(i => vzipq_s32(vld1q_s32(quarters[i].as_ptr()), vdupq_n_s32(0)));
        let [a, b, c, d] = zipped;
        [a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1]
    }

    #[inline(always)]
    fn dot4(self, sums: Self::Sums, w: Self::W, x: [u8; 4]) -> Self::Sums {
        let mut out = sums;
        // SAFETY: see `four!`.
        unsafe {
            let x = vreinterpret_s8_s32(vdup_n_s32(i32::from_ne_bytes(x)));
            for i in 0..4 {
                let low = vmull_s8(vget_low_s8(w[i]), x);
                let high = vmull_s8(vget_high_s8(w[i]), x);
                out[2 * i] = vpadalq_s16(sums[2 * i], low);
                out[2 * i + 1] = vpadalq_s16(sums[2 * i + 1], high);
            }
        }
        out
    }

    halves_by_dot4!();

    #[inline(always)]
    fn finish_sums(self, sums: Self::Sums) -> Self::F {
        four!(i => vcvtq_f32_s32(vpaddq_s32(sums[2 * i], sums[2 * i + 1])))
    }
}
