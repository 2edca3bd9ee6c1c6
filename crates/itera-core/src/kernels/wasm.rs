//! WebAssembly's vectors of 128 bits: a vector is four of them.
//!
//! There is no fused multiply-add without relaxed instructions, whose results differ between machines. So everything
//! here equals [`Scalar`](super::scalar::Scalar) to the last bit, floats too.

use core::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_div, f32x4_extract_lane, f32x4_mul, f32x4_nearest,
    f32x4_pmax, f32x4_pmin, f32x4_splat, f32x4_sub, i8x16_narrow_i16x8, i8x16_shl, i8x16_shuffle,
    i8x16_splat, i16x8_narrow_i32x4, i16x8_shl, i16x8_shr, i16x8_splat, i32x4_add, i32x4_dot_i16x8,
    i32x4_shl, i32x4_shr, i32x4_splat, i32x4_sub, v128, v128_and, v128_load, v128_store,
};

use super::lanes::{Block, Lanes, WIDTH, Weights, four};

/// 1.5 * 2^23: adding it rounds to an integer, ties to even, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Only in code that was compiled for these vectors, so no processor has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Simd128;

/// Methods that are one intrinsic for each vector.
macro_rules! binary {
    ($($name:ident = $intrinsic:ident),+) => {$(
        #[inline(always)]
        fn $name(self, a: Self::F, b: Self::F) -> Self::F {
            four!(i => $intrinsic(a[i], b[i]))
        }
    )+};
}

impl Lanes for Simd128 {
    type F = [v128; 4];
    type Sums = [v128; 4];
    /// Sums times 256.
    type Halves = [v128; 4];
    type W = [v128; 4];

    const PANEL: usize = 2;
    const REGISTERS: usize = 4;
    const INPUT_OFFSET: i32 = 0;
    const NEEDS_TOTALS: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [f32x4_splat(x); 4]
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::F {
        let quarters = from.as_chunks::<4>().0;
        four!(i => load(&quarters[i]))
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut Block) {
        let quarters = to.as_chunks_mut::<4>().0;
        four!(i => store(&mut quarters[i], x[i]));
    }

