//! Data sets and splits as the command line names them.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{DataError, Layout};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// For final figures.
    Test,
    /// For choosing settings.
    Valid,
    /// For training.
    Train,
}

impl Split {
    /// Every split.
    pub const ALL: [Self; 3] = [Self::Test, Self::Valid, Self::Train];

    /// The name used on command lines, in file names and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Valid => "valid",
            Self::Train => "train",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL
            .into_iter()
            .find(|split| split.name() == name)
            .ok_or_else(|| DataError::UnknownSplit(name.to_owned()))
    }
}

/// A data set by name, or a file of the user's own.
///
/// `FromStr` knows the [`names`](Self::names); every other text is a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// WikiText-2 v1 (the `.tokens` files with `<unk>`).
    WikiText2,
    /// TinyStories V1.
    TinyStories,
    /// The first 219 stories of the official validation split of TinyStories V1, for final figures.
    TinyStoriesHead,
    /// The stories by which this project chooses settings: a selection, not the official split.
    TinyStoriesDev,
    /// Both samples in one corpus, WikiText-2's manner first.
    Sample,
    /// The compiled-in sample in the manner of WikiText-2.
    SampleWikiText2,
    /// The compiled-in sample in the manner of TinyStories.
    SampleTinyStories,
    /// A text file.
    File(PathBuf),
}

impl Dataset {
    /// Every name that is not a path.
    const NAMED: [(&'static str, Self); 7] = [
        ("wikitext2", Self::WikiText2),
        ("tinystories", Self::TinyStories),
        ("tinystories-head", Self::TinyStoriesHead),
        ("tinystories-dev", Self::TinyStoriesDev),
        ("sample", Self::Sample),
        ("sample-wikitext2", Self::SampleWikiText2),
        ("sample-tinystories", Self::SampleTinyStories),
    ];

    /// Every name that is not a path.
    pub fn names() -> [&'static str; 7] {
        Self::NAMED.map(|(name, _)| name)
    }

    /// The splits that this data set has. Samples and files are one text, whatever split is asked
    /// for, and have none.
    pub const fn splits(&self) -> &'static [Split] {
        match self {
            Self::WikiText2 => &Split::ALL,
            Self::TinyStories => &[Split::Valid, Split::Train],
            Self::TinyStoriesHead | Self::TinyStoriesDev => &[Split::Valid],
            _ => &[],
        }
    }

    /// The split that validation uses unless told otherwise: test where there is one.
    pub fn default_split(&self) -> Option<Split> {
        self.splits().first().copied()
    }

    /// The data sets that this name stands for: two for `sample`, else itself alone. For callers
    /// that report one line per manner of text.
    pub fn members(&self) -> Vec<Self> {
        match self {
            Self::Sample => vec![Self::SampleWikiText2, Self::SampleTinyStories],
            other => vec![other.clone()],
        }
    }

    /// The data set and split that models of this kind of text are trained on; none for samples and
    /// files.
    pub const fn training_text(&self) -> Option<(Self, Split)> {
        match self {
            Self::WikiText2 => Some((Self::WikiText2, Split::Train)),
            Self::TinyStories | Self::TinyStoriesHead | Self::TinyStoriesDev => {
                Some((Self::TinyStories, Split::Train))
            }
            _ => None,
        }
    }

    /// Whether the name stands for one text, which is known by its digest.
    pub(crate) const fn is_one_text(&self) -> bool {
        matches!(self, Self::TinyStoriesHead | Self::TinyStoriesDev)
    }

    /// How to get the text, as a sentence goes on.
    pub(crate) fn remedy(&self) -> String {
        let folder = self.folder().unwrap_or_default();
        let set = format!("set ITERA_DATA_DIR to the folder that holds `{folder}/`");
        match self {
            Self::TinyStoriesDev => {
                format!("{set}; this selection is no official text and cannot be fetched")
            }
            other => format!("run `scripts/fetch-data.sh --only {other}`, or {set}"),
        }
    }

    /// How documents and words are told apart in a file of this data set.
    pub(crate) const fn layout(&self) -> Layout {
        match self {
            Self::WikiText2 | Self::SampleWikiText2 => Layout::WikiText,
            _ => Layout::Stories,
        }
    }

    /// The folder of this data set inside a data folder; none for samples and files.
    pub const fn folder(&self) -> Option<&'static str> {
        match self {
            Self::WikiText2 => Some("wikitext-2"),
            Self::TinyStories | Self::TinyStoriesHead | Self::TinyStoriesDev => Some("tinystories"),
            _ => None,
        }
    }

    /// The file names of a split, ours first, then the official one.
    pub(crate) fn file_names(&self, split: Split) -> Vec<String> {
        let ours = format!("{split}.txt");
        match self {
            Self::WikiText2 => vec![ours, format!("wiki.{split}.tokens")],
            Self::TinyStories => vec![ours, format!("TinyStories-{split}.txt")],
            Self::TinyStoriesHead => vec!["official-head.txt".to_owned()],
            Self::TinyStoriesDev => vec!["dev.txt".to_owned(), ours],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::File(path) = self {
            return path.display().fmt(f);
        }
        let name = Self::NAMED.into_iter().find(|(_, dataset)| dataset == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for Dataset {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        if name.is_empty() {
            return Err(DataError::EmptyName);
        }
        let known = Self::NAMED.into_iter().find(|(known, _)| *known == name);
        Ok(known.map_or_else(|| Self::File(name.into()), |(_, dataset)| dataset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip_and_everything_else_is_a_path() {
        for name in Dataset::names() {
            let dataset: Dataset = name.parse().unwrap();
            assert!(!matches!(dataset, Dataset::File(_)), "{name}");
            assert_eq!(dataset.to_string(), name);
        }
        let file: Dataset = "notes/wikitext2".parse().unwrap();
        assert_eq!(file, Dataset::File("notes/wikitext2".into()));
        assert!(matches!("".parse::<Dataset>(), Err(DataError::EmptyName)));
        for split in Split::ALL {
            assert_eq!(split.name().parse::<Split>().unwrap(), split);
        }
        let error = "dev".parse::<Split>().unwrap_err().to_string();
        assert_eq!(
            error,
            "no split is called `dev`; splits are test, valid, train"
        );
    }

    #[test]
    fn default_splits_are_for_validation() {
        assert_eq!(Dataset::WikiText2.default_split(), Some(Split::Test));
        assert_eq!(Dataset::TinyStories.default_split(), Some(Split::Valid));
        assert_eq!(Dataset::Sample.default_split(), None);
    }
}
