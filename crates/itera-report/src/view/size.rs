//! Quality against size: which models are worth their bytes.

use std::collections::BTreeSet;

use itera_record::ValidationRow;

use super::{
    Figure,
    quality::{Group, groups, is_complete, scored_name, text_name},
};
use crate::{
    chart::{
        canvas::Sign,
        legend::{Entry, Key},
        palette::{FRAME, of_precision},
        scatter::{Panel, Point, ScatterChart},
    },
    input::Inputs,
    md::{Table, code},
    num::{fixed, short, thousands},
};

const TITLE: &str = "Quality against size of the weights";

/// Bits per byte over the bytes of the weights, a panel for each text; none without rows.
pub(crate) fn figure(inputs: &Inputs) -> Option<Figure> {
    let groups: Vec<Group<'_>> = groups(inputs)
        .into_iter()
        .map(|group| {
            group
                .into_iter()
                .filter(|row| is_complete(&row.item))
                .collect()
        })
        .filter(|group: &Group<'_>| !group.is_empty())
        .collect();
    if groups.is_empty() {
        return None;
    }
    let precisions: BTreeSet<&str> = groups
        .iter()
        .flatten()
        .map(|row| row.item.precision.as_str())
        .collect();
    let mut legend: Vec<Entry> = ["fp32", "int8", "int4"]
        .into_iter()
        .filter(|precision| precisions.contains(precision))
        .map(|precision| {
            let key = Key::Sign(sign(precision), of_precision(precision));
            Entry::new(key, precision)
        })
        .collect();
    legend.push(Entry::new(
        Key::Line(FRAME),
        "no other is both smaller and better (Pareto front)",
    ));
    Some(Figure {
        file: "quality_vs_size.png".to_owned(),
        title: TITLE.to_owned(),
        alt: alt(&groups),
        canvas: ScatterChart {
            title: TITLE.to_owned(),
            legend,
            panels: groups.iter().map(panel).collect(),
        }
        .draw(),
        table: table(&groups),
        sources: inputs.cite_all(groups.iter().flatten().copied()),
    })
}

fn panel(group: &Group<'_>) -> Panel {
    let point = |row: &ValidationRow| Point {
        at: at(row),
        color: of_precision(&row.precision),
        sign: sign(&row.precision),
        label: format!(
            "{}: {} at {} kB",
            scored_name(row),
            fixed(row.bits_per_byte, 3),
            thousands((at(row).0).round() as u64)
        ),
    };
    Panel {
        title: group
            .first()
            .map_or(String::new(), |row| text_name(&row.item)),
        x_axis: "size of the weights in kB (1,000 bytes), scales included".to_owned(),
        y_axis: "bits per byte, lower is better".to_owned(),
        points: group.iter().map(|row| point(&row.item)).collect(),
        front: front(group).iter().map(|row| at(row)).collect(),
    }
}

/// Kilobytes and bits per byte.
fn at(row: &ValidationRow) -> (f64, f64) {
    (row.model.bytes as f64 / 1000.0, row.bits_per_byte)
}

/// Shapes tell precisions apart without colour.
fn sign(precision: &str) -> Sign {
    match precision {
        "fp32" => Sign::Circle,
        "int8" => Sign::Diamond,
        "int4" => Sign::Triangle,
        _ => Sign::Square,
    }
}

/// The rows that no other one betters in size without being worse in quality, smallest first.
fn front<'i>(group: &Group<'i>) -> Vec<&'i ValidationRow> {
    let mut rows: Vec<&ValidationRow> = group.iter().map(|row| &row.item).collect();
    rows.sort_by(|a, b| {
        at(a)
            .0
            .total_cmp(&at(b).0)
            .then(at(a).1.total_cmp(&at(b).1))
    });
    let mut best = f64::INFINITY;
    rows.retain(|row| {
        let is_better = row.bits_per_byte < best;
        best = best.min(row.bits_per_byte);
        is_better
    });
    rows
}

fn alt(groups: &[Group<'_>]) -> String {
    let of_group = |group: &Group<'_>| {
        let points: Vec<String> = panel(group).points.into_iter().map(|p| p.label).collect();
        let text = group
            .first()
            .map_or(String::new(), |row| text_name(&row.item));
        format!("{text}: {}", points.join(", "))
    };
    let all: Vec<String> = groups.iter().map(of_group).collect();
    format!(
        "Points of bits per byte over kilobytes. {}.",
        all.join("; ")
    )
}

/// How many times `bytes` goes into `largest`.
fn times(largest: u64, bytes: u64) -> String {
    if bytes == largest {
        "–".to_owned()
    } else {
        format!("{} times", fixed(largest as f64 / bytes as f64, 1))
    }
}

fn table(groups: &[Group<'_>]) -> Table {
    let mut table = Table::new([
        "text",
        "model",
        "precision",
        ">parameters",
        ">active",
        ">bytes",
        ">smaller than the largest",
        ">bits/weight",
        ">bits/byte",
        ">tokens/s scored",
        "on the front",
    ]);
    for group in groups {
        let front = front(group);
        let largest = group.iter().map(|row| row.item.model.bytes).max();
        for row in group {
            let row = &row.item;
            let is_on = front.iter().any(|other| std::ptr::eq(*other, row));
            table.row([
                text_name(row),
                code(&row.model.name),
                row.precision.clone(),
                thousands(row.model.params),
                thousands(row.model.active_params),
                thousands(row.model.bytes),
                times(largest.unwrap_or_default(), row.model.bytes),
                short(row.model.bits_per_weight),
                fixed(row.bits_per_byte, 4),
                thousands(row.tokens_per_s.round() as u64),
                (if is_on { "yes" } else { "no" }).to_owned(),
            ]);
        }
    }
    table
}
