//! Files that are written whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::Builder;

use super::IoError;

/// Links that are followed from one to the next; more are a circle.
const MAX_LINKS: usize = 40;

/// Writes a file whole or not at all: into a temporary file beside it, flushed to disk, then
/// renamed. Missing directories are made. A device or pipe is written to directly.
///
/// # Errors
/// The system's, with the path; the file is then as it was before.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    if path.is_dir() {
        return Err(IoError::IsDirectory {
            path: path.to_owned(),
        });
    }
    let written = if is_special(path) {
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(bytes))
    } else {
        replace(path, bytes)
    };
    written.map_err(|source| IoError::write(path, source))
}

/// Checks before a long run that [`write_atomic`] will succeed, and leaves nothing behind.
///
/// # Errors
/// The path is a directory, or the nearest directory above it that exists cannot be written to.
pub fn check_writable(path: &Path) -> Result<(), IoError> {
    if path.is_dir() {
        return Err(IoError::IsDirectory {
            path: path.to_owned(),
        });
    }
    let probed = if path.file_name().is_none() {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this names no file",
        ))
    } else if is_special(path) {
        // Opening a pipe to probe it could wait for its reader, or end what it reads.
        Ok(())
    } else {
        let target = target_of(path);
        let existing = directory_of(&target)
            .ancestors()
            .find(|directory| directory.exists());
        tempfile::tempfile_in(existing.map_or(Path::new("."), or_current)).map(drop)
    };
    probed.map_err(|source| IoError::write(path, source))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = target_of(path);
    let directory = directory_of(&target);
    fs::create_dir_all(directory)?;
    let mut builder = Builder::new();
    builder.prefix(".itera-").suffix(".tmp");
    // Readable as any other new file would be; temporary files are private unless told otherwise.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    // The new name reaches the disk with the directory; not every file system can flush one.
    #[cfg(unix)]
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

/// The file that a path stands for. A link stays a link: what it points to is written, there already or not.
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
