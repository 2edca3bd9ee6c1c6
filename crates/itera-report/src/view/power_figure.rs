//! Pictures of energy: four parts for each platform and for each counter that is believed.

use itera_record::{EnergyFigure, Interval, PowerMode, PowerRecord, PowerRow, Summary};

use super::{
    Figure, model_name,
    power::{energy_of, is_platform, source_name, sources, speed, with_bounds},
};
use crate::{
    chart::{
        bars::{self, Bar, BarChart, Panel},
        legend::{Entry, Key},
        palette::of_precision,
    },
    input::{Inputs, Of},
    md::{Table, code},
    num::{fixed, plain, short},
};

/// One of the four parts.
struct Part {
    title: &'static str,
    axis: &'static str,
    /// The value that the axis reaches at least.
    reach: Option<f64>,
    value: fn(&PowerRecord, &PowerRow, &EnergyFigure) -> Option<Interval>,
    text: fn(f64) -> String,
}

const PARTS: [Part; 4] = [
    Part {
        title: "Energy per token",
        axis: "microjoules per token, lower is better",
        reach: None,
        value: |_, _, figure| Some(figure.gross_joules_per_token?.map(|joules| 1e6 * joules)),
        text: short,
    },
    Part {
        title: "Latency of a pass",
        axis: "milliseconds per pass, lower is better",
        reach: None,
        value: |_, row, figure| latency_ms(row, figure),
        text: short,
    },
    Part {
        title: "Tokens per joule",
        axis: "tokens per joule, higher is better",
        reach: None,
        value: |_, _, figure| figure.tokens_per_joule,
        text: short,
    },
    Part {
        title: "CPU utilisation",
        axis: "percent of all cores",
        reach: Some(100.0),
        value: |record, row, _| {
            let shares = row.samples.utilisations(record.protocol.cores);
            Some(spread(&shares)?.map(|share| 100.0 * share))
        },
        text: |percent| format!("{} %", fixed(percent, 1)),
    },
];

/// The picture of every platform and counter of every power result.
pub(crate) fn figures(inputs: &Inputs) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for record in &inputs.power {
        for source in sources(&record.item) {
            let Some(mut figure) = figure(inputs, record, source) else {
                continue;
            };
            let stem = figure.file.trim_end_matches(".png").to_owned();
            let is_taken = |file: &str| figures.iter().any(|other| other.file == file);
            let mut number = 2;
            while is_taken(&figure.file) {
                figure.file = format!("{stem}_{number}.png");
                number += 1;
            }
            figures.push(figure);
        }
    }
    figures
}

/// The four parts of one source; none if no row has a figure from it.
fn figure(inputs: &Inputs, record: &Of<PowerRecord>, source: &str) -> Option<Figure> {
    let rows: Vec<(&PowerRow, &EnergyFigure)> = record
        .item
        .rows
        .iter()
        .filter_map(|row| Some((row, energy_of(row, source)?)))
        .filter(|(_, figure)| figure.gross_joules_per_token.is_some())
        .collect();
    let (_, first) = rows.first()?;
    let name = source_name(source);
    let file_name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let title = title(&record.item, source);
    Some(Figure {
        file: format!("power_{file_name}.png"),
        alt: alt(&title, &rows),
        canvas: BarChart {
            title: title.clone(),
            legend: legend(&rows, speed(first.speed)),
            columns: 2,
            panels: PARTS
                .iter()
                .map(|part| panel(part, &record.item, &rows))
                .collect(),
        }
        .draw(),
        title,
        table: table(&record.item, &rows),
        sources: inputs.cite(record),
    })
}

fn title(record: &PowerRecord, source: &str) -> String {
    let name = source_name(source);
    if !is_platform(source) {
        return format!("Energy measured by {name}");
    }
    let platform = record
        .platforms
        .iter()
        .find(|platform| platform.name == name);
    let tdp = platform.map_or(String::new(), |platform| {
        format!(" (TDP {} W)", plain(platform.tdp_watts))
    });
    format!("Energy estimated for {name}{tdp}")
}

