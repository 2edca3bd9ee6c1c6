//! What templates may call: tables, pictures, links to files, and numbers as text.

use std::{collections::HashMap, fmt::Write as _};

use itera_chart::PAGE_STYLE;
use itera_record::{Align, Form, Head, Table, Value as Cell, num};
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::{
    input::Inputs,
    views::{Figure, Views, count_of},
};

/// How a page reaches the files of the workspace.
pub(super) struct Linker {
    /// The name and the address of each source.
    sources: Vec<(String, String)>,
    /// The folder of the tables.
    tables: String,
}

impl Linker {
    /// From the folder of the reports.
    pub(super) fn from_reports(inputs: &Inputs, tables: &str) -> Self {
        let sources = inputs.sources.iter();
        Self {
            sources: sources
                .map(|source| (source.label.clone(), source.link.clone()))
                .collect(),
            tables: tables.to_owned(),
        }
    }

    /// From a page whose way to the workspace is `up`.
    pub(super) fn from_page(inputs: &Inputs, up: &str) -> Self {
        let sources = inputs.sources.iter();
        Self {
            sources: sources
                .map(|source| (source.label.clone(), format!("{up}{}", source.label)))
                .collect(),
            tables: format!("{up}results/tables"),
        }
    }

    /// A sentence with links to some sources.
    fn cite(&self, sources: &[usize]) -> String {
        const MOST: usize = 4;
        let mut sources = sources.to_vec();
        sources.sort_unstable();
        sources.dedup();
        let links: Vec<String> = sources
            .iter()
            .take(MOST)
            .filter_map(|&i| self.sources.get(i))
            .map(|(label, link)| format!("[{label}]({})", target(link)))
            .collect();
        match sources.len() {
            0 => String::new(),
            n if n <= MOST => format!("From {}.", links.join(", ")),
            n => format!("From {} and {} more.", links.join(", "), n - MOST),
        }
    }
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Adds everything; views stay borrowed.
pub(super) fn add<'v>(environment: &mut Environment<'v>, views: &'v Views, linker: &Linker) {
    numbers(environment);
    // Functions of a template own what they need.
    let rows = named(&views.tables, |of| (&of.name, of.table.rows().len()));
    let markdown = named(&views.tables, |of| (&of.name, of.table.markdown()));
    let html = named(&views.tables, |of| (&of.name, html(&of.table, &of.title)));
    let sources = named(&views.tables, |of| (&of.name, linker.cite(&of.sources)));
    let images = named(&views.figures, |of| (&of.name, image(of, linker)));
    let svgs = named(&views.figures, |of| (&of.name, of.picture.svg(&of.alt)));
    let tables = linker.tables.clone();
    let missing = || "Not measured.".to_owned();
    let known = rows.clone();
    environment.add_function("has", move |name: &str| known.contains_key(name));
    environment.add_function("rows", move |name: &str| {
        rows.get(name).copied().unwrap_or(0)
    });
    environment.add_function("table", move |name: &str| {
        markdown.get(name).cloned().unwrap_or_else(missing)
    });
    environment.add_function("html_table", move |name: &str| {
        Value::from_safe_string(html.get(name).cloned().unwrap_or_else(missing))
    });
    environment.add_function("source", move |name: &str| {
        sources.get(name).cloned().unwrap_or_default()
    });
    environment.add_function("csv", move |name: &str| {
        format!("[{name}.csv]({tables}/{name}.csv)")
    });
    environment.add_function("figure", move |name: &str| {
        images.get(name).cloned().unwrap_or_default()
    });
    environment.add_function("svg", move |name: &str| {
        Value::from_safe_string(svgs.get(name).cloned().unwrap_or_default())
    });
    environment.add_function("chart_style", || {
        Value::from_safe_string(PAGE_STYLE.to_owned())
    });
}

/// What templates find by name.
fn named<T, N: ToString, V>(all: &[T], pair: impl Fn(&T) -> (&N, V)) -> HashMap<String, V> {
    let pairs = all.iter().map(pair);
    pairs
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

/// A picture in Markdown, with its sources.
fn image(figure: &Figure, linker: &Linker) -> String {
    let alt = figure.alt.replace(['[', ']'], "");
    let image = format!(
        "![{alt}]({}.png)\n{}",
        figure.name,
        linker.cite(&figure.sources)
    );
    image.trim_end().to_owned()
}

/// A table for a page: each cell carries the value that it is sorted by.
fn html(table: &Table, title: &str) -> String {
    let class = |head: &Head| match head.align {
        Align::Right => " class=\"n\"",
        Align::Left => "",
    };
    let head = |head: &Head| {
        let (class, title) = (class(head), escape(&head.title));
        format!("<th{class}><button type=\"button\">{title}</button></th>")
    };
    let cell = |(value, head): (&Cell, &Head)| {
        let key = match value {
            Cell::Number(number, _) | Cell::Within(number, ..) | Cell::Said(number, _) => {
                format!(" data-v=\"{number}\"")
            }
            _ => String::new(),
        };
        let (class, text) = (class(head), escape(&value.plain()));
        match value {
            Cell::Code(_) => format!("<td{class}{key}><code>{text}</code></td>"),
            _ => format!("<td{class}{key}>{text}</td>"),
        }
    };
    let row = |row: &Vec<Cell>| {
        let cells: String = row.iter().zip(table.heads()).map(cell).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let heads: String = table.heads().iter().map(head).collect();
    let rows: String = table.rows().iter().map(row).collect();
    let title = escape(title);
    format!(
        "<div class=\"scroll\"><table aria-label=\"{title}\"><thead><tr>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>"
    )
}

/// Numbers as text, in the forms that tables have.
fn numbers(environment: &mut Environment<'_>) {
    let mut with_decimals = |name: &'static str, form: fn(usize) -> Form| {
        environment.add_filter(name, move |value: f64, decimals: usize| {
            form(decimals).text(value)
        });
    };
    with_decimals("fixed", Form::Fixed);
    with_decimals("signed", Form::Signed);
    with_decimals("percent", Form::Percent);
    for (name, form) in [
        ("short", Form::Short),
        ("si", Form::Si),
        ("whole", Form::Whole),
        ("times", Form::Times),
    ] {
        environment.add_filter(name, move |value: f64| form.text(value));
    }
    environment.add_filter(
        "interval",
        |bounds: Vec<f64>, decimals: usize| match bounds.as_slice() {
            [low, high] => Ok(num::interval([*low, *high], decimals)),
            _ => Err(Error::new(
                ErrorKind::InvalidOperation,
                "an interval has two bounds",
            )),
        },
    );
    environment.add_filter("plural", |count: usize, thing: &str| count_of(count, thing));
    environment.add_filter("enumerate", |items: Vec<String>| match items.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_end_no_link_early() {
        assert_eq!(target("../a (1).json"), "../a%20%281%29.json");
    }
}
