//! Files: written whole or not at all, and compared with what is there.

use std::{collections::BTreeMap, fs, io, path::Path};

use itera_core::files::write_atomic;

/// Files by name, as they should be in a folder.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Kept by hand beside the reports.
const BY_HAND: &str = "README.md";

/// Writes the files that are not there yet as they should be; how many that were.
pub(crate) fn write_all(folder: &Path, files: &Files) -> anyhow::Result<usize> {
    let mut written = 0;
    for (name, bytes) in files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        write_atomic(&path, bytes)?;
        written += 1;
    }
    Ok(written)
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
