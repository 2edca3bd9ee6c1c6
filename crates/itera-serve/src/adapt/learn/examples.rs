//! What there is to learn from records of feedback.

use std::collections::HashMap;

use itera_core::tokenizer::Tokenizer;
use itera_learn::adapt::{Example, Verdict};

use crate::{
    source::weight,
    store::{Rated, Source},
};

/// Examples of records; those that say nothing (a rating of 3, say) are left out.
///
/// # Errors
/// The tokenizer does not take a text.
pub(super) fn examples(records: &[Rated], tokenizer: &Tokenizer) -> anyhow::Result<Vec<Example>> {
    let mut of_source: HashMap<&str, usize> = HashMap::new();
    for source in records.iter().flat_map(|record| &record.feedback.source) {
        *of_source.entry(&source.digest).or_default() += 1;
    }
    let mut examples = Vec::new();
    for record in records {
        let feedback = &record.feedback;
        let (text, ended, verdict) = match &feedback.correction {
            Some(correction) => (correction, false, Verdict::Corrected),
            None if feedback.is_positive() => (
                &record.answer.output,
                record.answer.ended,
                Verdict::Accepted,
            ),
            None if feedback.is_negative() => (
                &record.answer.output,
                record.answer.ended,
                Verdict::Rejected,
            ),
            None => continue,
        };
        let mut output = tokenizer.encode(text.as_bytes())?;
        if ended {
            output.push(tokenizer.end_of_text());
        }
        if output.is_empty() {
            continue;
        }
        let of_source = |source: &Source| weight(source.most, of_source[&*source.digest]);
        examples.push(Example {
            prompt: tokenizer.encode(record.answer.prompt.as_bytes())?,
            output,
            verdict,
            weight: feedback.source.as_ref().map_or(1.0, of_source),
        });
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use itera_testing::bytes;

    use super::*;
    use crate::store::{Answer, Feedback};

    fn record(id: usize, source: Option<Source>, correction: Option<&str>) -> Rated {
        let answer = Answer {
            id: id.to_string(),
            created_ms: 0,
            prompt: "a".to_owned(),
            output: "bc".to_owned(),
            ended: true,
            tokens: 2,
            variant: String::new(),
            version: String::new(),
            parameters: String::new(),
            latency_us: 0,
            user: None,
        };
        Rated {
            feedback: Feedback {
                id: answer.id.clone(),
                rating: Some(1),
                correct: None,
                correction: correction.map(str::to_owned),
                comments: None,
                replaces: true,
                source,
            },
            created_ms: 0,
            updated_ms: 0,
            is_aside: false,
            answer,
        }
    }

    #[test]
    fn a_source_with_a_limit_has_one_voice() {
        let visitor = |name: &str| Source {
            digest: name.to_owned(),
            most: Some(10),
        };
        let sources = [
            Some(visitor("a")),
            Some(visitor("a")),
            Some(visitor("b")),
            None,
            None,
        ];
        let records = sources.into_iter().enumerate();
        let records: Vec<_> = records
            .map(|(id, source)| record(id, source, Some("d")))
            .collect();
        let examples = examples(&records, &bytes()).unwrap();
        let weights: Vec<f64> = examples.iter().map(|example| example.weight).collect();
        assert_eq!(weights, [0.5, 0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_correction_is_what_was_wanted_and_a_bad_answer_what_was_not() {
        let mut middling = record(2, None, None);
        middling.feedback.rating = Some(3);
        let records = [record(0, None, Some("de")), record(1, None, None), middling];
        let tokenizer = bytes();
        let examples = examples(&records, &tokenizer).unwrap();
        assert_eq!(examples.len(), 2);
        let [wanted, unwanted] = &examples[..] else {
            panic!("two of them say something");
        };
        assert_eq!(
            (wanted.verdict, unwanted.verdict),
            (Verdict::Corrected, Verdict::Rejected)
        );
        assert_eq!(wanted.output, tokenizer.encode(b"de").unwrap());
        // The answer ended by itself.
        assert_eq!(unwanted.output.last(), Some(&tokenizer.end_of_text()));
    }
}
