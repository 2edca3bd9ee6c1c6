//! Pictures of curves: small panels side by side, each with its own axes.

use plotters::style::RGBColor;

use super::{
    axis::Axis,
    canvas::{Anchor, Area, Canvas, Sign, Text},
    font,
    frame::{self, MARGIN, TICK},
    legend::Entry,
    palette::{FRAME, GRID, INK},
};

const NOTE: f64 = 14.0;
const GAP: f64 = 30.0;
const PLOT: f64 = 230.0;

/// A picture of panels, in rows of `columns`.
#[derive(Clone, Debug)]
pub(crate) struct CurveChart {
    pub(crate) title: String,
    pub(crate) legend: Vec<Entry>,
    pub(crate) columns: usize,
    pub(crate) panels: Vec<Panel>,
}

/// Curves on one pair of axes.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// A line under the title: the values that count.
    pub(crate) note: String,
    pub(crate) x_axis: String,
    pub(crate) y_axis: String,
    /// Lowest and highest value shown; curves are cut off outside.
    pub(crate) range: (f64, f64),
    pub(crate) curves: Vec<Curve>,
}

/// Points in the order of their `x`.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) color: RGBColor,
    /// What marks each point.
    pub(crate) sign: Option<Sign>,
}

impl CurveChart {
    /// The picture as shapes.
    pub(crate) fn draw(&self) -> Canvas {
        let columns = self.columns.max(1);
        let width = frame::column_width(columns, GAP);
        let rows = self.panels.len().div_ceil(columns) as f64;
        let content = rows * Panel::height() + (rows - 1.0).max(0.0) * GAP;
        let (mut canvas, top) = frame::open(&self.title, &self.legend, content);
        for (i, panel) in self.panels.iter().enumerate() {
            let x = MARGIN + (width + GAP) * (i % columns) as f64;
            let y = top + (Panel::height() + GAP) * (i / columns) as f64;
            panel.draw(&mut canvas, x, y, width);
        }
        canvas
    }
}

impl Panel {
    const fn height() -> f64 {
        frame::panel_title_height() + NOTE + 3.0 * TICK + 42.0 + PLOT
    }

    fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64) {
        let mut y = y + frame::panel_title(canvas, &self.title, x, y) + NOTE / 2.0 + 6.0;
        canvas.text(Text {
            text: font::shorten(&self.note, NOTE, width),
            x,
            y,
            size: NOTE,
            bold: false,
            color: INK,
            anchor: Anchor::Left,
        });
        y += NOTE / 2.0 + TICK / 2.0 + 9.0;
        canvas.text(frame::axis_title(&self.y_axis, x, y, Anchor::Left));
        y += TICK / 2.0 + 12.0;
        let vertical = Axis::linear(self.range.0, self.range.1, 5);
        let labels = vertical.labels();
        let margin = font::widest(labels.iter().map(String::as_str), TICK) + 8.0;
        let plot = Area {
            x: x + margin,
            y,
            width: width - margin - 14.0,
            height: PLOT,
        };
        for (tick, text) in vertical.ticks.iter().zip(labels) {
            let y = plot.bottom() - vertical.at(*tick) * plot.height;
            canvas.line(vec![(plot.x, y), (plot.right(), y)], 1.0, GRID);
            canvas.text(frame::tick(text, plot.x - 7.0, y, Anchor::Right));
        }
        let horizontal = self.horizontal(canvas, &plot);
        for curve in &self.curves {
            curve.draw(canvas, &horizontal, &vertical, &plot);
        }
    }

    /// Draws the lower axis and gives it back.
    fn horizontal(&self, canvas: &mut Canvas, plot: &Area) -> Axis {
        let xs = self.curves.iter().flat_map(|curve| &curve.points);
        let end = xs.map(|(x, _)| *x).fold(0.0, f64::max);
        let axis = Axis::linear(0.0, end, 6);
        let y = plot.bottom() + TICK / 2.0 + 8.0;
        for (tick, text) in axis.ticks.iter().zip(axis.labels()) {
            let x = plot.x + axis.at(*tick) * plot.width;
            canvas.line(
                vec![(x, plot.bottom()), (x, plot.bottom() + 4.0)],
                1.0,
                FRAME,
            );
            canvas.text(frame::tick(text, x, y + 2.0, Anchor::Center));
        }
        let corners = vec![
            (plot.x, plot.y),
            (plot.x, plot.bottom()),
            (plot.right(), plot.bottom()),
        ];
        canvas.line(corners, 1.0, FRAME);
        let (middle, below) = (plot.x + plot.width / 2.0, y + TICK + 8.0);
        canvas.text(frame::axis_title(
            &self.x_axis,
            middle,
            below,
            Anchor::Center,
        ));
        axis
    }
}

impl Curve {
    fn draw(&self, canvas: &mut Canvas, horizontal: &Axis, vertical: &Axis, plot: &Area) {
        let at = |&(x, y): &(f64, f64)| {
            (
                plot.x + horizontal.at(x) * plot.width,
                plot.bottom() - vertical.at(y) * plot.height,
            )
        };
        let points: Vec<_> = self.points.iter().map(at).collect();
        if points.len() > 1 {
            canvas.line(points.clone(), 2.0, self.color);
        }
        if let Some(sign) = self.sign {
            for point in points {
                canvas.sign(sign, point, self.color);
            }
        }
    }
}
