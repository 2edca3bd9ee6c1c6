//! Tables: one list of columns for each kind of row, from which text, CSV, JSON lines and Markdown
//! derive.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, json};

use crate::num::{change_percent, fixed, interval, short, si, thousands, times};

/// To which side a column's cells go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// How a number is written for people; programs get all its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Whole, with commas between thousands.
    Whole,
    /// So many decimals.
    Fixed(usize),
    /// Three significant digits.
    Short,
    /// Three significant digits with an SI prefix.
    Si,
    /// A share as percent with so many decimals.
    Percent(usize),
    /// A share as a change in percent, with its sign.
    Change,
    /// So many decimals, with its sign.
    Signed(usize),
    /// How many times something is something else.
    Times,
}

impl Form {
    /// The number as text.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Whole => thousands(value.round() as u64),
            Self::Fixed(decimals) => fixed(value, decimals),
            Self::Short => short(value),
            Self::Si => si(value),
            Self::Percent(decimals) => format!("{} %", fixed(100.0 * value, decimals)),
            Self::Change => change_percent(1.0, 1.0 + value),
            Self::Signed(decimals) => {
                let sign = if value > 0.0 { "+" } else { "" };
                format!("{sign}{}", fixed(value, decimals))
            }
            Self::Times => times(value, 1.0),
        }
    }

    /// The cell of a number that may be missing.
    pub fn of(self, value: impl Into<Option<f64>>) -> Value {
        let value = value.into();
        value.map_or(Value::None, |value| Value::Number(value, self))
    }

    /// The cell of a number with its bounds, where there are any.
    pub fn within(self, value: f64, bounds: impl Into<Option<[f64; 2]>>) -> Value {
        let bounds = bounds.into();
        bounds.map_or(Value::Number(value, self), |bounds| {
            Value::Within(value, bounds, self)
        })
    }

    /// The cell of bounds that may be missing.
    pub fn bounds(self, bounds: Option<[f64; 2]>) -> Value {
        bounds.map_or(Value::None, |bounds| Value::Bounds(bounds, self))
    }
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not measured, or without meaning here.
    None,
    /// Words.
    Text(String),
    /// A name or a command, as it is typed.
    Code(String),
    /// A number.
    Number(f64, Form),
    /// A number between bounds.
    Within(f64, [f64; 2], Form),
    /// Bounds alone.
    Bounds([f64; 2], Form),
    /// A number whose text says more than it.
    Said(f64, String),
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A count.
impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Number(count as f64, Form::Whole)
    }
}

impl Value {
    /// A name.
    pub fn code(text: impl Into<String>) -> Self {
        Self::Code(text.into())
    }

    /// For people.
    pub fn plain(&self) -> String {
        let bounds = |[low, high]: [f64; 2], form: Form| match form {
            Form::Fixed(decimals) => interval([low, high], decimals),
            form => format!("[{}, {}]", form.text(low), form.text(high)),
        };
        match self {
            Self::None => "–".to_owned(),
            Self::Text(text) | Self::Code(text) | Self::Said(_, text) => text.clone(),
            Self::Number(value, form) => form.text(*value),
            Self::Within(value, between, form) => {
                format!("{} {}", form.text(*value), bounds(*between, *form))
            }
            Self::Bounds(between, form) => bounds(*between, *form),
        }
    }

    /// For Markdown: a bar or a line end would end a cell.
    pub fn markdown(&self) -> String {
        let text = self.plain().replace('|', "\\|").replace(['\n', '\r'], " ");
        match self {
            Self::Code(_) => format!("`{}`", text.replace('`', "'")),
            _ => text,
        }
    }

    /// For programs: all digits, an array for bounds.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::None => serde_json::Value::Null,
            Self::Text(text) | Self::Code(text) => json!(text),
            Self::Number(value, Form::Whole) => json!(value.round() as i64),
            Self::Number(value, _) | Self::Said(value, _) => json!(value),
            Self::Within(value, [low, high], _) => json!([value, low, high]),
            Self::Bounds(between, _) => json!(between),
        }
    }

    /// For CSV: all digits; bounds with two dots between.
    fn csv(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Within(value, [low, high], _) => format!("{value} ({low}..{high})"),
            Self::Bounds([low, high], _) => format!("{low}..{high}"),
            Self::Text(text) | Self::Code(text) => text.clone(),
            Self::Number(..) | Self::Said(..) => self.json().to_string(),
        }
    }
}