fn legend(rows: &[(&PowerRow, &EnergyFigure)], speed: &str) -> Vec<Entry> {
    let has = |precision: &str| rows.iter().any(|(row, _)| row.model.precision == precision);
    let mut entries: Vec<Entry> = ["fp32", "int8", "int4"]
        .into_iter()
        .filter(|precision| has(precision))
        .map(|precision| Entry::new(Key::Bar(of_precision(precision)), precision))
        .collect();
    let interval = "low to high of the energy; 5th to 95th percentile of latency and utilisation";
    entries.push(Entry::new(Key::Interval, interval));
    entries.push(Entry::new(Key::None, &format!("Speed: {speed}.")));
    entries
}

fn panel(part: &Part, record: &PowerRecord, rows: &[(&PowerRow, &EnergyFigure)]) -> Panel {
    let bar = |(row, figure): &(&PowerRow, &EnergyFigure)| {
        let value = (part.value)(record, row, figure);
        Bar {
            label: model_name(&row.model),
            color: of_precision(&row.model.precision),
            value: value.map(|value| value.nominal),
            interval: value.map(|value| [value.low, value.high]),
            marks: Vec::new(),
            text: value.map_or("unavailable".to_owned(), |value| (part.text)(value.nominal)),
        }
    };
    let group = |(mode, label): (PowerMode, &str)| bars::Group {
        label: label.to_owned(),
        bars: rows
            .iter()
            .filter(|(row, _)| row.mode == mode)
            .map(bar)
            .collect(),
    };
    Panel {
        title: part.title.to_owned(),
        axis: part.axis.to_owned(),
        is_log: false,
        reach: part.reach,
        groups: [
            (PowerMode::Prefill, "prefill: a text is read"),
            (PowerMode::Decode, "decode: a text is written"),
        ]
        .into_iter()
        .map(group)
        .filter(|group| !group.bars.is_empty())
        .collect(),
    }
}

/// Time of a pass at the speed that the energy stands for.
fn latency_ms(row: &PowerRow, figure: &EnergyFigure) -> Option<Interval> {
    let passes = row.passes_per_sample as f64;
    let latencies: Vec<f64> = row
        .samples
        .wall_seconds
        .iter()
        .map(|s| 1e3 * s / passes)
        .collect();
    let slower = row.tokens_per_s.median / figure.tokens_per_s.unwrap_or(row.tokens_per_s.median);
    Some(spread(&latencies)?.map(|milliseconds| milliseconds * slower))
}

/// The median between the 5th and the 95th percentile.
fn spread(values: &[f64]) -> Option<Interval> {
    Some(Interval {
        low: Summary::quantile(values, 0.05)?,
        nominal: Summary::quantile(values, 0.5)?,
        high: Summary::quantile(values, 0.95)?,
    })
}

fn alt(title: &str, rows: &[(&PowerRow, &EnergyFigure)]) -> String {
    let energies: Vec<String> = rows
        .iter()
        .filter_map(|(row, figure)| {
            let joules = figure.gross_joules_per_token?.nominal;
            let (model, mode) = (model_name(&row.model), row.mode.name());
            Some(format!(
                "{model} {mode} {} microjoules per token",
                short(1e6 * joules)
            ))
        })
        .collect();
    format!(
        "Four bar charts: energy per token, latency, tokens per joule, CPU utilisation. {title}. {}.",
        energies.join(", ")
    )
}

fn table(record: &PowerRecord, rows: &[(&PowerRow, &EnergyFigure)]) -> Table {
    let mut table = Table::new([
        "model",
        "mode",
        "method",
        ">µJ/token [low, high]",
        ">ms/pass [5 %, 95 %]",
        ">tokens/J [low, high]",
        ">CPU use [5 %, 95 %]",
    ]);
    for (row, figure) in rows {
        let [energy, latency, per_joule, utilisation] = PARTS.each_ref().map(|part| {
            let value = (part.value)(record, row, figure);
            value.map_or("unavailable".to_owned(), |value| with_bounds(value, 1.0))
        });
        table.row([
            code(&model_name(&row.model)),
            row.mode.name().to_owned(),
            code(&figure.method),
            energy,
            latency,
            per_joule,
            format!("{utilisation} %"),
        ]);
    }
    table
}
