//! The record of `itera-report count`: how much code there is.

use itera_record::Envelope;
use serde::{Deserialize, Serialize};

/// Lines by part of the repository and language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CodeRecord {
    /// Schema, time, tool and host; there is no model.
    #[serde(flatten)]
    pub(crate) envelope: Envelope,
    /// One for each part and language, in the order of their names.
    pub(crate) groups: Vec<CodeGroup>,
}

/// The files of one language in one part of the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeGroup {
    /// A crate, or the top folder; `.` for files in the root.
    pub(crate) part: String,
    /// For example `Rust`.
    pub(crate) language: String,
    pub(crate) files: u64,
    /// Lines that are neither blank nor comments only, tests included.
    pub(crate) code_lines: u64,
    /// Lines that hold a comment only, documentation included.
    pub(crate) comment_lines: u64,
    pub(crate) blank_lines: u64,
    /// Of `code_lines`, those in folders of tests and benches and in test modules.
    pub(crate) test_code_lines: u64,
    /// Functions that are tests.
    pub(crate) tests: u64,
    /// Lines of the longest file.
    pub(crate) longest_file_lines: u64,
}

impl CodeRecord {
    pub(crate) const SCHEMA: &str = "itera.code/1";

    /// Refuses groups that contradict themselves.
    pub(super) fn check(&self) -> Result<(), String> {
        self.envelope
            .validate(Self::SCHEMA)
            .map_err(|error| error.to_string())?;
        for (i, group) in self.groups.iter().enumerate() {
            if group.test_code_lines > group.code_lines {
                return Err(format!(
                    "field `groups[{i}].test_code_lines` is {}, expected at most {}",
                    group.test_code_lines, group.code_lines
                ));
            }
        }
        Ok(())
    }
}
