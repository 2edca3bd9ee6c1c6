//! The likelihood of the documents of a batch.

use anyhow::Context as _;
use itera_core::{
    checkpoint::Precision,
    kernels::Kernel,
    model,
    model::{State, Workspace},
    models::{LoadedCheckpoint, load_at_precision, load_checkpoint},
    tokenizer::{Tokenizer, TokenizerError},
};
use itera_data::{Counts, DocumentRule, Oddities, TokenSet};
use itera_record::ScoresTotals;
use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    Scored,
    batches::{Document, LongPart, Work},
    options::Subject,
    pipeline::{Give, Made},
    rows::{DocumentRow, RowWriter, TokenRow},
};
use crate::selection::{unknown_tokens, widen};

/// Tokens of a long document that are read at a time.
const SEGMENT: usize = 1024;

/// A checkpoint ready to score.
pub(super) struct Model {
    pub(super) loaded: LoadedCheckpoint,
    model: model::Model,
}

impl Model {
    pub(super) fn load(
        name: &str,
        precision: Option<Precision>,
        kernel: Kernel,
    ) -> anyhow::Result<Self> {
        let loaded = match precision {
            None => load_checkpoint(name)?,
            Some(precision) => load_at_precision(name, precision)?,
        };
        let model = model::Model::with_kernel(&loaded.checkpoint, kernel)
            .with_context(|| format!("cannot run {}", loaded.name))?;
        Ok(Self { loaded, model })
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.loaded.checkpoint.tokenizer
    }
}

/// What a model makes of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Score {
    pub(super) tokens: u64,
    pub(super) unknown_tokens: u64,
    pub(super) nll_nats: f64,
}

/// Sizes of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) counts: Counts,
    /// Words by the rules of Unicode (UAX #29).
    pub(super) unicode_words: u64,
    pub(super) oddities: Oddities,
}

impl Sizes {
    fn of(text: &[u8]) -> Self {
        let chunks = text.utf8_chunks();
        Self {
            counts: Counts::of(DocumentRule::Story, text),
            unicode_words: chunks
                .map(|chunk| chunk.valid().unicode_words().count() as u64)
                .sum(),
            oddities: Oddities::of(DocumentRule::Story, text),
        }
    }

    fn add(&mut self, other: Self) {
        self.counts = self.counts + other.counts;
        self.unicode_words += other.unicode_words;
        self.oddities += other.oddities;
    }
}

/// Scores batches, one thread's own.
pub(super) struct Scorer<'m> {
    models: Vec<Reader<'m>>,
    rows: &'m RowWriter,
}

