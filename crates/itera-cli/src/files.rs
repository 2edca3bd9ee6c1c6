//! The files of a command: found out to be different ones, and writable, before its work begins.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf, is_separator},
};

use anyhow::{Context as _, Error, anyhow, bail, ensure};
use itera_core::files::{MAX_LINKS, check_writable};
use itera_data::{Dataset, Places, Split, workspace_around};

/// The workspace around the current directory, or the current directory itself.
///
/// # Errors
/// There is no current directory.
pub fn workspace() -> anyhow::Result<PathBuf> {
    let here = env::current_dir().context("cannot find the current directory")?;
    let around = workspace_around(&here).map(Path::to_owned);
    Ok(around.unwrap_or(here))
}

/// The folder `results` of [`workspace`].
///
/// # Errors
/// There is no current directory.
pub fn results_folder() -> anyhow::Result<PathBuf> {
    Ok(workspace()?.join("results"))
}

/// Every file that a command reads or writes, each with the words that name it in a message, such as
/// `` `--output` ``.
#[derive(Clone, Debug, Default)]
pub struct Files {
    files: Vec<Named>,
}

#[derive(Clone, Debug)]
struct Named {
    what: String,
    path: PathBuf,
    is_written: bool,
}

impl Files {
    /// Adds a file that the command reads.
    #[must_use]
    pub fn read(mut self, what: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.add(what.into(), path.into(), false);
        self
    }

    /// Adds the files of a data set, as far as they exist.
    #[must_use]
    pub fn read_dataset(mut self, what: &str, dataset: &Dataset) -> Self {
        if let Dataset::File(path) = dataset {
            return self.read(what, path);
        }
        let places = Places::of_environment();
        for split in Split::ALL {
            if let Ok(path) = places.find(dataset, split) {
                self = self.read(what, path);
            }
        }
        self
    }

    /// Adds a file that the command writes.
    #[must_use]
    pub fn write(mut self, what: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.add(what.into(), path.into(), true);
        self
    }

    fn add(&mut self, what: String, path: PathBuf, is_written: bool) {
        self.files.push(Named {
            what,
            path,
            is_written,
        });
    }

    /// Checks that every file to be written can be, and is neither read by the command nor another of
    /// the files that it writes, by whatever name. A device or a pipe may be both.
    ///
    /// # Errors
    /// The first file that does not hold this, with the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        let places: Vec<Option<Place>> = self
            .files
            .iter()
            .map(Named::place)
            .collect::<Result<_, _>>()?;
        for (index, (file, place)) in self.files.iter().zip(&places).enumerate() {
            let Some(place) = place else { continue };
            for (other, known) in self.files[..index].iter().zip(&places) {
                let is_lost = file.is_written || other.is_written;
                if is_lost && known.as_ref().is_some_and(|known| known.is(place)) {
                    let written = if file.is_written { file } else { other };
                    bail!(
                        "{} and {} are the same file, `{}`; name another for {}",
                        other.what,
                        file.what,
                        file.path.display(),
                        written.what
                    );
                }
            }
        }
        Ok(())
    }
}

impl Named {
    /// Where the file is or will be, if it is one that could be lost: neither a device, nor an input
    /// that does not exist.
    fn place(&self) -> anyhow::Result<Option<Place>> {
        if self.is_written {
            self.check_writable()?;
        }
        match fs::metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() => Ok(None),
            Err(_) if !self.is_written => Ok(None),
            _ => Ok(Place::of(&self.path, MAX_LINKS).ok()),
        }
    }

    fn check_writable(&self) -> anyhow::Result<()> {
        let Self { what, path, .. } = self;
        let shown = path.display();
        let name = path.as_os_str().to_string_lossy();
        let is_folder = name.ends_with(is_separator) || name.ends_with("/.");
        ensure!(
            !is_folder,
            "{what} is `{shown}`, which names a folder; give the name of a file"
        );
        let refused = |error: Error| {
            anyhow!("{error:#}; give another file for {what}, or make its folder writable")
        };
        // The system looks at a name only where its folder exists, so each is tried in one that does.
        let place = Place::of(path, MAX_LINKS)
            .with_context(|| format!("cannot write `{shown}`"))
            .map_err(refused)?;
        for component in &place.rest {
            let tried = fs::symlink_metadata(place.folder.join(component));
            ensure!(
                !tried.is_err_and(|error| error.kind() == io::ErrorKind::InvalidFilename),
                "cannot write `{shown}`: the name is too long; give a shorter one for {what}"
            );
        }
        check_writable(path).map_err(|error| refused(error.into()))
    }
}

