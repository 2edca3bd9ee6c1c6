//! Views: what pages show, as tables, pictures and facts, each a pure function of the results.
//!
//! Data flows one way: records (`input`) become views here, and views become pages (`pages`). A table has
//! a name by which a page asks for it and under which it is written as CSV.

/// Tables from the same files, one a line: name, title, table.
macro_rules! views {
    ($sources:expr; $($name:literal $title:literal $table:expr;)*) => {
        vec![$($crate::views::View::new($name, $title, $sources, $table)),*]
    };
}

mod ablation;
mod changes;
mod edge;
mod energy_figure;
mod engine;
mod export;
mod facts;
mod headline;
mod power;
mod prototype;
mod quality;
mod quality_figure;
mod serve;
mod sources;
mod training;
mod training_figure;

use itera_chart::Picture;
use itera_record::Table;

pub(crate) use self::engine::row_name;

use crate::input::{Inputs, Of, Prototype};

/// A table with a name, and the files that its rows come from.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The name for pages; that of the CSV file too.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) table: Table,
    /// Positions in [`Inputs::sources`].
    pub(crate) sources: Vec<usize>,
}

impl View {
    fn new(name: &str, title: &str, sources: &[usize], table: Table) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            table,
            sources: sources.to_vec(),
        }
    }
}

/// A picture, and the sentence that stands for it.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// The name for pages; that of the PNG file too.
    pub(crate) name: &'static str,
    /// What can be seen, for those who cannot see it.
    pub(crate) alt: String,
    pub(crate) picture: Picture,
    /// Positions in [`Inputs::sources`].
    pub(crate) sources: Vec<usize>,
}

/// Everything that pages show.
#[derive(Debug)]
pub(crate) struct Views {
    pub(crate) tables: Vec<View>,
    pub(crate) figures: Vec<Figure>,
    /// Values for the sentences of the templates.
    pub(crate) facts: serde_json::Value,
}

impl Views {
    /// # Errors
    /// If the compiled-in figures of the prototype cannot be read.
    pub(crate) fn new(inputs: &Inputs) -> anyhow::Result<Self> {
        let prototype = Prototype::read()?;
        let mut tables = vec![headline::view(inputs), headline::summary(inputs)];
        tables.extend(quality::views(inputs));
        tables.extend(training::views(inputs));
        tables.extend(engine::views(inputs));
        tables.extend(power::views(inputs));
        tables.extend(export::views(inputs));
        tables.extend(serve::views(inputs));
        tables.extend(edge::views(inputs));
        tables.extend(ablation::views(inputs));
        tables.extend(prototype::views(inputs, &prototype));
        tables.extend(changes::views(inputs));
        tables.extend(sources::views(inputs));
        tables.retain(|view| !view.table.is_empty());
        let figures = [
            quality_figure::bits(inputs),
            quality_figure::size(inputs),
            energy_figure::figure(inputs),
            training_figure::figure(inputs),
            engine::workload_figure(inputs),
            engine::kernel_figure(inputs),
            export::figure(inputs),
        ];
        Ok(Self {
            tables,
            figures: figures.into_iter().flatten().collect(),
            facts: facts::facts(inputs, &prototype),
        })
    }
}

/// From wide weights to narrow ones.
fn rank_of_precision(precision: &str) -> u8 {
    match precision {
        "fp32" => 0,
        "int8" => 1,
        "int4" => 2,
        _ => 3,
    }
}

/// `1 run`, `2 runs`.
pub(crate) fn count_of(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// All rows of some records with the records that they come from.
fn rows_of<'i, T: 'i, R: 'i>(
    records: &'i [Of<T>],
    rows: fn(&T) -> &Vec<R>,
) -> impl Iterator<Item = (&'i Of<T>, &'i R)> {
    records
        .iter()
        .flat_map(move |record| rows(&record.item).iter().map(move |row| (record, row)))
}
