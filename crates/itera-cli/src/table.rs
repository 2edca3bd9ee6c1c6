//! Text tables: aligned columns, two spaces apart, no rules, so that `awk` can read them too.

use std::fmt;

/// To which side a column's cells go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of text; its `Display` is the aligned form with a line end after every row.
#[derive(Clone, Debug)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows: the columns' names and alignment.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let (names, aligns) = columns
            .iter()
            .map(|&(name, align)| (name.to_owned(), align))
            .unzip();
        Self {
            aligns,
            rows: vec![names],
        }
    }

    /// Adds a row; a missing cell is empty, a surplus one is an error of the caller.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<_> = cells.into_iter().collect();
        debug_assert!(
            row.len() <= self.aligns.len(),
            "a row wider than the table: {row:?}"
        );
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: &String| text.chars().count();
        let widths: Vec<usize> = (0..self.aligns.len())
            .map(|i| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(i))
                    .map(width)
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let padded = row.iter().zip(&self.aligns).zip(&widths).map(
                |((cell, align), &width)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                },
            );
            let line = padded.collect::<Vec<_>>().join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_are_not_padded() {
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("bits", Align::Right),
            ("note", Align::Left),
        ]);
        table.row(["été".to_owned(), "0.5".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "12.25".to_owned(), "worse".to_owned()]);
        assert_eq!(
            table.to_string(),
            "model    bits  note\nété       0.5\nlonger  12.25  worse\n"
        );
    }
}
