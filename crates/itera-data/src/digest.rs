//! SHA-256 and the texts that are known by it, so that a result can say which text it is about.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{Layout, Split};

/// WikiText-2 files by digest. `true` marks v1 (`.tokens`, with `<unk>`), `false` raw.
const KNOWN: [(&str, bool, Split); 3] = [
    (
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        true,
        Split::Test,
    ),
    (
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        true,
        Split::Valid,
    ),
    (
        "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
        false,
        Split::Test,
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
        match KNOWN.into_iter().find(|(digest, ..)| *digest == sha256) {
            Some((_, true, split)) => Self::OfficialWikiText2V1 { split },
            Some((_, false, split)) => Self::WikiText2Raw { split },
            None => {
                let same_size_as = KNOWN_SIZES
                    .iter()
                    .find(|(size, _)| *size == bytes)
                    .map(|(_, name)| *name);
                Self::Unknown {
                    bytes,
                    same_size_as,
                }
            }
        }
    }

    /// The layout and split that the digest proves, whatever name the file was given under.
    pub(crate) const fn proves(&self) -> Option<(Layout, Split)> {
        match *self {
            Self::OfficialWikiText2V1 { split } | Self::WikiText2Raw { split } => {
                Some((Layout::WikiText, split))
            }
            Self::Sample | Self::Unknown { .. } => None,
        }
    }

    /// A short name for results: `wikitext2-v1`, `wikitext2-raw`, `sample` or `unknown`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OfficialWikiText2V1 { .. } => "wikitext2-v1",
            Self::WikiText2Raw { .. } => "wikitext2-raw",
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
            Self::Sample => f.write_str("sample text compiled into this program"),
            Self::Unknown {
                bytes,
                same_size_as: Some(name),
            } => write!(
                f,
                "{bytes} bytes, the size of the official {name}, which has no published digest"
            ),
            Self::Unknown {
                bytes,
                same_size_as: None,
            } => {
                write!(
                    f,
                    "unknown text of {bytes} bytes; figures compare only at equal sha256"
                )
            }
        }
    }
}

/// The SHA-256 of `bytes` in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
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
        let texts = [(KNOWN[0].0, 0), (KNOWN[2].0, 0), ("", 19_447_282), ("", 7)]
            .map(|(digest, bytes)| Verdict::of(digest, bytes).to_string());
        assert_eq!(
            texts,
            [
                "official WikiText-2 v1 test split, by its digest",
                "official WikiText-2 raw test split, by its digest; figures do not compare with v1",
                "19447282 bytes, the size of the official TinyStories-valid.txt, which has no published digest",
                "unknown text of 7 bytes; figures compare only at equal sha256",
            ]
        );
    }
}
