//! What is likely to come next at every position of a text, as teachers see it and in little memory.
//!
//! Of each distribution the most probable tokens are kept as they are, and the others are stood for by some that are drawn
//! from them, so that the gradient is on average that of the whole distribution (Anshumann et al. 2025,
//! arXiv:2503.16870). Without the others, a student forgets what teachers know of rare tokens.

/// Tokens that are kept of a prediction, in 64 bytes of memory.
const KEPT: usize = 16;

/// How many of these are the most probable; the others are drawn from the rest.
const LIKELIEST: usize = 8;

/// Units in a probability of 1: in fixed point, shares sum to it exactly.
const ONE: u16 = u16::MAX;

/// A token that may be next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Likely {
    pub token: u16,
    /// Its probability, or what it stands for, in units of 1 / [`ONE`].
    share: u16,
}

impl Likely {
    pub(crate) fn probability(self) -> f32 {
        f32::from(self.share) / f32::from(ONE)
    }
}

/// Next tokens at some positions, with shares that sum to one at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predictions {
    /// Tokens that are kept of each distribution: [`KEPT`], or all of a smaller vocabulary.
    kept: usize,
    entries: Vec<Likely>, // [positions, kept]
}

impl Predictions {
    /// Room for the distributions over `vocab_size` tokens at so many positions.
    pub(crate) fn new(positions: usize, vocab_size: usize) -> Self {
        let kept = KEPT.min(vocab_size);
        Self {
            kept,
            entries: vec![Likely::default(); positions * kept],
        }
    }

    /// Positions.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() / self.kept
    }

    /// Tokens that are kept at each position.
    pub(crate) const fn kept(&self) -> usize {
        self.kept
    }

    /// The tokens kept at every position, `[kept]` each.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &[Likely]> {
        self.entries.chunks_exact(self.kept)
    }

    /// All entries, `[positions, kept]`.
    pub(crate) fn entries_mut(&mut self) -> &mut [Likely] {
        &mut self.entries
    }

    /// The predictions at these positions, in this order.
    pub(crate) fn at(&self, positions: &[usize]) -> Self {
        let row = |&position: &usize| &self.entries[position * self.kept..][..self.kept];
        Self {
            kept: self.kept,
            entries: positions.iter().flat_map(row).copied().collect(),
        }
    }

    /// The tokens kept at a position with their shares: first the most probable, then those that were drawn.
    ///
    /// # Panics
    /// If there is no such position.
    pub fn likely(&self, position: usize) -> impl Iterator<Item = (u32, f32)> {
        let row = &self.entries[position * self.kept..][..self.kept];
        row.iter().map(|l| (u32::from(l.token), l.probability()))
    }
}

/// Where in its first interval the draw at a position lies, from 0 to 1: evenly over the positions (Weyl 1916).
pub(crate) fn draw(position: usize) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    (position as f64 * GOLDEN).fract()
}

/// Fills `row` from `probabilities`, `[vocab_size]`, of which it takes what it keeps: the most probable tokens, of equals the
/// lower id first, and for the others as many as there is room for, one from each of equal intervals of their mass at
/// the place `draw` (systematic sampling). A token that is drawn twice has twice the share; where all tokens have room, all are
/// kept.
pub(crate) fn keep(probabilities: &mut [f32], draw: f64, row: &mut [Likely]) {
    let likeliest = if probabilities.len() <= row.len() {
        row.len()
    } else {
        LIKELIEST.min(row.len())
    };
    let mut best = [(-1.0, 0); KEPT];
    let top = &mut best[..likeliest];
    for (token, &probability) in probabilities.iter().enumerate() {
        if probability > top[likeliest - 1].0 {
            let at = top.partition_point(|&(other, _)| other >= probability);
            top[at..].rotate_right(1);
            top[at] = (probability, token as u16);
        }
    }
    for (_, token) in top {
        probabilities[usize::from(*token)] = 0.0;
    }
    let drawn = row.len() - likeliest;
    let rest: f32 = probabilities.iter().sum();
    let interval = f64::from(rest) / drawn as f64;
    let (mut sum, mut next, mut end) = (0.0, draw * interval, likeliest);
    if interval > 0.0 && interval.is_finite() {
        for (token, &probability) in probabilities.iter().enumerate() {
            sum += f64::from(probability);
            let mut mass = 0.0;
            while next < sum && end < row.len() {
                mass += interval as f32;
                next += interval;
            }
            if mass > 0.0 {
                best[end] = (mass, token as u16);
                end += 1;
            }
        }
    }
    let total: f64 = best[..end].iter().map(|(mass, _)| f64::from(*mass)).sum();
    // What is rounded are the sums, so that no error adds up and all shares sum to one.
    let (mut sum, mut before) = (0.0, 0);
    let unused = (0.0, best[0].1);
    let entries = best[..end].iter().chain(std::iter::repeat(&unused));
    for (likely, (mass, token)) in row.iter_mut().zip(entries) {
        sum += f64::from(*mass);
        let share = (sum / total * f64::from(ONE)).round() as u16;
        *likely = Likely {
            token: *token,
            share: share - before,
        };
        before = share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(vocab_size: usize) -> Vec<f32> {
        let weights = (0..vocab_size).map(|i| 1.0 / (1 + (i * 7) % vocab_size) as f32);
        let sum: f32 = weights.clone().sum();
        weights.map(|weight| weight / sum).collect()
    }

    fn kept(probabilities: &[f32], draw: f64) -> [Likely; KEPT] {
        let mut row = [Likely::default(); KEPT];
        keep(&mut probabilities.to_vec(), draw, &mut row);
        row
    }

    #[test]
    fn the_most_probable_tokens_are_kept_in_their_order() {
        let probabilities = distribution(40);
        let row = kept(&probabilities, 0.3);
        let mut order: Vec<usize> = (0..40).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        for (likely, token) in row.iter().zip(order).take(LIKELIEST) {
            assert_eq!(usize::from(likely.token), token);
            assert!((likely.probability() - probabilities[token]).abs() < 1.0 / f32::from(ONE));
        }
        let shares = row.iter().map(|likely| u32::from(likely.share));
        assert_eq!(shares.sum::<u32>(), u32::from(ONE));
    }

    #[test]
    fn on_average_every_token_has_its_probability() {
        let probabilities = distribution(300);
        let mut means = vec![0.0; 300];
        let rounds = 4000;
        for position in 0..rounds {
            for likely in kept(&probabilities, draw(position)) {
                means[usize::from(likely.token)] += likely.probability() / rounds as f32;
            }
        }
        for (token, (mean, p)) in means.iter().zip(&probabilities).enumerate() {
            assert!(
                (mean - p).abs() < 1e-4 + 0.02 * p,
                "token {token}: {mean} for {p}"
            );
        }
    }

    #[test]
    fn a_whole_distribution_is_kept() {
        let mut row = [Likely::default(); 3];
        keep(&mut [1.0 / 3.0; 3], 0.9, &mut row);
        assert_eq!(row.map(|likely| likely.token), [0, 1, 2]);
        assert!(row.iter().all(|likely| likely.share == ONE / 3));
    }

    #[test]
    fn what_one_token_has_leaves_nothing_to_draw() {
        let mut probabilities = vec![0.0; 40];
        probabilities[5] = 1.0;
        let row = kept(&probabilities, 0.5);
        assert_eq!((row[0].token, row[0].share), (5, ONE));
        assert!(row[1..].iter().all(|likely| likely.share == 0));
    }
}
