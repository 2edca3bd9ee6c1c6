//! The texts that have a name: `data/datasets.toml`, and the file of that name in a data folder.

use std::{
    fs,
    hash::{Hash, Hasher},
    path::PathBuf,
    sync::OnceLock,
};

use serde::Deserialize;

use crate::{DataError, DocumentRule, Places, Split};

/// The table that is part of the program.
const BUILT_IN: &str = include_str!("../../../data/datasets.toml");

/// What the table says of a text. Two are equal if their names are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownText {
    /// What `--dataset` calls it.
    pub name: String,
    /// What results call a file that has the digest of one of its splits.
    pub title: String,
    /// What else to say of its figures.
    pub remark: Option<String>,
    /// Its folder inside a data folder.
    pub folder: PathBuf,
    /// How a file of it divides into documents.
    pub rule: DocumentRule,
    /// Where to get it.
    pub source: Option<String>,
    /// The terms under which it may be used.
    pub licence: Option<String>,
    /// Whether `scripts/fetch-data.sh --only NAME` gets it.
    #[serde(default)]
    pub fetched: bool,
    test: Option<KnownFile>,
    valid: Option<KnownFile>,
    train: Option<KnownFile>,
}

/// The file of a split.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFile {
    /// Its names, the first of them that is there counts; the last is the official one.
    pub files: Vec<String>,
    /// Its digest.
    pub sha256: Option<String>,
    /// Its size, where no digest is published.
    pub bytes: Option<u64>,
}

impl PartialEq for KnownText {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for KnownText {}

impl Hash for KnownText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl KnownText {
    /// Every text of the table, those of data folders first.
    ///
    /// # Errors
    /// A `datasets.toml` in a data folder that is not of this form.
    pub fn all() -> Result<&'static [Self], DataError> {
        static TABLE: OnceLock<Result<Vec<KnownText>, String>> = OnceLock::new();
        let table = TABLE.get_or_init(|| read(&Places::of_environment()));
        table
            .as_deref()
            .map_err(|message| DataError::Table(message.clone()))
    }

    /// The text of this name.
    ///
    /// # Errors
    /// Those of [`all`](Self::all).
    pub fn find(name: &str) -> Result<Option<&'static Self>, DataError> {
        Ok(Self::all()?.iter().find(|text| text.name == name))
    }

    /// The file of a split.
    pub fn file(&self, split: Split) -> Option<&KnownFile> {
        match split {
            Split::Test => self.test.as_ref(),
            Split::Valid => self.valid.as_ref(),
            Split::Train => self.train.as_ref(),
        }
    }

    /// The splits there are: test, valid, train.
    pub fn splits(&self) -> Vec<Split> {
        let exists = |split: &Split| self.file(*split).is_some();
        Split::ALL.into_iter().filter(exists).collect()
    }

    /// The digest of a text that has one split only: a name for one file.
    pub fn only_digest(&self) -> Option<&str> {
        match self.splits()[..] {
            [split] => self.file(split)?.sha256.as_deref(),
            _ => None,
        }
    }

    /// The text and split whose file this holds of.
    pub(crate) fn with_file(
        holds: impl Fn(&KnownFile) -> bool,
    ) -> Option<(&'static Self, Split, &'static KnownFile)> {
        let files = Self::all().unwrap_or_default().iter().flat_map(|text| {
            let file = move |split| Some((text, split, text.file(split)?));
            Split::ALL.into_iter().filter_map(file)
        });
        files.into_iter().find(|(_, _, file)| holds(file))
    }

    /// How to get the text, as a sentence goes on.
    pub(crate) fn remedy(&self) -> String {
        let folder = self.folder.display();
        let set = format!("set ITERA_DATA_DIR to the folder that holds `{folder}/`");
        match &self.source {
            _ if self.fetched => {
                format!("run `scripts/fetch-data.sh --only {}`, or {set}", self.name)
            }
            Some(source) => format!("get it from {source}, and {set}"),
            None => format!("{set}; this selection is no official text and cannot be fetched"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    text: Vec<KnownText>,
}

/// The tables of the data folders, then that of the program.
fn read(places: &Places) -> Result<Vec<KnownText>, String> {
    let mut texts: Vec<KnownText> = Vec::new();
    for folder in places.folders() {
        let path = folder.join("datasets.toml");
        let Ok(table) = fs::read_to_string(&path) else {
            continue;
        };
        if table != BUILT_IN {
            add(&mut texts, &table, &path.display().to_string())?;
        }
    }
    add(&mut texts, BUILT_IN, "data/datasets.toml")?;
    Ok(texts)
}

/// Adds those texts of a table whose names are not taken.
fn add(texts: &mut Vec<KnownText>, table: &str, place: &str) -> Result<(), String> {
    let table: Table = toml::from_str(table)
        .map_err(|error| format!("`{place}` is no table of texts: {}", error.message()))?;
    for text in table.text {
        if text.splits().is_empty() {
            return Err(format!(
                "`{place}`: the text {} has no file; add one under [text.test], [text.valid] or [text.train]",
                text.name
            ));
        }
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_adds_texts_and_replaces_those_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(vec![folder.path().to_owned()]);
        let built_in = read(&places).unwrap();
        let write = |table: &str| fs::write(folder.path().join("datasets.toml"), table).unwrap();
        let table = |name: &str| {
            format!(
                "[[text]]\nname = \"{name}\"\ntitle = \"mine\"\nfolder = \"x\"\nrule = \"line\"\n\
                 [text.test]\nfiles = [\"a.txt\"]\n"
            )
        };
        write(&table("fables"));
        let texts = read(&places).unwrap();
        assert_eq!(texts.len(), built_in.len() + 1);
        assert_eq!(texts[0].rule, DocumentRule::Line);
        write(&table("enwik8"));
        let texts = read(&places).unwrap();
        assert_eq!(texts.len(), built_in.len());
        assert_eq!(texts[0].splits(), [Split::Test]);
        for (table, message) in [
            ("[[text]]\nname = 1\n", "is no table of texts: "),
            ("[[text]]\nname = \"a\"\nsize = 1\n", "unknown field `size`"),
            (
                table("a").split("[text.test]").next().unwrap(),
                "a has no file",
            ),
        ] {
            write(table);
            let error = read(&places).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn digests_of_the_table_are_digests() {
        for text in KnownText::all().unwrap() {
            for file in text.splits().iter().filter_map(|split| text.file(*split)) {
                let is_digest = |digest: &String| {
                    digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
                };
                assert!(file.sha256.iter().all(is_digest), "{}", text.name);
            }
        }
    }
}
