//! Documents in batches, in the order of the input.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::ensure;
use itera_data::{
    DocumentRule,
    records::{Part, RecordError, Records},
};

use super::output::Known;

/// Bytes of a batch: a small share of the input, so that a short one keeps all threads busy.
const LEAST_BYTES: usize = 16 << 10;
const MOST_BYTES: usize = 256 << 10;
const SHARE: u64 = 128;

/// Documents of a batch, and broken records.
const DOCUMENTS: usize = 1024;

/// Where a batch stands in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// From 0.
    pub(crate) number: u64,
    /// Digest of all that was read up to the end of this batch.
    pub(super) sha256: String,
}

/// A document, or the first part of a long one.
#[derive(Debug)]
pub(crate) struct Document {
    /// Position in the input, from 0.
    pub(crate) index: u64,
    pub(super) id: String,
    /// The rule by which its words are counted.
    pub(crate) rule: DocumentRule,
    pub(crate) text: Vec<u8>,
}

/// What a thread has to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Documents to score together, and the records between them that are broken.
    Documents {
        batch: Batch,
        documents: Vec<Document>,
        broken: Vec<String>,
    },
    /// A long document, the other parts of which are still being read; it is a batch of this number, the end of which
    /// comes behind the last part.
    Long {
        number: u64,
        first: Document,
        parts: Receiver<LongPart>,
    },
}

/// What comes of a long document.
#[derive(Debug)]
pub(crate) enum LongPart {
    Text(Vec<u8>),
    End(Batch),
}

/// Makes batches.
pub(crate) struct Batches {
    records: Records,
    skips_broken: bool,
    number: u64,
    /// Documents so far, and where to end.
    index: u64,
    limit: u64,
    documents: Vec<Document>,
    bytes: usize,
    /// Bytes at which a batch is full.
    full: usize,
    broken: Vec<String>,
}

impl Batches {
    /// Of the first `limit` documents.
    pub(crate) fn new(records: Records, skips_broken: bool, limit: u64) -> Self {
        let bytes = match records.bytes() {
            // It has no length yet, so that it may be long.
            0 => MOST_BYTES,
            bytes => (bytes / SHARE) as usize,
        };
        Self {
            records,
            skips_broken,
            number: 0,
            index: 0,
            limit,
            documents: Vec::new(),
            bytes: 0,
            full: bytes.clamp(LEAST_BYTES, MOST_BYTES),
            broken: Vec::new(),
        }
    }

    /// Sends all batches but those that are known, or stops when nobody takes them.
    ///
    /// # Errors
    /// The input cannot be read, holds a broken record, or is another than the one of the known batches.
    pub(crate) fn send(
        mut self,
        known: Option<&Known>,
        work: &SyncSender<Work>,
    ) -> anyhow::Result<()> {
        while self.index < self.limit
            && let Some(part) = self.records.next()
        {
            let Part { id, text, is_last } = match part {
                Ok(part) => part,
                Err(error) if error.is_of_one_record() && self.skips_broken => {
                    self.broken.push(error.to_string());
                    if self.broken.len() == DOCUMENTS && !self.flush(known, work)? {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => return Err(with_remedy(error)),
            };
            let document = Document {
                index: self.index,
                id: id.unwrap_or_default(),
                rule: self.records.rule(),
                text,
            };
            self.index += 1;
            if !is_last {
                if !self.flush(known, work)? || !self.send_long(document, known, work)? {
                    return Ok(());
                }
                continue;
            }
            self.bytes += document.text.len();
            self.documents.push(document);
            let is_full = self.bytes >= self.full || self.documents.len() == DOCUMENTS;
            if is_full && !self.flush(known, work)? {
                return Ok(());
            }
        }
        self.flush(known, work)?;
        if let Some(known) = known {
            ensure!(self.number >= known.batches, CHANGED);
        }
        Ok(())
    }

    /// Ends a batch.
    fn end(&mut self) -> Batch {
        let batch = Batch {
            number: self.number,
            sha256: self.records.sha256(),
        };
        self.number += 1;
        batch
    }

    /// Sends what has come together. False if nobody takes it.
    fn flush(&mut self, known: Option<&Known>, work: &SyncSender<Work>) -> anyhow::Result<bool> {
        if self.documents.is_empty() && self.broken.is_empty() {
            return Ok(true);
        }
        let batch = self.end();
        self.bytes = 0;
        let documents = std::mem::take(&mut self.documents);
        let broken = std::mem::take(&mut self.broken);
        if is_known(&batch, known)? {
            return Ok(true);
        }
        let documents = Work::Documents {
            batch,
            documents,
            broken,
        };
        Ok(work.send(documents).is_ok())
    }

    /// Sends a long document part by part, as fast as they are taken. False if nobody takes them.
    fn send_long(
        &mut self,
        first: Document,
        known: Option<&Known>,
        work: &SyncSender<Work>,
    ) -> anyhow::Result<bool> {
        let (sender, parts) = sync_channel(2);
        let is_new = known.is_none_or(|known| self.number >= known.batches);
        let number = self.number;
        let long = Work::Long {
            number,
            first,
            parts,
        };
        if is_new && work.send(long).is_err() {
            return Ok(false);
        }
        let give = |part| !is_new || sender.send(part).is_ok();
        for part in self.records.by_ref() {
            let part = part.map_err(with_remedy)?;
            if !give(LongPart::Text(part.text)) {
                return Ok(false);
            }
            if part.is_last {
                break;
            }
        }
        let batch = self.end();
        is_known(&batch, known)?;
        Ok(give(LongPart::End(batch)))
    }
}

/// Whether the rows of a batch are written already.
fn is_known(batch: &Batch, known: Option<&Known>) -> anyhow::Result<bool> {
    let Some(known) = known else {
        return Ok(false);
    };
    if batch.number + 1 == known.batches {
        ensure!(batch.sha256 == known.input_sha256, CHANGED);
    }
    Ok(batch.number < known.batches)
}

const CHANGED: &str = "the input is not the one that the unfinished output was made from; score it anew without \
                       `--resume`, after removing that output";

fn with_remedy(error: RecordError) -> anyhow::Error {
    let is_of_one_record = error.is_of_one_record();
    let error = anyhow::Error::new(error);
    if is_of_one_record {
        error.context("a record is broken; leave such records out with `--on-error skip`; with `--resume` an output goes \
             on behind what is written")
    } else {
        error
    }
}