/// A column of rows of one type.
#[derive(Debug)]
pub struct Column<R> {
    /// Its name for programs.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The unit of its numbers; empty if the title says enough.
    pub unit: &'static str,
    /// To which side its cells go.
    pub align: Align,
    /// The cell of a row.
    pub value: fn(&R) -> Value,
}

impl<R> Column<R> {
    /// Its head.
    pub fn head(&self) -> Head {
        let title = match self.unit {
            "" => self.title.to_owned(),
            unit => format!("{}, {unit}", self.title),
        };
        Head::new(self.id, &title, self.align)
    }
}

/// The columns of a type of rows, one a line: alignment (`text` or `number`), name for programs, name for
/// people, unit, and the cell of a row.
///
/// ```
/// use itera_record::{Form::Si, Table, columns};
///
/// struct Speed {
///     name: &'static str,
///     tokens_per_s: f64,
/// }
///
/// let columns = columns! { Speed:
///     text   "name"         "model"    ""  |row| row.name;
///     number "tokens_per_s" "speed" "tokens/s" |row| Si.of(row.tokens_per_s);
/// };
/// let rows = [Speed { name: "a", tokens_per_s: 149_156.0 }];
/// assert_eq!(Table::of(&columns, &rows).to_string(), "model  speed, tokens/s\na                149 k\n");
/// ```
#[macro_export]
macro_rules! columns {
    ($Row:ty: $($align:ident $id:literal $title:literal $unit:literal |$row:pat_param| $value:expr;)*) => {
        [$($crate::Column {
            id: $id,
            title: $title,
            unit: $unit,
            align: $crate::columns!(@ $align),
            value: |$row: &$Row| -> $crate::Value { $crate::Value::from($value) },
        }),*]
    };
    (@ text) => { $crate::Align::Left };
    (@ number) => { $crate::Align::Right };
}

/// The head of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its name for programs.
    pub id: String,
    /// Its name for people, with the unit.
    pub title: String,
    /// To which side its cells go.
    pub align: Align,
}

impl Head {
    /// A head of its own, for tables whose columns depend on the rows.
    pub fn new(id: &str, title: &str, align: Align) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            align,
        }
    }
}

