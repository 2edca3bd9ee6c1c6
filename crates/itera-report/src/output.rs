//! Files: written whole or not at all, and compared with what is there.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;

/// Files by name, as they should be in a folder.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Kept by hand beside the reports.
const BY_HAND: &str = "README.md";

/// Writes a file whole or not at all. Its folder is made if it is missing.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = || -> io::Result<()> {
        if path.exists() && !path.is_file() {
            // A pipe or a terminal (`/dev/stdout`) cannot be replaced; a folder refuses.
            return fs::write(path, bytes);
        }
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        // A temporary file is its owner's alone; a result is for everybody whom the umask lets.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix(".itera-report-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    written().with_context(|| {
        format!(
            "cannot write `{}`; name another place, or make its folder writable",
            path.display()
        )
    })
}

/// Writes the files that are not there yet as they should be; how many that were.
pub(crate) fn write_all(folder: &Path, files: &Files) -> anyhow::Result<usize> {
    let mut written = 0;
    for (name, bytes) in files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        write(&path, bytes)?;
        written += 1;
    }
    Ok(written)
}

/// What is wrong with a folder that should hold these files and no other, one line each.
pub(crate) fn stale(folder: &Path, tables: &str, files: &Files) -> Vec<String> {
    let mut stale = differing(folder, files);
    for name in leftovers(folder, tables, files) {
        stale.push(format!("{name}: belongs to no result; delete it"));
    }
    stale
}

/// Which files of a folder are not these, one line each.
pub(crate) fn differing(folder: &Path, files: &Files) -> Vec<String> {
    let mut stale = Vec::new();
    for (name, bytes) in files {
        match fs::read(folder.join(name)) {
            Ok(there) if there == *bytes => {}
            Ok(_) => stale.push(format!("{name}: differs from what the results give")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                stale.push(format!("{name}: is missing"));
            }
            Err(error) => stale.push(format!("{name}: cannot be read: {error}")),
        }
    }
    stale
}

/// Pages, pictures and tables that no result gives.
pub(crate) fn leftovers(folder: &Path, tables: &str, files: &Files) -> Vec<String> {
    let list = |prefix: &str, kinds: &[&str]| -> Vec<String> {
        let entries = fs::read_dir(folder.join(prefix))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.map(|entry| format!("{prefix}{}", entry.file_name().to_string_lossy()));
        let is_rendered = |name: &String| {
            let kind = Path::new(name).extension().and_then(|kind| kind.to_str());
            kind.is_some_and(|kind| kinds.contains(&kind))
        };
        names.filter(is_rendered).collect()
    };
    let mut names = list("", &["md", "png", "html"]);
    names.extend(list(&format!("{tables}/"), &["csv"]));
    names.retain(|name| name != BY_HAND && !files.contains_key(name));
    names.sort();
    names
}
