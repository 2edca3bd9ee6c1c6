//! Training runs: what they cost and how their loss fell.

use itera_record::TrainingRecord;

use super::Figure;
use crate::{
    chart::{
        canvas::Sign,
        curves::{Curve, CurveChart, Panel},
        legend::{Entry, Key},
        palette::{SKY, VERMILION},
    },
    input::{CurvePoint, Inputs, Of, Training},
    md::{Table, code},
    num::{fixed, short, thousands},
};

const TITLE: &str = "Training curves";

/// The highest losses, those of the first steps, are this share of the points and may lie above the
/// picture: otherwise all that matters would be a flat line at its bottom.
const CUT_SHARE: f64 = 0.05;

const MILLION: f64 = 1e6;

/// The loss of every run that has a curve; none if no run has.
pub(crate) fn figure(inputs: &Inputs) -> Option<Figure> {
    let runs: Vec<&Of<Training>> = inputs
        .training
        .iter()
        .filter(|run| !run.item.curve.is_empty())
        .collect();
    if runs.is_empty() {
        return None;
    }
    let legend = vec![
        Entry::new(Key::Line(SKY), "train, mean since the point before"),
        Entry::new(Key::Points(VERMILION), "validation, some documents"),
        Entry::new(
            Key::Sign(Sign::Diamond, VERMILION),
            "validation at the end, all documents",
        ),
    ];
    let ends: Vec<String> = runs.iter().map(|run| alt(&run.item)).collect();
    Some(Figure {
        file: "training_curves.png".to_owned(),
        title: TITLE.to_owned(),
        alt: format!(
            "Curves of bits per byte over tokens trained on. {}.",
            ends.join("; ")
        ),
        canvas: CurveChart {
            title: TITLE.to_owned(),
            legend,
            columns: 2,
            panels: runs.iter().map(|run| panel(&run.item)).collect(),
        }
        .draw(),
        table: table(inputs),
        sources: inputs.cite_all(&inputs.training),
    })
}

/// Every run and what came out.
pub(crate) fn table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "run",
        "text",
        "tokenizer",
        ">parameters",
        ">steps",
        ">tokens",
        ">passes",
        ">minutes",
        ">tokens/s",
        ">train nats/token",
        ">valid bits/byte",
        "lowest",
        ">dead experts",
        "source",
    ]);
    for run in &inputs.training {
        let record = &run.item.record;
        let params = record.envelope.model.as_ref().map(|model| model.params);
        table.row([
            code(&run.item.name),
            text(record),
            record.tokenizer.clone(),
            params.map_or("not said".to_owned(), thousands),
            thousands(record.steps),
            thousands(record.tokens),
            passes(&run.item.curve),
            fixed(record.seconds / 60.0, 1),
            short(record.tokens_per_s),
            fixed(record.train_nats_per_token, 4),
            valid(record),
            lowest(&run.item.curve),
            dead_experts(&run.item.curve),
            inputs.cite(run),
        ]);
    }
    table
}

/// The speed of training by the bench.
pub(crate) fn speed_table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "preset",
        ">cores",
        ">replicas",
        ">batch",
        ">length",
        ">steps",
        ">median tokens/s",
        ">10th to 90th percentile",
        "source",
    ]);
    for bench in &inputs.training_bench {
        for row in &bench.item.rows {
            table.row([
                format!(
                    "{}, vocabulary {}",
                    bench.item.preset,
                    thousands(bench.item.vocab_size)
                ),
                bench.item.cores.to_string(),
                row.replicas.to_string(),
                row.batch.to_string(),
                bench.item.length.to_string(),
                row.steps.to_string(),
                thousands(row.tokens_per_s_median.round() as u64),
                format!(
                    "{} to {}",
                    thousands(row.tokens_per_s_p10.round() as u64),
                    thousands(row.tokens_per_s_p90.round() as u64)
                ),
                inputs.cite(bench),
            ]);
        }
    }
    table
}

/// The texts that a run was trained on.
fn text(record: &TrainingRecord) -> String {
    let trained = record.data.iter().filter(|source| source.split != "valid");
    let names: Vec<String> = trained
        .map(|source| format!("{} {}", source.dataset, source.split))
        .collect();
    names.join(", ")
}

fn valid(record: &TrainingRecord) -> String {
    record
        .valid_bits_per_byte
        .map_or("not measured".to_owned(), |bits| fixed(bits, 4))
}

/// How often the text was read, the last time in part.
fn passes(curve: &[CurvePoint]) -> String {
    let last = curve.last();
    last.map_or("not measured".to_owned(), |point| {
        thousands(point.epoch + 1)
    })
}

