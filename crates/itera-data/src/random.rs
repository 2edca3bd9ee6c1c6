//! Random numbers of a training run: one seed, and a stream of its own for each use.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

/// A use of random numbers. Two uses with one seed share no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Initial parameters; the index is 0.
    Initialisation = 1,
    /// The order of documents; the index is the epoch.
    Order = 2,
    /// Dropout; the index counts replicas of all steps.
    Dropout = 3,
    /// The documents that are read with blank lines; the index is the document's.
    BlankLines = 4,
    /// The order of feedback and of replayed text; the index is 0.
    Feedback = 5,
}

/// The generator of a use: `ChaCha8` with seed and domain as key and the index as stream.
///
/// The key is written out, since `seed_from_u64` promises less about later versions.
pub fn rng(seed: u64, domain: Domain, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = domain as u8;
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng as _;

    use super::*;

    #[test]
    fn uses_seeds_and_indices_share_no_number() {
        let mut drawn = Vec::new();
        for seed in [0, 1, 1 << 40] {
            for domain in [
                Domain::Initialisation,
                Domain::Order,
                Domain::Dropout,
                Domain::BlankLines,
                Domain::Feedback,
            ] {
                for index in [0, 1, 1 << 40] {
                    let mut rng = rng(seed, domain, index);
                    drawn.extend((0..8).map(|_| rng.next_u64()));
                }
            }
        }
        let count = drawn.len();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), count);
    }
}
