//! Every kernel against the scalar code, at lengths below, at and past the width of a vector.

mod functions;
mod layers;
mod products;

use std::io::Write as _;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{Kernel, Rows};

/// Lengths around the widths of vectors, blocks and panels.
const LENS: [usize; 15] = [1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65];

/// Random values from -1 to 1.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0;
    (0..len).map(|_| draw()).collect()
}

/// All rows of `values`.
fn rows(values: &[f32], stride: usize) -> Rows<'_> {
    Rows {
        values,
        stride,
        len: values.len() / stride,
    }
}

/// Kernels other than the scalar one; says that a test is skipped where there are fewer than `least`.
fn others(least: usize) -> Vec<Kernel> {
    let kernels = Kernel::available().into_iter();
    let kernels: Vec<Kernel> = kernels.filter(|k| *k != Kernel::scalar()).collect();
    if kernels.len() < least {
        let skipped = format!(
            "SKIPPED: this processor has {} vector kernels\n",
            kernels.len()
        );
        // Past the capture of the test harness.
        let _ = std::io::stderr().write_all(skipped.as_bytes());
    }
    kernels
}

/// Asserts that two results differ by at most `bound` times the largest magnitude.
fn assert_close(found: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected
        .iter()
        .fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let close = (a - b).abs() <= bound * largest.max(f32::MIN_POSITIVE);
        assert!(close, "{what}: value {i} is {a}, expected {b}");
    }
}

#[test]
fn names_give_kernels_or_say_what_there_is() {
    for kernel in Kernel::available() {
        assert_eq!(kernel.name().parse(), Ok(kernel));
    }
    let unknown = "mmx".parse::<Kernel>().unwrap_err().to_string();
    assert!(
        unknown.contains("\"mmx\"") && unknown.contains("scalar"),
        "{unknown}"
    );
    let foreign = if cfg!(target_arch = "x86_64") {
        "neon"
    } else {
        "avx2"
    };
    let unavailable = foreign.parse::<Kernel>().unwrap_err().to_string();
    assert!(
        unavailable.contains("cannot run") && unavailable.contains("scalar"),
        "{unavailable}"
    );
}