/// Where validation was lowest, among the evaluations before the last, which read the same documents: a run
/// that goes on for too long has it before its end.
fn lowest(curve: &[CurvePoint]) -> String {
    let valid = curve
        .iter()
        .filter_map(|point| Some((point.tokens, point.valid_bits_per_byte?)));
    let mut valid: Vec<(u64, f64)> = valid.collect();
    valid.pop();
    let lowest = valid.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
    match (lowest, valid.last()) {
        (Some(lowest), Some(last)) if lowest == last => "at the end".to_owned(),
        (Some((tokens, _)), _) => format!("after {} tokens", thousands(*tokens)),
        (None, _) => "not measured".to_owned(),
    }
}

/// The most experts without a token at any logged step of the last tenth.
fn dead_experts(curve: &[CurvePoint]) -> String {
    let late = &curve[curve.len() - curve.len().div_ceil(10)..];
    late.iter()
        .map(|point| point.dead_experts)
        .max()
        .map_or("not measured".to_owned(), |dead| dead.to_string())
}

fn panel(run: &Training) -> Panel {
    let range = range(&run.curve);
    let at = |point: &CurvePoint| point.tokens as f64 / MILLION;
    let train = run
        .curve
        .iter()
        .map(|point| (at(point), point.train_bits_per_byte));
    let valid = run
        .curve
        .iter()
        .filter_map(|point| Some((at(point), point.valid_bits_per_byte?)));
    let mut valid: Vec<(f64, f64)> = valid.collect();
    // Of other documents than the points before, so no line leads to it.
    let end = valid.pop();
    let shown = |points: Vec<(f64, f64)>| {
        points
            .into_iter()
            .filter(|(_, bits)| *bits <= range.1)
            .collect()
    };
    Panel {
        title: run.name.clone(),
        note: format!(
            "{} on {}; end: {} bits/byte",
            run.record.tokenizer,
            text(&run.record),
            self::valid(&run.record)
        ),
        x_axis: "trained on (million tokens)".to_owned(),
        y_axis: "bits per byte, lower is better".to_owned(),
        range,
        curves: vec![
            Curve {
                points: shown(train.collect()),
                color: SKY,
                sign: None,
            },
            Curve {
                points: shown(valid),
                color: VERMILION,
                sign: Some(Sign::Dot),
            },
            Curve {
                points: shown(Vec::from_iter(end)),
                color: VERMILION,
                sign: Some(Sign::Diamond),
            },
        ],
    }
}

/// Lowest and highest bits per byte shown.
fn range(curve: &[CurvePoint]) -> (f64, f64) {
    let mut train: Vec<f64> = curve
        .iter()
        .map(|point| point.train_bits_per_byte)
        .collect();
    train.sort_by(f64::total_cmp);
    let kept = ((train.len() as f64 * (1.0 - CUT_SHARE)) as usize).max(1);
    let valid = curve.iter().filter_map(|point| point.valid_bits_per_byte);
    let all: Vec<f64> = train.into_iter().take(kept).chain(valid).collect();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(0.0, f64::max);
    (low, high.max(low))
}

fn alt(run: &Training) -> String {
    format!(
        "{}: {} bits per byte on validation after {} tokens",
        run.name,
        valid(&run.record),
        thousands(run.record.tokens)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_steps_do_not_flatten_the_curve() {
        let point = |i: u64| CurvePoint {
            epoch: 0,
            tokens: i,
            train_bits_per_byte: if i < 4 { 8.0 } else { 1.5 },
            valid_bits_per_byte: None,
            dead_experts: 0,
        };
        let curve: Vec<CurvePoint> = (0..100).map(point).collect();
        assert_eq!(range(&curve), (1.5, 1.5));
        assert_eq!(range(&curve[..1]), (8.0, 8.0));
        assert_eq!(dead_experts(&[]), "not measured");
    }

    #[test]
    fn a_run_that_went_on_for_too_long_is_found() {
        let curve = |valid: &[f64]| -> Vec<CurvePoint> {
            let points = valid.iter().zip(1_u64..);
            points
                .map(|(valid, i)| CurvePoint {
                    epoch: i,
                    tokens: 1000 * i,
                    train_bits_per_byte: 1.0,
                    valid_bits_per_byte: Some(*valid),
                    dead_experts: 0,
                })
                .collect()
        };
        // The last value is one of other documents.
        assert_eq!(lowest(&curve(&[1.3, 1.2, 1.1, 1.4])), "at the end");
        assert_eq!(lowest(&curve(&[1.3, 1.1, 1.2, 1.0])), "after 2,000 tokens");
        assert_eq!(lowest(&curve(&[1.3])), "not measured");
        assert_eq!(passes(&curve(&[1.3, 1.2])), "3");
    }
}
