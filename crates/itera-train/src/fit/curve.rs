//! The loss curve as a PNG.

use std::{fs, sync::Once};

use anyhow::{Context as _, anyhow};
use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};

use super::history::Row;

const SIZE: (u32, u32) = (1000, 600);
const FONT: &str = "sans-serif";
const TRAIN_COLOR: RGBColor = RGBColor(120, 160, 205);
const VALID_COLOR: RGBColor = RGBColor(200, 60, 30);

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
pub(crate) fn png(name: &str, rows: &[Row], has_ended: bool) -> anyhow::Result<Vec<u8>> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        // Fails only for a file that is no font; the drawing then fails with the reason.
        let _ = register_font(FONT, FontStyle::Normal, UBUNTU_LIGHT);
    });
    let file = tempfile::Builder::new().suffix(".png").tempfile();
    let file = file.context("cannot make a temporary file for the loss curve")?;
    let area = BitMapBackend::new(file.path(), SIZE).into_drawing_area();
    // The error type of plotters names its backend and cannot leave this function.
    draw(&area, name, &Curves::new(rows, has_ended)).map_err(|error| anyhow!("{error}"))?;
    area.present()
        .map_err(|error| anyhow!("{error}"))
        .context("cannot draw the loss curve")?;
    fs::read(file.path()).context("cannot read the loss curve back")
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

    /// Lowest and highest bits per byte of the picture.
    fn range(&self) -> (f64, f64) {
        let mut train: Vec<f64> = self.train.iter().map(|(_, bits)| *bits).collect();
        train.sort_by(f64::total_cmp);
        let cut = (train.len() as f64 * (1.0 - CUT_SHARE)) as usize;
        let shown = train[..cut].iter().chain(train.first()).copied();
        let valid = self.valid.iter().chain(&self.end);
        let all = shown.chain(valid.map(|(_, bits)| *bits));
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), bits| {
            (low.min(bits), high.max(bits))
        });
        if low > high {
            return (0.0, 1.0);
        }
        let margin = 0.05 * (high - low).max(0.1);
        ((low - margin).max(0.0), high + margin)
    }
}

fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    name: &str,
    curves: &Curves,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let (low, high) = curves.range();
    let end = curves.train.last().map_or(1.0, |(tokens, _)| *tokens);
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Training of {name}"), (FONT, 28))
        .margin(16)
        .x_label_area_size(56)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..end * 1.01, low..high)?;
    chart
        .configure_mesh()
        .x_desc(format!("trained on ({})", curves.unit.1))
        .y_desc("bits per byte")
        .x_label_formatter(&|tokens| label(*tokens, end))
        .label_style((FONT, 18))
        .axis_desc_style((FONT, 20))
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart
        .draw_series(LineSeries::new(
            curves.train.iter().copied(),
            TRAIN_COLOR.stroke_width(2),
        ))?
        .label("train, mean since the point before")
        .legend(|(x, y)| line((x, y), TRAIN_COLOR));
    if !curves.valid.is_empty() {
        let style = VALID_COLOR.filled().stroke_width(2);
        chart
            .draw_series(LineSeries::new(curves.valid.iter().copied(), style).point_size(3))?
            .label("validation, some documents")
            .legend(|(x, y)| line((x, y), VALID_COLOR));
    }
    // Of other documents than the points before, so no line leads to it.
    if let Some(end) = curves.end {
        let style = VALID_COLOR.filled();
        chart
            .draw_series([TriangleMarker::new(end, 9, style)])?
            .label("validation at the end, all documents")
            .legend(move |(x, y)| TriangleMarker::new((x + 10, y), 9, style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 18))
        .margin(12)
        .draw()
}

/// A number on an axis that ends at `end`, with digits only where they tell numbers apart.
fn label(value: f64, end: f64) -> String {
    let digits = usize::from(end < 10.0);
    format!("{value:.digits$}")
}

/// A piece of a line for the legend.
fn line((x, y): (i32, i32), color: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + 20, y)], color.stroke_width(3))
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

    fn pixels(rows: &[Row], has_ended: bool) -> Vec<u8> {
        // The typeface is registered once.
        assert!(
            png("name", rows, has_ended)
                .unwrap()
                .starts_with(b"\x89PNG")
        );
        let mut pixels = vec![0; (3 * SIZE.0 * SIZE.1) as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        draw(&area, "name", &Curves::new(rows, has_ended)).unwrap();
        drop(area);
        pixels
    }

    #[test]
    fn runs_of_any_length_can_be_drawn() {
        let rows = |n: u64| -> Vec<Row> {
            (1..=n)
                .map(|i| row(i * 10, 1.0 + 7.0 / i as f64, (i % 5 == 0).then_some(1.2)))
                .collect()
        };
        let mut pictures = Vec::new();
        for n in [0, 1, 2, 400] {
            for has_ended in [false, true] {
                let picture = pixels(&rows(n), has_ended);
                let drawn = |color: RGBColor| {
                    let (r, g, b) = color.rgb();
                    picture
                        .chunks_exact(3)
                        .filter(|pixel| **pixel == [r, g, b])
                        .count()
                };
                // A line of two points or more, and a marker for each evaluation.
                assert_eq!(drawn(TRAIN_COLOR) > 100, n >= 2, "{n} rows");
                assert_eq!(drawn(VALID_COLOR) > 20, n >= 5, "{n} rows");
                assert!(
                    !pictures.contains(&picture) || n < 5,
                    "{n} rows, ended: {has_ended}"
                );
                pictures.push(picture);
            }
        }
    }

    #[test]
    fn the_first_steps_do_not_flatten_the_curve() {
        let rows: Vec<Row> = (1..=100)
            .map(|i| row(i, if i < 4 { 8.0 } else { 1.5 }, None))
            .collect();
        let (low, high) = Curves::new(&rows, false).range();
        assert!(low > 1.4 && high < 1.6, "{low} {high}");
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
