//! How the loss fell: runs that continue one another, on one axis.

use itera_chart::{Entry, Line, Plane, PlanePanel, Point, Scale, Sign};
use itera_record::Form;

use super::Figure;
use crate::input::{CurvePoint, Inputs, Training, items};

/// Panels at most; the other runs are in the table.
const PANELS: usize = 4;

/// The share of the smoothed loss that the next point keeps.
const SMOOTHING: f64 = 0.9;

/// The highest losses, those of the first steps, are this share of the points and may lie above the
/// picture: otherwise all that matters would be a flat line at its bottom.
const CUT_SHARE: f64 = 0.08;

/// The chains that end with a model that ships, at most some; none without a curve.
pub(super) fn figure(inputs: &Inputs) -> Option<Figure> {
    let mut chains = chains(inputs);
    let is_scored = |run: &Training| {
        let model = run.record.envelope.model.as_ref();
        let mut rows = inputs.validation.iter();
        model.is_some_and(|model| rows.any(|row| row.item.model.file_sha256 == model.file_sha256))
    };
    if chains
        .iter()
        .any(|chain| chain.last().is_some_and(|run| is_scored(run)))
    {
        chains.retain(|chain| chain.last().is_some_and(|run| is_scored(run)));
    }
    // Longest first: what ships was trained longest.
    chains.sort_by_key(|chain| std::cmp::Reverse(chain.iter().map(|run| tokens(run)).sum::<u64>()));
    chains.truncate(PANELS);
    let last = chains.first()?.last()?;
    let title = "Training curves".to_owned();
    Some(Figure {
        name: "training_curves",
        alt: format!(
            "Bits per byte over tokens of {} models; {} ends at {}.",
            chains.len(),
            last.name,
            last.record.valid_bits_per_byte.map_or("no value".to_owned(), |bits| Form::Fixed(4).text(bits))
        ),
        picture: Plane {
            title,
            note: "Each panel is one model; runs that continue one another follow on one axis. Training loss is \
                   smoothed."
                .to_owned(),
            legend: vec![
                Entry::line(5, "training"),
                Entry::line(4, "validation, some documents"),
                Entry::sign(4, Sign::Diamond, "validation at the end of a run, all documents"),
            ],
            columns: 2,
            panels: chains.iter().map(|chain| panel(chain)).collect(),
        }
        .draw(),
        sources: Inputs::files(&inputs.training),
    })
}

fn tokens(run: &Training) -> u64 {
    run.curve.last().map_or(0, |point| point.tokens)
}

/// Runs with a curve, each chain from its first run to its last: a run follows the one whose file it began from.
fn chains(inputs: &Inputs) -> Vec<Vec<&Training>> {
    let runs: Vec<&Training> = items(&inputs.training)
        .filter(|run| !run.curve.is_empty())
        .collect();
    let before = |run: &Training| {
        let init = run.record.protocol["init_sha256"].as_str()?;
        let made = |other: &&Training| {
            let model = other.record.envelope.model.as_ref();
            model.is_some_and(|model| model.file_sha256 == init)
        };
        runs.iter().copied().find(made)
    };
    let mut chains = Vec::new();
    for run in &runs {
        let mut chain = vec![*run];
        while let Some(earlier) =
            before(chain[0]).filter(|earlier| !chain.iter().any(|run| std::ptr::eq(*run, *earlier)))
        {
            chain.insert(0, earlier);
        }
        chains.push(chain);
    }
    chains
}

fn panel(chain: &[&Training]) -> PlanePanel {
    let mut panel = PlanePanel {
        title: chain.last().map_or(String::new(), |run| run.name.clone()),
        x: Scale::linear("million tokens").from_zero(),
        y: Scale::linear("bits per byte"),
        ..PlanePanel::default()
    };
    let line = |series: u8, points: Vec<(f64, f64)>| Line {
        series,
        points,
        is_step: false,
    };
    let mut start = 0;
    for run in chain {
        let at = |point: &CurvePoint| (start + point.tokens) as f64 / 1e6;
        let train = run.curve.iter().map(at).zip(smoothed(&run.curve));
        let valid = |point: &CurvePoint| Some((at(point), point.valid_bits_per_byte?));
        let mut valid: Vec<(f64, f64)> = run.curve.iter().filter_map(valid).collect();
        // The last evaluation is of other documents than those before, so no line leads to it.
        panel.points.extend(valid.pop().map(|end| Point {
            at: end,
            series: 4,
            sign: Sign::Diamond,
            label: Form::Fixed(3).text(end.1),
            tip: run.name.clone(),
        }));
        panel.lines.push(line(5, train.collect()));
        panel.lines.push(line(4, valid));
        start += tokens(run);
    }
    let mut losses: Vec<f64> = panel
        .lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|at| at.1)
        .collect();
    losses.sort_by(f64::total_cmp);
    let cut = (losses.len() as f64 * (1.0 - CUT_SHARE)) as usize;
    let highest = panel
        .points
        .iter()
        .map(|point| point.at.1)
        .fold(0.0, f64::max);
    panel.y.cut = losses.get(cut).map(|cut| cut.max(highest));
    panel
}

/// The training loss without the noise of single segments: a moving average that forgets.
fn smoothed(curve: &[CurvePoint]) -> Vec<f64> {
    let mut mean = None;
    let smooth = |point: &CurvePoint| {
        let bits = point.train_bits_per_byte;
        let next = mean.map_or(bits, |mean: f64| {
            SMOOTHING * mean + (1.0 - SMOOTHING) * bits
        });
        mean = Some(next);
        next
    };
    curve.iter().map(smooth).collect()
}
