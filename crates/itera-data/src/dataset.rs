//! Data sets and splits as the command line names them.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{DataError, DocumentRule, KnownText};

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
    /// A text of the table `data/datasets.toml`.
    Known(&'static KnownText),
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
    /// The texts that are compiled in.
    const SAMPLES: [(&'static str, Self); 3] = [
        ("sample", Self::Sample),
        ("sample-wikitext2", Self::SampleWikiText2),
        ("sample-tinystories", Self::SampleTinyStories),
    ];

    /// Every name that is not a path.
    pub fn names() -> Vec<&'static str> {
        let known = KnownText::all().unwrap_or_default().iter();
        let samples = Self::SAMPLES.map(|(name, _)| name);
        known.map(|text| &*text.name).chain(samples).collect()
    }

    /// The splits that this data set has. Samples and files are one text, whatever split is asked
    /// for, and have none.
    pub fn splits(&self) -> Vec<Split> {
        self.known().map(KnownText::splits).unwrap_or_default()
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

    /// What the table says of it; none for samples and files.
    pub const fn known(&self) -> Option<&'static KnownText> {
        match self {
            Self::Known(text) => Some(text),
            _ => None,
        }
    }

    /// The data set whose train split lies beside the text; none for samples and files.
    pub fn training_text(&self) -> Option<Self> {
        let own = self.known()?;
        let trains =
            |text: &&KnownText| text.folder == own.folder && text.splits().contains(&Split::Train);
        KnownText::all().ok()?.iter().find(trains).map(Self::Known)
    }

    /// The sample in the manner of this text.
    #[must_use]
    pub fn sample(&self) -> Self {
        match self.rule() {
            DocumentRule::Article => Self::SampleWikiText2,
            _ => Self::SampleTinyStories,
        }
    }

    /// How documents and words are told apart in a file of this data set.
    pub(crate) fn rule(&self) -> DocumentRule {
        match self {
            Self::Known(text) => text.rule,
            Self::SampleWikiText2 => DocumentRule::Article,
            _ => DocumentRule::Story,
        }
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Known(text) => f.write_str(&text.name),
            sample => {
                let known = Self::SAMPLES.into_iter().find(|(_, known)| known == sample);
                f.write_str(known.map_or("", |(name, _)| name))
            }
        }
    }
}

impl FromStr for Dataset {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        if name.is_empty() {
            return Err(DataError::EmptyName);
        }
        if let Some((_, sample)) = Self::SAMPLES.into_iter().find(|(known, _)| *known == name) {
            return Ok(sample);
        }
        Ok(KnownText::find(name)?.map_or_else(|| Self::File(name.into()), Self::Known))
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
        let split = |name: &str| name.parse::<Dataset>().unwrap().default_split();
        assert_eq!(split("wikitext2"), Some(Split::Test));
        assert_eq!(split("tinystories"), Some(Split::Valid));
        assert_eq!(split("sample"), None);
    }

    #[test]
    fn a_text_is_learnt_from_the_train_split_beside_it() {
        let trains = |name: &str| {
            let dataset: Dataset = name.parse().unwrap();
            dataset.training_text().map(|text| text.to_string())
        };
        assert_eq!(trains("tinystories-head").as_deref(), Some("tinystories"));
        assert_eq!(trains("wikitext2").as_deref(), Some("wikitext2"));
        assert_eq!(trains("enwik8"), None);
        assert_eq!(trains("sample"), None);
    }
}
