//! AVX2 with FMA: a vector is two registers. Bytes are multiplied by `vpmaddubsw`, which adds two products in 16
//! bits; no sum here leaves them.

use core::arch::x86_64::{
    __m256, __m256i, _mm_packs_epi16, _mm_packs_epi32, _mm_storeu_si128, _mm256_abs_epi8,
    _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cvtepi32_ps, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_round_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi16, _mm256_slli_epi32,
    _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_epi32, _mm256_sub_ps, _mm256_xor_si256,
};

use super::{
    Op,
    lanes::{Block, Lanes, WIDTH, Weights},
    x86::{has, max_of_eight, sum_of_two},
};

/// Proof that this processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    /// `Some` if this CPU has the required features.
    pub(super) fn new() -> Option<Self> {
        has!("avx2", "fma").then_some(Self(()))
    }

    /// Runs `op` compiled for these instructions.
    pub(super) fn run<O: Op>(self, op: O) -> O::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<O: Op>(lanes: Avx2, op: O) -> O::Output {
            op.run(lanes)
        }
        // SAFETY: `self` exists only where `new` found every feature that `compiled` enables.
        unsafe { compiled(self, op) }
    }
}

/// An intrinsic.
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: `self` proves that the processor has the instruction, see `Avx2::new`; where a
        // pointer is read or written, it comes from a reference to as many bytes as that takes.
        unsafe { $call }
    };
}

/// The same for both registers.
macro_rules! both {
    ($i:ident => $call:expr) => {
        [
            {
                let $i = 0;
                $call
            },
            {
                let $i = 1;
                $call
            },
        ]
    };
}

/// Methods that are one intrinsic for each register.
macro_rules! binary {
    ($($name:ident = $intrinsic:ident),+) => {$(
        #[inline(always)]
        fn $name(self, a: Self::F, b: Self::F) -> Self::F {
            proven!([$intrinsic(a[0], b[0]), $intrinsic(a[1], b[1])])
        }
    )+};
}

impl Lanes for Avx2 {
    type F = [__m256; 2];
    type Sums = [__m256i; 2];
    type Halves = [__m256i; 2];
    type W = [__m256i; 2];

    const PANEL: usize = 4;
    const REGISTERS: usize = 8;
    const INPUT_OFFSET: i32 = 0;
    const NEEDS_TOTALS: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        proven!([_mm256_set1_ps(x), _mm256_set1_ps(x)])
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::F {
        let (halves, _) = from.as_chunks::<8>();
        proven!([
            _mm256_loadu_ps(halves[0].as_ptr()),
            _mm256_loadu_ps(halves[1].as_ptr())
        ])
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut Block) {
        let (halves, _) = to.as_chunks_mut::<8>();
        proven!({
            _mm256_storeu_ps(halves[0].as_mut_ptr(), x[0]);
            _mm256_storeu_ps(halves[1].as_mut_ptr(), x[1]);
        });
    }

    binary!(
        add = _mm256_add_ps,
        sub = _mm256_sub_ps,
        mul = _mm256_mul_ps,
        div = _mm256_div_ps,
        min = _mm256_min_ps,
        max = _mm256_max_ps
    );

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        proven!([
            _mm256_fmadd_ps(a[0], b[0], c[0]),
            _mm256_fmadd_ps(a[1], b[1], c[1])
        ])
    }

    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        // 8: to nearest, ties to even, without raising the inexact flag.
        proven!([_mm256_round_ps::<8>(x[0]), _mm256_round_ps::<8>(x[1])])
    }

    #[inline(always)]
    fn scale_by_exp2(self, x: Self::F, n: Self::F) -> Self::F {
        proven!(both!(i => {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n[i]), _mm256_set1_epi32(127));
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
            _mm256_mul_ps(x[i], power)
        }))
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        proven!(sum_of_two(x[0], x[1]))
    }

    #[inline(always)]
    fn max_of_lanes(self, x: Self::F) -> f32 {
        proven!(max_of_eight(_mm256_max_ps(x[0], x[1])))
    }

    #[inline(always)]
    fn store_bytes(self, x: Self::F, to: &mut [u8; WIDTH]) {
        proven!({
            let words = both!(i => {
                let wide = _mm256_cvtps_epi32(x[i]);
                _mm_packs_epi32(
                    _mm256_castsi256_si128(wide),
                    _mm256_extracti128_si256::<1>(wide),
                )
            });
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packs_epi16(words[0], words[1]));
        });
    }

    #[inline(always)]
    fn load_weights(self, from: &Weights) -> Self::W {
        let (halves, _) = from.as_chunks::<32>();
        proven!(both!(i => _mm256_loadu_si256(halves[i].as_ptr().cast())))
    }

    #[inline(always)]
    fn low_nibbles(self, w: Self::W) -> Self::W {
        self.high_nibbles(proven!(both!(i => _mm256_slli_epi16::<4>(w[i]))))
    }

    #[inline(always)]
    fn high_nibbles(self, w: Self::W) -> Self::W {
        proven!(both!(i => _mm256_and_si256(w[i], _mm256_set1_epi8(!0x0f))))
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32; WIDTH]) -> Self::Sums {
        let (halves, _) = from.as_chunks::<8>();
        proven!(both!(i => _mm256_loadu_si256(halves[i].as_ptr().cast())))
    }

    #[inline(always)]
    fn dot4(self, sums: Self::Sums, w: Self::W, x: [u8; 4]) -> Self::Sums {
        // One side must be without a sign, so it goes to the other: at most 2 * 128 * 127.
        proven!({
            let x = _mm256_set1_epi32(i32::from_ne_bytes(x));
            both!(i => {
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[i]), _mm256_sign_epi8(x, w[i]));
                _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            })
        })
    }

    #[inline(always)]
    fn begin_halves(self, _: Self::Sums) -> Self::Halves {
        proven!([_mm256_setzero_si256(); 2])
    }

    #[inline(always)]
    fn dot8(self, halves: Self::Halves, w: Self::W, low: [u8; 4], high: [u8; 4]) -> Self::Halves {
        // Halves plus 8 have no sign. A pair is at most 2 * 15 * 127, eight of them fit in 16 bits.
        proven!({
            let x = [
                _mm256_set1_epi32(i32::from_ne_bytes(low)),
                _mm256_set1_epi32(i32::from_ne_bytes(high)),
            ];
            let half = _mm256_set1_epi8(0x0f);
            both!(i => {
                let w = _mm256_xor_si256(w[i], _mm256_set1_epi8(0x88_u8.cast_signed()));
                let low = _mm256_and_si256(w, half);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(w), half);
                let sums = _mm256_add_epi16(halves[i], _mm256_maddubs_epi16(low, x[0]));
                _mm256_add_epi16(sums, _mm256_maddubs_epi16(high, x[1]))
            })
        })
    }

    #[inline(always)]
    fn finish_halves(self, sums: Self::Sums, halves: Self::Halves, total: i32) -> Self::Sums {
        // What 8 too much in each weight has added is taken off.
        proven!({
            let surplus = _mm256_set1_epi32(16 * 8 * total);
            both!(i => {
                let pairs = _mm256_madd_epi16(halves[i], _mm256_set1_epi16(16));
                _mm256_add_epi32(sums[i], _mm256_sub_epi32(pairs, surplus))
            })
        })
    }

    #[inline(always)]
    fn finish_sums(self, sums: Self::Sums) -> Self::F {
        proven!(both!(i => _mm256_cvtepi32_ps(sums[i])))
    }
}
