//! A text with everything that is known of it: origin, digest, documents, sizes.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    Counts, DataError, Dataset, DocumentRule, Places, Split, Verdict, digest::hex,
    first_invalid_utf8, format::of_other_than_text, warning::Oddities,
};

/// Original text written for this project in the manner of WikiText-2 v1.
pub(crate) const WIKITEXT2_SAMPLE: &[u8] =
    include_bytes!("../../../data/samples/wikitext2-sample.txt");

/// Original stories written for this project in the manner of TinyStories.
pub(crate) const TINYSTORIES_SAMPLE: &[u8] =
    include_bytes!("../../../data/samples/tinystories-sample.txt");

/// Bytes read at a time, and freed at a time when they have been tokenised.
pub(crate) const BLOCK: u64 = 8 << 20;

/// The byte order mark of UTF-8; at the beginning of a file it is not part of the text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text divided into documents.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Name of the data set, also where its digest gave it away, or the path as it was given.
    pub name: String,
    /// The split; none for samples and for files whose digest is not known.
    pub split: Option<Split>,
    /// The file that was read; none for samples.
    pub path: Option<PathBuf>,
    /// Bytes of the file, separators included.
    pub file_bytes: u64,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
    /// Which text it is, judged by the digest.
    pub verdict: Verdict,
    /// Together the file, each but the last cut behind a separator; of records, their texts.
    pub(crate) blocks: Vec<Block>,
}

/// Some documents of a corpus in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Block {
    pub(crate) bytes: Vec<u8>,
    /// The rule by which words are counted.
    pub(crate) rule: DocumentRule,
    /// Where each document lies in `bytes`: in order, without overlap, none empty.
    pub(crate) documents: Vec<Range<usize>>,
}