/// Rows with their heads. `Display` is the form for a terminal: aligned, two spaces between columns, no
/// rules, so that `awk` reads it too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    heads: Vec<Head>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// The columns of some rows.
    pub fn of<'r, R: 'r>(columns: &[Column<R>], rows: impl IntoIterator<Item = &'r R>) -> Self {
        Self {
            heads: columns.iter().map(Column::head).collect(),
            rows: rows
                .into_iter()
                .map(|row| columns.iter().map(|column| (column.value)(row)).collect())
                .collect(),
        }
    }

    /// A table whose columns depend on its rows.
    pub fn with_heads(heads: Vec<Head>) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }

    /// A table of words, without rows: the columns' names and alignment.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Self::with_heads(
            columns
                .iter()
                .map(|(name, align)| Head::new(name, name, *align))
                .collect(),
        )
    }

    /// Adds a row of words; a missing cell is empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<Value> = cells.into_iter().map(Value::Text).collect();
        debug_assert!(
            row.len() <= self.heads.len(),
            "a row wider than the table: {row:?}"
        );
        row.resize(self.heads.len(), Value::Text(String::new()));
        self.rows.push(row);
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.heads.len(), "{row:?}");
        self.rows.push(row);
    }

    /// The same rows without columns that have nothing, and without those that have one value throughout
    /// if they are named.
    #[must_use]
    pub fn without_empty(mut self, constant: &[&str]) -> Self {
        let is_kept = |i: usize| {
            let cells = || self.rows.iter().map(|row| &row[i]);
            let is_constant = constant.contains(&self.heads[i].id.as_str());
            cells().any(|cell| *cell != Value::None)
                && !(is_constant && cells().skip(1).all(|cell| *cell == self.rows[0][i]))
        };
        let kept: Vec<bool> = (0..self.heads.len()).map(is_kept).collect();
        let mut keep = kept.iter();
        self.heads.retain(|_| *keep.next().unwrap_or(&true));
        for row in &mut self.rows {
            let mut keep = kept.iter();
            row.retain(|_| *keep.next().unwrap_or(&true));
        }
        self
    }

    /// The first rows.
    #[must_use]
    pub fn first(mut self, count: usize) -> Self {
        self.rows.truncate(count);
        self
    }

    /// The heads of the columns.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<Value>] {
        &self.rows
    }

    /// Whether there is no row.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A Markdown table, with a final line end.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = |head: &Head| match head.align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        };
        let mut text = line(self.heads.iter().map(|head| head.title.clone()).collect());
        text += &line(self.heads.iter().map(rule).collect());
        for row in &self.rows {
            text += &line(row.iter().map(Value::markdown).collect());
        }
        text
    }

    /// CSV with a line of names, all digits of each number.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.heads.iter().map(|head| &head.id))?;
        for row in &self.rows {
            writer.write_record(row.iter().map(Value::csv))?;
        }
        writer
            .into_inner()
            .map_err(|error| csv::Error::from(error.into_error()))
    }

    /// One JSON object a line, all digits of each number.
    pub fn json_lines(&self) -> String {
        let object = |row: &Vec<Value>| {
            let pairs = self.heads.iter().zip(row);
            let object: Map<_, _> = pairs
                .map(|(head, value)| (head.id.clone(), value.json()))
                .collect();
            format!("{}\n", serde_json::Value::Object(object))
        };
        self.rows.iter().map(object).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = self.heads.iter().map(|head| head.title.clone()).collect();
        let rows = self
            .rows
            .iter()
            .map(|row| row.iter().map(Value::plain).collect());
        let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
        let width = |i: usize| {
            lines
                .iter()
                .map(|line| line[i].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        for line in &lines {
            let cells = line.iter().zip(&self.heads).zip(&widths);
            let padded = cells.map(|((cell, head), &width)| match head.align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            let line = padded.collect::<Vec<_>>().join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column<(&str, f64)>] = &columns! { (&str, f64):
        text   "model" "model" ""         |row| Value::code(row.0);
        number "speed" "speed" "tokens/s" |row| Form::Si.of(row.1);
        number "range" "range" ""         |row| Form::Fixed(1).bounds((row.1 > 0.0).then_some([row.1 / 2.0, row.1]));
    };

    fn table() -> Table {
        Table::of(COLUMNS, &[("été|x", 149_156.25), ("longer", 0.0)])
    }

    #[test]
    fn one_list_of_columns_gives_every_form() {
        assert_eq!(
            table().to_string(),
            "model   speed, tokens/s                  range\nété|x             149 k  [74,578.1, 149,156.2]\n\
             longer                0                      –\n"
        );
        assert_eq!(
            table().markdown(),
            "| model | speed, tokens/s | range |\n| --- | ---: | ---: |\n\
             | `été\\|x` | 149 k | [74,578.1, 149,156.2] |\n| `longer` | 0 | – |\n"
        );
        assert_eq!(
            String::from_utf8(table().csv().unwrap()).unwrap(),
            "model,speed,range\nété|x,149156.25,74578.125..149156.25\nlonger,0.0,\n"
        );
        assert_eq!(
            table().json_lines().lines().last(),
            Some("{\"model\":\"longer\",\"range\":null,\"speed\":0.0}")
        );
    }

    #[test]
    fn lines_of_words_are_aligned_and_not_padded() {
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("bits", Align::Right),
            ("note", Align::Left),
        ]);
        table.row(["été".to_owned(), "0.5".to_owned()]);
        table.row(["longer".to_owned(), "12.25".to_owned(), "worse".to_owned()]);
        assert_eq!(
            table.to_string(),
            "model    bits  note\nété       0.5\nlonger  12.25  worse\n"
        );
    }

    #[test]
    fn empty_and_constant_columns_can_be_left_out() {
        let same = Table::of(COLUMNS, &[("a", 0.0), ("a", 0.0)]).without_empty(&["model"]);
        assert_eq!(same.heads().len(), 1);
        assert_eq!(
            same.rows(),
            [
                [Value::Number(0.0, Form::Si)],
                [Value::Number(0.0, Form::Si)]
            ]
        );
    }
}