    binary!(
        add = f32x4_add,
        sub = f32x4_sub,
        mul = f32x4_mul,
        div = f32x4_div
    );

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        four!(i => f32x4_pmin(b[i], a[i]))
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        four!(i => f32x4_pmax(b[i], a[i]))
    }

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        four!(i => f32x4_add(f32x4_mul(a[i], b[i]), c[i]))
    }

    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        four!(i => f32x4_nearest(x[i]))
    }

    #[inline(always)]
    fn scale_by_exp2(self, x: Self::F, n: Self::F) -> Self::F {
        // The biased exponent stands in the low bits of the sum; the shift drops the others.
        let biased = f32x4_splat(ROUND + 127.0);
        four!(i => f32x4_mul(x[i], i32x4_shl(f32x4_add(n[i], biased), 23)))
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        let quarter = f32x4_add(f32x4_add(x[0], x[2]), f32x4_add(x[1], x[3]));
        let half = f32x4_add(quarter, upper_half(quarter));
        f32x4_extract_lane::<0>(half) + f32x4_extract_lane::<1>(half)
    }

    #[inline(always)]
    fn max_of_lanes(self, x: Self::F) -> f32 {
        let quarter = f32x4_pmax(f32x4_pmax(x[0], x[1]), f32x4_pmax(x[2], x[3]));
        let half = f32x4_pmax(quarter, upper_half(quarter));
        f32x4_extract_lane::<0>(half).max(f32x4_extract_lane::<1>(half))
    }

    #[inline(always)]
    fn store_bytes(self, x: Self::F, to: &mut [u8; WIDTH]) {
        let words: [v128; 4] = four!(i => {
            let rounded = f32x4_add(x[i], f32x4_splat(ROUND));
            i32x4_sub(rounded, f32x4_splat(ROUND))
        });
        let low = i16x8_narrow_i32x4(words[0], words[1]);
        let high = i16x8_narrow_i32x4(words[2], words[3]);
        store(to, i8x16_narrow_i16x8(low, high));
    }

    #[inline(always)]
    fn load_weights(self, from: &Weights) -> Self::W {
        let quarters = from.as_chunks::<16>().0;
        four!(i => load(&quarters[i]))
    }

    #[inline(always)]
    fn low_nibbles(self, w: Self::W) -> Self::W {
        four!(i => i8x16_shl(w[i], 4))
    }

    #[inline(always)]
    fn high_nibbles(self, w: Self::W) -> Self::W {
        four!(i => v128_and(w[i], i8x16_splat(!0x0f)))
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32; WIDTH]) -> Self::Sums {
        let quarters = from.as_chunks::<4>().0;
        four!(i => load(&quarters[i]))
    }

    #[inline(always)]
    fn dot4(self, sums: Self::Sums, w: Self::W, x: [u8; 4]) -> Self::Sums {
        // The first and third input of each row, then the second and fourth: a sum of two is a row's.
        let x = i32x4_splat(i32::from_ne_bytes(x));
        let (x_even, x_odd) = (even_bytes(x), odd_bytes(x));
        four!(i => {
            let even = i32x4_dot_i16x8(even_bytes(w[i]), x_even);
            let odd = i32x4_dot_i16x8(odd_bytes(w[i]), x_odd);
            i32x4_add(sums[i], i32x4_add(even, odd))
        })
    }

    #[inline(always)]
    fn begin_halves(self, _: Self::Sums) -> Self::Halves {
        [i32x4_splat(0); 4]
    }

    #[inline(always)]
    fn dot8(self, halves: Self::Halves, w: Self::W, low: [u8; 4], high: [u8; 4]) -> Self::Halves {
        // In the upper four of 16 bits a half has its sign and a factor of 4096, so that nothing is shifted back.
        let [low, high] = [low, high].map(|x| i32x4_splat(i32::from_ne_bytes(x)));
        let upper = i16x8_splat(0xf000_u16.cast_signed());
        four!(i => {
            let parts = [
                i32x4_dot_i16x8(i16x8_shl(w[i], 12), even_bytes(low)),
                i32x4_dot_i16x8(v128_and(i16x8_shl(w[i], 8), upper), even_bytes(high)),
                i32x4_dot_i16x8(v128_and(i16x8_shl(w[i], 4), upper), odd_bytes(low)),
                i32x4_dot_i16x8(v128_and(w[i], upper), odd_bytes(high)),
            ];
            let pairs = i32x4_add(i32x4_add(parts[0], parts[1]), i32x4_add(parts[2], parts[3]));
            i32x4_add(halves[i], pairs)
        })
    }

    #[inline(always)]
    fn finish_halves(self, sums: Self::Sums, halves: Self::Halves, _: i32) -> Self::Sums {
        // At most 32 * 8 * 127 * 4096: exact in 32 bits, and a multiple of 4096.
        four!(i => i32x4_add(sums[i], i32x4_shr(halves[i], 8)))
    }

    #[inline(always)]
    fn finish_sums(self, sums: Self::Sums) -> Self::F {
        four!(i => f32x4_convert_i32x4(sums[i]))
    }
}

/// Numbers that fill a vector.
trait Full {}

impl Full for [f32; 4] {}
impl Full for [i32; 4] {}
impl Full for [i8; 16] {}
impl Full for [u8; 16] {}

#[inline(always)]
fn load<T: Full>(from: &T) -> v128 {
    // SAFETY: the reference is to sixteen initialised bytes, of any alignment.
    unsafe { v128_load(core::ptr::from_ref(from).cast()) }
}

#[inline(always)]
fn store<T: Full>(to: &mut T, x: v128) {
    // SAFETY: the reference is to sixteen bytes, of any alignment, and all bits make valid numbers.
    unsafe { v128_store(core::ptr::from_mut(to).cast(), x) }
}

/// The lanes 2 and 3 in the place of 0 and 1.
#[inline(always)]
fn upper_half(x: v128) -> v128 {
    i8x16_shuffle::<8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15>(x, x)
}

/// Signed bytes 0, 2, 4 and so on as 16 bits.
#[inline(always)]
fn even_bytes(x: v128) -> v128 {
    odd_bytes(i16x8_shl(x, 8))
}

/// Signed bytes 1, 3, 5 and so on as 16 bits.
#[inline(always)]
fn odd_bytes(x: v128) -> v128 {
    i16x8_shr(x, 8)
}
