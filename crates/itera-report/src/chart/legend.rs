//! The legend: what colours and signs mean.

use plotters::style::RGBColor;

use super::{
    canvas::{Anchor, Area, Canvas, Sign, Text},
    font,
    palette::{INK, QUIET},
};

const SIZE: f64 = 14.0;
const LINE: f64 = 24.0;
const KEY: f64 = 26.0;
const GAP: f64 = 22.0;

/// How an entry looks in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Key {
    /// A bar of this colour.
    Bar(RGBColor),
    /// A line of this colour.
    Line(RGBColor),
    /// A line of this colour with points.
    Points(RGBColor),
    /// A sign of this colour.
    Sign(Sign, RGBColor),
    /// Words alone.
    None,
    /// The line of an interval.
    Interval,
}

/// A thing and what it means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) label: String,
}

impl Entry {
    pub(crate) fn new(key: Key, label: &str) -> Self {
        Self {
            key,
            label: label.to_owned(),
        }
    }

    fn key_width(&self) -> f64 {
        if self.key == Key::None {
            0.0
        } else {
            KEY + 6.0
        }
    }

    fn width(&self) -> f64 {
        self.key_width() + font::width(&self.label, SIZE)
    }
}

/// Height of the legend in a picture of this width.
pub(crate) fn height(entries: &[Entry], width: f64) -> f64 {
    let (mut lines, mut x) = (f64::from(u8::from(!entries.is_empty())), 0.0);
    for entry in entries {
        if x > 0.0 && x + entry.width() > width {
            (lines, x) = (lines + 1.0, 0.0);
        }
        x += entry.width() + GAP;
    }
    lines * LINE
}

/// Draws the legend from (`left`, `top`), in as many lines as it needs.
pub(crate) fn draw(canvas: &mut Canvas, entries: &[Entry], left: f64, top: f64, width: f64) {
    let (mut x, mut y) = (left, top + LINE / 2.0);
    for entry in entries {
        if x > left && x - left + entry.width() > width {
            (x, y) = (left, y + LINE);
        }
        draw_key(canvas, entry.key, x, y);
        canvas.text(Text {
            text: entry.label.clone(),
            x: x + entry.key_width(),
            y,
            size: SIZE,
            bold: false,
            color: INK,
            anchor: Anchor::Left,
        });
        x += entry.width() + GAP;
    }
}

fn draw_key(canvas: &mut Canvas, key: Key, x: f64, y: f64) {
    let middle = (x + KEY / 2.0, y);
    match key {
        Key::Bar(color) => canvas.rectangle(
            Area {
                x,
                y: y - 7.0,
                width: KEY,
                height: 14.0,
            },
            color,
        ),
        Key::Line(color) => canvas.line(vec![(x, y), (x + KEY, y)], 2.0, color),
        Key::Points(color) => {
            canvas.line(vec![(x, y), (x + KEY, y)], 2.0, color);
            canvas.sign(Sign::Dot, middle, color);
        }
        Key::Sign(sign, color) => canvas.sign(sign, middle, color),
        Key::None => {}
        Key::Interval => whisker(canvas, x + 2.0, x + KEY - 2.0, y, QUIET),
    }
}

/// An interval: a line with ends.
pub(crate) fn whisker(canvas: &mut Canvas, from: f64, to: f64, y: f64, color: RGBColor) {
    canvas.line(vec![(from, y), (to, y)], 1.5, color);
    for x in [from, to] {
        canvas.line(vec![(x, y - 5.0), (x, y + 5.0)], 1.5, color);
    }
}
