//! Files as the reports name them.

use std::{
    io,
    path::{Component, Path, PathBuf, absolute},
};

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The file as people name it, for example `results/validation.json`.
    pub(crate) label: String,
    /// The way to it from the folder of the reports.
    pub(crate) link: String,
    /// SHA-256 of its bytes, in lower-case hexadecimal digits.
    pub(crate) sha256: String,
    /// Name and version of its form.
    pub(crate) schema: String,
    /// When it was made; empty if it does not say.
    pub(crate) created_at: String,
    /// Program and version that made it; empty if it does not say.
    pub(crate) tool: String,
    /// The commit that the program was built from; empty if it does not say.
    pub(crate) commit: String,
    /// The machine; empty if it does not say.
    pub(crate) host: String,
}

/// A file that cannot be used, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) label: String,
    pub(crate) reason: String,
}

/// The folder of the reports, from which files are named.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    reports: PathBuf,
}

impl Place {
    /// # Errors
    /// If the current directory cannot be found.
    pub(crate) fn new(reports: &Path) -> io::Result<Self> {
        Ok(Self {
            reports: plain(reports)?,
        })
    }

    /// The way from the reports to a file, `/` between folders.
    pub(crate) fn link(&self, file: &Path) -> io::Result<String> {
        let file = plain(file)?;
        let common = self
            .reports
            .components()
            .zip(file.components())
            .take_while(|(a, b)| a == b)
            .count();
        let up = self
            .reports
            .components()
            .skip(common)
            .map(|_| "..".to_owned());
        let down = file
            .components()
            .skip(common)
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        Ok(up.chain(down).collect::<Vec<_>>().join("/"))
    }

    /// The file as people name it: the way to it without the way out of the reports.
    pub(crate) fn label(&self, file: &Path) -> io::Result<String> {
        let link = self.link(file)?;
        Ok(link.trim_start_matches("../").to_owned())
    }
}

/// An absolute path without `.` and `..`; links are not followed, so that a report does not depend
/// on where its folder really lies.
fn plain(path: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in absolute(path)?.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_the_reports() {
        let place = Place::new(Path::new("/a/b/../reports")).unwrap();
        let link = |file| place.link(Path::new(file)).unwrap();
        assert_eq!(link("/a/results/x.json"), "../results/x.json");
        assert_eq!(link("/a/reports/x.png"), "x.png");
        let label = place.label(Path::new("/a/./data/models/m.json")).unwrap();
        assert_eq!(label, "data/models/m.json");
    }
}
