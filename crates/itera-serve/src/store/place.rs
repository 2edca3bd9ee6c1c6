//! Which database a name means.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use super::StoreError;

/// A database that may be opened.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) kind: Kind,
    pub(super) url: String,
    /// The file of SQLite.
    file: Option<PathBuf>,
    /// Which file it was when it was opened.
    identity: Option<Identity>,
}

/// Device and number of a file.
type Identity = (u64, u64);

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// The time by the database's clock, in milliseconds since 1970.
    pub(super) const fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }
}

/// Whether a server is to have no database.
pub(crate) fn is_none(place: &str) -> bool {
    place == "none"
}

impl Place {
    /// A file, or a `postgres://` URL.
    pub(crate) fn new(place: &str) -> Self {
        if is_postgres(place) {
            return Self {
                kind: Kind::Postgres,
                url: place.to_owned(),
                file: None,
                identity: None,
            };
        }
        let path = place.strip_prefix("sqlite://").unwrap_or(place);
        let file = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        Self {
            kind: Kind::Sqlite,
            // A file that has gone is not made again without its tables.
            url: format!("sqlite://{}?mode=rw", escape(&file)),
            file: Some(file),
            identity: None,
        }
    }

    /// The file of SQLite.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Makes the file if it is not there: it will hold what people have written.
    pub(super) fn make_file(&self) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        match make_private(file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(StoreError::File(error))
            }
            _ => Ok(()),
        }
    }

    /// The place, with the identity of its file.
    pub(super) fn opened(mut self) -> Self {
        self.identity = self.file.as_deref().and_then(identity);
        self
    }

    /// Whether the file is still the one that was opened: what is written to another is lost.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        match &self.file {
            Some(file) if identity(file) != self.identity => Err(StoreError::Replaced),
            _ => Ok(()),
        }
    }
}

/// Makes a file that its owner alone can read.
pub(super) fn make_private(file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

#[cfg(unix)]
fn identity(file: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Not told by other systems without more code.
#[cfg(not(unix))]
const fn identity(_: &Path) -> Option<Identity> {
    None
}

/// Whether a place is a PostgreSQL URL and not a file.
pub(crate) fn is_postgres(place: &str) -> bool {
    place.starts_with("postgres://") || place.starts_with("postgresql://")
}

/// A path with what URLs give a meaning escaped.
fn escape(path: &Path) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let text = path.to_string_lossy();
    let escaped = text.bytes().map(|byte| {
        if keep(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    escaped.collect()
}
