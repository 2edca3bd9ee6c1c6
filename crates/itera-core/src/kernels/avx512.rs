//! AVX-512 with VNNI: a vector is one register, and `vpdpbusd` multiplies and adds 64 pairs of
//! 8-bit integers.

use core::arch::x86_64::{
    __m512, __m512i, _mm_storeu_si128, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512,
    _mm512_castps512_ps256, _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps, _mm512_cvtps_epi32,
    _mm512_div_ps, _mm512_dpbusd_epi32, _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps,
    _mm512_mul_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi16, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::{
    Op,
    lanes::{Block, Lanes, WIDTH, Weights, halves_by_dot4},
    x86::{has, sum_of_two},
};

/// Proof that this processor has AVX-512 F, BW, DQ, VL and VNNI, AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    /// `Some` if this CPU has the required features.
    pub(super) fn new() -> Option<Self> {
        let has = has!(
            "avx512f",
            "avx512bw",
            "avx512dq",
            "avx512vl",
            "avx512vnni",
            "avx2",
            "fma"
        );
        has.then_some(Self(()))
    }

    /// Runs `op` compiled for these instructions.
    pub(super) fn run<O: Op>(self, op: O) -> O::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
        fn compiled<O: Op>(lanes: Avx512, op: O) -> O::Output {
            op.run(lanes)
        }
        // SAFETY: `self` exists only where `new` found every feature that `compiled` enables.
        unsafe { compiled(self, op) }
    }
}

/// An intrinsic.
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: `self` proves that the processor has the instruction, see `Avx512::new`; where a
        // pointer is read or written, it comes from a reference to as many bytes as that takes.
        unsafe { $call }
    };
}

/// Methods that are one intrinsic.
macro_rules! binary {
    ($($name:ident = $intrinsic:ident),+) => {$(
        #[inline(always)]
        fn $name(self, a: Self::F, b: Self::F) -> Self::F {
            proven!($intrinsic(a, b))
        }
    )+};
}

impl Lanes for Avx512 {
    type F = __m512;
    type Sums = __m512i;
    type W = __m512i;

    const PANEL: usize = 4;
    const REGISTERS: usize = 32;
    const INPUT_OFFSET: i32 = 128;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        proven!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &Block) -> __m512 {
        proven!(_mm512_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut Block) {
        proven!(_mm512_storeu_ps(to.as_mut_ptr(), x));
    }

    binary!(
        add = _mm512_add_ps,
        sub = _mm512_sub_ps,
        mul = _mm512_mul_ps,
        div = _mm512_div_ps,
        min = _mm512_min_ps,
        max = _mm512_max_ps
    );

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proven!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        // 8: to nearest, ties to even, without raising the inexact flag; no fraction bits kept.
        proven!(_mm512_roundscale_ps::<8>(x))
    }

    #[inline(always)]
    fn scale_by_exp2(self, x: __m512, n: __m512) -> __m512 {
        proven!(_mm512_scalef_ps(x, n))
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        proven!(sum_of_two(
            _mm512_castps512_ps256(x),
            _mm512_extractf32x8_ps::<1>(x),
        ))
    }

    #[inline(always)]
    fn max_of_lanes(self, x: __m512) -> f32 {
        proven!(_mm512_reduce_max_ps(x))
    }

    #[inline(always)]
    fn store_bytes(self, x: __m512, to: &mut [u8; WIDTH]) {
        proven!({
            let offset = _mm512_set1_epi32(Self::INPUT_OFFSET);
            let bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(x), offset));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        });
    }

    #[inline(always)]
    fn load_weights(self, from: &Weights) -> __m512i {
        proven!(_mm512_loadu_si512(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn low_nibbles(self, w: __m512i) -> __m512i {
        self.high_nibbles(proven!(_mm512_slli_epi16::<4>(w)))
    }

    #[inline(always)]
    fn high_nibbles(self, w: __m512i) -> __m512i {
        proven!(_mm512_and_si512(w, _mm512_set1_epi8(!0x0f)))
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32; WIDTH]) -> __m512i {
        proven!(_mm512_loadu_si512(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn dot4(self, sums: __m512i, w: __m512i, x: [u8; 4]) -> __m512i {
        let x = i32::from_ne_bytes(x);
        proven!(_mm512_dpbusd_epi32(sums, _mm512_set1_epi32(x), w))
    }

    halves_by_dot4!();

    #[inline(always)]
    fn finish_sums(self, sums: __m512i) -> __m512 {
        proven!(_mm512_cvtepi32_ps(sums))
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> __m512 {
        let mask = first_lanes(from.len());
        proven!(_mm512_maskz_loadu_ps(mask, from.as_ptr()))
    }

    #[inline(always)]
    fn store_part(self, x: __m512, to: &mut [f32]) {
        let mask = first_lanes(to.len());
        proven!(_mm512_mask_storeu_ps(to.as_mut_ptr(), mask, x));
    }
}

/// A mask of the first `count` lanes; lanes outside are neither read nor written.
#[inline(always)]
fn first_lanes(count: usize) -> u16 {
    assert!(count <= WIDTH, "a vector has {WIDTH} lanes");
    ((1_u32 << count) - 1) as u16
}
