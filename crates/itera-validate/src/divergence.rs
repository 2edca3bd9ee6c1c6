//! How far the predictions of a model are from those of a reference, token by token.

use std::collections::BTreeMap;

use itera_core::{
    checkpoint::Precision,
    model::{Model, Sequence, State, Workspace},
};
use itera_record::{Divergence, StateError};

use crate::selection::{DocumentReader, Selection, widen};

/// Tokens whose logits are kept at a time.
const SEGMENT: usize = 64;

/// Steps after which the carried state is compared.
const STATE_STEPS: [usize; 3] = [64, 1024, 16_384];

/// One token's prediction against the reference's.
#[derive(Clone, Copy)]
struct Difference {
    kl_nats: f64,
    same_top: bool,
}

/// Compares `model` with `reference` over all documents selected, each from a fresh state. Both must have one
/// vocabulary. Memory does not grow with the text.
pub(crate) fn measure(
    (model, reference): (&Model, &Model),
    end_of_text: u32,
    selection: &Selection,
    threads: usize,
) -> anyhow::Result<Divergence> {
    let mut totals = Totals::default();
    let reader = || Ok(Pair::new(model, reference, end_of_text));
    // Summed in the order of the text, so that threads make no difference.
    selection.read(threads, reader, |batch| {
        batch
            .documents
            .into_iter()
            .for_each(|(_, other)| totals.add(other));
    })?;
    let tokens = totals.tokens;
    Ok(Divergence {
        reference: Precision::Fp32.to_string(),
        tokens,
        mean_kl_nats: totals.kl_nats / tokens as f64,
        p99_kl_nats: totals.kl.quantile(0.99),
        p999_kl_nats: totals.kl.quantile(0.999),
        top1_agreement: totals.agreeing as f64 / tokens as f64,
        state_errors: state_errors(Pair::new(model, reference, end_of_text), selection)?,
    })
}

/// The differences of some tokens, without each single one.
#[derive(Default)]
struct Totals {
    tokens: u64,
    kl_nats: f64,
    agreeing: u64,
    kl: Histogram,
}

impl Totals {
    fn count(&mut self, difference: Difference) {
        self.tokens += 1;
        self.kl_nats += difference.kl_nats;
        self.agreeing += u64::from(difference.same_top);
        self.kl.add(difference.kl_nats);
    }

    fn add(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.kl_nats += other.kl_nats;
        self.agreeing += other.agreeing;
        for (bucket, count) in other.kl.0 {
            *self.kl.0.entry(bucket).or_default() += count;
        }
    }
}

/// How many values lie in each bucket; a bucket is a thousandth of its values wide.
#[derive(Default)]
struct Histogram(BTreeMap<u64, u64>);

/// Bits of a float that its bucket leaves out: all but sign, exponent and 10 bits of the fraction.
const BUCKET_BITS: u32 = f64::MANTISSA_DIGITS - 1 - 10;

impl Histogram {
    /// Counts a value that is not negative.
    fn add(&mut self, value: f64) {
        *self.0.entry(value.to_bits() >> BUCKET_BITS).or_default() += 1;
    }

