//! Which files a name on the command line means.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

use super::RecordError;
use crate::{
    DataError, Dataset, Places,
    corpus::{TINYSTORIES_SAMPLE, WIKITEXT2_SAMPLE},
};

/// Where documents are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Standard,
    /// A file.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its name in ids and messages.
        name: String,
    },
    /// A text that is compiled in.
    Sample {
        /// Its name in ids and messages.
        name: &'static str,
        /// All of it.
        text: &'static [u8],
    },
}

impl Input {
    /// Names a file by all of its path.
    pub fn take_whole_name(&mut self) {
        if let Self::File { path, name } = self {
            *name = name_of(path);
        }
    }

    fn file(path: PathBuf, name: String) -> Self {
        Self::File { path, name }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::File { name, .. } => f.write_str(name),
            Self::Sample { name, .. } => f.write_str(name),
        }
    }
}

/// The files that `name` means: `-`, a file, all files below a folder (in the order of their names, hidden and empty
/// ones left out), a pattern with `*`, `?` or `[`, a known data set, or `hf:OWNER/NAME[:CONFIG][:SPLIT]` for
/// what Hugging Face's programs have put on the disk.
///
/// # Errors
/// No file matches.
pub fn find_inputs(name: &str, places: &Places) -> Result<Vec<Input>, RecordError> {
    if name == "-" {
        return Ok(vec![Input::Standard]);
    }
    if let Some(repository) = name.strip_prefix("hf:") {
        return hugging_face(repository, &hub_folder());
    }
    let path = Path::new(name);
    if path.is_dir() {
        return folder(path);
    }
    if path.exists() {
        return Ok(vec![Input::file(path.to_owned(), name.to_owned())]);
    }
    let no_input = |error: DataError| RecordError::NoInput(error.to_string());
    let dataset: Dataset = name.parse().map_err(no_input)?;
    if !matches!(dataset, Dataset::File(_) | Dataset::Known(_)) {
        return Ok(samples(&dataset));
    }
    if let Some(split) = dataset.default_split() {
        let path = places.find(&dataset, split).map_err(no_input)?;
        return Ok(vec![Input::file(path, name.to_owned())]);
    }
    let none = |why: &str| {
        Err(RecordError::NoInput(format!(
            "there is no file `{name}`{why}; give files, folders, patterns, `-` for standard input, \
             or hf:OWNER/NAME"
        )))
    };
    if !name.contains(['*', '?', '[']) {
        return none("");
    }
    let Ok(found) = glob::glob(name) else {
        return none(", and it is no pattern");
    };
    let files = found.filter_map(Result::ok).filter(|path| path.is_file());
    let files: Vec<_> = files.map(|path| named(&path, Path::new(""))).collect();
    if files.is_empty() {
        return none(", and no file that this pattern means");
    }
    Ok(files)
}

/// The texts that a sample consists of.
pub(super) fn samples(dataset: &Dataset) -> Vec<Input> {
    let sample = |dataset: &Dataset| {
        let (name, text) = match dataset {
            Dataset::SampleWikiText2 => ("sample-wikitext2", WIKITEXT2_SAMPLE),
            _ => ("sample-tinystories", TINYSTORIES_SAMPLE),
        };
        Input::Sample { name, text }
    };
    dataset.members().iter().map(sample).collect()
}

/// A file whose name is what `base` does not say of its path.
fn named(path: &Path, base: &Path) -> Input {
    let name = path.strip_prefix(base).unwrap_or(path);
    Input::file(path.to_owned(), name_of(name))
}

/// A path as text; one that is not Unicode with its bytes written out, so that no two are the same.
fn name_of(path: &Path) -> String {
    let escaped = || {
        path.as_os_str()
            .as_encoded_bytes()
            .escape_ascii()
            .to_string()
    };
    path.to_str().map_or_else(escaped, str::to_owned)
}

/// Every file below a folder.
fn folder(path: &Path) -> Result<Vec<Input>, RecordError> {
    let files = below(path)?;
    if files.is_empty() {
        return Err(RecordError::NoInput(format!(
            "`{}` has no files that are not empty or hidden; give another folder",
            path.display()
        )));
    }
    Ok(files.iter().map(|file| named(file, path)).collect())
}

fn below(folder: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let fail = |source| RecordError::Folder {
        path: folder.to_owned(),
        source,
    };
    let entries = fs::read_dir(folder).map_err(fail)?;
    let mut entries: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|source| RecordError::Read {
            name: path.display().to_string(),
            source,
        })?;
        if metadata.is_dir() {
            files.extend(below(&path)?);
        } else if metadata.is_file() && metadata.len() > 0 {
            files.push(path);
        }
    }
    Ok(files)
}

