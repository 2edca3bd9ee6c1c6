//! Files: read up to a limit, written whole or not at all. The rest of the crate takes bytes and gives
//! bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};
use thiserror::Error;

use crate::digest::sha256_hex;

/// Links that are followed from one to the next; more are a circle.
pub const MAX_LINKS: usize = 40;

/// Digits of the digest by which temporary files name their target.
const TARGET_DIGITS: usize = 16;

/// Why a file cannot be read or written. The path is here, the cause is the source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refuses to read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// File or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system refuses to write.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A directory lies where a file should be written.
    #[error("cannot write `{}`: it is a directory, expected the name of a file", path.display())]
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The file is longer than any that is read.
    #[error("`{}` has more than {limit} bytes, the most that are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
}

impl FileError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

/// A whole file, but at most `limit` bytes: `path` may be a device without end.
///
/// # Errors
/// The system's, with the path, or [`FileError::TooLarge`].
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|source| FileError::read(path, source))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Writes a file whole or not at all: into a temporary file beside it, flushed to disk, then
/// renamed. Missing directories are made. A file that is replaced keeps its permissions and, where the
/// system allows it, its owner. A device or pipe is written to directly.
///
/// # Errors
/// The system's, with the path; the file is then as it was before.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    let written = file.write_all(bytes);
    written.map_err(|source| FileError::write(path, source))?;
    file.finish()
}

/// A file that is written in pieces, and is there whole or not at all: as [`write_atomic`] has it, for content that
/// does not fit into memory. Dropped without [`finish`](Self::finish), it leaves the old file as it was.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A device or a pipe.
    Special(File),
    Beside {
        temporary: NamedTempFile,
        target: PathBuf,
    },
}

impl AtomicFile {
    /// Begins a file.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        refuse_directory(path)?;
        let place = if is_special(path) {
            OpenOptions::new()
                .write(true)
                .open(path)
                .map(Place::Special)
        } else {
            Place::beside(target_of(path))
        };
        Ok(Self {
            place: place.map_err(|source| FileError::write(path, source))?,
            path: path.to_owned(),
        })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The system's, with the path; the file is then as it was before.
    pub fn finish(self) -> Result<(), FileError> {
        let Place::Beside { temporary, target } = self.place else {
            return Ok(());
        };
        persist(temporary, &target).map_err(|source| FileError::write(&self.path, source))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.place {
            Place::Special(file) => file.write(bytes),
            Place::Beside { temporary, .. } => temporary.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Special(file) => file.flush(),
            Place::Beside { temporary, .. } => temporary.flush(),
        }
    }
}

/// Checks before a long run that [`write_atomic`] will succeed, and leaves nothing behind.
///
/// # Errors
/// The path is a directory, its name is too long, or the nearest directory above it that exists
/// cannot be written to.
pub fn check_writable(path: &Path) -> Result<(), FileError> {
    refuse_directory(path)?;
    let probed = if path.file_name().is_none() {
        let names_no_file = "the path has no file name";
        Err(io::Error::new(io::ErrorKind::InvalidInput, names_no_file))
    } else if is_special(path) {
        // Opening a pipe to probe it could wait for its reader, or end what it reads.
        Ok(())
    } else {
        probe(&target_of(path))
    };
    probed.map_err(|source| FileError::write(path, source))
}

fn refuse_directory(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Err(FileError::IsDirectory {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Whether a file can be made in the nearest directory that exists, and may be called like `target`.
fn probe(target: &Path) -> io::Result<()> {
    if let Err(error) = fs::symlink_metadata(target)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let existing = directory_of(target)
        .ancestors()
        .find(|directory| directory.exists());
    tempfile::tempfile_in(existing.map_or(Path::new("."), or_current)).map(drop)
}

impl Place {
    fn beside(target: PathBuf) -> io::Result<Self> {
        let directory = directory_of(&target);
        fs::create_dir_all(directory)?;
        let temporary = temporary(&target, directory)?;
        Ok(Self::Beside { temporary, target })
    }
}

fn persist(file: NamedTempFile, target: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(target)?;
    // The new name reaches the disk with the directory; not every file system can flush one.
    #[cfg(unix)]
    let _ = File::open(directory_of(target)).and_then(|directory| directory.sync_all());
    Ok(())
}

/// A temporary file for `target`, private or with the target's permissions from the beginning.
///
/// Its name begins with a digest of the target's name, and it is locked as long as it is written to. So
/// the files that earlier processes left behind when they were killed are known and removed here.
fn temporary(target: &Path, directory: &Path) -> io::Result<NamedTempFile> {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    let prefix = format!(".itera-{}-", &sha256_hex(name)[..TARGET_DIGITS]);
    remove_abandoned(directory, &prefix);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    let old = fs::metadata(target).ok();
    if old.is_none() {
        // Readable as any other new file is; temporary files are private unless told otherwise.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    }
    loop {
        let file = builder.tempfile_in(directory)?;
        // Where files cannot be locked, abandoned ones are not found either.
        let _ = file.as_file().lock();
        // Between its creation and its lock, another process may have thought it abandoned.
        if file.path().exists() {
            if let Some(old) = old {
                keep_permissions(file.as_file(), &old)?;
            }
            return Ok(file);
        }
    }
}

/// Removes temporary files that nobody holds a lock on. Failures are ignored: the file can be written all the same.
fn remove_abandoned(directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(prefix.as_bytes())
        {
            let path = entry.path();
            let lock = File::open(&path).and_then(|file| Ok(file.try_lock().map(|()| file)?));
            if let Ok(_locked) = lock {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Gives a new file the owner, where the system allows it, and the permissions of the one it replaces.
#[cfg(unix)]
fn keep_permissions(file: &File, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

    let _ = fchown(file, Some(old.uid()), None);
    let kept_group = fchown(file, None, Some(old.gid())).is_ok();
    // The permissions of a group are not for another one.
    let allowed = if kept_group { 0o777 } else { 0o707 };
    file.set_permissions(fs::Permissions::from_mode(old.mode() & allowed))
}

#[cfg(not(unix))]
fn keep_permissions(file: &File, old: &fs::Metadata) -> io::Result<()> {
    file.set_permissions(old.permissions())
}

/// The file that a path stands for. A link stays a link: its target is written, there already or not.
fn target_of(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else {
            break;
        };
        target = directory_of(&target).join(next);
    }
    target
}

/// Whether a path is neither a regular file nor absent: renaming over `/dev/null` would destroy it.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

fn directory_of(path: &Path) -> &Path {
    or_current(path.parent().unwrap_or(Path::new("")))
}

fn or_current(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    }
}
