//! What is known of a text before it is read, and how it is read again for each pass.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{Input, RecordError, RecordOptions, Records, find_inputs, inputs::samples};
use crate::{
    DataError, Dataset, Oddities, Places, Split, Verdict,
    corpus::checked_split,
    digest::{hex, update},
};

/// A text from files of any form, which are read anew for each pass, so that it need not fit into memory.
#[derive(Debug)]
pub struct Source {
    /// Name of the data set, also where its digest gave it away, or the name as it was given.
    pub name: String,
    /// The split; none for samples and for files whose digest is not known.
    pub split: Option<Split>,
    /// The files; none for samples.
    pub paths: Vec<PathBuf>,
    /// Bytes of the files, one behind the other.
    pub bytes: u64,
    /// SHA-256 of the same in hexadecimal digits.
    pub sha256: String,
    /// Which text it is, judged by the digest.
    pub verdict: Verdict,
    inputs: Vec<Input>,
    options: RecordOptions,
}

/// What a pass over all documents of a source finds.
#[derive(Debug)]
pub struct Survey {
    /// Documents; at least one.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What in the text is probably meant otherwise than it is read, a line with the remedy for each.
    pub warnings: Vec<String>,
}

impl Source {
    /// Finds the files of a data set and reads them once, for their digest. Without a `split`, the one for
    /// validation. Files whose digest is known are read by the rule of that text, unless `options` have another.
    ///
    /// # Errors
    /// The split does not exist, a file is missing or unreadable, its digest proves another text or split than the
    /// one asked for, or standard input is meant, which can be read once only.
    pub fn open(
        dataset: &Dataset,
        split: Option<Split>,
        places: &Places,
        options: &RecordOptions,
    ) -> Result<Self, DataError> {
        let inputs = inputs(dataset, split, places)?;
        let (sha256, bytes) = digest(&inputs)?;
        let is_sample = matches!(inputs[..], [Input::Sample { .. }, ..]);
        let verdict = if is_sample {
            Verdict::Sample
        } else {
            Verdict::of(&sha256, bytes)
        };
        let proven = verdict.proves();
        let of_name = || dataset.known().map(|text| text.rule);
        let rule = options.rule.or(proven.map(|(rule, _)| rule));
        let paths = inputs.iter().filter_map(|input| match input {
            Input::File { path, .. } => Some(path.clone()),
            _ => None,
        });
        let paths: Vec<PathBuf> = paths.collect();
        let path = paths.first().map_or(Path::new(""), PathBuf::as_path);
        let split = checked_split(
            (dataset, split),
            path,
            &sha256,
            proven.map(|(_, split)| split),
        )?;
        Ok(Self {
            name: verdict
                .dataset()
                .map_or_else(|| dataset.to_string(), |known| known.to_string()),
            split,
            paths,
            bytes,
            sha256,
            verdict,
            inputs,
            options: RecordOptions {
                rule: rule.or_else(of_name),
                skips_empty: true,
                ..options.clone()
            },
        })
    }

    /// All documents that are not empty, from the first on.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<Records, RecordError> {
        Records::new(&self.inputs, self.options.clone())
    }

    /// Reads all documents, for what is broken in them and how much they are.
    ///
    /// # Errors
    /// A record is broken, a file cannot be read or is not text, or there is no document.
    pub fn survey(&self) -> Result<Survey, DataError> {
        let (mut documents, mut bytes, mut oddities) = (0, 0, Oddities::default());
        let mut records = self.read()?;
        while let Some(part) = records.next() {
            let part = part?;
            documents += u64::from(part.id.is_some());
            bytes += part.text.len() as u64;
            oddities += Oddities::of(records.rule(), &part.text);
        }
        if documents == 0 {
            return Err(DataError::Empty {
                name: self.name.clone(),
                bytes: self.bytes,
            });
        }
        Ok(Survey {
            documents,
            bytes,
            warnings: oddities.warnings(&self.name),
        })
    }
}

/// The inputs that a data set consists of.
fn inputs(
    dataset: &Dataset,
    split: Option<Split>,
    places: &Places,
) -> Result<Vec<Input>, DataError> {
    let path = match (dataset, split.or(dataset.default_split())) {
        (Dataset::File(path), _) if means_several(path) => {
            let inputs = find_inputs(&dataset.to_string(), places)?;
            if inputs.contains(&Input::Standard) {
                return Err(RecordError::NoInput(
                    "a summary reads its text more than once, which standard input does not allow; give a file, or \
                     use `itera-validate score -`"
                        .to_owned(),
                )
                .into());
            }
            return Ok(inputs);
        }
        (Dataset::File(path), _) if !path.exists() => {
            return Err(DataError::NoSuchFile { path: path.clone() });
        }
        (Dataset::File(path), _) => path.clone(),
        (Dataset::Known(_), split) => places.find(dataset, split.unwrap_or(Split::Test))?,
        _ => return Ok(samples(dataset)),
    };
    let name = dataset.to_string();
    Ok(vec![Input::File { path, name }])
}

/// Whether a path that is not a file may mean several, by [`find_inputs`].
pub(super) fn means_several(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let is_pattern = || name == "-" || name.starts_with("hf:") || name.contains(['*', '?', '[']);
    path.is_dir() || !path.exists() && is_pattern()
}

/// The digest of all inputs, one behind the other, and their size.
fn digest(inputs: &[Input]) -> Result<(String, u64), DataError> {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    for input in inputs {
        match input {
            Input::File { path, .. } => {
                let read = File::open(path).and_then(|file| update(&mut hasher, file));
                bytes += read.map_err(|source| DataError::Read {
                    path: path.clone(),
                    source,
                })?;
            }
            Input::Sample { text, .. } => {
                hasher.update(text);
                bytes += text.len() as u64;
            }
            Input::Standard => {}
        }
    }
    Ok((hex(hasher), bytes))
}
