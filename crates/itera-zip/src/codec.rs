//! Documents to bytes and back, by the predictions of a model.
//!
//! All documents of a text go through one range coder, in rounds: a token of each of the documents that are read abreast,
//! in turn. Where one has ended, the next takes its place. So the decoder has a whole batch of predictions to
//! compute at a time, and a document costs nothing but its tokens and an end-of-text. The encoder knows all tokens
//! beforehand and reads them in whatever order is fastest, since no prediction depends on what is read together.

use std::slice;

use itera_core::{
    model::{Model, Sequence, State},
    tokenizer::Tokenizer,
};

use crate::{
    coder::{Decoder, Encoder, Share},
    damage::Damage,
    frequencies::Frequencies,
};

/// Documents that are decoded abreast: as many tokens as the model takes at a time.
const ABREAST: usize = Model::ROWS;

/// How the decoder knows where documents end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Each has an end-of-text behind it.
    Marked,
    /// There is one, of a length that is known.
    ByLength,
}

/// What the decoder knows beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) ends: Ends,
    pub(crate) documents: usize,
    /// Bytes of all documents: exactly if `ends` is by length, else at most.
    pub(crate) bytes: usize,
}

/// A model and its tokenizer.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) model: Model,
    pub(crate) tokenizer: Tokenizer,
}

impl Codec {
    /// The code of documents; `None` if the tokenizer loses something of them.
    pub(crate) fn encode(&self, documents: &[&[u8]], ends: Ends) -> Option<Vec<u8>> {
        let tokens = documents.iter().map(|text| self.tokens(text, ends));
        let tokens: Vec<Vec<u32>> = tokens.collect::<Option<_>>()?;
        let shares = self.shares(&tokens);
        let mut waiting = shares.iter().map(|shares| shares.iter());
        let mut abreast: Vec<slice::Iter<'_, Share>> = waiting.by_ref().take(ABREAST).collect();
        let mut encoder = Encoder::new();
        while !abreast.is_empty() {
            abreast.retain_mut(|document| {
                if let Some(&share) = document.next() {
                    encoder.encode(share);
                }
                if document.as_slice().is_empty() {
                    let next = waiting.next();
                    let goes_on = next.is_some();
                    *document = next.unwrap_or_default();
                    return goes_on;
                }
                true
            });
        }
        Some(encoder.finish())
    }

    /// The tokens of a document; `None` if they do not give it back.
    fn tokens(&self, text: &[u8], ends: Ends) -> Option<Vec<u32>> {
        let mut tokens = self.tokenizer.encode(text).ok()?;
        if !self.tokenizer.is_lossless() && self.tokenizer.decode(&tokens) != text {
            return None;
        }
        if ends == Ends::Marked {
            tokens.push(self.tokenizer.end_of_text());
        }
        Some(tokens)
    }

    /// The share of every token of every document, each read from a fresh state after end-of-text.
    fn shares(&self, documents: &[Vec<u32>]) -> Vec<Vec<Share>> {
        let mut frequencies = Frequencies::new(self.tokenizer.vocab_size());
        let mut work = self.model.new_workspace();
        let mut states = vec![self.model.new_state(); documents.len().min(ABREAST)];
        let mut shares = Vec::with_capacity(documents.len());
        for documents in documents.chunks(ABREAST) {
            let begin = shares.len();
            shares.extend(
                documents
                    .iter()
                    .map(|tokens| Vec::with_capacity(tokens.len())),
            );
            let sequences = documents.iter().zip(&mut states).map(|(tokens, state)| {
                state.reset();
                Sequence::predicting(tokens, self.tokenizer.end_of_text(), state)
            });
            let mut sequences: Vec<Sequence<'_>> = sequences.collect();
            self.model
                .predict_batch(&mut sequences, &mut work, &mut |index, token, logits| {
                    frequencies.predict(&self.model, logits);
                    shares[begin + index].push(frequencies.share(token));
                });
        }
        shares
    }

    /// The documents of a code.
    pub(crate) fn decode(&self, code: &[u8], expected: Expected) -> Result<Vec<Vec<u8>>, Damage> {
        let mut decoding = Decoding {
            codec: self,
            expected,
            decoder: Decoder::new(code),
            frequencies: Frequencies::new(self.tokenizer.vocab_size()),
            texts: Vec::new(),
            bytes: 0,
        };
        let mut abreast = Vec::new();
        while abreast.len() < ABREAST
            && let Some(text) = decoding.begin()
        {
            abreast.push(Document {
                text,
                last: self.tokenizer.end_of_text(),
                state: self.model.new_state(),
            });
        }
        let mut work = self.model.new_workspace();
        while !abreast.is_empty() {
            let tokens: Vec<[u32; 1]> = abreast.iter().map(|document| [document.last]).collect();
            let sequences = tokens.iter().zip(&mut abreast);
            let sequences =
                sequences.map(|(token, document)| Sequence::new(token, &mut document.state));
            let mut sequences: Vec<Sequence<'_>> = sequences.collect();
            let mut next = Vec::with_capacity(sequences.len());
            self.model
                .forward_batch(&mut sequences, &mut work, &mut |_, logits| {
                    next.push(decoding.token(logits));
                });
            let mut next = next.into_iter();
            let mut outcome = Ok(());
            abreast.retain_mut(|document| {
                let token = next.next().unwrap_or(Err(Damage::Code));
                let goes_on = token.and_then(|token| decoding.read(document, token));
                goes_on.unwrap_or_else(|damage| {
                    outcome = Err(damage);
                    false
                })
            });
            outcome?;
        }
        decoding.decoder.finish()?;
        Ok(decoding.texts)
    }
}

