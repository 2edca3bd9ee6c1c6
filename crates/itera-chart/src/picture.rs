//! Shapes, as SVG for a page and as PNG.

use std::fmt::Write as _;

use crate::{
    font,
    raster::{self, ChartError},
};

/// Colours of the classes for a page, in variables that it sets for light and for dark: `--c0` to `--c5`,
/// `--ink`, `--quiet`, `--ground`, `--grid` and `--rule`.
pub const PAGE_STYLE: &str = "\
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}\
.f5{fill:var(--c5)}.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}\
.l4{stroke:var(--c4)}.l5{stroke:var(--c5)}.t{fill:var(--ink)}.q{fill:var(--quiet)}.h{fill:var(--ground)}.halo{stroke:var(--ground)}\
.g{stroke:var(--grid)}.r{stroke:var(--rule)}";

/// A mark; shapes differ, so that no colour is needed to tell series apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A filled circle.
    Circle,
    /// A square on its corner.
    Diamond,
    /// A triangle on its side.
    Triangle,
    /// A square.
    Square,
}

/// A colour by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Series(u8),
    Text,
    Quiet,
    Ground,
    Grid,
    Rule,
}

impl Ink {
    /// The class that fills with this colour.
    fn fill(self) -> String {
        match self {
            Self::Series(series) => format!("f{}", series % 6),
            Self::Text => "t".to_owned(),
            Self::Quiet => "q".to_owned(),
            _ => "h".to_owned(),
        }
    }

    /// The class that strokes with this colour.
    fn stroke(self) -> String {
        match self {
            Self::Series(series) => format!("l{}", series % 6),
            Self::Grid => "g".to_owned(),
            Self::Ground => "halo".to_owned(),
            _ => "r".to_owned(),
        }
    }
}

/// Which point of a text is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A rectangle; `x` and `y` are its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Area {
    /// Whether two rectangles have more than an edge in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// A text on one line; `y` is the middle of its letters.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) text: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) size: f64,
    pub(crate) is_bold: bool,
    pub(crate) ink: Ink,
    pub(crate) anchor: Anchor,
}

impl Label {
    pub(crate) fn area(&self) -> Area {
        let width = font::width(&self.text, self.size, self.is_bold);
        let left = match self.anchor {
            Anchor::Start => self.x,
            Anchor::Middle => self.x - width / 2.0,
            Anchor::End => self.x - width,
        };
        Area {
            x: left,
            y: self.y - 0.55 * self.size,
            width,
            height: 1.1 * self.size,
        }
    }

    /// The line that its letters stand on.
    pub(crate) fn baseline(&self) -> f64 {
        self.y + 0.36 * self.size
    }
}

/// Something that is drawn.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Rectangle {
        area: Area,
        ink: Ink,
        tip: String,
    },
    Line {
        points: Vec<(f64, f64)>,
        width: f64,
        ink: Ink,
        is_dashed: bool,
    },
    Sign {
        sign: Sign,
        at: (f64, f64),
        ink: Ink,
        is_hollow: bool,
        tip: String,
    },
    Text(Label),
}

/// The length of dashes and of the gaps between them.
pub(crate) const DASHES: [f32; 2] = [5.0, 4.0];

/// Radius of signs.
pub(crate) const RADIUS: f64 = 5.0;

impl Sign {
    /// The corners around a point; none for a circle.
    pub(crate) fn corners(self, (x, y): (f64, f64)) -> Vec<(f64, f64)> {
        let corners: &[(f64, f64)] = match self {
            Self::Circle => &[],
            Self::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            Self::Triangle => &[(0.0, -1.2), (1.15, 0.95), (-1.15, 0.95)],
            Self::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        };
        corners
            .iter()
            .map(|(dx, dy)| (x + RADIUS * dx, y + RADIUS * dy))
            .collect()
    }
}

/// A drawing in pixels from its upper left corner; later shapes lie above earlier ones.
#[derive(Clone, Debug)]
pub struct Picture {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) shapes: Vec<Shape>,
}

