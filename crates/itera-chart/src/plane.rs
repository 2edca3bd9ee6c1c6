//! Points and lines over two axes.

use crate::{
    axis::{Axis, Scale},
    font,
    frame::{self, Entry, MARGIN, TEXT, WIDTH, X_AXIS, quiet, text, x_axis},
    picture::{Anchor, Area, Ink, Label, Picture, Sign},
};

const PANEL_TITLE: f64 = 26.0;
const PANEL_GAP: f64 = 36.0;
/// Room for the ticks of the vertical axis.
const TICKS: f64 = 46.0;
/// Room between rows of panels.
const GAP: f64 = 14.0;
/// Width of a panel over its height, and its greatest height.
const SHAPE: f64 = 1.75;
const HEIGHT: f64 = 420.0;

/// A chart of points and lines.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    /// What is shown.
    pub title: String,
    /// What a reader has to know, in a line or two.
    pub note: String,
    /// What signs and colours stand for.
    pub legend: Vec<Entry>,
    /// Panels side by side.
    pub columns: usize,
    /// The panels.
    pub panels: Vec<PlanePanel>,
}

/// One pair of axes.
#[derive(Clone, Debug, Default)]
pub struct PlanePanel {
    /// What it shows; may be empty.
    pub title: String,
    /// The horizontal axis.
    pub x: Scale,
    /// The vertical axis.
    pub y: Scale,
    /// Lines, drawn first.
    pub lines: Vec<Line>,
    /// Points, drawn above the lines.
    pub points: Vec<Point>,
    /// Height over width; 0 for the usual one.
    pub shape: f64,
}

/// A line through points.
#[derive(Clone, Debug)]
pub struct Line {
    /// Chooses the colour.
    pub series: u8,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// The line stays at a height until the next point, and dashes.
    pub is_step: bool,
}

/// A point with a label.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where it is.
    pub at: (f64, f64),
    /// Chooses the colour.
    pub series: u8,
    /// Chooses the shape.
    pub sign: Sign,
    /// Beside the point; may be empty.
    pub label: String,
    /// What a page shows beyond the label.
    pub tip: String,
}

impl Plane {
    /// The chart as a picture.
    pub fn draw(&self) -> Picture {
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let inner = WIDTH - 2.0 * MARGIN - PANEL_GAP * (columns - 1) as f64;
        let cell = inner / columns as f64;
        let width = cell - TICKS;
        let has_titles = self.panels.iter().any(|panel| !panel.title.is_empty());
        let title = PANEL_TITLE + if has_titles { 18.0 } else { 0.0 };
        let height = |panel: &PlanePanel| match panel.shape {
            0.0 => (width / SHAPE).min(HEIGHT),
            shape => shape * width,
        };
        // A row of panels is as high as its highest.
        let heights: Vec<f64> = self
            .panels
            .chunks(columns)
            .map(|row| row.iter().map(height).fold(0.0, f64::max))
            .collect();
        let around = title + X_AXIS + GAP;
        let content = heights.iter().map(|height| height + around).sum::<f64>() - GAP;
        let (mut picture, mut y) = frame::open(&self.title, &self.note, &self.legend, content);
        for (row, height) in self.panels.chunks(columns).zip(heights) {
            for (i, panel) in row.iter().enumerate() {
                let x = MARGIN + (cell + PANEL_GAP) * i as f64;
                if has_titles {
                    picture.text(Label {
                        is_bold: true,
                        ..text(&panel.title, x, y + 8.0, Anchor::Start)
                    });
                }
                let (x, y) = (x + TICKS, y + title);
                panel.draw(
                    &mut picture,
                    Area {
                        x,
                        y,
                        width,
                        height,
                    },
                );
            }
            y += height + around;
        }
        picture
    }
}

impl PlanePanel {
    fn draw(&self, picture: &mut Picture, area: Area) {
        let on_lines = || {
            self.lines
                .iter()
                .flat_map(|line| line.points.iter().copied())
        };
        let all = || on_lines().chain(self.points.iter().map(|point| point.at));
        let x = self
            .x
            .axis(all().map(|(x, _)| x), (area.width / 75.0) as usize);
        let heights = all().map(|(_, y)| y);
        let y = self
            .y
            .axis(self.y.padded(heights), (area.height / 45.0) as usize);
        y_axis(picture, &y, &self.y.title, area);
        x_axis(picture, &x, &self.x.title, area);
        let at = |(a, b): (f64, f64)| {
            (
                area.x + area.width * x.at(a),
                area.y + area.height * (1.0 - y.at(b)),
            )
        };
        for line in &self.lines {
            // What lies above the axis would be a line along its edge.
            let shown = line.points.iter().filter(|(_, value)| *value <= y.high);
            let points: Vec<(f64, f64)> = shown.map(|point| at(*point)).collect();
            let ink = Ink::Series(line.series);
            if line.is_step {
                picture.dashes(&steps(&points), 1.5, ink);
            } else {
                picture.line(&points, 2.0, ink);
            }
        }
        let points: Vec<(f64, f64)> = self.points.iter().map(|point| at(point.at)).collect();
        let mut taken: Vec<Area> = points.iter().map(|at| around(*at)).collect();
        for line in &self.lines {
            let shown = line.points.iter().filter(|(_, value)| *value <= y.high);
            let points: Vec<(f64, f64)> = shown.map(|point| at(*point)).collect();
            let points = if line.is_step { steps(&points) } else { points };
            taken.extend(points.windows(2).map(|pair| along(pair[0], pair[1])));
        }
        for (point, at) in self.points.iter().zip(&points) {
            place(picture, &point.label, *at, area, &mut taken);
        }
        for (point, at) in self.points.iter().zip(points) {
            picture.sign(point.sign, at, point.series, false, &point.tip);
        }
    }
}

