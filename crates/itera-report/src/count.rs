//! Counts the code of a repository: `itera-report count`.
//!
//! The outcome is a result file like any other, so that reports stay a function of the results: a
//! commit does not make them stale, only a new count does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use ignore::WalkBuilder;
use itera_cli::{created_at, host, tool};
use itera_record::Envelope;

use crate::input::{CodeGroup, CodeRecord};

/// Folders of output: what they hold was not written by people.
const OUTPUT: [&str; 2] = ["results", "reports"];

/// Counts the files of a folder and below that git would track.
pub(crate) fn count(root: &Path) -> anyhow::Result<CodeRecord> {
    let mut groups: BTreeMap<(String, &str), CodeGroup> = BTreeMap::new();
    for path in files(root)? {
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let Some(part) = part(relative) else { continue };
        let Some(language) = language(&path) else {
            continue;
        };
        let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = Lines::of(&text, language, is_test_file(relative));
        let group = groups.entry((part, language)).or_default();
        group.files += 1;
        group.code_lines += lines.code;
        group.comment_lines += lines.comment;
        group.blank_lines += lines.blank;
        group.test_code_lines += lines.test_code;
        group.tests += lines.tests;
        group.longest_file_lines = group.longest_file_lines.max(lines.total());
    }
    ensure!(
        !groups.is_empty(),
        "there is no code in `{}`; name the root of a repository with `--root`",
        root.display()
    );
    let named = |((part, language), group): ((String, &str), CodeGroup)| CodeGroup {
        part,
        language: language.to_owned(),
        ..group
    };
    Ok(CodeRecord {
        envelope: Envelope {
            schema: CodeRecord::SCHEMA.to_owned(),
            created_at: created_at(),
            tool: tool(crate::TOOL),
            host: host(),
            model: None,
        },
        groups: groups.into_iter().map(named).collect(),
    })
}

/// The files that git would track, sorted. Settings of the user or of the machine do not count.
fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .parents(false)
        .require_git(false)
        .git_global(false)
        .git_exclude(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.with_context(|| format!("cannot list `{}`", root.display()))?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            files.push(entry.into_path());
        }
    }
    files.sort();
    Ok(files)
}

/// The crate that a file belongs to, else its top folder, else `.`; none for output.
fn part(relative: &Path) -> Option<String> {
    let mut folders = relative.parent()?.components();
    let mut next = || {
        folders
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
    };
    match next() {
        None => Some(".".to_owned()),
        Some(top) if OUTPUT.contains(&top.as_str()) => None,
        Some(top) if top == "crates" => Some(next().unwrap_or(top)),
        Some(top) => Some(top),
    }
}

/// The language of a file, by its extension, else by its first line.
fn language(path: &Path) -> Option<&'static str> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => Some("Rust"),
        Some("sh") => Some("Shell"),
        Some("py") => Some("Python"),
        Some("js" | "mjs") => Some("JavaScript"),
        Some("html") => Some("HTML"),
        Some("css") => Some("CSS"),
        Some("sql") => Some("SQL"),
        Some("toml") => Some("TOML"),
        Some("yml" | "yaml") => Some("YAML"),
        Some("md") => Some("Markdown"),
        Some(_) => None,
        None => {
            let bytes = fs::read(path).ok()?;
            let first = bytes.split(|&byte| byte == b'\n').next()?;
            let is_script = first.starts_with(b"#!") && first.ends_with(b"sh");
            is_script.then_some("Shell")
        }
    }
}

/// Whether a file lies in a folder of tests or benches, or is a module of tests.
fn is_test_file(relative: &Path) -> bool {
    relative.components().any(|part| {
        let name = part.as_os_str();
        ["tests", "benches", "tests.rs"]
            .iter()
            .any(|test| name == *test)
    })
}

/// Whether a line makes a test of the function below it: `#[test]`, `#[tokio::test(…)]` and the like.
fn is_test_attribute(line: &str) -> bool {
    let Some(attribute) = line.strip_prefix("#[") else {
        return false;
    };
    let path = attribute.split(['(', ']']).next().unwrap_or_default();
    path == "test" || path.ends_with("::test")
}

/// What the lines of a file are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lines {
    code: u64,
    comment: u64,
    blank: u64,
    test_code: u64,
    tests: u64,
}

impl Lines {
    /// A line is what it starts with: text that spans lines and looks like a comment counts as one.
    fn of(text: &str, language: &str, is_test: bool) -> Self {
        let mut lines = Self::default();
        let marker = comment_marker(language);
        let is_rust = language == "Rust";
        let mut previous = "";
        let mut in_test_module = false;
        for line in text.lines() {
            let trimmed = line.trim();
            // The house puts `#[cfg(test)] mod tests { ... }` at the outermost level of a file.
            if is_rust && previous == "#[cfg(test)]" && line.starts_with("mod ") {
                in_test_module = line.ends_with('{');
            }
            if trimmed.is_empty() {
                lines.blank += 1;
            } else if marker.is_some_and(|marker| trimmed.starts_with(marker)) {
                lines.comment += 1;
            } else {
                lines.code += 1;
                lines.test_code += u64::from(is_rust && (is_test || in_test_module));
                lines.tests += u64::from(is_rust && is_test_attribute(trimmed));
            }
            if line == "}" {
                in_test_module = false;
            }
            previous = trimmed;
        }
        lines
    }

    const fn total(&self) -> u64 {
        self.code + self.comment + self.blank
    }
}

/// What a line of comment starts with.
fn comment_marker(language: &str) -> Option<&'static str> {
    match language {
        "Rust" | "JavaScript" => Some("//"),
        "Shell" | "Python" | "TOML" | "YAML" => Some("#"),
        "SQL" => Some("--"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let text = "//! Doc.\n\nfn a() {\n    // why\n    b();\n}\n\n#[cfg(test)]\nmod tests {\n    \
                    #[test]\n    fn t() {}\n}\n\nfn after() {}\n";
        let lines = Lines::of(text, "Rust", false);
        let expected = Lines {
            code: 9,
            comment: 2,
            blank: 3,
            test_code: 4,
            tests: 1,
        };
        assert_eq!(lines, expected);
        assert_eq!(Lines::of(text, "Rust", true).test_code, 9);
        assert_eq!(Lines::of("# x\ny\n", "TOML", true).test_code, 0);
        let tests =
            "#[tokio::test]\n#[tokio::test(start_paused = true)]\n#[test_case(1)]\n#[cfg(test)]\n";
        assert_eq!(Lines::of(tests, "Rust", true).tests, 2);
        assert!(is_test_file(Path::new("crates/a/src/gate/tests.rs")));
        assert!(!is_test_file(Path::new("crates/a/src/attests.rs")));
    }

    #[test]
    fn what_git_ignores_and_what_tools_write_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".gitignore", "/target/\n");
        write("target/x.rs", "fn x() {}\n");
        write("reports/final.md", "# Title\n");
        write("crates/a/src/lib.rs", "fn a() {}\n");
        write("crates/a/tests/t.rs", "#[test]\nfn t() {}\n");
        write(".ci/run", "#!/usr/bin/env bash\n# why\ntrue\n");
        write("README.md", "# Read\n");
        let record = count(dir.path()).unwrap();
        let found: Vec<_> = record
            .groups
            .iter()
            .map(|g| {
                (
                    g.part.as_str(),
                    g.language.as_str(),
                    g.files,
                    g.code_lines,
                    g.tests,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (".", "Markdown", 1, 1, 0),
                (".ci", "Shell", 1, 1, 0),
                ("a", "Rust", 2, 3, 1),
            ]
        );
    }
}