impl Picture {
    pub(crate) const fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            shapes: Vec::new(),
        }
    }

    /// The picture as SVG for a page that has [`PAGE_STYLE`]; `alt` is what it says in words.
    pub fn svg(&self, alt: &str) -> String {
        let body: String = self.shapes.iter().map(svg).collect();
        format!(
            "<svg viewBox=\"0 0 {:.0} {:.0}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
            self.width,
            self.height,
            escape(alt)
        )
    }

    /// The picture as a PNG file, on white, at twice its size.
    ///
    /// # Errors
    /// If it has no size, or one beyond memory.
    pub fn png(&self) -> Result<Vec<u8>, ChartError> {
        raster::png(self)
    }

    pub(crate) fn rectangle(&mut self, area: Area, ink: Ink, tip: &str) {
        let tip = tip.to_owned();
        self.shapes.push(Shape::Rectangle { area, ink, tip });
    }

    pub(crate) fn line(&mut self, points: &[(f64, f64)], width: f64, ink: Ink) {
        self.stroke(points, width, ink, false);
    }

    pub(crate) fn dashes(&mut self, points: &[(f64, f64)], width: f64, ink: Ink) {
        self.stroke(points, width, ink, true);
    }

    fn stroke(&mut self, points: &[(f64, f64)], width: f64, ink: Ink, is_dashed: bool) {
        let points = points.to_vec();
        self.shapes.push(Shape::Line {
            points,
            width,
            ink,
            is_dashed,
        });
    }

    /// A sign with a rim of the ground's colour, which keeps it apart from what lies beneath; a hollow
    /// one stands for an estimate.
    pub(crate) fn sign(
        &mut self,
        sign: Sign,
        at: (f64, f64),
        series: u8,
        is_hollow: bool,
        tip: &str,
    ) {
        let (ink, tip) = (Ink::Series(series), tip.to_owned());
        self.shapes.push(Shape::Sign {
            sign,
            at,
            ink,
            is_hollow,
            tip,
        });
    }

    pub(crate) fn text(&mut self, label: Label) {
        if !label.text.is_empty() {
            self.shapes.push(Shape::Text(label));
        }
    }

    /// Texts that lie on one another or reach out of the picture: for tests of those who draw.
    pub fn overlaps(&self) -> Vec<String> {
        let text = |shape: &Shape| match shape {
            Shape::Text(label) => Some((label.text.clone(), label.area())),
            _ => None,
        };
        let texts: Vec<(String, Area)> = self.shapes.iter().filter_map(text).collect();
        let mut found = Vec::new();
        for (i, (text, area)) in texts.iter().enumerate() {
            let is_inside = area.x >= 0.0
                && area.y >= 0.0
                && area.x + area.width <= self.width
                && area.y + area.height <= self.height;
            if !is_inside {
                found.push(format!("`{text}` reaches out of the picture"));
            }
            let on = texts[i + 1..]
                .iter()
                .filter(|(_, other)| area.overlaps(other));
            found.extend(on.map(|(other, _)| format!("`{text}` lies on `{other}`")));
        }
        found
    }
}

fn svg(shape: &Shape) -> String {
    match shape {
        Shape::Rectangle { area, ink, tip } => format!(
            "<rect class=\"{}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\">{}</rect>",
            ink.fill(),
            area.x,
            area.y,
            area.width,
            area.height,
            tooltip(tip)
        ),
        Shape::Line {
            points,
            width,
            ink,
            is_dashed,
        } => {
            let dashes = if *is_dashed {
                format!(" stroke-dasharray=\"{} {}\"", DASHES[0], DASHES[1])
            } else {
                String::new()
            };
            format!(
                "<polyline class=\"{}\" fill=\"none\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dashes} \
                 points=\"{}\"/>",
                ink.stroke(),
                coordinates(points)
            )
        }
        Shape::Sign {
            sign,
            at,
            ink,
            is_hollow,
            tip,
        } => {
            let style = if *is_hollow {
                format!("class=\"h {}\" stroke-width=\"2\"", ink.stroke())
            } else {
                format!("class=\"{} halo\" stroke-width=\"1\"", ink.fill())
            };
            let tip = tooltip(tip);
            let (x, y) = at;
            match sign {
                Sign::Circle => format!(
                    "<circle {style} cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{RADIUS}\">{tip}</circle>"
                ),
                sign => format!(
                    "<polygon {style} points=\"{}\">{tip}</polygon>",
                    coordinates(&sign.corners(*at))
                ),
            }
        }
        Shape::Text(label) => {
            let anchor = match label.anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            format!(
                "<text class=\"{}\" x=\"{:.2}\" y=\"{:.2}\" font-size=\"{}\" text-anchor=\"{anchor}\"{}>{}</text>",
                label.ink.fill(),
                label.x,
                label.baseline(),
                label.size,
                if label.is_bold {
                    " font-weight=\"600\""
                } else {
                    ""
                },
                escape(&label.text)
            )
        }
    }
}

fn coordinates(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (x, y) in points {
        let _ = write!(text, "{x:.2},{y:.2} ");
    }
    text.trim_end().to_owned()
}

/// What a page shows when the pointer rests on a shape.
fn tooltip(tip: &str) -> String {
    if tip.is_empty() {
        String::new()
    } else {
        format!("<title>{}</title>", escape(tip))
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
