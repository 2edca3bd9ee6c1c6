//! How far a runtime is from the native engine.

use itera_core::model::bits_per_byte;
use itera_record::{ExportFigures, StateError};

use super::{
    TOLERANCE,
    reference::{Reference, inputs},
};
use crate::{
    file::OnnxFile,
    runtime::{self, Session, State, native},
};

/// Steps after which the carried state is compared.
const STATE_STEPS: [usize; 3] = [1, 64, 1024];

/// The most that the carried state may differ, relative to its length.
const STATE_TOLERANCE: f64 = 1e-4;

/// Lets a runtime read the text and compares.
///
/// # Errors
/// What the runtime says.
pub(super) fn figures(
    session: &mut dyn Session,
    file: &OnnxFile,
    reference: &Reference,
) -> anyhow::Result<ExportFigures> {
    let mut sums = Sums::default();
    let width = file.config.vocab_size;
    let mut exact = reference.exact_logits.chunks_exact(width);
    let mut fp32 = reference.fp32_logits.chunks_exact(width);
    let text = &reference.text;
    for document in &text.documents {
        let read = inputs(text.end_of_text, document);
        let mut targets = document.iter();
        let mut state = State::new(&file.config, 1);
        runtime::read(session, file, &read, &mut state, &mut |logits| {
            if let (Some(exact), Some(fp32), Some(&target)) =
                (exact.next(), fp32.next(), targets.next())
            {
                sums.add(logits, exact, fp32, target);
            }
        })?;
    }
    let state_errors = state_errors(session, file, reference)?;
    sums.kl.sort_by(f64::total_cmp);
    let tokens = sums.kl.len();
    let at_999 = (0.999 * tokens as f64).ceil() as usize;
    Ok(ExportFigures {
        dataset: text.name().to_owned(),
        split: text.split().to_owned(),
        dataset_sha256: text.sha256().to_owned(),
        tokens: tokens as u64,
        bytes: text.bytes as u64,
        max_abs_difference: sums.max_abs,
        max_relative_difference: sums.max_relative,
        tolerance: TOLERANCE,
        mean_kl_nats: sums.kl.iter().sum::<f64>() / tokens as f64,
        p999_kl_nats: sums.kl[at_999.max(1) - 1],
        top1_agreement: sums.same_top as f64 / tokens as f64,
        bits_per_byte: bits_per_byte(sums.nats, text.bytes as f64),
        native_bits_per_byte: reference.native_bits_per_byte,
        fp32_bits_per_byte: reference.fp32_bits_per_byte,
        state_errors,
        shapes: Vec::new(),
    })
}

/// Why figures are not good enough; `None` if they are. A difference that is no number is not.
pub(super) fn breach(figures: &ExportFigures) -> Option<String> {
    let within = figures.max_relative_difference <= figures.tolerance;
    if !within {
        return Some(format!(
            "logits differ from the native engine's by up to {:.2e} of the largest, expected at most {:.0e}",
            figures.max_relative_difference, figures.tolerance
        ));
    }
    for shape in &figures.shapes {
        let within = shape.max_relative_difference <= figures.tolerance;
        if !within {
            return Some(format!(
                "logits of {} sequences of {} random tokens differ from the native engine's by up to {:.2e} of the \
                 largest, expected at most {:.0e}",
                shape.batch, shape.tokens, shape.max_relative_difference, figures.tolerance
            ));
        }
    }
    let drifted = |error: &&StateError| {
        let within = error.relative_error <= STATE_TOLERANCE;
        !within
    };
    figures.state_errors.iter().find(drifted).map(|error| {
        format!(
            "the carried state differs by {:.2e} of its length after {} tokens, expected at most {STATE_TOLERANCE:.0e}",
            error.relative_error, error.steps
        )
    })
}

/// What is gathered token by token.
#[derive(Default)]
struct Sums {
    max_abs: f64,
    max_relative: f64,
    nats: f64,
    same_top: usize,
    kl: Vec<f64>,
}

