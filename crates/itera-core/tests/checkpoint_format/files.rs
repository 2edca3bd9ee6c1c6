//! Checkpoints and results as files.

use std::{error::Error, fs, path::Path};

use itera_core::{
    checkpoint::{Checkpoint, Precision},
    digest::sha256_hex,
    files::{FileError, check_writable, read_limited, write_atomic},
    models::{ModelError, load_checkpoint, shipped_models},
};

use crate::support;

/// Every shipped checkpoint: format, order of tensors and form of the JSON are as they were. One of the first
/// version comes back the same from a smaller file.
#[test]
fn shipped_checkpoints_are_written_as_they_are() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/models");
    let mut seen = 0;
    for entry in fs::read_dir(models).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|name| name == "safetensors") {
            let bytes = fs::read(&path).unwrap();
            let read = Checkpoint::from_bytes(&bytes).unwrap();
            let written = read.to_bytes().unwrap();
            if written != bytes {
                assert_ne!(read.precision(), Precision::Fp32, "{}", path.display());
                assert!(written.len() < bytes.len(), "{}", path.display());
                let again = Checkpoint::from_bytes(&written).unwrap();
                assert_eq!(again.tensors, read.tensors);
                assert_eq!(again.tokenizer, read.tokenizer);
                assert_eq!(again.training, read.training);
            }
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen} checkpoints");
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_written_checkpoint_loads_by_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/dir/model.safetensors");
    let bytes = support::checkpoint(support::small(), Precision::Int4)
        .to_bytes()
        .unwrap();
    check_writable(&path).unwrap();
    assert_eq!(
        entries(directory.path()),
        0,
        "a check leaves nothing behind"
    );
    write_atomic(&path, b"an older file").unwrap();
    write_atomic(&path, &bytes).unwrap();
    assert_eq!(
        entries(path.parent().unwrap()),
        1,
        "no temporary file is left"
    );

    let loaded = load_checkpoint(path.to_str().unwrap()).unwrap();
    assert_eq!(loaded.name, "model");
    assert_eq!(loaded.path.as_deref(), Some(path.as_path()));
    assert_eq!(loaded.file_sha256, sha256_hex(&bytes));
    assert_eq!(loaded.file_bytes, bytes.len());
    assert_eq!(loaded.checkpoint.to_bytes().unwrap(), bytes);
}

#[test]
fn a_broken_file_is_named_with_its_fault() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.safetensors");
    write_atomic(&path, b"short").unwrap();
    let error = load_checkpoint(path.to_str().unwrap()).unwrap_err();
    assert!(error.to_string().contains("broken.safetensors"), "{error}");
    assert!(
        error
            .source()
            .unwrap()
            .to_string()
            .contains("length of the file is 5"),
        "{error:?}"
    );

    let missing = directory.path().join("missing.safetensors");
    let error = load_checkpoint(missing.to_str().unwrap()).unwrap_err();
    assert!(
        matches!(&error, ModelError::File(FileError::Read { path, .. }) if *path == missing),
        "{error}"
    );
}

#[test]
fn an_unknown_name_lists_what_exists() {
    let error = load_checkpoint("no-such-model").unwrap_err();
    let ModelError::UnknownName { name, known, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(name, "no-such-model");
    assert_eq!(*known, shipped_models().unwrap());
    assert!(error.to_string().contains("ITERA_MODELS_DIR"), "{error}");
}

#[test]
fn unwritable_places_are_known_beforehand() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    for check in [check_writable, |path: &Path| write_atomic(path, b"x")] {
        let error = check(directory.path()).unwrap_err();
        assert!(matches!(error, FileError::IsDirectory { .. }), "{error}");
        let error = check(&file.join("below/a/file")).unwrap_err();
        assert!(matches!(error, FileError::Write { .. }), "{error}");
        assert!(check(Path::new("")).is_err());
    }
    check_writable(&file).unwrap();
    assert_eq!(entries(directory.path()), 1);
}