/// Grid, ticks and title of a vertical axis left of an area.
fn y_axis(picture: &mut Picture, axis: &Axis, title: &str, area: Area) {
    for (tick, label) in axis.ticks.iter().zip(axis.labels()) {
        let y = area.y + area.height * (1.0 - axis.at(*tick));
        picture.line(&[(area.x, y), (area.x + area.width, y)], 1.0, Ink::Grid);
        picture.text(quiet(&label, area.x - 8.0, y, Anchor::End));
    }
    picture.text(text(title, area.x - TICKS, area.y - 18.0, Anchor::Start));
}

/// A line that stays at a height until the next point.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps = Vec::new();
    for pair in points.windows(2) {
        steps.extend([pair[0], (pair[1].0, pair[0].1)]);
    }
    steps.extend(points.last());
    steps
}

/// The room that a sign takes.
fn around((x, y): (f64, f64)) -> Area {
    Area {
        x: x - 6.0,
        y: y - 6.0,
        width: 12.0,
        height: 12.0,
    }
}

/// A spot on a line.
fn around_tightly((x, y): (f64, f64)) -> Area {
    Area {
        x: x - 1.0,
        y: y - 1.0,
        width: 2.0,
        height: 2.0,
    }
}

/// The room that a piece of a line takes.
fn along((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Area {
    Area {
        x: x1.min(x2) - 1.0,
        y: y1.min(y2) - 1.0,
        width: (x2 - x1).abs() + 2.0,
        height: (y2 - y1).abs() + 2.0,
    }
}

/// Writes a label at the nearest free place around its point; one that cannot touch it gets a line.
fn place(
    picture: &mut Picture,
    label: &str,
    (x, y): (f64, f64),
    area: Area,
    taken: &mut Vec<Area>,
) {
    if label.is_empty() {
        return;
    }
    let size = TEXT - 1.0;
    let width = font::width(label, size, false);
    let candidate = |(dx, dy, anchor): (f64, f64, Anchor)| {
        let label = Label {
            size,
            ..text(label, x + dx, y + dy, anchor)
        };
        (label.area(), label)
    };
    let at_distance = |d: f64| {
        [
            (9.0 + d, 0.0, Anchor::Start),
            (-9.0 - d, 0.0, Anchor::End),
            (0.0, -15.0 - d, Anchor::Middle),
            (0.0, 15.0 + d, Anchor::Middle),
            (7.0 + d, -12.0 - d, Anchor::Start),
            (7.0 + d, 12.0 + d, Anchor::Start),
            (-7.0 - d, -12.0 - d, Anchor::End),
            (-7.0 - d, 12.0 + d, Anchor::End),
        ]
    };
    let is_free = |place: &Area| {
        let is_inside = place.x >= area.x - 30.0
            && place.x + width <= area.x + area.width + MARGIN
            && place.y >= area.y - 8.0
            && place.y + place.height <= area.y + area.height;
        is_inside && !taken.iter().any(|other| other.overlaps(place))
    };
    let distances = (0..12).map(|i| 9.0 * f64::from(i));
    let nearest = |place: &Area| {
        (
            x.clamp(place.x, place.x + place.width),
            y.clamp(place.y, place.y + place.height),
        )
    };
    // The line to a label crosses no other label or point.
    let is_clear = |place: &Area| {
        let (to_x, to_y) = nearest(place);
        let on = |i: i32| {
            let share = f64::from(i) / 16.0;
            around_tightly((x + share * (to_x - x), y + share * (to_y - y)))
        };
        let own = around((x, y));
        (1..16).map(on).filter(|at| !own.overlaps(at)).all(|at| {
            let others = taken.iter().filter(|other| other.height > 8.0);
            !others.into_iter().any(|other| other.overlaps(&at))
        })
    };
    let found = distances
        .flat_map(|d| at_distance(d).map(|place| (d, candidate(place))))
        .find(|(d, (place, _))| is_free(place) && (*d == 0.0 || is_clear(place)));
    let Some((distance, (place, label))) = found else {
        return;
    };
    if distance > 0.0 {
        picture.line(&[(x, y), nearest(&place)], 1.0, Ink::Rule);
    }
    picture.text(label);
    taken.push(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Picture {
        let point = |at: &(f64, f64)| Point {
            at: *at,
            series: 0,
            sign: Sign::Square,
            label: "a model int8".to_owned(),
            tip: String::new(),
        };
        let panel = PlanePanel {
            title: "Panel".to_owned(),
            x: Scale::log("kB"),
            y: Scale::linear("bits/byte"),
            lines: vec![Line {
                series: 1,
                points: points.to_vec(),
                is_step: true,
            }],
            points: points.iter().map(point).collect(),
            ..PlanePanel::default()
        };
        Plane {
            title: "Title".to_owned(),
            columns: 2,
            panels: vec![panel.clone(), panel],
            ..Plane::default()
        }
        .draw()
    }

    #[test]
    fn labels_of_close_points_keep_apart() {
        let close: Vec<(f64, f64)> = (0..7)
            .map(|i| (100.0 + f64::from(i), 1.0 + 0.001 * f64::from(i)))
            .collect();
        for points in [&[][..], &[(5.0, 1.0)], &close] {
            assert_eq!(chart(points).overlaps(), [""; 0], "{points:?}");
        }
    }

    #[test]
    fn a_front_goes_in_steps() {
        assert_eq!(
            steps(&[(0.0, 3.0), (2.0, 1.0)]),
            [(0.0, 3.0), (2.0, 3.0), (2.0, 1.0)]
        );
        assert_eq!(steps(&[]), []);
    }
}
