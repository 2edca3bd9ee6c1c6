//! Pictures of scores: bits per byte and perplexity by text, model and precision.

use itera_record::ValidationRow;
use plotters::style::RGBColor;

use super::{
    Figure,
    quality::{Group, group_name, groups, is_complete, row_name, text_name},
};
use crate::{
    chart::{
        bars::{self, Bar, BarChart, Panel},
        canvas::Sign,
        legend::{Entry, Key},
        palette::{INK, PURPLE, VERMILION, of_precision},
    },
    input::Inputs,
    md::{Table, code},
    num::{fixed, interval},
};

/// What a model has to beat, with the sign that marks it.
const BASELINES: [(&str, Sign, RGBColor); 3] = [
    ("zstd -19", Sign::Diamond, INK),
    ("token frequencies", Sign::Triangle, PURPLE),
    ("uniform guess", Sign::Square, VERMILION),
];

/// One of the two ways to say how well a text is predicted.
struct Measure {
    file: &'static str,
    title: &'static str,
    axis: &'static str,
    is_log: bool,
    decimals: usize,
    /// From bits per byte.
    of: fn(f64) -> f64,
}

const BITS: Measure = Measure {
    file: "bits_per_byte.png",
    title: "Bits per byte by text, model and precision",
    axis: "bits per byte, lower is better",
    is_log: false,
    decimals: 3,
    of: |bits| bits,
};

const PERPLEXITY: Measure = Measure {
    file: "perplexity_comparison.png",
    title: "Perplexity per byte by text, model and precision",
    axis: "perplexity per byte (logarithmic), lower is better",
    is_log: true,
    decimals: 3,
    of: f64::exp2,
};

/// Bits per byte of every row, with intervals and baselines; none without rows.
pub(crate) fn bits_figure(inputs: &Inputs) -> Option<Figure> {
    figure(inputs, &BITS)
}

/// The same as perplexities.
pub(crate) fn perplexity_figure(inputs: &Inputs) -> Option<Figure> {
    figure(inputs, &PERPLEXITY)
}

fn figure(inputs: &Inputs, measure: &Measure) -> Option<Figure> {
    let groups = groups(inputs);
    if groups.is_empty() {
        return None;
    }
    let panel = Panel {
        title: String::new(),
        axis: measure.axis.to_owned(),
        is_log: measure.is_log,
        reach: measure.is_log.then_some(1.5),
        groups: groups.iter().map(|group| bars_of(group, measure)).collect(),
    };
    Some(Figure {
        file: measure.file.to_owned(),
        title: measure.title.to_owned(),
        alt: alt(&groups, measure),
        canvas: BarChart {
            title: measure.title.to_owned(),
            legend: legend(&groups),
            columns: 1,
            panels: vec![panel],
        }
        .draw(),
        table: table(&groups, measure),
        sources: inputs.cite_all(groups.iter().flatten().copied()),
    })
}

fn bars_of(group: &Group<'_>, measure: &Measure) -> bars::Group {
    let bar = |row: &ValidationRow| {
        let marks = BASELINES.iter().zip(baselines(row));
        Bar {
            label: row_name(row),
            color: of_precision(&row.precision),
            value: Some((measure.of)(row.bits_per_byte)),
            interval: row.bits_per_byte_ci95.map(|ci| ci.map(measure.of)),
            marks: marks
                .map(|((_, sign, color), bits)| (*sign, *color, (measure.of)(bits)))
                .collect(),
            text: fixed((measure.of)(row.bits_per_byte), measure.decimals),
        }
    };
    bars::Group {
        label: group
            .first()
            .map_or(String::new(), |row| group_name(&row.item)),
        bars: group.iter().map(|row| bar(&row.item)).collect(),
    }
}

/// In the order of [`BASELINES`].
fn baselines(row: &ValidationRow) -> [f64; 3] {
    [
        row.baselines.zstd_bits_per_byte,
        row.baselines.unigram_bits_per_byte,
        row.baselines.uniform_bits_per_byte,
    ]
}

fn legend(groups: &[Group<'_>]) -> Vec<Entry> {
    let rows = || groups.iter().flatten().map(|row| &row.item);
    let mut entries: Vec<Entry> = Vec::new();
    for precision in ["fp32", "int8", "int4"] {
        if rows().any(|row| row.precision == precision) {
            entries.push(Entry::new(Key::Bar(of_precision(precision)), precision));
        }
    }
    if rows().any(|row| row.bits_per_byte_ci95.is_some()) {
        entries.push(Entry::new(Key::Interval, "95 % interval over documents"));
    }
    let signs = BASELINES.map(|(name, sign, color)| Entry::new(Key::Sign(sign, color), name));
    entries.extend(signs);
    if !rows().all(is_complete) {
        entries.push(Entry::new(
            Key::None,
            "* not the whole text, or unknown characters",
        ));
    }
    entries
}

fn alt(groups: &[Group<'_>], measure: &Measure) -> String {
    let of_group = |group: &Group<'_>| {
        let scores: Vec<String> = group
            .iter()
            .map(|row| {
                let value = (measure.of)(row.item.bits_per_byte);
                format!("{} {}", row_name(&row.item), fixed(value, measure.decimals))
            })
            .collect();
        let text = group
            .first()
            .map_or(String::new(), |row| text_name(&row.item));
        format!("{text}: {}", scores.join(", "))
    };
    let all: Vec<String> = groups.iter().map(of_group).collect();
    format!(
        "Bar chart of {}. {}. Signs mark zstd, token frequencies and a uniform guess.",
        measure.axis,
        all.join("; ")
    )
}

fn table(groups: &[Group<'_>], measure: &Measure) -> Table {
    let mut table = Table::new([
        "text",
        "model",
        "precision",
        ">value",
        ">95 % interval",
        ">zstd -19",
        ">token frequencies",
        ">uniform guess",
    ]);
    for row in groups.iter().flatten() {
        let row = &row.item;
        let ci = row.bits_per_byte_ci95.map(|ci| ci.map(measure.of));
        let [zstd, unigram, uniform] =
            baselines(row).map(|bits| fixed((measure.of)(bits), measure.decimals));
        table.row([
            text_name(row),
            code(&row.model.name),
            row.precision.clone(),
            fixed((measure.of)(row.bits_per_byte), measure.decimals),
            ci.map_or("too few documents".to_owned(), |ci| {
                interval(ci, measure.decimals)
            }),
            zstd,
            unigram,
            uniform,
        ]);
    }
    table
}
