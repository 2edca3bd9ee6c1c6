//! Which text a file is, judged by its digest, so that a result can say what it is about.

use std::fmt;

use crate::{Dataset, DocumentRule, KnownText, Split};

/// Which text a corpus is, judged by its bytes and not by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The file of a known text: figures compare with others of it.
    Known {
        /// The text.
        text: &'static KnownText,
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
        if let Some((text, split, _)) =
            KnownText::with_file(|file| file.sha256.as_deref() == Some(sha256))
        {
            return Self::Known { text, split };
        }
        let same_size = KnownText::with_file(|file| file.bytes == Some(bytes));
        Self::Unknown {
            bytes,
            same_size_as: same_size.and_then(|(_, _, file)| Some(file.files.last()?.as_str())),
        }
    }

    /// The rule and split that the digest proves, whatever name the file was given under.
    pub(crate) const fn proves(&self) -> Option<(DocumentRule, Split)> {
        match self {
            Self::Known { text, split } => Some((text.rule, *split)),
            Self::Sample | Self::Unknown { .. } => None,
        }
    }

    /// The data set that the digest proves; none where no name stands for the text.
    pub(crate) const fn dataset(&self) -> Option<Dataset> {
        match self {
            Self::Known { text, .. } => Some(Dataset::Known(text)),
            Self::Sample | Self::Unknown { .. } => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { text, split } => {
                f.write_str(&text.title)?;
                if text.splits().len() > 1 {
                    write!(f, " {split} split")?;
                }
                f.write_str(", by its digest")?;
                let mut remark = text.remark.iter();
                remark.try_for_each(|remark| write!(f, "; {remark}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_tell_texts_sizes_and_unknown_apart() {
        let digest = |name: &str, split| {
            let text = KnownText::find(name).unwrap().unwrap();
            text.file(split).unwrap().sha256.as_deref().unwrap()
        };
        let texts = [
            (digest("wikitext2", Split::Test), 0),
            (digest("wikitext2-raw", Split::Test), 0),
            (digest("tinystories-head", Split::Valid), 0),
            (digest("tinystories-dev", Split::Valid), 0),
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
                "selection of 1,558 stories, by its digest; not the official split",
                "19,447,282 bytes, the size of the official TinyStories-valid.txt, which has no published digest",
                "unknown text of 1,240,375 bytes; figures compare only at equal sha256",
            ]
        );
    }
}
