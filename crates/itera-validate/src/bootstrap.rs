//! Intervals by resampling documents.
//!
//! Tokens of a document are not independent of each other, documents nearly are; so whole documents
//! are drawn with replacement, and the figure is computed anew for each draw. Per draw the figure is
//! a ratio of sums (bits over bytes), because documents differ in length.

use itera_core::model::bits_per_byte;
use itera_record::Bootstrap;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Share of the draws that lie below the interval, and above it.
const TAIL: f64 = 0.025;

/// Fewer documents have no interval: draws of two are of the one, the other or their mean, so that an "interval"
/// would be narrow whatever the truth.
const LEAST_DOCUMENTS: u64 = 10;

/// Bounds between which 95 % of the draws of `sum(nll_nats) / ln 2 / sum(bytes)` lie; none for fewer
/// than 10 documents. With differences of two models in `nll_nats`, this is the paired bootstrap.
pub(crate) fn ci95(nll_nats: &[f64], bytes: &[u64], bootstrap: Bootstrap) -> Option<[f64; 2]> {
    let documents = nll_nats.len() as u64;
    if documents < LEAST_DOCUMENTS {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    let mut draws: Vec<f64> = (0..bootstrap.draws)
        .map(|_| {
            let (mut nats, mut drawn_bytes) = (0.0, 0);
            for _ in 0..documents {
                let i = below(documents, rng.next_u64());
                nats += nll_nats[i];
                drawn_bytes += bytes[i];
            }
            bits_per_byte(nats, drawn_bytes as f64)
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let tail = (TAIL * draws.len() as f64) as usize;
    Some([draws[tail], draws[draws.len() - 1 - tail]])
}

/// A number below `n` from 64 random bits; the same for every version of the random library.
const fn below(n: u64, random: u64) -> usize {
    ((random as u128 * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap {
        draws: 2000,
        seed: 0,
    };

    #[test]
    fn equal_documents_have_no_spread_and_few_have_no_interval() {
        let [low, high] = ci95(&[LN_2; 10], &[1; 10], BOOTSTRAP).unwrap();
        assert!((low - 1.0).abs() < 1e-12 && (high - 1.0).abs() < 1e-12);
        assert_eq!(ci95(&[1.0; 9], &[1; 9], BOOTSTRAP), None);
    }

    #[test]
    fn the_interval_is_that_of_the_normal_distribution_for_many_documents() {
        // Bits 0 or 1 by halves: standard error 0.5 / sqrt(400) = 0.025.
        let nats: Vec<f64> = (0..400).map(|i| f64::from(i % 2) * LN_2).collect();
        let [low, high] = ci95(&nats, &[1; 400], BOOTSTRAP).unwrap();
        assert!(
            (low - 0.451).abs() < 0.005 && (high - 0.549).abs() < 0.005,
            "{low} {high}"
        );
    }

    #[test]
    fn the_seed_decides() {
        let nats: Vec<f64> = (0..50).map(|i| f64::from(i).sqrt()).collect();
        let bytes: Vec<u64> = (1..=50).collect();
        let interval = |seed| ci95(&nats, &bytes, Bootstrap { seed, ..BOOTSTRAP });
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
    }
}