impl Sums {
    fn add(&mut self, logits: &[f32], exact: &[f32], fp32: &[f32], target: u32) {
        let (difference, relative) = differences(logits, exact);
        self.max_abs = self.max_abs.max(difference);
        self.max_relative = self.max_relative.max(relative);
        self.nats += nats(logits, target);
        self.same_top += usize::from(top(logits) == top(fp32));
        self.kl.push(divergence(fp32, logits));
    }
}

/// The largest difference of a logit, and the same relative to the largest magnitude, or to 1 where that is less.
pub(super) fn differences(logits: &[f32], exact: &[f32]) -> (f64, f64) {
    let pairs = logits.iter().zip(exact);
    let differences = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b));
    // A NaN compares with nothing and must not get lost.
    let difference = differences.map(f64::abs).fold(0.0, |most, next| {
        if next.is_finite() {
            next.max(most)
        } else {
            f64::MAX
        }
    });
    let largest = exact.iter().map(|x| f64::from(x.abs())).fold(1.0, f64::max);
    (difference, difference / largest)
}

/// Errors of the carried state when the documents are read as one stream.
fn state_errors(
    session: &mut dyn Session,
    file: &OnnxFile,
    reference: &Reference,
) -> anyhow::Result<Vec<StateError>> {
    let stream = reference.text.stream();
    let (mut expected, mut state) = (reference.new_state(), State::new(&file.config, 1));
    let (mut read, mut errors) = (0, Vec::new());
    for steps in STATE_STEPS
        .into_iter()
        .filter(|steps| *steps <= stream.len())
    {
        let next = &stream[read..steps];
        reference.read(next, &mut expected);
        runtime::read(session, file, next, &mut state, &mut |_| ())?;
        read = steps;
        let expected = native::state(&file.config, &expected);
        errors.push(StateError {
            steps: steps as u64,
            relative_error: distance(&state, &expected),
        });
    }
    Ok(errors)
}

/// Length of the difference over the length of what was expected.
fn distance(state: &State, expected: &State) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let pairs = state.values().zip(expected.values());
    let difference: f64 = pairs.map(|(a, b)| square(a - b)).sum();
    let length: f64 = expected.values().map(square).sum();
    let error = (difference / length.max(f64::MIN_POSITIVE)).sqrt();
    if error.is_finite() { error } else { f64::MAX }
}

/// Negative log-likelihood of a token.
pub(super) fn nats(logits: &[f32], target: u32) -> f64 {
    log_sum_exp(logits) - f64::from(logits[target as usize])
}

/// `KL(p || q) = sum_i p_i (ln p_i - ln q_i)`.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (p_sum, q_sum) = (log_sum_exp(p), log_sum_exp(q));
    let terms = p.iter().zip(q).map(|(p, q)| {
        let log_p = f64::from(*p) - p_sum;
        log_p.exp() * (log_p - (f64::from(*q) - q_sum))
    });
    // Not below 0 but for rounding.
    terms.sum::<f64>().max(0.0)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}

/// The most likely token, the lower of two that are equal.
fn top(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_that_of_two_coins() {
        let logits = |p: f32| [p.ln(), (1.0 - p).ln()];
        let expected = 0.75 * (0.75_f64 / 0.5).ln() + 0.25 * (0.25_f64 / 0.5).ln();
        assert!((divergence(&logits(0.75), &logits(0.5)) - expected).abs() < 1e-7);
        assert!((nats(&logits(0.25), 0) - 4.0_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn what_is_no_number_is_a_breach() {
        let mut sums = Sums::default();
        sums.add(&[0.0, f32::NAN], &[0.0, 1.0], &[0.0, 1.0], 0);
        assert!(sums.max_abs > TOLERANCE);
        let state = |x| State(vec![vec![x]]);
        assert!(distance(&state(f32::NAN), &state(1.0)) > STATE_TOLERANCE);
        assert!((distance(&state(1.5), &state(1.0)) - 0.5).abs() < 1e-12);
    }
}
