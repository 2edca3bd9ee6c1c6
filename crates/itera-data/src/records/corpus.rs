//! A corpus from files of any form: all documents at once.

use super::{Kind, RecordError, RecordOptions, Source, kind_of, source::means_several};
use crate::{Block, Corpus, DataError, Dataset, Places, Split, corpus::BLOCK};

impl Corpus {
    /// What [`load`](Self::load) gives, also of what is not plain text: JSON lines, CSV, Parquet and packed files,
    /// folders, patterns and `hf:` names. The digest is that of all bytes of the files.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), a record that is broken, and standard input, which can be read once only.
    pub fn load_records(
        dataset: &Dataset,
        split: Option<Split>,
        places: &Places,
    ) -> Result<Self, DataError> {
        let options = &RecordOptions::default();
        let path = match (dataset, split.or(dataset.default_split())) {
            (Dataset::Known(_), Some(split)) => places.find(dataset, split)?,
            (Dataset::File(path), _) if !means_several(path) => path.clone(),
            (Dataset::File(_), _) => {
                return Self::of(&Source::open(dataset, split, places, options)?);
            }
            _ => return Self::load(dataset, split, places),
        };
        let is_plain = || {
            let kind = kind_of(&dataset.to_string(), &path, options)?;
            Ok::<_, RecordError>(matches!(kind, Some(Kind::Text(_))))
        };
        if !path.is_file() || is_plain()? {
            return Self::load(dataset, split, places);
        }
        Self::of(&Source::open(dataset, split, places, options)?)
    }

    /// Every document of a source.
    fn of(source: &Source) -> Result<Self, DataError> {
        let (mut blocks, mut block, mut start) = (Vec::new(), Block::default(), 0);
        let mut records = source.read()?;
        while let Some(part) = records.next() {
            let part = part?;
            block.rule = records.rule();
            block.bytes.extend_from_slice(&part.text);
            if !part.is_last {
                continue;
            }
            let end = block.bytes.len();
            block.documents.push(start..end);
            start = end;
            if end as u64 >= BLOCK {
                blocks.push(std::mem::take(&mut block));
                start = 0;
            }
        }
        blocks.push(block);
        if blocks.iter().all(|block| block.documents.is_empty()) {
            return Err(DataError::Empty {
                name: source.name.clone(),
                bytes: source.bytes,
            });
        }
        Ok(Self {
            name: source.name.clone(),
            split: source.split,
            path: match &source.paths[..] {
                [path] => Some(path.clone()),
                _ => None,
            },
            file_bytes: source.bytes,
            sha256: source.sha256.clone(),
            verdict: source.verdict,
            blocks,
        })
    }
}
