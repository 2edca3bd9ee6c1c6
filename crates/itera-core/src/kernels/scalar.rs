//! Plain scalar code: the specification of every other kernel, and the kernel of processors that
//! none of them knows. Products of bytes alone have instructions of x86-64, where compilers find none.

#[cfg(not(target_arch = "x86_64"))]
use super::lanes::halves_by_dot4;
use super::lanes::{Block, Lanes, WIDTH, Weights};

/// Needs nothing of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scalar;

/// 1.5 * 2^23: floats around it are the whole numbers.
const NEAREST: f32 = 12_582_912.0;

/// `NEAREST` and the integer that is nearest to `x`, ties to even, which is also the difference of their bits; for
/// magnitudes below 2^22. The library's function is a call where the processor has no instruction for it.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    x + NEAREST
}

/// One operation for each lane.
macro_rules! each {
    ($lane:ident => $value:expr) => {{
        let mut out = [0.0; WIDTH];
        for $lane in 0..WIDTH {
            out[$lane] = $value;
        }
        out
    }};
}

/// Methods that are one operator for each lane.
macro_rules! binary {
    ($($name:ident: $operator:tt),+) => {$(
        #[inline(always)]
        fn $name(self, a: Block, b: Block) -> Block {
            each!(i => a[i] $operator b[i])
        }
    )+};
}

/// What of [`Lanes`] is about weights of 4 bits, where sums of products are 4096 times too large and not 16 times.
#[cfg(target_arch = "x86_64")]
macro_rules! halves_of_x86 {
    () => {
        type Halves = [i32; WIDTH];

        const NEEDS_TOTALS: bool = false;

        #[inline(always)]
        fn begin_halves(self, _: [i32; WIDTH]) -> [i32; WIDTH] {
            [0; WIDTH]
        }

        #[inline(always)]
        fn dot8(
            self,
            halves: [i32; WIDTH],
            w: Weights,
            low: [u8; 4],
            high: [u8; 4],
        ) -> [i32; WIDTH] {
            super::x86::dot8(halves, &w, low, high)
        }

        #[inline(always)]
        fn finish_halves(self, sums: [i32; WIDTH], halves: [i32; WIDTH], _: i32) -> [i32; WIDTH] {
            let mut sums = sums;
            for i in 0..WIDTH {
                sums[i] += halves[i] >> 8;
            }
            sums
        }
    };
}

impl Lanes for Scalar {
    type F = Block;
    type Sums = [i32; WIDTH];
    type W = Weights;

    const PANEL: usize = 2;
    const REGISTERS: usize = 8;
    const INPUT_OFFSET: i32 = 0;

    #[inline(always)]
    fn splat(self, x: f32) -> Block {
        [x; WIDTH]
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Block {
        *from
    }

    #[inline(always)]
    fn store(self, x: Block, to: &mut Block) {
        *to = x;
    }

    binary!(add: +, sub: -, mul: *, div: /);

    #[inline(always)]
    fn min(self, a: Block, b: Block) -> Block {
        each!(i => if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn max(self, a: Block, b: Block) -> Block {
        each!(i => if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn fma(self, a: Block, b: Block, c: Block) -> Block {
        // Rounds twice: without the instruction, rounding once is a slow library call.
        each!(i => a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn round(self, x: Block) -> Block {
        each!(i => nearest(x[i]) - NEAREST)
    }

    #[inline(always)]
    fn scale_by_exp2(self, x: Block, n: Block) -> Block {
        // The integer stands in the low bits.
        each!(i => x[i] * f32::from_bits(nearest(n[i]).to_bits().wrapping_add(127) << 23))
    }

    #[inline(always)]
    fn sum(self, x: Block) -> f32 {
        let mut x = x;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                x[i] += x[i + half];
            }
        }
        x[0]
    }

    #[inline(always)]
    fn max_of_lanes(self, x: Block) -> f32 {
        let mut x = x;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                x[i] = if x[i] > x[i + half] {
                    x[i]
                } else {
                    x[i + half]
                };
            }
        }
        x[0]
    }

    #[inline(always)]
    fn store_bytes(self, x: Block, to: &mut [u8; WIDTH]) {
        for (to, x) in to.iter_mut().zip(x) {
            *to = nearest(x).to_bits() as u8;
        }
    }

    #[inline(always)]
    fn load_weights(self, from: &Weights) -> Weights {
        *from
    }

    #[inline(always)]
    fn low_nibbles(self, w: Weights) -> Weights {
        w.map(|byte| byte << 4)
    }

    #[inline(always)]
    fn high_nibbles(self, w: Weights) -> Weights {
        w.map(|byte| byte & !0x0f)
    }

    #[inline(always)]
    fn load_sums(self, from: &[i32; WIDTH]) -> [i32; WIDTH] {
        *from
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn dot4(self, sums: [i32; WIDTH], w: Weights, x: [u8; 4]) -> [i32; WIDTH] {
        super::x86::dot4(sums, &w, x)
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn dot4(self, sums: [i32; WIDTH], w: Weights, x: [u8; 4]) -> [i32; WIDTH] {
        let x = x.map(|x| i32::from(x.cast_signed()));
        let mut sums = sums;
        for (sum, w) in sums.iter_mut().zip(w.as_chunks::<4>().0) {
            for k in 0..4 {
                *sum += i32::from(w[k]) * x[k];
            }
        }
        sums
    }

    #[cfg(target_arch = "x86_64")]
    halves_of_x86!();
    #[cfg(not(target_arch = "x86_64"))]
    halves_by_dot4!();

    #[inline(always)]
    fn finish_sums(self, sums: [i32; WIDTH]) -> Block {
        each!(i => sums[i] as f32)
    }
}
