//! The picture of a measurement: a bar for each runtime and precision.

use std::{fs, sync::Once};

use anyhow::{Context as _, anyhow};
use epaint_default_fonts::UBUNTU_LIGHT;
use itera_record::{ExportBench, ExportBenchRow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        FontStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

const FONT: &str = "sans-serif";
const WIDTH: u32 = 1100;
/// Heights of a bar with its gap, and of what is above and below the bars.
const ROW: u32 = 42;
const HEAD: u32 = 90;
const FOOT: u32 = 50;
/// Where bars begin, and where the longest ends; its figures stand after it.
const LEFT: u32 = 330;
const RIGHT: u32 = 830;

/// Draws the rows, fastest first.
pub(super) fn png(bench: &ExportBench) -> anyhow::Result<Vec<u8>> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        // Fails only for a file that is no font; the drawing then fails with the reason.
        let _ = register_font(FONT, FontStyle::Normal, UBUNTU_LIGHT);
    });
    let folder = tempfile::tempdir().context("cannot make a temporary folder for the chart")?;
    let path = folder.path().join("chart.png");
    let size = (WIDTH, HEAD + FOOT + ROW * bench.rows.len() as u32);
    {
        let area = BitMapBackend::new(&path, size).into_drawing_area();
        // The error type of plotters names its backend and cannot leave this function.
        draw(&area, bench).map_err(|error| anyhow!("cannot draw the chart: {error}"))?;
        area.present()
            .map_err(|error| anyhow!("cannot draw the chart: {error}"))?;
    }
    fs::read(&path).context("cannot read the chart back")
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(area: &DrawingArea<BitMapBackend<'a>, Shift>, bench: &ExportBench) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let protocol = &bench.protocol;
    let text = |size: i32, color: RGBColor| (FONT, size).into_font().color(&color);
    let title = format!(
        "{}: {} tokens at once, {} thread{}",
        bench.model.name,
        protocol.seq_len,
        protocol.threads,
        if protocol.threads == 1 { "" } else { "s" }
    );
    area.draw(&Text::new(title, (30, 22), text(28, BLACK)))?;
    let below = format!(
        "median and 95th percentile of {} runs in ms, lower is better; *: measured apart from the others",
        protocol.samples
    );
    area.draw(&Text::new(below, (30, 58), text(18, GREY)))?;
    let longest = bench
        .rows
        .iter()
        .map(|row| row.p95_seconds)
        .fold(f64::MIN_POSITIVE, f64::max);
    for (i, row) in bench.rows.iter().enumerate() {
        bar(area, row, i as u32, longest)?;
    }
    Ok(())
}

const GREY: RGBColor = RGBColor(90, 90, 90);

/// A bar to the median, a line to the 95th percentile, and the figures.
fn bar<'a>(
    area: &DrawingArea<BitMapBackend<'a>, Shift>,
    row: &ExportBenchRow,
    index: u32,
    longest: f64,
) -> Drawn<'a> {
    let top = (HEAD + index * ROW) as i32;
    let middle = top + ROW as i32 / 2;
    let at =
        |seconds: f64| LEFT as i32 + (f64::from(RIGHT - LEFT) * seconds / longest).round() as i32;
    let text = |h| {
        (FONT, 20)
            .into_font()
            .color(&BLACK)
            .pos(Pos::new(h, VPos::Center))
    };
    let mark = if row.is_interleaved { "" } else { " *" };
    let name = format!("{} {}{mark}", row.runtime, row.precision);
    area.draw(&Text::new(
        name,
        (LEFT as i32 - 14, middle),
        text(HPos::Right),
    ))?;
    let (start, end) = (
        (LEFT as i32, top + 7),
        (
            at(row.median_seconds).max(LEFT as i32 + 1),
            top + ROW as i32 - 7,
        ),
    );
    area.draw(&Rectangle::new(
        [start, end],
        color(&row.precision).filled(),
    ))?;
    let reach = [
        (at(row.median_seconds), middle),
        (at(row.p95_seconds), middle),
    ];
    area.draw(&PathElement::new(reach.to_vec(), GREY.stroke_width(2)))?;
    let figures = format!(
        "{:.2} ms, {:.0} tokens/s",
        row.median_seconds * 1e3,
        row.tokens_per_s
    );
    area.draw(&Text::new(
        figures,
        (at(row.p95_seconds) + 10, middle),
        text(HPos::Left),
    ))
}

/// The colours that the reports have for precisions too.
fn color(precision: &str) -> RGBColor {
    match precision {
        "fp32" => RGBColor(0, 114, 178),
        "int8" => RGBColor(230, 159, 0),
        _ => RGBColor(0, 158, 115),
    }
}
