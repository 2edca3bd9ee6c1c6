//! Markdown: the few forms that the reports need, readable on GitHub and in a terminal.

use std::fmt::Write as _;

/// To which side a column's cells go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with a header.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. A name that starts with `>` belongs to a column of numbers.
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        let column = |name: &str| match name.strip_prefix('>') {
            Some(name) => (name.to_owned(), Align::Right),
            None => (name.to_owned(), Align::Left),
        };
        Self {
            columns: columns.into_iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "cells and columns of {cells:?}");
        self.rows.push(cells.into());
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A document under construction; blocks are separated by one empty line.
#[derive(Debug, Default)]
pub(crate) struct Doc {
    text: String,
}

impl Doc {
    /// A document with a title.
    pub(crate) fn new(title: &str) -> Self {
        let mut doc = Self::default();
        doc.heading(1, title);
        doc
    }

    pub(crate) fn heading(&mut self, level: usize, text: &str) {
        self.block(&format!("{} {text}", "#".repeat(level)));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.block(text);
    }

    pub(crate) fn bullets<I: IntoIterator<Item = String>>(&mut self, items: I) {
        let lines: Vec<_> = items.into_iter().map(|item| format!("- {item}")).collect();
        if !lines.is_empty() {
            self.block(&lines.join("\n"));
        }
    }

    pub(crate) fn table(&mut self, table: &Table) {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let names = table.columns.iter().map(|(name, _)| cell(name)).collect();
        let rules = table.columns.iter().map(|(_, align)| match align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        let mut text = line(names) + &line(rules.collect());
        for row in &table.rows {
            text += &line(row.iter().map(|text| cell(text)).collect());
        }
        self.block(text.trim_end());
    }

    /// A picture in the same folder, with the text that stands for it.
    pub(crate) fn image(&mut self, file: &str, alt: &str) {
        let alt = alt.replace(['[', ']'], "");
        self.block(&format!("![{alt}]({})", target(file)));
    }

    /// The text with one final line end.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn block(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// A link with a text.
pub(crate) fn link(text: &str, to: &str) -> String {
    format!("[{text}]({})", target(to))
}

/// A literal piece of text.
pub(crate) fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

/// A path as the target of a link: `/` between folders, and nothing that ends a link early.
fn target(path: &str) -> String {
    let mut target = String::new();
    for c in path.chars() {
        match c {
            '\\' => target.push('/'),
            ' ' | '(' | ')' | '<' | '>' | '%' => {
                let _ = write!(target, "%{:02X}", c as u32);
            }
            _ => target.push(c),
        }
    }
    target
}

/// A cell: a bar or a line end would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_separated_and_tables_aligned() {
        let mut doc = Doc::new("Title");
        let mut table = Table::new(["name", ">value"]);
        table.row(["a|b".to_owned(), "1".to_owned()]);
        doc.table(&table);
        doc.image("a b.png", "What is [seen]");
        doc.bullets(["one".to_owned(), link("x", "../a(1).json")]);
        assert_eq!(
            doc.finish(),
            "# Title\n\n| name | value |\n| --- | ---: |\n| a\\|b | 1 |\n\n\
             ![What is seen](a%20b.png)\n\n- one\n- [x](../a%281%29.json)\n"
        );
    }
}
