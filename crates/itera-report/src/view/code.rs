//! How much code there is, by part of the repository.

use crate::{
    input::{CodeGroup, Inputs},
    md::Table,
    num::thousands,
};

/// Code by part and language, with a line for the sum of each language.
pub(crate) fn table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "part",
        "language",
        ">files",
        ">code",
        ">of it tests",
        ">comments",
        ">blank",
        ">test functions",
        ">longest file",
    ]);
    for record in &inputs.code {
        for group in &record.item.groups {
            push(&mut table, group, &group.part);
        }
        for sum in sums(&record.item.groups) {
            push(&mut table, &sum, "**all**");
        }
    }
    table
}

/// The sum of every language, the largest first.
pub(crate) fn sums(groups: &[CodeGroup]) -> Vec<CodeGroup> {
    let mut sums: Vec<CodeGroup> = Vec::new();
    for group in groups {
        let known = sums.iter().position(|sum| sum.language == group.language);
        let position = known.unwrap_or_else(|| {
            sums.push(CodeGroup {
                language: group.language.clone(),
                ..CodeGroup::default()
            });
            sums.len() - 1
        });
        let sum = &mut sums[position];
        sum.files += group.files;
        sum.code_lines += group.code_lines;
        sum.test_code_lines += group.test_code_lines;
        sum.comment_lines += group.comment_lines;
        sum.blank_lines += group.blank_lines;
        sum.tests += group.tests;
        sum.longest_file_lines = sum.longest_file_lines.max(group.longest_file_lines);
    }
    sums.sort_by(|a, b| {
        b.code_lines
            .cmp(&a.code_lines)
            .then(a.language.cmp(&b.language))
    });
    sums
}

fn push(table: &mut Table, group: &CodeGroup, part: &str) {
    table.row([
        part.to_owned(),
        group.language.clone(),
        thousands(group.files),
        thousands(group.code_lines),
        thousands(group.test_code_lines),
        thousands(group.comment_lines),
        thousands(group.blank_lines),
        thousands(group.tests),
        thousands(group.longest_file_lines),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_summed_over_parts() {
        let group = |part: &str, language: &str, code_lines: u64| CodeGroup {
            part: part.to_owned(),
            language: language.to_owned(),
            code_lines,
            files: 1,
            longest_file_lines: code_lines,
            ..CodeGroup::default()
        };
        let sums = sums(&[
            group("a", "Rust", 5),
            group("a", "TOML", 50),
            group("b", "Rust", 7),
        ]);
        let found: Vec<_> = sums
            .iter()
            .map(|s| {
                (
                    s.language.as_str(),
                    s.files,
                    s.code_lines,
                    s.longest_file_lines,
                )
            })
            .collect();
        assert_eq!(found, [("TOML", 1, 50, 50), ("Rust", 2, 12, 7)]);
    }
}
