//! Plain scalar code: the specification of every other kernel, and the kernel of processors that
//! none of them knows.

use super::lanes::{Block, Lanes, WIDTH, Weights, halves_by_dot4};

/// Needs nothing of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scalar;

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

impl Lanes for Scalar {
    type F = Block;
    type Sums = [i32; WIDTH];
    type W = Weights;

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
        each!(i => x[i].round_ties_even())
    }

    #[inline(always)]
    fn scale_by_exp2(self, x: Block, n: Block) -> Block {
        each!(i => x[i] * f32::from_bits(((n[i] as i32 + 127) << 23).cast_unsigned()))
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
        x.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn store_bytes(self, x: Block, to: &mut [u8; WIDTH]) {
        for (to, x) in to.iter_mut().zip(x) {
            *to = (x.round_ties_even() as i8).cast_unsigned();
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

    halves_by_dot4!();

    #[inline(always)]
    fn finish_sums(self, sums: [i32; WIDTH]) -> Block {
        each!(i => sums[i] as f32)
    }
}