/// A document that is being decoded.
struct Document {
    /// Its place among all.
    text: usize,
    last: u32,
    state: State,
}

/// What all documents that are being decoded share.
struct Decoding<'c> {
    codec: &'c Codec,
    expected: Expected,
    decoder: Decoder<'c>,
    frequencies: Frequencies,
    texts: Vec<Vec<u8>>,
    /// Of all texts together.
    bytes: usize,
}

impl Decoding<'_> {
    /// The place of the next document, if there is one.
    fn begin(&mut self) -> Option<usize> {
        let is_empty = self.expected.ends == Ends::ByLength && self.expected.bytes == 0;
        let place = self.texts.len();
        if place == self.expected.documents || is_empty {
            return None;
        }
        self.texts.push(Vec::new());
        Some(place)
    }

    /// The next token of the code.
    fn token(&mut self, logits: &[f32]) -> Result<u32, Damage> {
        self.frequencies.predict(&self.codec.model, logits);
        let part = self.decoder.part(self.frequencies.total())?;
        let token = self.frequencies.token(part);
        self.decoder.advance(self.frequencies.share(token));
        Ok(token)
    }

    /// Takes a token of a document; `false` if nothing is left to be read in its place.
    fn read(&mut self, document: &mut Document, token: u32) -> Result<bool, Damage> {
        let bytes = self.codec.tokenizer.token_bytes(token);
        self.texts[document.text].extend_from_slice(bytes);
        self.bytes += bytes.len();
        let is_marked = self.expected.ends == Ends::Marked;
        let is_end = token == self.codec.tokenizer.end_of_text();
        if self.bytes > self.expected.bytes || (is_end && !is_marked) {
            return Err(Damage::Code);
        }
        document.last = token;
        if is_end {
            document.state.reset();
            let next = self.begin();
            document.text = next.unwrap_or(document.text);
            return Ok(next.is_some());
        }
        Ok(is_marked || self.bytes < self.expected.bytes)
    }
}

#[cfg(test)]
mod tests {
    use itera_core::{checkpoint::Precision, tokenizer::CharTokenizer};
    use itera_testing::{bytes, small_checkpoint};
    use proptest::prelude::*;

    use super::*;
    use crate::tests::{cases, loaded};

    proptest! {
        #![proptest_config(cases(40))]

        #[test]
        fn documents_come_back(
            seed in 0_u64..100,
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..90),
        ) {
            let codec = loaded(&small_checkpoint(bytes(), seed)).codec;
            let documents: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let code = codec.encode(&documents, Ends::Marked).unwrap();
            let mut expected = Expected {
                ends: Ends::Marked,
                documents: texts.len(),
                bytes: texts.iter().map(Vec::len).sum(),
            };
            prop_assert_eq!(codec.decode(&code, expected), Ok(texts.clone()));
            expected.documents += 1;
            prop_assert!(codec.decode(&code, expected).is_err());
            expected.documents -= 1;
            if expected.bytes > 0 {
                expected.bytes -= 1;
                prop_assert!(codec.decode(&code, expected).is_err());
            }
        }

        #[test]
        fn any_code_ends(code in prop::collection::vec(any::<u8>(), 0..100), documents in 0_usize..50) {
            let codec = loaded(&small_checkpoint(bytes(), 1)).codec;
            for ends in [Ends::Marked, Ends::ByLength] {
                let decoded = codec.decode(&code, Expected { ends, documents, bytes: 1000 });
                prop_assert!(decoded.is_err() || decoded.is_ok_and(|texts| texts.concat().len() <= 1000));
            }
        }
    }

    #[test]
    fn what_a_tokenizer_would_lose_is_not_coded() {
        let alphabet = CharTokenizer::train([&b"abc"[..]].into_iter()).unwrap();
        let codec = loaded(&small_checkpoint(Tokenizer::Char(alphabet), 1)).codec;
        assert!(codec.encode(&[&b"cab"[..]], Ends::Marked).is_some());
        for lost in [&b"abd"[..], b"a\xff"] {
            assert_eq!(codec.encode(&[lost], Ends::Marked), None);
        }
    }

    #[test]
    fn every_kernel_decodes_what_another_encoded() {
        let checkpoint = small_checkpoint(bytes(), 1);
        let text = &b"Once upon a time there was a small boat."[..];
        let expected = Expected {
            ends: Ends::ByLength,
            documents: 1,
            bytes: text.len(),
        };
        for precision in [Precision::Int8, Precision::Int4] {
            let options = itera_core::quant::Options::data_free(precision);
            let (checkpoint, _) = itera_core::quant::quantize(&checkpoint, &options).unwrap();
            let kernels = itera_core::kernels::Kernel::available();
            let codecs = kernels.into_iter().map(|kernel| Codec {
                model: Model::with_kernel(&checkpoint, kernel).unwrap(),
                tokenizer: checkpoint.tokenizer.clone(),
            });
            let codecs: Vec<Codec> = codecs.collect();
            let code = codecs[0].encode(&[text], Ends::ByLength).unwrap();
            for codec in codecs {
                let kernel = codec.model.kernel();
                let decoded = codec.decode(&code, expected);
                assert_eq!(decoded, Ok(vec![text.to_vec()]), "{precision} {kernel}");
            }
        }
    }
}