impl Block {
    /// The text of each document, in order.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.documents
            .iter()
            .map(|document| &self.bytes[document.clone()])
    }

    /// Bytes of the block, separators included.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl Corpus {
    /// Reads a data set. Without a `split`, the one for validation: test for WikiText-2, valid for
    /// TinyStories. Samples are one text, whatever split is asked for, and so are files whose digest
    /// is not known.
    ///
    /// A file of the user's own whose digest is known is treated as the text of that name, so that a
    /// name and a path give the same figures; one that begins like an article of WikiText is divided
    /// as such.
    ///
    /// # Errors
    /// The split does not exist, the file is missing or unreadable, is not plain text, holds no
    /// document, or its digest proves another text or split than the one asked for.
    pub fn load(
        dataset: &Dataset,
        split: Option<Split>,
        places: &Places,
    ) -> Result<Self, DataError> {
        if let Some(sample) = Self::sample(dataset) {
            return Ok(sample);
        }
        let path = if let Dataset::File(path) = dataset {
            path.clone()
        } else {
            let split = split.or(dataset.default_split()).unwrap_or(Split::Test);
            places.find(dataset, split)?
        };
        Self::read(&path, dataset, u64::MAX)?.checked(dataset, split)
    }

    /// The corpus, if its digest does not prove another text or split than was asked for.
    fn checked(self, dataset: &Dataset, split: Option<Split>) -> Result<Self, DataError> {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        let split = checked_split((dataset, split), path, &self.sha256, self.split)?;
        Ok(Self { split, ..self })
    }

    /// The documents in at most so many bytes at the beginning of a split; the digest is that of
    /// these bytes.
    ///
    /// # Errors
    /// Those of [`load`](Self::load) but for those about the digest.
    pub fn beginning(
        dataset: &Dataset,
        split: Split,
        places: &Places,
        bytes: u64,
    ) -> Result<Self, DataError> {
        let path = places.find(dataset, split)?;
        let corpus = Self::read(&path, dataset, bytes)?;
        Ok(Self {
            split: Some(split),
            ..corpus
        })
    }

    /// The corpus in the first `limit` bytes of the file at `path`. A digest that is known overrides
    /// the name and rule of `dataset` and gives the split.
    fn read(path: &Path, dataset: &Dataset, limit: u64) -> Result<Self, DataError> {
        let first_rule = dataset.rule();
        let blocks = File::open(path).and_then(|file| {
            let len = file.metadata()?.len().min(limit);
            read_blocks(file.take(limit), len, BLOCK, first_rule)
        });
        let (blocks, hasher) = blocks.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::NoSuchFile {
                path: path.to_owned(),
            },
            _ => DataError::Read {
                path: path.to_owned(),
                source,
            },
        })?;
        let name = dataset.to_string();
        if let Some((format, remedy)) = blocks.first().and_then(|block| of_other_than_text(block)) {
            return Err(DataError::NotText {
                name,
                format,
                remedy,
            });
        }
        let file_bytes = blocks.iter().map(|block| block.len() as u64).sum();
        let sha256 = hex(hasher);
        let verdict = Verdict::of(&sha256, file_bytes);
        let proven = verdict.proves();
        let rule = match (proven, dataset) {
            (Some((rule, _)), _) => rule,
            (None, Dataset::File(_)) => DocumentRule::of(&blocks),
            (None, _) => first_rule,
        };
        // Blocks that were cut by one rule may split the documents of another.
        let blocks = if rule == first_rule {
            blocks
        } else {
            vec![blocks.concat()]
        };
        let name = verdict.dataset().map_or(name, |known| known.to_string());
        let blocks = divide(blocks, rule);
        if blocks.iter().all(|block| block.documents.is_empty()) {
            return Err(DataError::Empty {
                name,
                bytes: file_bytes,
            });
        }
        Ok(Self {
            name,
            split: proven.map(|(_, split)| split),
            path: Some(path.to_owned()),
            file_bytes,
            sha256,
            verdict,
            blocks,
        })
    }

    /// Documents; at least one.
    pub fn n_documents(&self) -> usize {
        self.blocks.iter().map(|block| block.documents.len()).sum()
    }

    /// Every document, in order, with the rule by which its words are counted.
    pub fn documents(&self) -> impl Iterator<Item = (DocumentRule, &[u8])> {
        self.blocks
            .iter()
            .flat_map(|block| block.texts().map(|text| (block.rule, text)))
    }

    /// The text of each document, in order.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().flat_map(Block::texts)
    }

    /// Takes the text out, so that what has been read of it can be freed before the rest is read.
    /// Name, digest and size of the file stay.
    pub fn take_blocks(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.blocks)
    }

    /// Sizes of all documents together. Separators between stories are in no document and do not
    /// count; a WikiText file has none, so that these are the sizes of the whole file.
    pub fn counts(&self) -> Counts {
        self.documents()
            .map(|(rule, text)| Counts::of(rule, text))
            .sum()
    }

    /// Bytes of all documents together.
    pub fn text_bytes(&self) -> u64 {
        self.texts().map(|text| text.len() as u64).sum()
    }

    /// Offset of the first byte in the file that is not UTF-8.
    pub fn first_invalid_utf8(&self) -> Option<u64> {
        let mut start = 0;
        self.blocks.iter().find_map(|block| {
            let found = first_invalid_utf8(&block.bytes).map(|offset| start + offset as u64);
            start += block.bytes.len() as u64;
            found
        })
    }

    /// What in the text is probably meant otherwise than it is read, a line with the remedy for each.
    pub fn warnings(&self) -> Vec<String> {
        let mut oddities = Oddities::default();
        for (rule, text) in self.documents() {
            oddities += Oddities::of(rule, text);
        }
        oddities.warnings(&self.name)
    }

    /// The compiled-in corpus of this name.
    fn sample(dataset: &Dataset) -> Option<Self> {
        let sources: &[(DocumentRule, &[u8])] = match dataset {
            Dataset::SampleWikiText2 => &[(DocumentRule::Article, WIKITEXT2_SAMPLE)],
            Dataset::SampleTinyStories => &[(DocumentRule::Story, TINYSTORIES_SAMPLE)],
            Dataset::Sample => &[
                (DocumentRule::Article, WIKITEXT2_SAMPLE),
                (DocumentRule::Story, TINYSTORIES_SAMPLE),
            ],
            _ => return None,
        };
        let hasher = sources
            .iter()
            .fold(Sha256::new(), |hasher, (_, text)| hasher.chain_update(text));
        let blocks = sources
            .iter()
            .flat_map(|(rule, text)| divide(vec![text.to_vec()], *rule))
            .collect();
        Some(Self {
            name: dataset.to_string(),
            split: None,
            path: None,
            file_bytes: sources.iter().map(|(_, text)| text.len() as u64).sum(),
            sha256: hex(hasher),
            verdict: Verdict::Sample,
            blocks,
        })
    }
}

/// The split of a file with this digest, if that does not prove another text or split than was `asked` for;
/// `found` is what it proves.
pub(crate) fn checked_split(
    asked: (&Dataset, Option<Split>),
    path: &Path,
    sha256: &str,
    found: Option<Split>,
) -> Result<Option<Split>, DataError> {
    let (dataset, split) = asked;
    let path = path.to_owned();
    if let Some(text) = dataset.known()
        && let Some(expected) = text.only_digest()
        && sha256 != expected
    {
        let found = sha256.to_owned();
        return Err(DataError::OtherText {
            text,
            path,
            expected,
            found,
        });
    }
    let of_name = split.or(dataset.default_split());
    match (of_name, found) {
        (Some(asked), Some(found)) if asked != found => {
            Err(DataError::OtherSplit { path, asked, found })
        }
        _ if dataset.known().is_some() => Ok(of_name),
        _ => Ok(found),
    }
}