/// Where Hugging Face's programs keep what they have fetched.
fn hub_folder() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(cache) = variable("HF_HUB_CACHE") {
        return cache.into();
    }
    let home = variable("HF_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| {
        let user = variable("HOME").map(PathBuf::from).unwrap_or_default();
        user.join(".cache/huggingface")
    });
    home.join("hub")
}

/// The files of a data set that lie in the cache folder `hub`.
fn hugging_face(repository: &str, hub: &Path) -> Result<Vec<Input>, RecordError> {
    let mut words = repository.split(':');
    let name = words.next().unwrap_or_default();
    let wanted: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let folder = hub.join(format!("datasets--{}", name.replace('/', "--")));
    let none =
        |why: String| RecordError::NoInput(format!("hf:{repository} is not on this disk: {why}"));
    let revision = fs::read_to_string(folder.join("refs/main")).map_err(|_| {
        none(format!(
            "there is no `{}`; fetch it with `huggingface-cli download --repo-type dataset {name}`",
            folder.join("refs/main").display()
        ))
    })?;
    let snapshot = folder.join("snapshots").join(revision.trim());
    let files = below(&snapshot)?;
    let is_data = |path: &&PathBuf| {
        let name = path.to_string_lossy();
        [
            ".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".gz", ".zst", ".bz2", ".xz",
        ]
        .iter()
        .any(|ending| name.ends_with(ending))
    };
    // `CONFIG/SPLIT-00000-of-00004.parquet` and its kin: each word stands alone in the path.
    let has_words = |path: &&PathBuf| {
        let inside = path
            .strip_prefix(&snapshot)
            .unwrap_or(path)
            .to_string_lossy();
        let parts: Vec<_> = inside.split(['/', '.']).flat_map(beginnings).collect();
        wanted
            .iter()
            .all(|word| parts.iter().any(|part| part == word))
    };
    let files: Vec<_> = files.iter().filter(is_data).filter(has_words).collect();
    if files.is_empty() {
        return Err(none(format!(
            "`{}` has no file of text with `{}` in its name",
            snapshot.display(),
            wanted.join("` and `")
        )));
    }
    Ok(files.iter().map(|path| named(path, &snapshot)).collect())
}

/// `a-b-c`, `a-b` and `a`.
fn beginnings(word: &str) -> impl Iterator<Item = &str> {
    let ends = word.match_indices('-').map(|(at, _)| at);
    ends.chain([word.len()]).map(move |end| &word[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inputs: &[Input]) -> Vec<String> {
        inputs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn folders_and_patterns_give_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for name in ["b.txt", "a/2.txt", "a/10.txt", ".hidden", "a/.git/x"] {
            write(name, "text");
        }
        write("empty.txt", "");
        let places = Places::new(Vec::new());
        let root = folder.path().display().to_string();
        let found = find_inputs(&root, &places).unwrap();
        assert_eq!(names(&found), ["a/10.txt", "a/2.txt", "b.txt"]);
        let found = find_inputs(&format!("{root}/a/*.txt"), &places).unwrap();
        assert_eq!(found.len(), 2);
        for (name, message) in [
            (format!("{root}/no*"), "no file that this pattern means"),
            (format!("{root}/no"), "there is no file"),
            (format!("{root}/a/.git/.."), "hidden"),
        ] {
            let found = find_inputs(&name, &places);
            if let Err(error) = found {
                assert!(error.to_string().contains(message), "{error}");
            }
        }
    }

    #[test]
    fn a_cached_data_set_is_found_by_config_and_split() {
        let hub = tempfile::tempdir().unwrap();
        let folder = hub.path().join("datasets--me--tales");
        let snapshot = folder.join("snapshots/0123");
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), "0123\n").unwrap();
        for name in [
            "en/train-00000-of-00002.parquet",
            "en/train-00001-of-00002.parquet",
            "de/test-00000-of-00001.parquet",
            "README.md",
        ] {
            let path = snapshot.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let found = |name| hugging_face(name, hub.path()).map(|found| names(&found));
        assert_eq!(found("me/tales").unwrap().len(), 3);
        assert_eq!(found("me/tales:en:train").unwrap().len(), 2);
        assert_eq!(
            found("me/tales:test").unwrap(),
            ["de/test-00000-of-00001.parquet"]
        );
        assert!(
            found("me/tales:fr")
                .unwrap_err()
                .to_string()
                .contains("`fr`")
        );
        assert!(
            found("me/other")
                .unwrap_err()
                .to_string()
                .contains("huggingface-cli download")
        );
    }
}