    /// The lower bound of the bucket of the value that a share of the values stays below or at.
    fn quantile(&self, share: f64) -> f64 {
        let count: u64 = self.0.values().sum();
        let rank = ((share * count as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in &self.0 {
            below += count;
            if below >= rank {
                return f64::from_bits(bucket << BUCKET_BITS);
            }
        }
        0.0
    }
}

/// Two models that read the same tokens.
struct Pair<'m> {
    models: [&'m Model; 2], // the model, the reference
    states: [State; 2],
    work: [Workspace; 2],
    expected: Vec<f32>, // logits of the reference, [tokens of a segment, vocab_size]
    end_of_text: u32,
    /// The token before the next.
    previous: u32,
    totals: Totals,
}

impl<'m> Pair<'m> {
    fn new(model: &'m Model, reference: &'m Model, end_of_text: u32) -> Self {
        let models = [model, reference];
        Self {
            models,
            states: models.map(Model::new_state),
            work: models.map(Model::new_workspace),
            expected: Vec::new(),
            end_of_text,
            previous: end_of_text,
            totals: Totals::default(),
        }
    }

    /// Counts the difference at each of `tokens`, after `context` and what was read before.
    fn segment(&mut self, context: u32, tokens: &[u32]) {
        let Self {
            models: [model, reference],
            states: [state, reference_state],
            work: [work, reference_work],
            expected,
            totals,
            ..
        } = self;
        expected.clear();
        let sequences = &mut [Sequence::predicting(tokens, context, reference_state)];
        reference.predict_batch(sequences, reference_work, &mut |_, _, logits| {
            expected.extend_from_slice(logits);
        });
        let mut rows = expected.chunks_exact(reference.config().vocab_size);
        let sequences = &mut [Sequence::predicting(tokens, context, state)];
        model.predict_batch(sequences, work, &mut |_, _, logits| {
            let expected = rows.next().unwrap_or_default();
            totals.count(Difference::between(expected, logits));
        });
    }
}

impl DocumentReader for Pair<'_> {
    type Output = Totals;

    fn begin(&mut self) {
        self.states.iter_mut().for_each(State::reset);
        self.previous = self.end_of_text;
    }

    fn read(&mut self, tokens: &[u16]) {
        for segment in tokens.chunks(SEGMENT) {
            let segment: Vec<u32> = widen(segment).collect();
            self.segment(self.previous, &segment);
            self.previous = segment[segment.len() - 1];
        }
    }

    fn end(&mut self) -> Totals {
        std::mem::take(&mut self.totals)
    }
}

impl Difference {
    /// `KL(p || q) = sum_i p_i (ln p_i - ln q_i)`, `p` of the reference.
    fn between(reference: &[f32], logits: &[f32]) -> Self {
        let log_sums = [reference, logits].map(log_sum_exp);
        let terms = reference.iter().zip(logits).map(|(p, q)| {
            let log_p = f64::from(*p) - log_sums[0];
            log_p.exp() * (log_p - (f64::from(*q) - log_sums[1]))
        });
        Self {
            // Not below 0 but for rounding.
            kl_nats: terms.sum::<f64>().max(0.0),
            same_top: top(reference) == top(logits),
        }
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}

fn top(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)))
}

/// Errors of the carried state when the documents are read as one stream; as many as the text has
/// steps for.
fn state_errors(mut pair: Pair, selection: &Selection) -> anyhow::Result<Vec<StateError>> {
    let stream = selection.stream(STATE_STEPS[STATE_STEPS.len() - 1])?;
    let (mut read, mut errors) = (0, Vec::new());
    for steps in STATE_STEPS
        .into_iter()
        .filter(|steps| *steps <= stream.len())
    {
        for i in 0..2 {
            pair.models[i].prefill(&stream[read..steps], &mut pair.states[i], &mut pair.work[i]);
        }
        read = steps;
        let [state, expected] = &pair.states;
        let square = |x: f32| f64::from(x) * f64::from(x);
        let values = state.values().zip(expected.values());
        let difference: f64 = values.map(|(a, b)| square(a - b)).sum();
        let length: f64 = expected.values().map(square).sum();
        errors.push(StateError {
            steps: steps as u64,
            relative_error: (difference / length.max(f64::MIN_POSITIVE)).sqrt(),
        });
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kl_is_that_of_two_coins() {
        let logits = |p: f32| [p.ln(), (1.0 - p).ln()];
        let difference = Difference::between(&logits(0.75), &logits(0.5));
        let expected = 0.75 * (0.75_f64 / 0.5).ln() + 0.25 * (0.25_f64 / 0.5).ln();
        assert!((difference.kl_nats - expected).abs() < 1e-7);
        assert!(Difference::between(&logits(0.3), &logits(0.3)).kl_nats < 1e-12);
        assert!(!Difference::between(&logits(0.3), &logits(0.6)).same_top);
    }

    #[test]
    fn quantiles_are_those_of_the_values_to_a_thousandth() {
        let mut histogram = Histogram::default();
        assert!(histogram.quantile(0.99) < 1e-12);
        (1..=1000).for_each(|i| histogram.add(f64::from(i)));
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = histogram.quantile(share);
            assert!(found <= expected && found > 0.999 * expected, "{found}");
        }
        assert!(histogram.0.len() <= 1000);
        let before = histogram.0.len();
        (1..=1000).for_each(|i| histogram.add(f64::from(i)));
        assert_eq!(
            histogram.0.len(),
            before,
            "as many buckets for twice as much"
        );
    }
}
