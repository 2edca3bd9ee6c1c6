//! The loss curve as a PNG.

use itera_chart::{ChartError, Entry, Line, Plane, PlanePanel, Point, Scale, Sign};

use super::history::Row;

/// The highest training losses, those of the first steps, are this share of the rows and may lie
/// above the picture: otherwise all that matters would be a flat line at its bottom.
const CUT_SHARE: f64 = 0.05;

/// Bits per byte over the tokens trained on.
struct Curves {
    /// Tokens are shown in units of this many.
    unit: (f64, &'static str),
    train: Vec<(f64, f64)>,
    /// Of some documents.
    valid: Vec<(f64, f64)>,
    /// Of all documents, in a run that has ended.
    end: Option<(f64, f64)>,
}

/// Draws the rows of the run of the model `name`; the last row of one that `has_ended` is an evaluation
/// of all documents.
///
/// # Errors
/// Never in practice: the picture has a size.
pub(crate) fn png(name: &str, rows: &[Row], has_ended: bool) -> Result<Vec<u8>, ChartError> {
    plane(name, rows, has_ended).draw().png()
}

fn plane(name: &str, rows: &[Row], has_ended: bool) -> Plane {
    let curves = Curves::new(rows, has_ended);
    let line = |series: u8, points: &[(f64, f64)]| Line {
        series,
        points: points.to_vec(),
        is_step: false,
    };
    let mut y = Scale::linear("bits per byte");
    y.cut = curves.cut();
    // Of other documents than the points before, so no line leads to it.
    let end = curves.end.map(|at| Point {
        at,
        series: 4,
        sign: Sign::Diamond,
        label: format!("{:.3}", at.1),
        tip: String::new(),
    });
    Plane {
        title: format!("Training of {name}"),
        legend: vec![
            Entry::line(5, "training, mean since the point before"),
            Entry::line(4, "validation, some documents"),
            Entry::sign(4, Sign::Diamond, "validation at the end, all documents"),
        ],
        panels: vec![PlanePanel {
            x: Scale::linear(&format!("trained on, {}", curves.unit.1)).from_zero(),
            y,
            lines: vec![line(5, &curves.train), line(4, &curves.valid)],
            points: end.into_iter().collect(),
            ..PlanePanel::default()
        }],
        ..Plane::default()
    }
}

impl Curves {
    fn new(rows: &[Row], has_ended: bool) -> Self {
        let unit = match rows.last().map_or(0, |row| row.tokens) {
            0..10_000 => (1.0, "tokens"),
            10_000..2_000_000 => (1e3, "thousand tokens"),
            _ => (1e6, "million tokens"),
        };
        let at = |row: &Row| row.tokens as f64 / unit.0;
        let valid = |row: &Row| Some((at(row), row.valid_bits_per_byte?));
        let (before, last) = rows.split_at(rows.len() - usize::from(has_ended && !rows.is_empty()));
        Self {
            unit,
            train: rows
                .iter()
                .map(|row| (at(row), row.train_bits_per_byte))
                .collect(),
            valid: before.iter().filter_map(valid).collect(),
            end: last.iter().find_map(valid),
        }
    }

    /// The highest bits per byte of the picture: what all but the first steps have.
    fn cut(&self) -> Option<f64> {
        let mut train: Vec<f64> = self.train.iter().map(|(_, bits)| *bits).collect();
        train.sort_by(f64::total_cmp);
        let last = (train.len() as f64 * (1.0 - CUT_SHARE)) as usize;
        let shown = *train.get(last.checked_sub(1)?)?;
        let valid = self.valid.iter().chain(&self.end);
        Some(valid.map(|(_, bits)| *bits).fold(shown, f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, bits: f64, valid: Option<f64>) -> Row {
        Row {
            step,
            epoch: 0,
            tokens: 4096 * step,
            learning_rate: 1e-3,
            train_nats_per_token: bits,
            train_bits_per_byte: bits,
            valid_bits_per_byte: valid,
            gradient_norm: 1.0,
            balance: 1.0,
            load: Vec::new(),
            tokens_per_s: 1.0,
            seconds: 1.0,
        }
    }

    #[test]
    fn runs_of_any_length_can_be_drawn() {
        let rows = |n: u64| -> Vec<Row> {
            (1..=n)
                .map(|i| row(i * 10, 1.0 + 7.0 / i as f64, (i % 5 == 0).then_some(1.2)))
                .collect()
        };
        for n in [0, 1, 2, 400] {
            for has_ended in [false, true] {
                let rows = rows(n);
                let case = format!("{n} rows, ended: {has_ended}");
                let panel = &plane("name", &rows, has_ended).panels[0];
                let lengths: Vec<usize> =
                    panel.lines.iter().map(|line| line.points.len()).collect();
                // The last evaluation of a run that has ended is a point, not a part of the line.
                let ends = usize::from(has_ended && n == 400);
                assert_eq!(lengths, [n as usize, n as usize / 5 - ends], "{case}");
                assert_eq!(panel.points.len(), ends, "{case}");
                let picture = plane("name", &rows, has_ended).draw();
                assert_eq!(picture.overlaps(), [""; 0], "{case}");
                assert!(
                    png("name", &rows, has_ended)
                        .unwrap()
                        .starts_with(b"\x89PNG")
                );
            }
        }
    }

    #[test]
    fn the_first_steps_do_not_flatten_the_curve() {
        let rows: Vec<Row> = (1..=100)
            .map(|i| row(i, if i < 4 { 8.0 } else { 1.5 }, None))
            .collect();
        assert_eq!(Curves::new(&rows, false).cut(), Some(1.5));
        assert_eq!(Curves::new(&[], false).cut(), None);
    }

    #[test]
    fn the_evaluation_of_all_documents_stands_apart() {
        let rows = [
            row(1, 2.0, Some(2.1)),
            row(2, 1.9, None),
            row(3, 1.8, Some(2.2)),
        ];
        let meanwhile = Curves::new(&rows, false);
        assert_eq!((meanwhile.valid.len(), meanwhile.end), (2, None));
        let ended = Curves::new(&rows, true);
        assert_eq!(ended.valid.len(), 1);
        assert_eq!(ended.end.map(|(_, bits)| bits), Some(2.2));
        assert_eq!(ended.train.len(), 3);
    }
}