impl<'m> Scorer<'m> {
    pub(super) fn new(models: &[&'m Model], rows: &'m RowWriter) -> Self {
        Self {
            models: models.iter().map(|model| Reader::new(model)).collect(),
            rows,
        }
    }

    /// Gives the rows of a batch; those of tokens of a long document part by part.
    pub(super) fn score(&mut self, work: Work, give: Give<Scored>) -> anyhow::Result<()> {
        match work {
            Work::Documents {
                batch,
                documents,
                broken,
            } => {
                let number = batch.number;
                let mut scored = Scored {
                    batch: Some(batch),
                    broken,
                    ..Scored::default()
                };
                self.documents(documents, &mut scored)?;
                scored.totals.broken = scored.broken.len() as u64;
                give(Made {
                    batch: number,
                    what: scored,
                    is_last: true,
                });
            }
            Work::Long {
                number,
                first,
                parts,
            } => {
                let mut long = Long::new(&first.id, &mut self.models, self.rows);
                long.read(&first.text)?;
                for part in parts {
                    let mut what = Scored::default();
                    match part {
                        LongPart::Text(text) => long.read(&text)?,
                        LongPart::End(batch) => {
                            what.batch = Some(batch);
                            what.oddities = long.sizes.oddities;
                            what.totals = long.end()?;
                        }
                    }
                    what.rows = std::mem::take(&mut long.written);
                    let is_last = what.batch.is_some();
                    let is_empty = what.rows.is_empty() && !is_last;
                    let made = Made {
                        batch: number,
                        what,
                        is_last,
                    };
                    if (!is_empty && !give(made)) || is_last {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn documents(&mut self, documents: Vec<Document>, scored: &mut Scored) -> anyhow::Result<()> {
        let mut readable = Vec::with_capacity(documents.len());
        for document in documents {
            match self.tokenise(&document) {
                Ok(()) => readable.push(document),
                Err(error) if self.rows.skips_broken => {
                    scored.broken.push(format!("{}: {error}", document.id));
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "cannot read document {}; leave such ones out with `--on-error skip`",
                            document.id
                        )
                    });
                }
            }
        }
        if self.rows.subject == Subject::Tokens {
            return self.rows_of_tokens(&readable, scored);
        }
        let scores: Vec<Vec<Score>> = self.models.iter_mut().map(Reader::score).collect();
        for (index, document) in readable.iter().enumerate() {
            let of_document: Vec<Score> = scores.iter().map(|scores| scores[index]).collect();
            let sizes = Sizes::of(&document.text);
            scored.oddities += sizes.oddities;
            let row = DocumentRow {
                id: &document.id,
                sizes,
                scores: &of_document,
                text: Some(&document.text),
            };
            self.rows
                .document(&row, &mut scored.rows, &mut scored.totals)?;
        }
        Ok(())
    }

    /// Adds the tokens of a document for each model, or for none.
    fn tokenise(&mut self, document: &Document) -> Result<(), TokenizerError> {
        // Only the tokenizer of characters refuses, and for all models alike it must leave nothing behind.
        let encode = |model: &mut Reader| model.push(&document.text);
        let done = self.models.iter_mut().map(encode).collect::<Vec<_>>();
        if done.iter().any(Result::is_err) {
            for (model, done) in self.models.iter_mut().zip(&done) {
                if done.is_ok() {
                    model.tokens.pop();
                }
            }
        }
        done.into_iter().collect()
    }

    fn rows_of_tokens(
        &mut self,
        documents: &[Document],
        scored: &mut Scored,
    ) -> anyhow::Result<()> {
        let tokens = std::mem::take(&mut self.models[0].tokens);
        for (document, tokens) in documents.iter().zip(tokens.iter()) {
            let mut long = Long::new(&document.id, &mut self.models, self.rows);
            long.sizes = Sizes::of(&document.text);
            scored.oddities += long.sizes.oddities;
            long.read_tokens(0, tokens, &document.text)?;
            scored.totals.add(&long.end()?);
            scored.rows.append(&mut long.written);
        }
        Ok(())
    }
}

/// A model with the memory of one thread.
struct Reader<'m> {
    model: &'m Model,
    scorer: model::Scorer<'m>,
    tokens: TokenSet,
    state: State,
    work: Workspace,
}

impl<'m> Reader<'m> {
    fn new(model: &'m Model) -> Self {
        Self {
            scorer: model.model.scorer(model.tokenizer().end_of_text()),
            tokens: TokenSet::default(),
            state: model.model.new_state(),
            work: model.model.new_workspace(),
            model,
        }
    }

    fn push(&mut self, text: &[u8]) -> Result<(), TokenizerError> {
        let tokenizer = self.model.tokenizer();
        self.tokens
            .push_with(|ids| tokenizer.encode_into(text, ids))
    }

    /// Scores the documents pushed, and forgets them.
    fn score(&mut self) -> Vec<Score> {
        let tokens = std::mem::take(&mut self.tokens);
        let mut scores = Vec::with_capacity(tokens.len());
        for group in model::Scorer::groups(tokens.iter().map(<[u16]>::len)) {
            let documents = group.map(|index| tokens.document(index));
            let wide: Vec<Vec<u32>> = documents.clone().map(|ids| widen(ids).collect()).collect();
            let slices: Vec<&[u32]> = wide.iter().map(Vec::as_slice).collect();
            let nats = self.scorer.documents(&slices);
            scores.extend(documents.zip(nats).map(|(ids, nll_nats)| Score {
                tokens: ids.len() as u64,
                unknown_tokens: unknown_tokens(self.model.tokenizer(), ids),
                nll_nats,
            }));
        }
        scores
    }
}

/// A document that is read piece by piece.
struct Long<'r, 'm> {
    id: &'r str,
    models: &'r mut [Reader<'m>],
    rows: &'r RowWriter,
    sizes: Sizes,
    scores: Vec<Score>,
    /// The token before the next, for each model.
    previous: Vec<u32>,
    text: Vec<u8>,
    /// Rows that are not given away yet.
    written: Vec<u8>,
    totals: ScoresTotals,
    /// Bytes before the next token.
    offset: u64,
}

impl<'r, 'm> Long<'r, 'm> {
    fn new(id: &'r str, models: &'r mut [Reader<'m>], rows: &'r RowWriter) -> Self {
        for model in models.iter_mut() {
            model.state.reset();
        }
        let start = |model: &Reader| model.model.tokenizer().end_of_text();
        Self {
            id,
            rows,
            sizes: Sizes::default(),
            scores: vec![Score::default(); models.len()],
            previous: models.iter().map(start).collect(),
            models,
            text: Vec::new(),
            written: Vec::new(),
            totals: ScoresTotals::default(),
            offset: 0,
        }
    }

    fn read(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.sizes.add(Sizes::of(text));
        if self.rows.keeps_text() {
            self.text.extend_from_slice(text);
        }
        for index in 0..self.models.len() {
            let mut ids = Vec::new();
            let tokenizer = self.models[index].model.tokenizer();
            tokenizer
                .encode_into(text, &mut ids)
                .with_context(|| format!("cannot read the long document {}", self.id))?;
            self.read_tokens(index, &ids, text)?;
        }
        Ok(())
    }

    fn read_tokens(&mut self, index: usize, ids: &[u16], text: &[u8]) -> anyhow::Result<()> {
        let reader = &mut self.models[index];
        let tokenizer = reader.model.tokenizer();
        let score = &mut self.scores[index];
        score.unknown_tokens += unknown_tokens(tokenizer, ids);
        let mut lens = token_lens(tokenizer, text);
        for segment in ids.chunks(SEGMENT) {
            let segment: Vec<u32> = widen(segment).collect();
            let previous = std::mem::replace(&mut self.previous[index], segment[segment.len() - 1]);
            let (state, work) = (&mut reader.state, &mut reader.work);
            if self.rows.subject != Subject::Tokens {
                let nats = reader.model.model.score(state, work, previous, &segment);
                for nats in nats {
                    score.nll_nats += nats;
                }
                score.tokens += segment.len() as u64;
                continue;
            }
            let ranked = reader
                .model
                .model
                .score_ranked(state, work, previous, &segment);
            for (&token, (nats, rank)) in segment.iter().zip(ranked) {
                let len = lens(token);
                let row = TokenRow {
                    id: self.id,
                    index: score.tokens,
                    offset: self.offset,
                    bytes: len as u64,
                    nll_nats: nats,
                    rank: rank as u64,
                };
                self.rows.token(&row, &mut self.written)?;
                self.totals.rows += 1;
                self.offset += len as u64;
                score.nll_nats += nats;
                score.tokens += 1;
            }
        }
        Ok(())
    }

    /// Writes the row of the document, if rows are about documents; what it adds to the totals.
    fn end(&mut self) -> anyhow::Result<ScoresTotals> {
        let row = DocumentRow {
            id: self.id,
            sizes: self.sizes,
            scores: &self.scores,
            text: Some(&self.text),
        };
        if self.rows.subject == Subject::Tokens {
            row.check()?;
            row.count(&mut self.totals);
        } else {
            self.rows
                .document(&row, &mut self.written, &mut self.totals)?;
        }
        Ok(self.totals)
    }
}

/// How many bytes of a text each of its tokens stands for, asked for in order: the unknown token of a character
/// tokenizer stands for one character of any length.
fn token_lens<'t>(tokenizer: &'t Tokenizer, text: &'t [u8]) -> impl FnMut(u32) -> usize + 't {
    let mut chars = str::from_utf8(text).unwrap_or_default().chars();
    move |token| {
        if tokenizer.is_lossless() {
            tokenizer.token_bytes(token).len()
        } else {
            chars.next().map_or(0, char::len_utf8)
        }
    }
}