/// Whatever name a file system takes, and no longer one.
#[cfg(target_os = "linux")]
#[test]
fn names_may_be_as_long_as_the_system_allows() {
    let directory = tempfile::tempdir().unwrap();
    let longest = directory.path().join("n".repeat(255));
    check_writable(&longest).unwrap();
    write_atomic(&longest, b"content").unwrap();
    assert_eq!(fs::read(&longest).unwrap(), b"content");
    let longer = directory.path().join("n".repeat(256));
    let refused = check_writable(&longer).unwrap_err();
    assert!(matches!(refused, FileError::Write { .. }), "{refused}");
}

#[test]
fn temporary_files_of_killed_processes_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result.json");
    let temporary = |target: &str, random: &str| {
        let digits = &sha256_hex(target.as_bytes())[..16];
        let path = directory
            .path()
            .join(format!(".itera-{digits}-{random}.tmp"));
        fs::write(&path, b"half").unwrap();
        path
    };
    let abandoned = temporary("result.json", "abc");
    let of_another_file = temporary("other.json", "abc");
    let in_use = temporary("result.json", "def");
    let user = fs::File::open(&in_use).unwrap();
    user.lock().unwrap();

    write_atomic(&path, b"whole").unwrap();
    assert!(!abandoned.exists());
    assert!(of_another_file.exists() && in_use.exists());
    drop(user);
    write_atomic(&path, b"whole").unwrap();
    assert!(!in_use.exists());
    assert_eq!(entries(directory.path()), 2);
}

#[test]
fn no_more_is_read_than_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"12345").unwrap();
    assert_eq!(read_limited(&path, 5).unwrap(), b"12345");
    let refused = read_limited(&path, 4).unwrap_err();
    assert!(matches!(refused, FileError::TooLarge { limit: 4, .. }));
}

#[cfg(unix)]
#[test]
fn replaced_files_keep_permissions_and_owner() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    let directory = tempfile::tempdir().unwrap();
    let (file, new) = (directory.path().join("file"), directory.path().join("new"));
    fs::write(&file, b"old").unwrap();
    write_atomic(&new, b"new").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&new), mode(&file), "as any new file");
    for private in [0o600, 0o640, 0o604] {
        fs::set_permissions(&file, fs::Permissions::from_mode(private)).unwrap();
        write_atomic(&file, b"new").unwrap();
        assert_eq!(mode(&file), private);
    }
    // Only the system's administrator may give files away.
    let given_away = chown(&file, Some(1234), Some(1234)).is_ok();
    write_atomic(&file, b"newer").unwrap();
    let metadata = fs::metadata(&file).unwrap();
    let owned = (metadata.uid(), metadata.gid()) == (1234, 1234);
    assert_eq!((owned, mode(&file)), (given_away, 0o604));
}

#[cfg(unix)]
#[test]
fn links_and_devices_survive() {
    use std::os::unix::fs::{FileTypeExt, symlink};

    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    fs::write(&file, b"old").unwrap();
    symlink(&file, &link).unwrap();
    write_atomic(&link, b"new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read(&file).unwrap(), b"new");

    // What a link points to need not be there yet, and may be named from the link's folder.
    let (later, dangling) = (
        directory.path().join("later"),
        directory.path().join("dangling"),
    );
    symlink("later", &dangling).unwrap();
    check_writable(&dangling).unwrap();
    write_atomic(&dangling, b"first").unwrap();
    assert!(dangling.is_symlink());
    assert_eq!(fs::read(&later).unwrap(), b"first");
    let nowhere = directory.path().join("nowhere");
    symlink("/proc/no/such/folder", &nowhere).unwrap();
    assert!(check_writable(&nowhere).is_err());

    let null = Path::new("/dev/null");
    check_writable(null).unwrap();
    write_atomic(null, b"gone").unwrap();
    assert!(fs::metadata(null).unwrap().file_type().is_char_device());
}
