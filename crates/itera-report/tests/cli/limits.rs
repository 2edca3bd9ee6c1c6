//! The pages of the repository stay as short as a busy person reads.

use std::{fs, path::Path};

/// A page and what it may have: lines, bytes.
const LIMITS: [(&str, usize, usize); 3] = [
    ("reports/final_validation.md", 100, 15_000),
    ("README.md", 150, 15_000),
    ("ARCHITECTURE.md", 250, 30_000),
];

/// Reports whose tables are short; longer ones are in `<details>` or CSV files.
const REPORTS: [&str; 5] = [
    "final_validation",
    "validation_report",
    "power_validation",
    "export_report",
    "ablations",
];
const ROWS: usize = 20;

fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn pages_are_short() {
    for (page, lines, bytes) in LIMITS {
        let text = read(page);
        let found = (text.lines().count(), text.len());
        assert!(
            found.0 <= lines && found.1 <= bytes,
            "{page} has {found:?}, at most {lines} lines and {bytes} bytes"
        );
    }
}

#[test]
fn tables_are_short_or_folded() {
    for name in REPORTS {
        let (mut rows, mut is_folded) = (0, false);
        for (i, line) in read(&format!("reports/{name}.md")).lines().enumerate() {
            is_folded = (is_folded || line.starts_with("<details>")) && line != "</details>";
            rows = if line.starts_with('|') && !is_folded {
                rows + 1
            } else {
                0
            };
            assert!(
                rows <= ROWS + 2,
                "{name}.md:{}: a table of more than {ROWS} rows",
                i + 1
            );
        }
    }
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![
        "README.md".to_owned(),
        "ARCHITECTURE.md".to_owned(),
        "CHANGELOG.md".to_owned(),
    ];
    for folder in ["docs", "docs/decisions", "reports", "data/models"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if Path::new(&name)
                .extension()
                .is_some_and(|kind| kind == "md")
            {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    for page in pages {
        let folder = root.join(&page);
        let folder = folder.parent().unwrap();
        for piece in read(&page).split("](").skip(1) {
            let target = piece.split(')').next().unwrap();
            let file = target.split('#').next().unwrap().replace("%20", " ");
            if !file.is_empty() && !file.contains("://") {
                assert!(folder.join(&file).exists(), "{page}: {target}");
            }
        }
    }
}
