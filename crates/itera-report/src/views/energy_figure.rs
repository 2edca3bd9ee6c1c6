//! One picture of energy: models by row, and side by side energy, time, tokens per joule and utilisation,
//! with a sign for each platform or counter.

use itera_chart::{Block, Dots, Entry, Group, Mark, Panel, Row, Scale, Sign};
use itera_record::{Form, Interval, PowerMode, PowerRecord, PowerRow, Summary};

use super::{
    Figure,
    power::{energy_of, is_platform, rows, source_name, sources},
};
use crate::input::{Inputs, Of};

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
    let rows = decode.iter().map(|(record, row)| Row {
        label: row.model.label(),
        cells: cells(record, row, &sources),
    });
    Some(Figure {
        name: "energy",
        alt: format!(
            "Energy, time, tokens per joule and utilisation of {} models by platform; {} takes {}J a token on {}.",
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
                    panel("Utilisation", Scale { to: Some(100.0), ..Scale::linear("% of all cores").from_zero() }),
                ],
                groups: vec![Group { label: String::new(), rows: rows.collect() }],
            }],
        }
        .draw(),
        sources: Inputs::files(&inputs.power),
    })
}

/// The marks of a row in the four panels.
fn cells(record: &Of<PowerRecord>, row: &PowerRow, sources: &[&str]) -> Vec<Vec<Mark>> {
    let figures = || {
        sources
            .iter()
            .enumerate()
            .filter_map(|(i, source)| Some((i, energy_of(row, source)?)))
    };
    let mark = |i: usize, source: &str, interval: Interval, unit: &str| Mark {
        interval: Some([interval.low, interval.high]),
        is_hollow: is_platform(source),
        tip: format!(
            "{} {unit}, {}",
            Form::Short.text(interval.nominal),
            source_name(source)
        ),
        ..Mark::new(i as u8 % 6, SIGNS[i % SIGNS.len()], interval.nominal, "")
    };
    let energy = figures().filter_map(|(i, figure)| {
        let joules = figure.gross_joules_per_token?.map(|joules| 1e6 * joules);
        Some(mark(i, &figure.source, joules, "µJ"))
    });
    let per_joule = figures().filter_map(|(i, figure)| {
        Some(mark(
            i,
            &figure.source,
            figure.tokens_per_joule?,
            "tokens/J",
        ))
    });
    let samples = &row.samples;
    let tokens = row.tokens_per_sample as f64;
    let times: Vec<f64> = samples
        .wall_seconds
        .iter()
        .map(|seconds| 1e6 * seconds / tokens)
        .collect();
    let shares: Vec<f64> = samples
        .utilisations(record.item.protocol.cores)
        .iter()
        .map(|share| 100.0 * share)
        .collect();
    let measured = |values: &[f64], unit: &str| {
        let value = Summary::quantile(values, 0.5)?;
        let bounds = [
            Summary::quantile(values, 0.05)?,
            Summary::quantile(values, 0.95)?,
        ];
        let text = format!("{} {unit}", Form::Short.text(value)).replace(" %", "");
        Some(Mark {
            interval: Some(bounds),
            ..Mark::new(4, Sign::Diamond, value, &text)
        })
    };
    vec![
        energy.collect(),
        measured(&times, "").into_iter().collect(),
        per_joule.collect(),
        measured(&shares, "%").into_iter().collect(),
    ]
}
