//! Pictures of quality: scores by model, and quality against size.

use itera_chart::{
    Block, Dots, Entry, Group, Line, Mark, Panel, Plane, PlanePanel, Point, Row, Scale, Sign,
    series_of,
};
use itera_record::{Form, ValidationRow};

use super::{
    Figure,
    quality::{self, groups, is_large, is_reference, shipped, text_label},
};
use crate::input::{Inputs, Of};

const SIGNS: [Sign; 4] = [Sign::Circle, Sign::Square, Sign::Triangle, Sign::Diamond];

fn sign_of(row: &ValidationRow) -> Sign {
    SIGNS[usize::from(series_of(&kind(row))) % SIGNS.len()]
}

/// The precision without bits per weight, for the legend.
fn kind(row: &ValidationRow) -> String {
    let label = row.precision_label();
    let kind = label.split(',').next();
    kind.unwrap_or_default().to_owned()
}

fn legend(rows: &[&ValidationRow]) -> Vec<Entry> {
    let entry =
        |series, precision: &str| Entry::sign(series, SIGNS[usize::from(series)], precision);
    let kinds: Vec<String> = rows.iter().map(|row| kind(row)).collect();
    Entry::precisions(&kinds, entry)
}

/// Every score with its interval, the best first, on an axis that tells precisions apart.
pub(super) fn bits(inputs: &Inputs) -> Option<Figure> {
    let shipped = shipped(inputs);
    let is_shown = |row: &Of<ValidationRow>| {
        shipped.is_empty()
            || is_reference(&row.item)
            || shipped.iter().any(|of| std::ptr::eq(*of, row))
    };
    let mut groups: Vec<Vec<&ValidationRow>> = Vec::new();
    for group in quality::groups(inputs) {
        let rows = group.into_iter().filter(|row| is_shown(row));
        groups.push(rows.map(|row| &row.item).collect());
    }
    groups.retain(|group| !group.is_empty());
    let best = groups
        .iter()
        .flatten()
        .min_by(|a, b| a.bits_per_byte.total_cmp(&b.bits_per_byte))?;
    let all: Vec<&ValidationRow> = groups.iter().flatten().copied().collect();
    let title = "Bits per byte of the models".to_owned();
    Some(Figure {
        name: "bits_per_byte",
        alt: format!(
            "Bits per byte of {} scores, best first; {} at {} has {} on {}.",
            all.len(),
            best.model.base_name(),
            best.precision,
            Form::Fixed(3).text(best.bits_per_byte),
            best.text_name()
        ),
        picture: Dots {
            title,
            note: "Lower is better. Lines are 95 % intervals over documents. zstd needs no model; the \
                   models' files are not counted."
                .to_owned(),
            legend: legend(&all),
            blocks: groups.iter().map(|rows| block(rows)).collect(),
        }
        .draw(),
        sources: Inputs::files(&inputs.validation),
    })
}

fn block(rows: &[&ValidationRow]) -> Block {
    let row = |row: &&ValidationRow| {
        let star = if row.is_complete() { "" } else { " *" };
        let text = Form::Fixed(4).text(row.bits_per_byte);
        Row {
            label: format!("{}{star}", row.model.label()),
            cells: vec![vec![Mark {
                interval: row.bits_per_byte_ci95,
                ..Mark::new(
                    series_of(&kind(row)),
                    sign_of(row),
                    row.bits_per_byte,
                    &text,
                )
            }]],
        }
    };
    // The reference has no compressors beside it.
    let first = rows.iter().find(|row| !is_reference(row)).or(rows.first());
    let title = |row: &&ValidationRow| {
        let zstd = row.baselines.zstd_bits_per_byte;
        let zstd = zstd.map(|bits| format!("; zstd -19 needs {}", Form::Fixed(3).text(bits)));
        format!("{}{}", text_label(row), zstd.unwrap_or_default())
    };
    Block {
        panels: vec![Panel {
            title: first.map_or(String::new(), title),
            scale: Scale::linear("bits per byte"),
        }],
        groups: vec![Group {
            label: String::new(),
            rows: rows.iter().map(row).collect(),
        }],
    }
}

/// Bits per byte over the size of the weights, with the front; one panel a text.
pub(super) fn size(inputs: &Inputs) -> Option<Figure> {
    let groups = groups(inputs);
    let all: Vec<&ValidationRow> = groups.iter().flatten().map(|row| &row.item).collect();
    if all.is_empty() {
        return None;
    }
    let title = "Quality against size".to_owned();
    let panel = |group: &quality::Group<'_>| {
        let at = |row: &ValidationRow| (row.model.bytes as f64 / 1e3, row.bits_per_byte);
        let point = |row: &&Of<ValidationRow>| {
            let row = &row.item;
            let large = if is_large(row) { ", larger" } else { "" };
            Point {
                at: at(row),
                series: series_of(&kind(row)),
                sign: sign_of(row),
                label: format!("{}{large}", row.model.label()),
                tip: format!(
                    "{}: {} bytes, {} bits/byte",
                    row.model.label(),
                    Form::Whole.text(row.model.bytes as f64),
                    Form::Fixed(4).text(row.bits_per_byte)
                ),
            }
        };
        PlanePanel {
            title: group
                .first()
                .map_or(String::new(), |row| text_label(&row.item)),
            x: Scale::log("weights, kB"),
            y: Scale::linear("bits per byte"),
            lines: vec![Line {
                series: 5,
                points: quality::front(group).into_iter().map(at).collect(),
                is_step: true,
            }],
            points: group.iter().map(point).collect(),
            // Few points need little room.
            shape: if group.len() < 6 { 0.25 } else { 0.45 },
        }
    };
    let mut legend = legend(&all);
    legend.push(Entry::line(5, "no smaller model is better"));
    let smallest = all.iter().min_by_key(|row| row.model.bytes)?;
    Some(Figure {
        name: "quality_vs_size",
        alt: format!(
            "Bits per byte over kilobytes of weights, {} models; the smallest is {} with {} bytes.",
            all.len(),
            smallest.model.label(),
            Form::Whole.text(smallest.model.bytes as f64)
        ),
        picture: Plane {
            title,
            note: "Down and to the left is better.".to_owned(),
            legend,
            columns: 1,
            panels: groups.iter().map(panel).collect(),
        }
        .draw(),
        sources: Inputs::files(&inputs.validation),
    })
}
