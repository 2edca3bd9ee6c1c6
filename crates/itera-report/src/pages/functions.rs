//! What templates may call: tables, pictures, links to files, and numbers as text.

use std::fmt::Write as _;

use itera_chart::PAGE_STYLE;
use itera_record::{Align, Form, Table, num};
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::{
    input::Inputs,
    views::{Figure, View, Views},
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

    /// Links to some sources; of many training records the folder stands for all.
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
            n if n <= MOST => links.join(", "),
            n => format!("{} and {} more", links.join(", "), n - MOST),
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
    let markdown: Vec<Entry> = views
        .tables
        .iter()
        .map(|view| Entry::new(view, linker))
        .collect();
    let find = move |name: &str| markdown.iter().find(|entry| entry.name == name).cloned();
    let found = find.clone();
    environment.add_function("has", move |name: String| found(&name).is_some());
    let found = find.clone();
    environment.add_function("table", move |name: String| {
        found(&name).map_or_else(not_measured, |entry| entry.markdown)
    });
    let found = find.clone();
    environment.add_function("rows", move |name: String| {
        found(&name).map_or(0, |entry| entry.rows)
    });
    let found = find.clone();
    environment.add_function("source", move |name: String| {
        found(&name).map_or(String::new(), |entry| entry.source)
    });
    let tables = linker.tables.clone();
    environment.add_function("csv", move |name: String| {
        format!("[{name}.csv]({tables}/{name}.csv)")
    });
    environment.add_function("html_table", move |name: String| {
        Value::from_safe_string(find(&name).map_or_else(not_measured, |entry| entry.html))
    });
    let figures: Vec<(&'static str, String, String, String)> = views
        .figures
        .iter()
        .map(|figure| {
            (
                figure.name,
                image(figure),
                figure.picture.svg(&figure.alt),
                linker.cite(&figure.sources),
            )
        })
        .collect();
    let all = figures.clone();
    environment.add_function("figure", move |name: String| {
        all.iter().find(|(known, ..)| *known == name).map_or(
            String::new(),
            |(_, image, _, source)| {
                if source.is_empty() {
                    image.clone()
                } else {
                    format!("{image}\n\nFrom {source}.")
                }
            },
        )
    });
    environment.add_function("svg", move |name: String| {
        let svg = figures
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(_, _, svg, _)| svg.clone());
        Value::from_safe_string(svg.unwrap_or_default())
    });
    environment.add_function("chart_style", || {
        Value::from_safe_string(PAGE_STYLE.to_owned())
    });
}

/// A table in the forms that pages have.
#[derive(Clone)]
struct Entry {
    name: String,
    rows: usize,
    markdown: String,
    html: String,
    source: String,
}

impl Entry {
    fn new(view: &View, linker: &Linker) -> Self {
        let source = linker.cite(&view.sources);
        Self {
            name: view.name.clone(),
            rows: view.table.rows().len(),
            markdown: view.table.markdown(),
            html: html(&view.table, &view.title),
            source: if source.is_empty() {
                source
            } else {
                format!("From {source}.")
            },
        }
    }
}

fn not_measured() -> String {
    "Not measured.".to_owned()
}

fn image(figure: &Figure) -> String {
    let alt = figure.alt.replace(['[', ']'], "");
    format!("![{alt}]({}.png)", figure.name)
}

/// A table for a page: each cell carries the value that it is sorted by.
fn html(table: &Table, title: &str) -> String {
    let head = |head: &itera_record::Head| {
        let class = if head.align == Align::Right {
            " class=\"n\""
        } else {
            ""
        };
        format!(
            "<th{class}><button type=\"button\">{}</button></th>",
            escape(&head.title)
        )
    };
    let heads: String = table.heads().iter().map(head).collect();
    let cell = |(value, right): (&itera_record::Value, bool)| {
        let class = if right { " class=\"n\"" } else { "" };
        let key = match value {
            itera_record::Value::Number(number, _) | itera_record::Value::Within(number, ..) => {
                format!(" data-v=\"{number}\"")
            }
            _ => String::new(),
        };
        let text = escape(&value.plain());
        match value {
            itera_record::Value::Code(_) => format!("<td{class}{key}><code>{text}</code></td>"),
            _ => format!("<td{class}{key}>{text}</td>"),
        }
    };
    let row = |row: &Vec<itera_record::Value>| {
        let rights = table.heads().iter().map(|head| head.align == Align::Right);
        let cells: String = row.iter().zip(rights).map(cell).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = table.rows().iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table aria-label=\"{}\"><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>",
        escape(title)
    )
}

/// Numbers as text, in the forms that tables have.
fn numbers(environment: &mut Environment<'_>) {
    environment.add_filter("fixed", |value: f64, decimals: usize| {
        num::fixed(value, decimals)
    });
    environment.add_filter("signed", |value: f64, decimals: usize| {
        Form::Signed(decimals).text(value)
    });
    environment.add_filter("percent", |value: f64, decimals: usize| {
        Form::Percent(decimals).text(value)
    });
    environment.add_filter("short", num::short);
    environment.add_filter("si", num::si);
    environment.add_filter("whole", |value: f64| Form::Whole.text(value));
    environment.add_filter("times", |value: f64| num::times(value, 1.0));
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
    environment.add_filter("plural", |count: usize, thing: &str| {
        crate::views::count_of(count, thing)
    });
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
