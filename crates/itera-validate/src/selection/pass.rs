//! One pass over the documents of a selection: reading, tokenising and what is made of the tokens overlap.

use std::sync::mpsc::Receiver;

use itera_cli::Progress;
use itera_data::{Counts, DocumentRule, TokenSet};

use super::{Selection, unknown_tokens};
use crate::stream::{
    Teller,
    batches::{self, Batches, LongPart, Work},
    pipeline::{self, Give, Made},
};

/// What makes something of the tokens of documents, one thread's own.
pub(crate) trait DocumentReader {
    /// What a document becomes.
    type Output: Send;

    /// Begins a document.
    fn begin(&mut self);

    /// Reads the next tokens of it.
    fn read(&mut self, tokens: &[u16]);

    /// Ends it.
    fn end(&mut self) -> Self::Output;

    /// Reads whole documents.
    fn documents(&mut self, documents: &TokenSet) -> Vec<Self::Output> {
        self.each(documents)
    }

    /// The same, one after the other.
    fn each(&mut self, documents: &TokenSet) -> Vec<Self::Output> {
        let read = |tokens: &[u16]| {
            self.begin();
            self.read(tokens);
            self.end()
        };
        documents.iter().map(read).collect()
    }
}

/// Documents that were read together.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    /// Those of the shard, with what they became.
    pub(crate) documents: Vec<(Document, T)>,
    /// How often each token occurs, in the documents of all shards.
    pub(crate) frequencies: Vec<u64>,
}

/// A document, or the beginning of one where the number of tokens is limited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document {
    /// Position in the text.
    pub(crate) index: u64,
    pub(crate) counts: Counts,
    pub(crate) tokens: u64,
    pub(crate) unknown_tokens: u64,
}

impl Selection<'_> {
    /// Reads the documents of the shard with a `reader` for each thread, and calls `then` in their order.
    pub(crate) fn read<R: DocumentReader>(
        &self,
        threads: usize,
        reader: impl Fn() -> anyhow::Result<R> + Sync,
        mut then: impl FnMut(Batch<R::Output>),
    ) -> anyhow::Result<()> {
        let records = self.source.read()?;
        let progress = Progress::new(records.bytes(), "bytes");
        let mut teller = Teller::new(&progress, &records);
        pipeline::run(
            threads,
            0,
            |work| Batches::new(records, false, self.documents).send(None, work),
            || {
                let mut reader = reader()?;
                Ok(move |work, give: Give<_>| self.work_off(work, &mut reader, give))
            },
            |batch| {
                teller.tell();
                then(batch);
                Ok(())
            },
        )
    }

    fn work_off<R: DocumentReader>(
        &self,
        work: Work,
        reader: &mut R,
        give: Give<Batch<R::Output>>,
    ) -> anyhow::Result<()> {
        let mut what = Batch {
            documents: Vec::new(),
            frequencies: vec![0; self.tokenizer.vocab_size()],
        };
        let batch = match work {
            Work::Documents {
                batch, documents, ..
            } => {
                self.read_documents(&documents, reader, &mut what)?;
                batch.number
            }
            Work::Long {
                number,
                first,
                parts,
            } => {
                if !self.read_long(&first, parts, reader, &mut what)? {
                    return Ok(());
                }
                number
            }
        };
        give(Made {
            batch,
            what,
            is_last: true,
        });
        Ok(())
    }

    fn read_documents<R: DocumentReader>(
        &self,
        documents: &[batches::Document],
        reader: &mut R,
        to: &mut Batch<R::Output>,
    ) -> anyhow::Result<()> {
        let (mut own, mut tokens) = (Vec::new(), TokenSet::default());
        for document in documents {
            let mut reading = Reading::new(self, document);
            tokens.push_with(|ids| reading.take(&document.text, ids, &mut to.frequencies))?;
            if self.is_own(document.index) {
                own.push(reading.document);
            } else {
                tokens.pop();
            }
        }
        to.documents = own.into_iter().zip(reader.documents(&tokens)).collect();
        Ok(())
    }

    /// Reads a document part by part. False if its end does not come, of which the reader of the files says why.
    fn read_long<R: DocumentReader>(
        &self,
        first: &batches::Document,
        parts: Receiver<LongPart>,
        reader: &mut R,
        to: &mut Batch<R::Output>,
    ) -> anyhow::Result<bool> {
        let mut reading = Reading::new(self, first);
        let is_own = self.is_own(first.index);
        let mut read = |reader: &mut R, text: &[u8]| {
            let mut ids = Vec::new();
            reading.take(text, &mut ids, &mut to.frequencies)?;
            if is_own {
                reader.read(&ids);
            }
            anyhow::Ok(())
        };
        reader.begin();
        read(reader, &first.text)?;
        for part in parts {
            match part {
                LongPart::Text(text) => read(reader, &text)?,
                LongPart::End(_) => {
                    let document = (reading.document, reader.end());
                    to.documents.extend(Some(document).filter(|_| is_own));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// A document on its way.
struct Reading<'s> {
    selection: &'s Selection<'s>,
    rule: DocumentRule,
    document: Document,
    /// Tokens and bytes that are still selected.
    left: (usize, usize),
}

impl<'s> Reading<'s> {
    fn new(selection: &'s Selection<'s>, document: &batches::Document) -> Self {
        let index = document.index;
        Self {
            selection,
            rule: document.rule,
            document: Document {
                index,
                counts: Counts::default(),
                tokens: 0,
                unknown_tokens: 0,
            },
            left: selection.cut(index),
        }
    }

    /// Appends the tokens of the next part, as far as it is selected, and counts both.
    fn take(
        &mut self,
        text: &[u8],
        ids: &mut Vec<u16>,
        frequencies: &mut [u64],
    ) -> anyhow::Result<()> {
        let before = ids.len();
        let document = &mut self.document;
        self.selection.encode(document.index, text, ids)?;
        ids.truncate(before.saturating_add(self.left.0));
        let (text, ids) = (&text[..text.len().min(self.left.1)], &ids[before..]);
        self.left.0 -= ids.len();
        self.left.1 -= text.len();
        document.counts = document.counts + Counts::of(self.rule, text);
        document.tokens += ids.len() as u64;
        document.unknown_tokens += unknown_tokens(self.selection.tokenizer, ids);
        for &id in ids {
            frequencies[usize::from(id)] += 1;
        }
        Ok(())
    }
}
