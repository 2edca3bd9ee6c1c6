//! Pictures of points with labels: what is gained for what is paid.

use plotters::style::RGBColor;

use super::{
    axis::Axis,
    canvas::{Anchor, Area, Canvas, Sign, Text},
    font,
    frame::{self, INNER, MARGIN, TICK},
    legend::Entry,
    palette::{FRAME, GRID, INK, WHITE},
};

const LABEL: f64 = 13.5;
const GAP: f64 = 30.0;
const PLOT: f64 = 290.0;

/// A picture of panels, one beneath the other.
#[derive(Clone, Debug)]
pub(crate) struct ScatterChart {
    pub(crate) title: String,
    pub(crate) legend: Vec<Entry>,
    pub(crate) panels: Vec<Panel>,
}

/// Points on one pair of axes; lower and further left is better.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) x_axis: String,
    pub(crate) y_axis: String,
    pub(crate) points: Vec<Point>,
    /// The points that no other one betters, joined by a line.
    pub(crate) front: Vec<(f64, f64)>,
}

/// A point with its name.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) at: (f64, f64),
    pub(crate) color: RGBColor,
    pub(crate) sign: Sign,
    pub(crate) label: String,
}

impl ScatterChart {
    /// The picture as shapes.
    pub(crate) fn draw(&self) -> Canvas {
        let panels = self.panels.len() as f64;
        let content = panels * Panel::height() + (panels - 1.0).max(0.0) * GAP;
        let (mut canvas, top) = frame::open(&self.title, &self.legend, content);
        for (i, panel) in self.panels.iter().enumerate() {
            let y = top + (Panel::height() + GAP) * i as f64;
            panel.draw(&mut canvas, MARGIN, y, INNER);
        }
        canvas
    }
}

impl Panel {
    const fn height() -> f64 {
        frame::panel_title_height() + 3.0 * TICK + 46.0 + PLOT
    }

    /// The lower axis and the one to the left.
    fn axes(&self) -> (Axis, Axis) {
        let values = || self.points.iter().map(|point| point.at.1);
        let (low, high) = (
            values().fold(f64::INFINITY, f64::min),
            values().fold(0.0, f64::max),
        );
        // Room above and below, so that equal values do not lie on the frame.
        let room = (0.25 * (high - low)).max(0.04 * high);
        let sizes = || self.points.iter().map(|point| point.at.0);
        let (least, most) = (
            sizes().fold(f64::INFINITY, f64::min),
            sizes().fold(0.0, f64::max),
        );
        (
            // Of a teacher and of a model a hundredth of its size both are to be seen.
            Axis::logarithmic(least * 0.9, most * 1.1),
            Axis::linear((low - room).max(0.0), high + room, 5),
        )
    }

    fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64) {
        let (horizontal, vertical) = self.axes();
        let margin = font::widest(vertical.labels().iter().map(String::as_str), TICK) + 8.0;
        let mut y = y + frame::panel_title(canvas, &self.title, x, y) + TICK / 2.0 + 8.0;
        canvas.text(frame::axis_title(&self.y_axis, x, y, Anchor::Left));
        y += TICK / 2.0 + 12.0;
        let plot = Area {
            x: x + margin,
            y,
            width: width - margin - 12.0,
            height: PLOT,
        };
        self.draw_axes(canvas, &horizontal, &vertical, &plot);
        let at = |(x, y): (f64, f64)| {
            (
                plot.x + horizontal.at(x) * plot.width,
                plot.bottom() - vertical.at(y) * plot.height,
            )
        };
        let front: Vec<_> = self.front.iter().map(|&point| at(point)).collect();
        if front.len() > 1 {
            canvas.line(front.clone(), 1.5, FRAME);
        }
        let points: Vec<_> = self.points.iter().map(|point| at(point.at)).collect();
        let mut taken: Vec<Area> = points.iter().map(|&point| around(point, 8.0)).collect();
        taken.extend(along(&front));
        for (point, &center) in self.points.iter().zip(&points) {
            canvas.sign(point.sign, center, point.color);
            let text = place(&point.label, center, &taken, &plot);
            taken.push(text.area());
            canvas.rectangle(text.area(), WHITE);
            canvas.text(text);
        }
    }

    fn draw_axes(&self, canvas: &mut Canvas, horizontal: &Axis, vertical: &Axis, plot: &Area) {
        for (tick, text) in vertical.ticks.iter().zip(vertical.labels()) {
            let y = plot.bottom() - vertical.at(*tick) * plot.height;
            canvas.line(vec![(plot.x, y), (plot.right(), y)], 1.0, GRID);
            canvas.text(frame::tick(text, plot.x - 7.0, y, Anchor::Right));
        }
        let y = plot.bottom() + TICK / 2.0 + 12.0;
        for (tick, text) in horizontal.ticks.iter().zip(horizontal.labels()) {
            let x = plot.x + horizontal.at(*tick) * plot.width;
            canvas.line(vec![(x, plot.y), (x, plot.bottom())], 1.0, GRID);
            canvas.text(frame::tick(text, x, y, Anchor::Center));
        }
        let (middle, below) = (plot.x + plot.width / 2.0, y + TICK + 7.0);
        canvas.text(frame::axis_title(
            &self.x_axis,
            middle,
            below,
            Anchor::Center,
        ));
    }
}

/// The square around a point, `half` to each side.
fn around((x, y): (f64, f64), half: f64) -> Area {
    Area {
        x: x - half,
        y: y - half,
        width: 2.0 * half,
        height: 2.0 * half,
    }
}

/// Small squares along a line, so that no label lies on it.
fn along(line: &[(f64, f64)]) -> Vec<Area> {
    const STEP: f64 = 4.0;
    let segment = |ends: &[(f64, f64)]| {
        let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
        let steps = ((x1 - x0).hypot(y1 - y0) / STEP).ceil().max(1.0) as usize;
        let at = move |i: usize| {
            let share = i as f64 / steps as f64;
            around((x0 + share * (x1 - x0), y0 + share * (y1 - y0)), 1.0)
        };
        (0..=steps).map(at).collect::<Vec<_>>()
    };
    line.windows(2).flat_map(segment).collect()
}

/// The label at the first place near its point where it meets nothing: beside it, then above and
/// below, then further and further away.
fn place(label: &str, (x, y): (f64, f64), taken: &[Area], plot: &Area) -> Text {
    let text = |dx: f64, dy: f64, anchor: Anchor| Text {
        text: label.to_owned(),
        x: x + dx,
        y: y + dy,
        size: LABEL,
        bold: false,
        color: INK,
        anchor,
    };
    let ring = |i: usize| {
        let dy = 18.0 * i as f64;
        [
            text(11.0, -dy, Anchor::Left),
            text(11.0, dy, Anchor::Left),
            text(-11.0, -dy, Anchor::Right),
            text(-11.0, dy, Anchor::Right),
            text(0.0, -dy - 18.0, Anchor::Center),
            text(0.0, dy + 18.0, Anchor::Center),
        ]
    };
    let is_free = |text: &Text| {
        let area = text.area();
        let inside = area.x >= plot.x && area.right() <= plot.right();
        let inside = inside && area.y >= plot.y && area.bottom() <= plot.bottom();
        inside && !taken.iter().any(|other| area.overlaps(other))
    };
    (0..12)
        .flat_map(ring)
        .find(is_free)
        .unwrap_or_else(|| text(11.0, 0.0, Anchor::Left))
}