/// What tells files apart that exist or will.
struct Place {
    /// Of the file, or of the nearest folder above it that exists.
    identity: Identity,
    folder: PathBuf,
    /// The names below that folder; none for a file that exists.
    rest: PathBuf,
}

impl Place {
    fn of(path: &Path, links: usize) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        if let Ok(identity) = identity(path) {
            return Ok(Self {
                identity,
                folder: path.to_owned(),
                rest: PathBuf::new(),
            });
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        if let (Ok(target), Some(links)) = (fs::read_link(path), links.checked_sub(1)) {
            return Self::of(&folder.join(target), links);
        }
        let mut place = Self::of(folder, links)?;
        place
            .rest
            .push(path.file_name().unwrap_or(OsStr::new("..")));
        Ok(place)
    }

    fn is(&self, other: &Self) -> bool {
        if self.identity != other.identity {
            return false;
        }
        let [a, b] = [self, other].map(|place| place.rest.to_string_lossy().to_lowercase());
        self.rest == other.rest || (a == b && folds_case(&self.folder))
    }
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = PathBuf;

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|metadata| identity_of(&metadata))
}

/// Device and inode.
#[cfg(unix)]
pub(crate) fn identity_of(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    path.canonicalize()
}

/// Whether a folder takes `a` and `A` for one name.
fn folds_case(folder: &Path) -> bool {
    let probe = tempfile::Builder::new()
        .prefix("itera-")
        .tempfile_in(folder);
    probe.is_ok_and(|probe| {
        let name = probe.path().file_name().unwrap_or_default();
        folder.join(name.to_ascii_uppercase()).exists()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message about two files of a folder with the files `a` and `b`, a link to `a` and one to
    /// nothing.
    fn refused(first: (&str, bool), second: (&str, bool)) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            fs::write(at(name), name).unwrap();
        }
        #[cfg(unix)]
        for (link, target) in [("to-a", "a"), ("to-new", "new"), ("up", ".")] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        let files = [("first", first), ("second", second)];
        let files =
            files
                .into_iter()
                .fold(Files::default(), |files, (what, (name, is_written))| {
                    if is_written {
                        files.write(what, at(name))
                    } else {
                        files.read(what, at(name))
                    }
                });
        files.check().err().map(|error| error.to_string())
    }

    #[test]
    fn a_file_that_is_read_is_not_written() {
        for name in ["a", "./a", "up/a", "to-a"] {
            let message = refused(("a", false), (name, true)).unwrap();
            assert!(
                message.starts_with("first and second are the same file"),
                "{message}"
            );
            assert!(message.ends_with("name another for second"), "{message}");
        }
        assert_eq!(refused(("a", false), ("b", true)), None);
        assert_eq!(refused(("a", false), ("to-a", false)), None);
        // The command says itself that an input is missing.
        assert_eq!(refused(("new", false), ("new", true)), None);
    }

    #[test]
    fn files_that_are_written_differ_before_they_exist() {
        for name in ["new", "./new", "up/new", "to-new"] {
            assert!(refused(("new", true), (name, true)).is_some(), "{name}");
        }
        for name in ["new/x", "./new//x", "up/up/new/x"] {
            assert!(refused(("new/x", true), (name, true)).is_some(), "{name}");
        }
        assert_eq!(refused(("new", true), ("newer", true)), None);
        assert_eq!(
            refused(("a", true), ("A", true)).is_some(),
            folds_case(&env::temp_dir())
        );
    }

    #[test]
    fn names_that_cannot_be_written_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(256);
        for (name, message) in [
            ("new/", "which names a folder"),
            ("new/.", "which names a folder"),
            (&long, "the name is too long"),
            (&format!("new/{long}/x"), "the name is too long"),
        ] {
            let path = format!("{}/{name}", folder.path().display());
            let error = Files::default().write("`--output`", path).check();
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains(message) && error.contains("`--output`"),
                "{error}"
            );
        }
        Files::default()
            .write("`--output`", folder.path().join("x".repeat(255)))
            .check()
            .unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn devices_may_be_named_twice() {
        let files = Files::default().write("`--output`", "/dev/null");
        files.write("`--csv`", "/dev/null").check().unwrap();
    }
}
