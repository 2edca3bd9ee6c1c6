//! Documents in batches, in the order of the input.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::ensure;
use itera_data::records::{Part, RecordError, Records};

use super::output::Known;

/// Bytes and documents of a batch.
const BYTES: usize = 256 << 10;
const DOCUMENTS: usize = 1024;

/// Where a batch stands in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// From 0.
    pub(super) number: u64,
    /// Digest of all that was read up to the end of this batch.
    pub(super) sha256: String,
}

/// A document that is no longer than a batch.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) id: String,
    pub(super) text: Vec<u8>,
}

/// What a thread has to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Documents to score together, and the records between them that are broken.
    Documents {
        batch: Batch,
        documents: Vec<Document>,
        broken: Vec<String>,
    },
    /// A long document, the parts of which are still being read. The batch comes behind the last one.
    Long {
        id: String,
        parts: Receiver<LongPart>,
    },
}

/// What comes of a long document.
#[derive(Debug)]
pub(super) enum LongPart {
    Text(Vec<u8>),
    End(Batch),
}

/// Makes batches.
pub(super) struct Batches {
    records: Records,
    skips_broken: bool,
    number: u64,
    documents: Vec<Document>,
    bytes: usize,
    broken: Vec<String>,
}

impl Batches {
    pub(super) fn new(records: Records, skips_broken: bool) -> Self {
        Self {
            records,
            skips_broken,
            number: 0,
            documents: Vec::new(),
            bytes: 0,
            broken: Vec::new(),
        }
    }

    /// Sends all batches but those that are known, or stops when nobody takes them.
    ///
    /// # Errors
    /// The input cannot be read, holds a broken record, or is another than the one of the known batches.
    pub(super) fn send(
        mut self,
        known: Option<&Known>,
        work: &SyncSender<Work>,
    ) -> anyhow::Result<()> {
        while let Some(part) = self.records.next() {
            let Part { id, text, is_last } = match part {
                Ok(part) => part,
                Err(error) if error.is_of_one_record() && self.skips_broken => {
                    self.broken.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(with_remedy(error)),
            };
            let id = id.unwrap_or_default();
            if !is_last {
                if !self.flush(known, work)? || !self.send_long(id, text, known, work)? {
                    return Ok(());
                }
                continue;
            }
            self.bytes += text.len();
            self.documents.push(Document { id, text });
            let is_full = self.bytes >= BYTES || self.documents.len() == DOCUMENTS;
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
        id: String,
        first: Vec<u8>,
        known: Option<&Known>,
        work: &SyncSender<Work>,
    ) -> anyhow::Result<bool> {
        let (sender, parts) = sync_channel(2);
        let is_new = known.is_none_or(|known| self.number >= known.batches);
        if is_new && work.send(Work::Long { id, parts }).is_err() {
            return Ok(false);
        }
        let give = |part| !is_new || sender.send(part).is_ok();
        if !give(LongPart::Text(first)) {
            return Ok(false);
        }
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
