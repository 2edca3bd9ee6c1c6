//! A picture as a list of shapes, in pixels from its upper left corner.

use plotters::style::RGBColor;

use super::font;

/// Which point of a text is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The middle of its left side.
    Left,
    /// Its middle.
    Center,
    /// The middle of its right side.
    Right,
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
    pub(crate) const fn right(&self) -> f64 {
        self.x + self.width
    }

    pub(crate) const fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// Whether two rectangles have more than an edge in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let apart = self.right() <= other.x
            || other.right() <= self.x
            || self.bottom() <= other.y
            || other.bottom() <= self.y;
        !apart
    }
}

/// A text, drawn on one line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) size: f64,
    pub(crate) bold: bool,
    pub(crate) color: RGBColor,
    pub(crate) anchor: Anchor,
}

impl Text {
    /// The rectangle that the text fills.
    pub(crate) fn area(&self) -> Area {
        let width = font::width(&self.text, self.size);
        let height = self.size * font::LINE_HEIGHT;
        let x = match self.anchor {
            Anchor::Left => self.x,
            Anchor::Center => self.x - width / 2.0,
            Anchor::Right => self.x - width,
        };
        let y = self.y - height / 2.0;
        Area {
            x,
            y,
            width,
            height,
        }
    }
}

/// A small sign at a point; shapes differ, so that no colour is needed to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Circle,
    /// A small circle, for points of a curve.
    Dot,
    Diamond,
    Triangle,
    Square,
}

/// Something that is drawn; later shapes lie above earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Rectangle(Area, RGBColor),
    /// A line through points, so many pixels thick.
    Line(Vec<(f64, f64)>, f64, RGBColor),
    Sign(Sign, (f64, f64), RGBColor),
    Text(Text),
}

/// A white picture that shapes are added to.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) shapes: Vec<Shape>,
}

impl Canvas {
    pub(crate) const fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            shapes: Vec::new(),
        }
    }

    pub(crate) fn rectangle(&mut self, area: Area, color: RGBColor) {
        self.shapes.push(Shape::Rectangle(area, color));
    }

    pub(crate) fn line(&mut self, points: Vec<(f64, f64)>, thickness: f64, color: RGBColor) {
        self.shapes.push(Shape::Line(points, thickness, color));
    }

    pub(crate) fn sign(&mut self, sign: Sign, at: (f64, f64), color: RGBColor) {
        self.shapes.push(Shape::Sign(sign, at, color));
    }

    pub(crate) fn text(&mut self, text: Text) {
        if !text.text.is_empty() {
            self.shapes.push(Shape::Text(text));
        }
    }

    /// Texts that lie on one another or reach out of the picture.
    #[cfg(test)]
    pub(crate) fn overlaps(&self) -> Vec<String> {
        let text = |shape: &Shape| match shape {
            Shape::Text(text) => Some(text.clone()),
            _ => None,
        };
        let texts: Vec<Text> = self.shapes.iter().filter_map(text).collect();
        let mut found = Vec::new();
        for (i, one) in texts.iter().enumerate() {
            let area = one.area();
            let inside = area.x >= 0.0
                && area.y >= 0.0
                && area.right() <= self.width
                && area.bottom() <= self.height;
            if !inside {
                found.push(format!("`{}` reaches out of the picture", one.text));
            }
            for other in &texts[i + 1..] {
                if area.overlaps(&other.area()) {
                    found.push(format!("`{}` lies on `{}`", one.text, other.text));
                }
            }
        }
        found
    }
}
