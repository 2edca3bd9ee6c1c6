//! A text with everything that is known of it: origin, digest, documents, sizes.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    Counts, DataError, Dataset, Layout, Places, Split, Verdict, first_invalid_utf8, sha256_hex,
};

/// Original text written for this project in the manner of WikiText-2 v1.
const WIKITEXT2_SAMPLE: &[u8] = include_bytes!("../../../data/samples/wikitext2-sample.txt");

/// Original stories written for this project in the manner of TinyStories.
const TINYSTORIES_SAMPLE: &[u8] = include_bytes!("../../../data/samples/tinystories-sample.txt");

/// A text divided into documents.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Name of the data set, or the path as it was given.
    pub name: String,
    /// The split; none for samples and for files whose digest is not known.
    pub split: Option<Split>,
    /// The file that was read; none for samples.
    pub path: Option<PathBuf>,
    /// All bytes of the file, separators included.
    pub bytes: Vec<u8>,
    /// SHA-256 of `bytes` in hexadecimal digits.
    pub sha256: String,
    /// Which text it is, judged by the digest.
    pub verdict: Verdict,
    /// Where each document lies in `bytes`: in order, without overlap, none empty, at least one.
    pub documents: Vec<Range<usize>>,
    /// Sizes of each document, for figures about some of them.
    pub document_counts: Vec<Counts>,
    /// Sizes of all documents together. Separators between stories are in no document and do not
    /// count; a WikiText file has none, so that these are the sizes of the whole file.
    pub counts: Counts,
    /// Offset of the first byte that is not UTF-8.
    pub first_invalid_utf8: Option<usize>,
}

impl Corpus {
    /// Reads a data set. Without a `split`, the one for validation: test for WikiText-2, valid for
    /// TinyStories. Samples and files are one text, whatever split is asked for.
    ///
    /// A file of the user's own whose digest is that of an official WikiText-2 file is treated as
    /// WikiText-2, so that a name and a path give the same figures.
    ///
    /// # Errors
    /// The split does not exist, the file is missing or unreadable, or holds no document.
    pub fn load(
        dataset: &Dataset,
        split: Option<Split>,
        places: &Places,
    ) -> Result<Self, DataError> {
        if let Some(sample) = Self::sample(dataset) {
            return Ok(sample);
        }
        let (path, split) = match (dataset, split.or(dataset.default_split())) {
            (Dataset::File(path), _) => (path.clone(), None),
            (_, split) => {
                let split = split.unwrap_or(Split::Test);
                (places.find(dataset, split)?, Some(split))
            }
        };
        let bytes = read(&path)?;
        let mut corpus = Self::from_bytes(dataset.to_string(), dataset.layout(), bytes)?;
        corpus.split = split.or(corpus.split);
        corpus.path = Some(path);
        Ok(corpus)
    }

    /// A corpus of `bytes`, called `name`. A digest of an official WikiText-2 file overrides
    /// `layout` and gives the split.
    ///
    /// # Errors
    /// There is no document in `bytes`.
    pub fn from_bytes(name: String, layout: Layout, bytes: Vec<u8>) -> Result<Self, DataError> {
        let sha256 = sha256_hex(&bytes);
        let verdict = Verdict::of(&sha256, bytes.len());
        let (layout, split) = verdict
            .proves()
            .map_or((layout, None), |(layout, split)| (layout, Some(split)));
        let documents = layout.documents(&bytes);
        if documents.is_empty() {
            return Err(DataError::Empty {
                name,
                bytes: bytes.len(),
            });
        }
        let document_counts: Vec<_> = documents
            .iter()
            .map(|document| Counts::of(layout, &bytes[document.clone()]))
            .collect();
        let first_invalid_utf8 = first_invalid_utf8(&bytes);
        Ok(Self {
            name,
            split,
            path: None,
            bytes,
            sha256,
            verdict,
            documents,
            counts: document_counts.iter().copied().sum(),
            document_counts,
            first_invalid_utf8,
        })
    }

    /// The text of each document, in order.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.documents
            .iter()
            .map(|document| &self.bytes[document.clone()])
    }

    /// Whether all bytes are UTF-8.
    pub const fn is_utf8(&self) -> bool {
        self.first_invalid_utf8.is_none()
    }

    /// Bytes of the file that belong to no document: separators, their line ends, and stories of
    /// nothing but white space.
    pub const fn separator_bytes(&self) -> u64 {
        self.bytes.len() as u64 - self.counts.bytes
    }

    /// The compiled-in corpus of this name.
    fn sample(dataset: &Dataset) -> Option<Self> {
        let sources: &[(Layout, &[u8])] = match dataset {
            Dataset::SampleWikiText2 => &[(Layout::WikiText, WIKITEXT2_SAMPLE)],
            Dataset::SampleTinyStories => &[(Layout::Stories, TINYSTORIES_SAMPLE)],
            Dataset::Sample => &[
                (Layout::WikiText, WIKITEXT2_SAMPLE),
                (Layout::Stories, TINYSTORIES_SAMPLE),
            ],
            Dataset::WikiText2 | Dataset::TinyStories | Dataset::File(_) => return None,
        };
        let (mut bytes, mut documents, mut document_counts) = (Vec::new(), Vec::new(), Vec::new());
        for (layout, text) in sources {
            for document in layout.documents(text) {
                document_counts.push(Counts::of(*layout, &text[document.clone()]));
                documents.push(bytes.len() + document.start..bytes.len() + document.end);
            }
            bytes.extend_from_slice(text);
        }
        Some(Self {
            name: dataset.to_string(),
            split: None,
            path: None,
            sha256: sha256_hex(&bytes),
            verdict: Verdict::Sample,
            first_invalid_utf8: first_invalid_utf8(&bytes),
            bytes,
            documents,
            counts: document_counts.iter().copied().sum(),
            document_counts,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DataError::NoSuchFile {
            path: path.to_owned(),
        },
        _ => DataError::Read {
            path: path.to_owned(),
            source,
        },
    })
}
