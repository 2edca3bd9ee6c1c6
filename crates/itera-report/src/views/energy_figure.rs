//! One picture of energy: models by row, and side by side energy, time, tokens per joule and busy
//! threads, with a sign for each platform or counter.

use itera_chart::{Block, Dots, Entry, Group, Mark, Panel, Row, Scale, Sign};
use itera_record::{EnergyFigure, Form, Interval, PowerMode, PowerRow, Summary};

use super::{
    Figure,
    power::{energy_of, is_platform, rows, source_name, sources},
};
use crate::input::Inputs;

/// Signs that can be told apart; more sources than these share one.
const SIGNS: [Sign; 4] = [Sign::Circle, Sign::Square, Sign::Triangle, Sign::Diamond];

/// Energy of writing a token; none without a figure.
pub(super) fn figure(inputs: &Inputs) -> Option<Figure> {
    let sources = sources(inputs);
    let decode: Vec<_> = rows(inputs)
        .filter(|(_, row)| row.mode == PowerMode::Decode)
        .collect();
    let (_, first) = *decode.first()?;
    let source = *sources.first()?;
    let joules = energy_of(first, source)?.gross_joules_per_token?.nominal;
    let is_all_estimated = sources.iter().all(|source| is_platform(source));
    let title = "Energy of writing a token".to_owned();
    let legend = sources.iter().enumerate().map(|(i, source)| {
        let (series, sign) = (i as u8 % 6, SIGNS[i % SIGNS.len()]);
        if is_platform(source) {
            Entry::hollow(series, sign, &format!("{}, estimated", source_name(source)))
        } else {
            Entry::sign(series, sign, &format!("{source}, measured"))
        }
    });
    let panel = |title: &str, scale: Scale| Panel {
        title: title.to_owned(),
        scale,
    };
    let rows = decode.iter().map(|(_, row)| Row {
        label: row.model.label(),
        cells: cells(row, &sources),
    });
    Some(Figure {
        name: "energy",
        alt: format!(
            "Energy, time, tokens per joule and busy threads of {} models by platform; {} takes {}J a token on {}.",
            decode.len(),
            first.model.label(),
            Form::Si.text(joules),
            source_name(source)
        ),
        picture: Dots {
            title,
            note: if is_all_estimated {
                "No energy was measured. Hollow signs are projections: the platform's nominal power at the speed of \
                 the machine that was timed; lines are their bounds."
                    .to_owned()
            } else {
                "Hollow signs are estimates from nominal power; lines are the bounds.".to_owned()
            },
            legend: legend
                .chain([Entry::sign(4, Sign::Diamond, "measured, on the machine that was timed")])
                .collect(),
            blocks: vec![Block {
                panels: vec![
                    panel("Energy", Scale::log("µJ/token, lower is better")),
                    panel("Time", Scale::linear("µs/token, lower is better").from_zero()),
                    panel("Yield", Scale::log("tokens/J, higher is better")),
                    panel("Busy threads", Scale::linear("CPU time / time").from_zero()),
                ],
                groups: vec![Group { label: String::new(), rows: rows.collect() }],
            }],
        }
        .draw(),
        sources: Inputs::files(&inputs.power),
    })
}

/// The marks of a row in the four panels.
fn cells(row: &PowerRow, sources: &[&str]) -> Vec<Vec<Mark>> {
    let by_source = |unit: &str, value: fn(&EnergyFigure) -> Option<Interval>| {
        let mark = |(i, source): (usize, &&str)| {
            let of = value(energy_of(row, source)?)?;
            let text = Form::Short.text(of.nominal);
            Some(Mark {
                interval: Some([of.low, of.high]),
                is_hollow: is_platform(source),
                tip: format!("{text} {unit}, {}", source_name(source)),
                ..Mark::new(i as u8 % 6, SIGNS[i % SIGNS.len()], of.nominal, "")
            })
        };
        sources.iter().enumerate().filter_map(mark).collect()
    };
    let measured = |values: Vec<f64>, scale: f64| {
        let at = |q| Summary::quantile(&values, q).map(|value| scale * value);
        let mark = || {
            let value = at(0.5)?;
            Some(Mark {
                interval: Some([at(0.05)?, at(0.95)?]),
                ..Mark::new(4, Sign::Diamond, value, &Form::Short.text(value))
            })
        };
        mark().into_iter().collect()
    };
    let micro = |figure: &EnergyFigure| {
        let joules = figure.gross_joules_per_token?;
        Some(joules.map(|joules| 1e6 * joules))
    };
    let tokens = row.tokens_per_sample as f64;
    vec![
        by_source("µJ", micro),
        measured(row.samples.wall_seconds.clone(), 1e6 / tokens),
        by_source("tokens/J", |figure| figure.tokens_per_joule),
        measured(row.samples.busy_threads(), 1.0),
    ]
}
