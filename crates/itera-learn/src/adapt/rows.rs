//! Rows of tokens: short examples side by side, long ones divided, replay from anywhere.

use rand::{RngExt as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::Example;
use crate::fused::Term;

/// A row of a batch, or a part of one. The terms have the weights of their records; a step divides them by
/// their sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// `[len]`.
    pub(super) inputs: Vec<u32>,
    /// Whether everything before the token is forgotten, `[len]`.
    pub(super) resets: Vec<bool>,
    /// The loss terms of the prediction after each token, `[len]`.
    pub(super) terms: Vec<Term>,
}

impl Row {
    fn len(&self) -> usize {
        self.inputs.len()
    }

    pub(super) fn append(&mut self, part: &Self) {
        self.inputs.extend(&part.inputs);
        self.resets.extend(&part.resets);
        self.terms.extend(&part.terms);
    }

    /// Fills up with tokens without a loss.
    pub(super) fn pad(&mut self, length: usize, end_of_text: u32) {
        self.inputs.resize(length, end_of_text);
        self.resets.resize(length, true);
        self.terms.resize(length, Term::default());
    }

    /// The predictions of `text[from + 1..=to]` from `text[from..to]`, which are read from a fresh
    /// state.
    fn of(text: &[u32], from: usize, to: usize, term: impl Fn(usize) -> Term) -> Self {
        let predicted = from + 1..=to;
        Self {
            inputs: text[from..to].to_vec(),
            resets: (from..to).map(|at| at == from).collect(),
            terms: predicted
                .map(|at| Term {
                    target: text[at],
                    divergence: 1.0,
                    ..term(at)
                })
                .collect(),
        }
    }
}

/// The parts of an example, of at most `length` tokens each. Every output token is asked for in one
/// of them; in each after the first, half of the row is context.
pub(super) fn parts(
    example: &Example,
    end_of_text: u32,
    length: usize,
    unlikelihood: f64,
) -> Vec<Row> {
    let text: Vec<u32> = [end_of_text]
        .iter()
        .chain(&example.prompt)
        .chain(&example.output)
        .copied()
        .collect();
    let last = text.len() - 1;
    let (mut parts, mut done) = (Vec::new(), example.prompt.len());
    while done < last {
        let from = if last <= length {
            0
        } else {
            done.saturating_sub(length / 2)
        };
        let to = last.min(from + length);
        parts.push(Row::of(&text, from, to, |at| {
            let asked = if at > done {
                example.weight as f32
            } else {
                0.0
            };
            if example.verdict.is_wanted() {
                Term {
                    likelihood: asked,
                    ..Term::default()
                }
            } else {
                Term {
                    unlikelihood: asked * unlikelihood as f32,
                    ..Term::default()
                }
            }
        }));
        done = to;
    }
    parts
}

/// Packs parts into rows of `length` tokens, first fit; the order of the parts is random.
pub(super) fn pack(mut parts: Vec<Row>, length: usize, rng: &mut ChaCha8Rng) -> Vec<Row> {
    parts.shuffle(rng);
    let mut rows: Vec<Row> = Vec::new();
    for part in parts {
        match rows.iter_mut().find(|row| row.len() + part.len() <= length) {
            Some(row) => row.append(&part),
            None => rows.push(part),
        }
    }
    rows
}

/// A full row of random documents of `replay`, of which one is not empty; of a document that is too long, a
/// random part.
pub(super) fn replay(
    replay: &[&Vec<u32>],
    end_of_text: u32,
    length: usize,
    rng: &mut ChaCha8Rng,
) -> Row {
    let mut row = Row::default();
    while row.len() < length {
        let document = replay[rng.random_range(0..replay.len())];
        let text: Vec<u32> = [end_of_text].iter().chain(document).copied().collect();
        let (last, room) = (text.len() - 1, length - row.len());
        let from = rng.random_range(0..=last.saturating_sub(room));
        row.append(&Row::of(&text, from, last.min(from + room), |_| Term {
            likelihood: 1.0,
            ..Term::default()
        }));
    }
    row
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "weights are handed on as they are")]
mod tests {
    use rand::SeedableRng as _;

