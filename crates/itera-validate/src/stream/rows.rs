//! What is written of a document or a token.

use std::borrow::Cow;

use anyhow::{Context as _, ensure};
use itera_core::model::bits_per_byte;
use itera_record::ScoresTotals;
use serde::{Deserialize, Serialize};

use super::{
    options::{Limits, Options, Rows, Subject},
    scorer::{Score, Sizes},
};

/// Writes rows in one form.
#[derive(Debug)]
pub(super) struct RowWriter {
    is_csv: bool,
    pub(super) subject: Subject,
    pub(super) skips_broken: bool,
    has_against: bool,
    limits: Limits,
}

/// A document with what the models make of it.
#[derive(Debug)]
pub(super) struct DocumentRow<'a> {
    pub(super) id: &'a str,
    pub(super) sizes: Sizes,
    /// Of the model, and of the one that it is compared with.
    pub(super) scores: &'a [Score],
    pub(super) text: Option<&'a [u8]>,
}

/// A token with what the model makes of it.
#[derive(Debug, Serialize)]
pub(super) struct TokenRow<'a> {
    pub(super) id: &'a str,
    /// Position in the document.
    #[serde(rename = "token")]
    pub(super) index: u64,
    /// Bytes of the document before it.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) nll_nats: f64,
    /// 1 for the token that the model expects most.
    pub(super) rank: u64,
}

/// A row of a document as it is written, and read again for Parquet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WrittenRow<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) bytes: u64,
    pub(super) chars: u64,
    pub(super) words: u64,
    pub(super) unicode_words: u64,
    pub(super) tokens: u64,
    pub(super) unknown_tokens: u64,
    pub(super) nll_nats: f64,
    /// None of a document without text.
    pub(super) bits_per_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) against_nll_nats: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) against_bits_per_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) difference_bits_per_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Cow<'a, str>>,
}

impl RowWriter {
    pub(super) fn new(options: &Options) -> Self {
        let form = options.output.as_ref().map(|output| output.form.rows);
        Self {
            is_csv: form == Some(Rows::Csv),
            subject: options.subject,
            skips_broken: options.skips_broken,
            has_against: options.against.is_some(),
            limits: options.limits,
        }
    }

    pub(super) fn keeps_text(&self) -> bool {
        self.subject == Subject::DocumentsWithText
    }

    /// What the file begins with.
    pub(super) fn header(&self) -> Vec<u8> {
        if !self.is_csv {
            return Vec::new();
        }
        let names: &[&[&str]] = if self.subject == Subject::Tokens {
            &[&["id", "token", "offset", "bytes", "nll_nats", "rank"]]
        } else {
            &[
                &[
                    "id",
                    "bytes",
                    "chars",
                    "words",
                    "unicode_words",
                    "tokens",
                    "unknown_tokens",
                ],
                &["nll_nats", "bits_per_byte"],
                if self.has_against {
                    &[
                        "against_nll_nats",
                        "against_bits_per_byte",
                        "difference_bits_per_byte",
                    ]
                } else {
                    &[]
                },
                if self.keeps_text() { &["text"] } else { &[] },
            ]
        };
        let mut line = names.concat().join(",").into_bytes();
        line.push(b'\n');
        line
    }

    /// Counts a document, and writes its row if it is within the limits.
    pub(super) fn document(
        &self,
        document: &DocumentRow,
        to: &mut Vec<u8>,
        totals: &mut ScoresTotals,
    ) -> anyhow::Result<()> {
        document.check()?;
        document.count(totals);
        let row = self.written(document);
        if self.limits.permit(&row) {
            totals.rows += 1;
            self.write(&row, to)?;
        }
        Ok(())
    }

    /// Writes the row of a token.
    pub(super) fn token(&self, token: &TokenRow, to: &mut Vec<u8>) -> anyhow::Result<()> {
        self.write(token, to)
    }

    fn write(&self, row: &impl Serialize, to: &mut Vec<u8>) -> anyhow::Result<()> {
        if self.is_csv {
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(to);
            writer.serialize(row).context("cannot write a row as CSV")?;
            writer.flush().context("cannot write a row as CSV")?;
        } else {
            serde_json::to_writer(&mut *to, row).context("cannot write a row as JSON")?;
            to.push(b'\n');
        }
        Ok(())
    }

    fn written<'a>(&self, document: &DocumentRow<'a>) -> WrittenRow<'a> {
        let Sizes {
            counts,
            unicode_words,
            ..
        } = document.sizes;
        let score = document.scores[0];
        let against = document.scores.get(1).map(|score| score.nll_nats);
        let bits = |nats: f64| (counts.bytes > 0).then(|| bits_per_byte(nats, counts.bytes as f64));
        WrittenRow {
            id: document.id.into(),
            bytes: counts.bytes,
            chars: counts.chars,
            words: counts.words,
            unicode_words,
            tokens: score.tokens,
            unknown_tokens: score.unknown_tokens,
            nll_nats: score.nll_nats,
            bits_per_byte: bits(score.nll_nats),
            against_nll_nats: against,
            against_bits_per_byte: against.and_then(bits),
            difference_bits_per_byte: against.and_then(|nats| bits(score.nll_nats - nats)),
            text: document
                .text
                .filter(|_| self.keeps_text())
                .map(String::from_utf8_lossy),
        }
    }
}

impl Limits {
    fn permit(&self, row: &WrittenRow) -> bool {
        let is_within = |value: Option<f64>, min: Option<f64>, max: Option<f64>| {
            (min.is_none() && max.is_none())
                || value.is_some_and(|value| {
                    min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
                })
        };
        let (min, max) = (self.min_bits_per_byte, self.max_bits_per_byte);
        is_within(row.bits_per_byte, min, max)
            && is_within(row.difference_bits_per_byte, None, self.max_difference)
    }
}

impl DocumentRow<'_> {
    /// Refuses a likelihood that no language model gives.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for score in self.scores {
            ensure!(
                score.nll_nats.is_finite(),
                "document {} has a negative log-likelihood of {}; the weights are finite but too large to \
                 compute with; use another checkpoint",
                self.id,
                score.nll_nats
            );
        }
        Ok(())
    }

    pub(super) fn count(&self, totals: &mut ScoresTotals) {
        totals.documents += 1;
        totals.bytes += self.sizes.counts.bytes;
        totals.tokens += self.scores[0].tokens;
        totals.unknown_tokens += self.scores[0].unknown_tokens;
        totals.nll_nats += self.scores[0].nll_nats;
    }
}
