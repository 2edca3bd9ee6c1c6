//! The folders in which a named data set may lie, and the search for one of its files.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{DataError, Dataset, Split};

/// Data folders in the order in which they are looked at; each may hold the folders of known texts, and a table of
/// more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    folders: Vec<PathBuf>,
}

impl Places {
    /// Exactly these folders.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// `$ITERA_DATA_DIR`, then `data` of the cargo workspace around the current directory (of the
    /// current directory itself where there is none), then `data` of the workspace that this
    /// program was built in, if it still exists.
    pub fn of_environment() -> Self {
        let mut folders = Vec::new();
        let mut add = |folder: PathBuf| {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        };
        if let Some(folder) = env::var_os("ITERA_DATA_DIR").filter(|folder| !folder.is_empty()) {
            add(folder.into());
        }
        if let Ok(here) = env::current_dir() {
            add(workspace_around(&here).unwrap_or(&here).join("data"));
        }
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
        if let Ok(folder) = built_in.canonicalize() {
            add(folder);
        }
        Self { folders }
    }

    /// The folders, in order.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The file that holds `split` of `dataset`: `<folder>/<data set>/<split>.txt`, or the same
    /// under its official name.
    ///
    /// # Errors
    /// The data set has no such split, or no folder holds it. A [`Dataset`] that needs no folder
    /// (a sample, a file) is never found here.
    pub fn find(&self, dataset: &Dataset, split: Split) -> Result<PathBuf, DataError> {
        let known = dataset
            .known()
            .and_then(|text| Some((text, text.file(split)?)));
        let Some((text, file)) = known else {
            return Err(DataError::NoSuchSplit {
                dataset: dataset.clone(),
                split,
                available: dataset.splits(),
            });
        };
        let looked_at: Vec<_> = self
            .folders
            .iter()
            .flat_map(|place| {
                file.files
                    .iter()
                    .map(|name| place.join(&text.folder).join(name))
            })
            .collect();
        match looked_at.iter().find(|path| path.is_file()) {
            Some(path) => Ok(path.clone()),
            None => Err(DataError::Missing {
                text,
                split,
                looked_at,
            }),
        }
    }
}

/// The nearest folder at or above `here` whose `Cargo.toml` declares a workspace.
pub fn workspace_around(here: &Path) -> Option<&Path> {
    here.ancestors().find(|folder| {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(name: &str) -> Dataset {
        name.parse().unwrap()
    }

    #[test]
    fn earlier_folders_and_our_names_win() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        let write = |path: PathBuf| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "text").unwrap();
            path
        };
        let places = Places::new(vec![first.clone(), second.clone()]);
        let find = |split| places.find(&dataset("wikitext2"), split);

        let last = write(second.join("wikitext-2/test.txt"));
        assert_eq!(find(Split::Test).unwrap(), last);
        let official = write(first.join("wikitext-2/wiki.test.tokens"));
        assert_eq!(find(Split::Test).unwrap(), official);
        let ours = write(first.join("wikitext-2/test.txt"));
        assert_eq!(find(Split::Test).unwrap(), ours);

        let official = write(second.join("tinystories/TinyStories-valid.txt"));
        assert_eq!(
            places.find(&dataset("tinystories"), Split::Valid).unwrap(),
            official
        );
    }

    #[test]
    fn a_missing_data_set_names_the_places_and_the_remedy() {
        let places = Places::new(vec!["/nowhere/a".into(), "/nowhere/b".into()]);
        let error = places
            .find(&dataset("wikitext2"), Split::Valid)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the valid split of wikitext2 was not found; looked for\
             \n  /nowhere/a/wikitext-2/valid.txt\
             \n  /nowhere/a/wikitext-2/wiki.valid.tokens\
             \n  /nowhere/b/wikitext-2/valid.txt\
             \n  /nowhere/b/wikitext-2/wiki.valid.tokens\
             \nrun `scripts/fetch-data.sh --only wikitext2`, or set ITERA_DATA_DIR to the folder \
             that holds `wikitext-2/`"
        );
    }

    #[test]
    fn tiny_stories_has_no_test_split() {
        let error = Places::new(Vec::new())
            .find(&dataset("tinystories"), Split::Test)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "tinystories has no split `test`; it has valid, train"
        );
    }

    #[test]
    fn the_environment_leads_to_the_data_of_this_workspace() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
        let data = data.canonicalize().unwrap();
        assert!(Places::of_environment().folders.contains(&data));
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_eq!(
            workspace_around(&here).map(Path::to_owned),
            Some(data.join("..").canonicalize().unwrap())
        );
    }
}
