//! The peak speeds of a processor, as the roof over measured speeds.

use core::hint::black_box;

use super::{
    Kernel, Op,
    lanes::{Lanes, WIDTH},
};

/// Independent chains of additions, enough to hide the latency of each.
const CHAINS: usize = 12;

impl Kernel {
    /// Does multiply-adds of floats in registers, `rounds` times over; returns their number.
    pub fn float_multiply_adds(self, rounds: usize) -> usize {
        self.run(FloatPeak { rounds });
        rounds * CHAINS * WIDTH
    }

    /// Does multiply-adds of 8-bit integers in registers, `rounds` times over; returns their
    /// number.
    pub fn integer_multiply_adds(self, rounds: usize) -> usize {
        self.run(IntegerPeak { rounds });
        rounds * CHAINS * WIDTH * 4
    }

    /// Reads all of `memory` once, and returns the bytes read.
    pub fn read(self, memory: &[f32]) -> usize {
        self.run(Read { memory });
        size_of_val(memory)
    }
}

struct FloatPeak {
    rounds: usize,
}

impl Op for FloatPeak {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (a, b) = (l.splat(black_box(0.5)), l.splat(black_box(1.0)));
        let mut sums = [l.zero(); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = l.fma(*sum, a, b);
            }
        }
        let mut total = l.zero();
        for sum in sums {
            total = l.add(total, sum);
        }
        black_box(l.sum(total));
    }
}

struct IntegerPeak {
    rounds: usize,
}

impl Op for IntegerPeak {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let weights = l.load_weights(&black_box([1; 4 * WIDTH]));
        let input = black_box([1; 4]);
        let mut sums = [l.load_sums(&[0; WIDTH]); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = l.dot4(*sum, weights, input);
            }
        }
        for sum in sums {
            black_box(l.sum(l.finish_sums(sum)));
        }
    }
}

struct Read<'a> {
    memory: &'a [f32],
}

impl Op for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let mut sums = [l.zero(); 8];
        for lines in self.memory.as_chunks::<WIDTH>().0.as_chunks::<8>().0 {
            for i in 0..8 {
                sums[i] = l.add(sums[i], l.load(&lines[i]));
            }
        }
        for sum in sums {
            black_box(l.sum(sum));
        }
    }
}
