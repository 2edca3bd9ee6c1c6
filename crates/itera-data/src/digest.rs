//! SHA-256 and the texts that are known by it, so that a result can say which text it is about.

use std::{
    fmt,
    io::{self, Read},
};

use sha2::{Digest as _, Sha256};

use crate::{Dataset, Layout, Split};

/// Texts by the digest of their file.
const KNOWN: [(&str, Verdict); 5] = [
    (
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        Verdict::OfficialWikiText2V1 { split: Split::Test },
    ),
    (
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        Verdict::OfficialWikiText2V1 {
            split: Split::Valid,
        },
    ),
    (
        "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
        Verdict::WikiText2Raw { split: Split::Test },
    ),
    (
        "805df41e8dd6acdb73715cd4f677e6cf36cf7eb3700ef2492ef9eba47532e402",
        Verdict::TinyStoriesHead,
    ),
    (
        "ace5ae488323262f7c09f03c1b83bd07482960bdc0d36c3da85180a9cc06f592",
        Verdict::TinyStoriesDev,
    ),
];

/// Official files for which only the size is published.
const KNOWN_SIZES: [(u64, &str); 4] = [
    (1_924_281_556, "TinyStories-train.txt"),
    (19_447_282, "TinyStories-valid.txt"),
    (2_227_753_162, "TinyStoriesV2-GPT4-train.txt"),
    (22_502_601, "TinyStoriesV2-GPT4-valid.txt"),
];

/// Which text a corpus is, judged by its bytes and not by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The official WikiText-2 v1 file of a split: figures compare with published ones.
    OfficialWikiText2V1 {
        /// The split.
        split: Split,
    },
    /// The official raw WikiText-2 file: another text, figures do not compare with v1.
    WikiText2Raw {
        /// The split.
        split: Split,
    },
    /// Rows 0 to 218 of the official validation split of TinyStories V1.
    TinyStoriesHead,
    /// The selection from TinyStories by which settings are chosen.
    TinyStoriesDev,
    /// A text that is compiled into this program.
    Sample,
    /// No digest known here.
    Unknown {
        /// Size of the file.
        bytes: u64,
        /// The official file that has this size and no published digest.
        same_size_as: Option<&'static str>,
    },
}

impl Verdict {
    /// The verdict on a file of `bytes` bytes with this digest; samples are known by their name.
    pub(crate) fn of(sha256: &str, bytes: u64) -> Self {
        let known = KNOWN.into_iter().find(|(digest, _)| *digest == sha256);
        known.map_or_else(
            || {
                let same_size_as = KNOWN_SIZES
                    .iter()
                    .find(|(size, _)| *size == bytes)
                    .map(|(_, name)| *name);
                Self::Unknown {
                    bytes,
                    same_size_as,
                }
            },
            |(_, verdict)| verdict,
        )
    }

    /// The layout and split that the digest proves, whatever name the file was given under.
    pub(crate) const fn proves(&self) -> Option<(Layout, Split)> {
        match *self {
            Self::OfficialWikiText2V1 { split } | Self::WikiText2Raw { split } => {
                Some((Layout::WikiText, split))
            }
            Self::TinyStoriesHead | Self::TinyStoriesDev => Some((Layout::Stories, Split::Valid)),
            Self::Sample | Self::Unknown { .. } => None,
        }
    }

    /// The data set that the digest proves; none where no name stands for the text.
    pub(crate) const fn dataset(&self) -> Option<Dataset> {
        match self {
            Self::OfficialWikiText2V1 { .. } => Some(Dataset::WikiText2),
            Self::TinyStoriesHead => Some(Dataset::TinyStoriesHead),
            Self::TinyStoriesDev => Some(Dataset::TinyStoriesDev),
            Self::WikiText2Raw { .. } | Self::Sample | Self::Unknown { .. } => None,
        }
    }

    /// The digest of the one text that a name stands for.
    pub(crate) fn digest_of(dataset: &Dataset) -> Option<&'static str> {
        let is_meant =
            |verdict: &Self| dataset.is_one_text() && verdict.dataset().as_ref() == Some(dataset);
        KNOWN
            .iter()
            .find(|(_, verdict)| is_meant(verdict))
            .map(|(digest, _)| *digest)
    }

    /// A short name: `wikitext2-v1`, `wikitext2-raw`, `tinystories-head`, `tinystories-dev`, `sample` or `unknown`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OfficialWikiText2V1 { .. } => "wikitext2-v1",
            Self::WikiText2Raw { .. } => "wikitext2-raw",
            Self::TinyStoriesHead => "tinystories-head",
            Self::TinyStoriesDev => "tinystories-dev",
            Self::Sample => "sample",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfficialWikiText2V1 { split } => {
                write!(f, "official WikiText-2 v1 {split} split, by its digest")
            }
            Self::WikiText2Raw { split } => write!(
                f,
                "official WikiText-2 raw {split} split, by its digest; figures do not compare with v1"
            ),
            Self::TinyStoriesHead => f.write_str(
                "official TinyStories V1 validation split, rows 0 to 218, by its digest",
            ),
            Self::TinyStoriesDev => {
                f.write_str("selection of 1,558 stories; not the official split")
            }
            Self::Sample => f.write_str("sample text compiled into this program"),
            Self::Unknown {
                bytes,
                same_size_as: Some(name),
            } => write!(
                f,
                "{} bytes, the size of the official {name}, which has no published digest",
                thousands(*bytes)
            ),
            Self::Unknown {
                bytes,
                same_size_as: None,
            } => {
                write!(
                    f,
                    "unknown text of {} bytes; figures compare only at equal sha256",
                    thousands(*bytes)
                )
            }
        }
    }
}

/// A whole number with commas between groups of three digits.
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The SHA-256 of `bytes` in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The same of all that `reader` gives.
///
/// # Errors
/// The reader's.
pub fn sha256_of(mut reader: impl Read) -> io::Result<String> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let taken = reader.read(&mut buffer)?;
        if taken == 0 {
            return Ok(hex(hasher));
        }
        hasher.update(&buffer[..taken]);
    }
}

/// The digest of everything that `hasher` has read.
pub(crate) fn hex(hasher: Sha256) -> String {
    let digits = hasher
        .finalize()
        .into_iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha256() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
    }

    #[test]
    fn verdicts_tell_v1_raw_size_and_unknown_apart() {
        let head = Verdict::digest_of(&Dataset::TinyStoriesHead).unwrap();
        let dev = Verdict::digest_of(&Dataset::TinyStoriesDev).unwrap();
        assert_eq!(Verdict::digest_of(&Dataset::WikiText2), None);
        let texts = [
            (KNOWN[0].0, 0),
            (KNOWN[2].0, 0),
            (head, 0),
            (dev, 0),
            ("", 19_447_282),
            ("", 1_240_375),
        ]
        .map(|(digest, bytes)| Verdict::of(digest, bytes).to_string());
        assert_eq!(
            texts,
            [
                "official WikiText-2 v1 test split, by its digest",
                "official WikiText-2 raw test split, by its digest; figures do not compare with v1",
                "official TinyStories V1 validation split, rows 0 to 218, by its digest",
                "selection of 1,558 stories; not the official split",
                "19,447,282 bytes, the size of the official TinyStories-valid.txt, which has no published digest",
                "unknown text of 1,240,375 bytes; figures compare only at equal sha256",
            ]
        );
    }
}
