//! One process at a time for one output.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

#[cfg(unix)]
use crate::files::identity_of;

/// Keeps an output from other processes that ask for it too, until it is dropped. The lock is on a
/// hidden file beside the output, and the system releases it when a process is killed. A device or a pipe
/// has none.
#[derive(Debug)]
pub struct OutputLock {
    /// The hidden file.
    held: Option<(PathBuf, File)>,
}

impl OutputLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Another process has it, or its file cannot be written.
    pub fn take(output: &Path) -> anyhow::Result<Self> {
        let lock = Self::open(output, |file| match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(true),
        })?;
        let Some(lock) = lock else {
            bail!(
                "another process is writing `{}`; wait until it ends, or give another `--output`",
                output.display()
            );
        };
        Ok(lock)
    }

    /// Waits until no other process has the lock, and takes it.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub fn wait(output: &Path) -> anyhow::Result<Self> {
        let lock = Self::open(output, |file| file.lock().map(|()| true))?;
        lock.context("a lock that was waited for is taken")
    }

    /// `None` where `lock` is refused.
    fn open(
        output: &Path,
        lock: impl Fn(&File) -> io::Result<bool>,
    ) -> anyhow::Result<Option<Self>> {
        if fs::metadata(output).is_ok_and(|metadata| !metadata.is_file()) {
            return Ok(Some(Self { held: None }));
        }
        let path = lock_path(output);
        let take = || -> io::Result<Option<File>> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            loop {
                let file = File::options().create(true).append(true).open(&path)?;
                match lock(&file) {
                    Ok(false) => return Ok(None),
                    // A file system without locks: nothing to be had there.
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                    Err(error) => return Err(error),
                    Ok(true) => {}
                }
                // Who had it before may have removed the file that was waited for.
                if is_same(&file, &path) {
                    return Ok(Some(file));
                }
            }
        };
        let taken = take().with_context(|| format!("cannot lock `{}`", output.display()))?;
        Ok(taken.map(|file| Self {
            held: Some((path, file)),
        }))
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.held {
            let _ = fs::remove_file(path);
        }
    }
}

/// `.NAME.lock` beside `NAME`.
fn lock_path(output: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(output.file_name().unwrap_or_default());
    name.push(".lock");
    output.with_file_name(name)
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    let identity = |metadata: io::Result<fs::Metadata>| metadata.as_ref().map(identity_of).ok();
    let found = identity(fs::metadata(path));
    found.is_some() && found == identity(file.metadata())
}

/// A file that is open cannot be removed.
#[cfg(not(unix))]
fn is_same(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn the_second_is_refused_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("new/x.json");
        let first = OutputLock::take(&output).unwrap();
        let error = OutputLock::take(&output).unwrap_err().to_string();
        assert!(error.contains("another process is writing"), "{error}");
        OutputLock::take(&folder.path().join("new/y.json")).unwrap();
        drop(first);
        OutputLock::take(&output).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn who_waits_gets_it_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("x.json");
        let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = OutputLock::wait(&output).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 400);
    }
}
