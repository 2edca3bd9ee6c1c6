//! Shared by the two x86-64 kernels, and products of bytes by what every x86-64 has.

use core::arch::x86_64::{
    __m128i, __m256, _mm_add_epi32, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cvtss_f32,
    _mm_loadu_si128, _mm_madd_epi16, _mm_max_ps, _mm_max_ss, _mm_movehl_ps, _mm_set1_epi16,
    _mm_set1_epi32, _mm_shuffle_ps, _mm_slli_epi16, _mm_srai_epi16, _mm_storeu_si128,
    _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
};

use super::lanes::{WIDTH, Weights};

/// Whether the processor has features; without std, whether the compiler takes them for granted.
macro_rules! has {
    ($($feature:tt),+) => {{
        #[cfg(feature = "std")]
        let has = $(is_x86_feature_detected!($feature))&&+;
        #[cfg(not(feature = "std"))]
        let has = $(cfg!(target_feature = $feature))&&+;
        has
    }};
}
pub(super) use has;

/// Inputs at even and at odd places, as pairs of 16 bits.
#[inline(always)]
fn pairs(x: [u8; 4]) -> [__m128i; 2] {
    // SAFETY: SSE2 is part of x86-64.
    unsafe {
        let x = _mm_set1_epi32(i32::from_ne_bytes(x));
        [
            _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(x)),
            _mm_srai_epi16::<8>(x),
        ]
    }
}

/// `Lanes::dot4` by the instructions that every x86-64 has: bytes become 16 bits where they stand.
#[inline(always)]
pub(super) fn dot4(mut sums: [i32; WIDTH], w: &Weights, x: [u8; 4]) -> [i32; WIDTH] {
    let [even, odd] = pairs(x);
    for (sums, w) in sums
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(w.as_chunks::<16>().0)
    {
        // SAFETY: as in `pairs`; 16 bytes are read and written where references lead to as many.
        unsafe {
            let w = _mm_loadu_si128(w.as_ptr().cast());
            let products = _mm_add_epi32(
                _mm_madd_epi16(_mm_srai_epi16::<8>(_mm_slli_epi16::<8>(w)), even),
                _mm_madd_epi16(_mm_srai_epi16::<8>(w), odd),
            );
            let before = _mm_loadu_si128(sums.as_ptr().cast());
            _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm_add_epi32(before, products));
        }
    }
    sums
}

/// `Lanes::dot8` in the same way, times 4096: a half byte is the top of 16 bits.
#[inline(always)]
pub(super) fn dot8(
    mut halves: [i32; WIDTH],
    w: &Weights,
    low: [u8; 4],
    high: [u8; 4],
) -> [i32; WIDTH] {
    let (low, high) = (pairs(low), pairs(high));
    for (sums, w) in halves
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(w.as_chunks::<16>().0)
    {
        // SAFETY: as in `dot4`.
        unsafe {
            let w = _mm_loadu_si128(w.as_ptr().cast());
            let top = _mm_set1_epi16(0xf000_u16.cast_signed());
            let low_products = _mm_add_epi32(
                _mm_madd_epi16(_mm_slli_epi16::<12>(w), low[0]),
                _mm_madd_epi16(_mm_and_si128(_mm_slli_epi16::<4>(w), top), low[1]),
            );
            let high_products = _mm_add_epi32(
                _mm_madd_epi16(_mm_and_si128(_mm_slli_epi16::<8>(w), top), high[0]),
                _mm_madd_epi16(_mm_and_si128(w, top), high[1]),
            );
            let products = _mm_add_epi32(low_products, high_products);
            let before = _mm_loadu_si128(sums.as_ptr().cast());
            _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm_add_epi32(before, products));
        }
    }
    halves
}

/// The sum of sixteen floats, `low` before `high`, in the order of `Lanes::sum`.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn sum_of_two(low: __m256, high: __m256) -> f32 {
    let eight = _mm256_add_ps(low, high);
    let four = _mm_add_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// The largest of eight floats.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn max_of_eight(eight: __m256) -> f32 {
    let four = _mm_max_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    );
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
}