/// Reads `source`, of `len` bytes as far as is known, `step` bytes at a time, and cuts it at
/// separators. A text without separators is one block.
fn read_blocks(
    mut source: impl Read,
    len: u64,
    step: u64,
    rule: DocumentRule,
) -> io::Result<(Vec<Vec<u8>>, Sha256)> {
    let (mut blocks, mut hasher) = (Vec::new(), Sha256::new());
    let (mut read, mut limit, mut block) = (0, step, Vec::new());
    loop {
        let start = block.len();
        // One byte more, so that the end of the file is found without growing.
        block.reserve_exact(len.saturating_sub(read).min(limit) as usize + 1);
        let taken = source.by_ref().take(limit).read_to_end(&mut block)? as u64;
        hasher.update(&block[start..]);
        read += taken;
        if taken < limit {
            blocks.push(block);
            return Ok((blocks, hasher));
        }
        if let Some(cut) = rule.last_cut(&block) {
            let rest = block.split_off(cut);
            blocks.push(block);
            block = rest;
        } else {
            limit = u64::MAX;
        }
    }
}

/// Divides a text, cut at separators, into documents.
fn divide(texts: Vec<Vec<u8>>, rule: DocumentRule) -> Vec<Block> {
    let separated = texts.len() > 1;
    let mark = |text: &[u8]| {
        text.starts_with(BYTE_ORDER_MARK)
            .then_some(BYTE_ORDER_MARK.len())
    };
    let mut skipped = texts.first().and_then(|text| mark(text)).unwrap_or(0);
    let block = |bytes: Vec<u8>| {
        let start = std::mem::take(&mut skipped);
        let mut documents = rule.documents(&bytes[start..], separated);
        for document in &mut documents {
            *document = document.start + start..document.end + start;
        }
        Block {
            bytes,
            rule,
            documents,
        }
    };
    texts.into_iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(text: &[u8], step: u64) -> Vec<Vec<u8>> {
        let (blocks, hasher) = read_blocks(text, 0, step, DocumentRule::Story).unwrap();
        assert_eq!(hex(hasher), crate::sha256_hex(text));
        blocks
    }

    fn texts(blocks: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let blocks = divide(blocks, DocumentRule::Story);
        blocks
            .iter()
            .flat_map(|block| block.texts().map(<[u8]>::to_vec))
            .collect()
    }

    #[test]
    fn a_text_is_cut_at_separators_only() {
        let text = b"one\n<|endoftext|>\ntwo\n<|endoftext|>\nthree\nfour\n";
        assert_eq!(blocks(text, 1 << 20), [text]);
        assert_eq!(blocks(b"no separator at all", 4), [b"no separator at all"]);
        let cut = blocks(text, 20);
        assert_eq!(cut.concat(), text);
        assert_eq!(cut[0], b"one\n<|endoftext|>\n");
    }

    #[test]
    fn a_split_under_the_name_of_another_is_refused() {
        let wikitext: Dataset = "wikitext2".parse().unwrap();
        let file = Dataset::File("own.txt".into());
        let check =
            |dataset, asked, found| checked_split((dataset, asked), Path::new("x"), "", found);
        let (test, valid) = (Some(Split::Test), Some(Split::Valid));
        // Without a split, the one for validation is meant: of WikiText-2 the test split.
        for (dataset, asked, found) in [
            (&wikitext, valid, test),
            (&wikitext, None, valid),
            (&file, valid, test),
        ] {
            let error = check(dataset, asked, found).unwrap_err();
            let found = format!("the official {} split by its digest", found.unwrap());
            assert!(error.to_string().contains(&found), "{error}");
        }
        assert_eq!(check(&wikitext, valid, valid).unwrap(), valid);
        assert_eq!(check(&wikitext, valid, None).unwrap(), valid);
        // A file of the user's own is of the split that its digest proves, or of none.
        assert_eq!(check(&file, None, test).unwrap(), test);
        assert_eq!(check(&file, valid, None).unwrap(), None);
    }

    #[test]
    fn another_text_under_a_name_for_one_file_is_refused() {
        let head: Dataset = "tinystories-head".parse().unwrap();
        let sha256 = head.known().unwrap().only_digest().unwrap();
        let check = |sha256| checked_split((&head, None), Path::new("x"), sha256, None);
        assert!(check(sha256).is_ok());
        assert!(matches!(check("0"), Err(DataError::OtherText { .. })));
    }

    proptest! {
        #[test]
        fn documents_do_not_depend_on_the_size_of_blocks(
            lines in prop::collection::vec("\u{feff}?( ?<\\|endoftext\\|> ?|| |xyz)\r?\n?", 0..20),
            step in 1_u64..90,
        ) {
            let text = lines.concat().into_bytes();
            let cut = blocks(&text, step);
            prop_assert_eq!(&cut.concat(), &text);
            prop_assert_eq!(texts(cut), texts(vec![text]));
        }
    }
}
