//! A corpus from files of any form: all documents at once.

use std::{fs::File, path::Path};

use sha2::{Digest as _, Sha256};

use super::{Input, Kind, RecordError, RecordOptions, Records, find_inputs, kind_of};
use crate::{
    Block, Corpus, DataError, Dataset, Places, Split, Verdict,
    corpus::BLOCK,
    digest::{hex, update},
};

impl Corpus {
    /// What [`load`](Self::load) gives, also of what is no plain text: JSON lines, CSV, Parquet and packed files,
    /// folders, patterns and `hf:` names. The digest is that of all bytes of the files.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), a record that is broken, and standard input, which can be read once only.
    pub fn load_records(
        dataset: &Dataset,
        split: Option<Split>,
        places: &Places,
        options: &RecordOptions,
    ) -> Result<Self, DataError> {
        let name = dataset.to_string();
        let path = match (dataset, split.or(dataset.default_split())) {
            (Dataset::Known(_), Some(split)) => places.find(dataset, split)?,
            (Dataset::File(path), _) if means_several(path) => {
                let inputs = find_inputs(&name, places)?;
                return Self::of_records(&inputs, name, options)?.checked(dataset, split);
            }
            (Dataset::File(path), _) => path.clone(),
            _ => return Self::load(dataset, split, places),
        };
        let is_plain = || {
            let kind = kind_of(&name, &path, options)?;
            Ok::<_, RecordError>(matches!(kind, Some(Kind::Text(_))))
        };
        if !path.is_file() || is_plain()? {
            return Self::load_by_rule(dataset, split, places, options.rule);
        }
        let input = Input::File {
            path,
            name: name.clone(),
        };
        Self::of_records(&[input], name, options)?.checked(dataset, split)
    }

    /// Every document of the inputs that is not empty.
    fn of_records(
        inputs: &[Input],
        name: String,
        options: &RecordOptions,
    ) -> Result<Self, DataError> {
        if inputs.contains(&Input::Standard) {
            return Err(RecordError::NoInput(
                "a summary reads its text twice, which standard input does not allow; give a file, or use \
                 `itera-validate score -`"
                    .to_owned(),
            )
            .into());
        }
        let (mut blocks, mut block) = (Vec::new(), Block::default());
        let mut start = 0;
        for part in Records::new(inputs, options.clone())? {
            let part = part?;
            block.bytes.extend_from_slice(&part.text);
            if !part.is_last {
                continue;
            }
            let end = block.bytes.len();
            if end > start {
                block.documents.push(start..end);
            }
            start = end;
            if end as u64 >= BLOCK {
                blocks.push(std::mem::take(&mut block));
                start = 0;
            }
        }
        blocks.push(block);
        let (sha256, file_bytes) = digest(inputs)?;
        if blocks.iter().all(|block| block.documents.is_empty()) {
            return Err(DataError::Empty {
                name,
                bytes: file_bytes,
            });
        }
        let verdict = Verdict::of(&sha256, file_bytes);
        let proven = verdict.proves();
        let rule = options.rule.or(proven.map(|(rule, _)| rule));
        for block in &mut blocks {
            block.rule = rule.unwrap_or_default();
        }
        Ok(Self {
            name: verdict.dataset().map_or(name, |known| known.to_string()),
            split: proven.map(|(_, split)| split),
            path: match inputs {
                [Input::File { path, .. }] => Some(path.clone()),
                _ => None,
            },
            file_bytes,
            sha256,
            verdict,
            blocks,
        })
    }
}

/// Whether a path that is no file may mean several, by [`find_inputs`].
fn means_several(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let is_pattern = || name == "-" || name.starts_with("hf:") || name.contains(['*', '?', '[']);
    path.is_dir() || !path.exists() && is_pattern()
}

/// The digest of all files, one behind the other, and their size.
fn digest(inputs: &[Input]) -> Result<(String, u64), DataError> {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    for input in inputs {
        if let Input::File { path, .. } = input {
            let read = File::open(path).and_then(|file| update(&mut hasher, file));
            bytes += read.map_err(|source| DataError::Read {
                path: path.clone(),
                source,
            })?;
        }
    }
    Ok((hex(hasher), bytes))
}
