//! The roof over the measured speeds: what bandwidth and arithmetic allow (Williams, Waterman &
//! Patterson 2009, "Roofline").

use std::time::Instant;

use itera_core::kernels::Kernel;
use itera_record::MachineLimits;

use super::workload::Case;

/// Attempts at each limit; the best counts, since other work can only slow it down.
const ATTEMPTS: usize = 20;

/// Bytes of memory read for the bandwidth: about what the fp32 weights of `micro` take, so that
/// they lie in the same level of the caches, which is the second of most processors.
const MEMORY_BYTES: usize = 900 << 10;

/// What the processor reaches with each kernel. Attempts go round the kernels, so that a slow moment
/// is one of all; the bandwidth is the machine's, so the best of any kernel counts for all.
pub(super) fn measure(kernels: &[Kernel]) -> Vec<MachineLimits> {
    let rounds = 20_000;
    let memory = vec![1.0; MEMORY_BYTES / size_of::<f32>()];
    let mut limits: Vec<MachineLimits> = kernels
        .iter()
        .map(|kernel| MachineLimits {
            kernel: kernel.to_string(),
            float_multiply_adds_per_s: 0.0,
            integer_multiply_adds_per_s: 0.0,
            read_bytes_per_s: 0.0,
        })
        .collect();
    let mut bandwidth = 0.0;
    for _ in 0..ATTEMPTS {
        for (kernel, limits) in kernels.iter().zip(&mut limits) {
            let float = rate(|| kernel.float_multiply_adds(rounds));
            let integer = rate(|| kernel.integer_multiply_adds(rounds));
            raise(&mut limits.float_multiply_adds_per_s, float);
            raise(&mut limits.integer_multiply_adds_per_s, integer);
            let read = rate(|| (0..8).map(|_| kernel.read(&memory)).sum());
            raise(&mut bandwidth, read);
        }
    }
    for limits in &mut limits {
        limits.read_bytes_per_s = bandwidth;
    }
    limits
}

fn raise(best: &mut f64, rate: f64) {
    *best = best.max(rate);
}

/// The rate at which something that returns its count is done.
fn rate(work: impl FnOnce() -> usize) -> f64 {
    let started = Instant::now();
    let count = work();
    count as f64 / started.elapsed().as_secs_f64().max(1e-9)
}

/// What bounds a workload.
pub(super) struct Roof {
    /// Multiply-adds of one token.
    pub(super) multiply_adds: f64,
    /// Bytes of weights and state moved for one token.
    pub(super) bytes: f64,
    pub(super) tokens_per_s: f64,
    pub(super) bound: &'static str,
}

impl Roof {
    /// The roof of a case. Products count at the rate of their precision, all else as floats;
    /// exponentials and norms are not counted, so the roof is a little too high.
    pub(super) fn of(case: &Case<'_>, limits: &MachineLimits) -> Self {
        let (model, config) = (case.model, case.model.config());
        let head = (config.vocab_size * config.d_model) as f64;
        let skipped_head = head * (1.0 - case.kind.head_share());
        let multiply_adds = config.multiply_adds_per_token() as f64 - skipped_head;
        let products = model.product_multiply_adds_per_token() as f64 - skipped_head;
        let product_rate = if model.is_integer() {
            limits.integer_multiply_adds_per_s
        } else {
            limits.float_multiply_adds_per_s
        };
        let arithmetic =
            products / product_rate + (multiply_adds - products) / limits.float_multiply_adds_per_s;

        let (rows, rows_of_session) = case.kind.rows();
        let weights = model.matrix_bytes_per_token() as f64 / rows as f64;
        // The state is read and written once for the tokens of a session that pass together.
        let state = 2.0 * model.new_state().bytes() as f64 / rows_of_session as f64;
        let bytes = weights + state;
        let bandwidth = bytes / limits.read_bytes_per_s;
        let bound = if arithmetic > bandwidth {
            "arithmetic"
        } else {
            "bandwidth"
        };
        Self {
            multiply_adds,
            bytes,
            tokens_per_s: case.threads as f64 / arithmetic.max(bandwidth),
            bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bandwidth_is_that_of_the_machine() {
        let limits = measure(&Kernel::available());
        let first = limits[0].read_bytes_per_s;
        assert!(first > 0.0);
        assert!(
            limits
                .iter()
                .all(|limits| limits.read_bytes_per_s.to_bits() == first.to_bits())
        );
    }
}