    use super::{super::Verdict, *};

    const END_OF_TEXT: u32 = 999;

    fn example(prompt: u32, output: u32, verdict: Verdict) -> Example {
        Example {
            prompt: (0..prompt).collect(),
            output: (500..500 + output).collect(),
            verdict,
            weight: 2.0,
        }
    }

    #[test]
    fn every_output_token_is_asked_for_once_after_its_own_context() {
        for (prompt, output) in [(0, 1), (3, 5), (0, 16), (4, 12), (4, 13), (40, 3), (3, 90)] {
            let example = example(prompt, output, Verdict::Corrected);
            let text = [&[END_OF_TEXT], &example.prompt[..], &example.output].concat();
            let mut asked = Vec::new();
            for part in parts(&example, END_OF_TEXT, 16, 0.5) {
                assert!(part.len() <= 16 && part.resets[0]);
                assert!(part.resets[1..].iter().all(|reset| !reset));
                for (at, term) in part.terms.iter().enumerate() {
                    let context = &part.inputs[..=at];
                    let position = text.iter().position(|t| *t == term.target).unwrap();
                    assert!(text[..position].ends_with(context));
                    assert_eq!((term.unlikelihood, term.divergence), (0.0, 1.0));
                    if term.likelihood > 0.0 {
                        assert_eq!(term.likelihood, 2.0);
                        asked.push(term.target);
                        // Half a row of context, or all there is.
                        assert!(context.len() >= position.min(8), "{prompt}, {output}");
                    }
                }
            }
            assert_eq!(asked, example.output, "prompt {prompt}, output {output}");
        }
    }

    #[test]
    fn rejected_outputs_are_asked_to_be_unlikely() {
        let parts = parts(&example(3, 4, Verdict::Rejected), END_OF_TEXT, 16, 0.5);
        let asked = parts[0].terms.iter().map(|term| term.unlikelihood);
        assert_eq!(asked.collect::<Vec<_>>(), [0., 0., 0., 1., 1., 1., 1.]);
        assert!(parts[0].terms.iter().all(|term| term.likelihood == 0.0));
    }

    #[test]
    fn packing_keeps_every_part_whole_and_follows_the_seed() {
        let whole = || -> Vec<Row> {
            let examples = (1..12).map(|n| example(n % 3, n, Verdict::Accepted));
            examples
                .flat_map(|example| parts(&example, END_OF_TEXT, 16, 0.5))
                .collect()
        };
        let pack = |seed| pack(whole(), 16, &mut ChaCha8Rng::seed_from_u64(seed));
        let rows = pack(1);
        assert_eq!(rows, pack(1));
        assert_ne!(rows, pack(2));
        assert!(rows.iter().all(|row| row.len() <= 16));
        let starts = |rows: &[Row]| {
            rows.iter()
                .flat_map(|r| r.resets.clone())
                .filter(|r| *r)
                .count()
        };
        assert_eq!(starts(&rows), starts(&whole()));
        let tokens = |rows: &[Row]| rows.iter().map(Row::len).sum::<usize>();
        assert_eq!(tokens(&rows), tokens(&whole()));
        assert!(rows.len() < whole().len());
    }

    #[test]
    fn replay_fills_a_row_from_short_and_long_documents() {
        let documents: [Vec<u32>; 2] = [(0..5).collect(), (100..200).collect()];
        let documents: Vec<_> = documents.iter().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..20 {
            let row = replay(&documents, END_OF_TEXT, 16, &mut rng);
            assert_eq!((row.len(), row.terms.len(), row.resets.len()), (16, 16, 16));
            for at in 0..16 {
                let (input, target) = (row.inputs[at], row.terms[at].target);
                let follows = target == input + 1 || input == END_OF_TEXT && target % 100 == 0;
                assert!(follows, "{input} then {target}");
                assert!(at == 0 || row.resets[at] || input == row.terms[at - 1].target);
            }
        }
    }
}
