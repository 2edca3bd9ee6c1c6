//! What all charts have in common: width, title, note, legend and the parts of an axis.

use crate::{
    axis::Axis,
    font,
    picture::{Anchor, Area, Ink, Label, Picture, Sign},
    series_of,
};

/// Width of every picture.
pub(crate) const WIDTH: f64 = 960.0;
/// White around everything.
pub(crate) const MARGIN: f64 = 20.0;
/// Size of most texts.
pub(crate) const TEXT: f64 = 13.0;

const TITLE: f64 = 18.0;
const LINE: f64 = 20.0;
/// Room for a sign in the legend, and between entries.
const KEY: f64 = 18.0;
const GAP: f64 = 22.0;

/// What a colour or a sign stands for.
#[derive(Clone, Debug)]
pub struct Entry {
    text: String,
    series: u8,
    sign: Key,
}

/// The look of an entry.
#[derive(Clone, Copy, Debug)]
enum Key {
    /// A mark; hollow for an estimate.
    Sign(Sign, bool),
    Line,
    Bar,
}

impl Entry {
    /// An entry for each precision that occurs, from wide weights to narrow ones; `entry` makes one of a
    /// series and a name.
    pub fn precisions<'p>(
        precisions: impl IntoIterator<Item = &'p String>,
        entry: impl Fn(u8, &str) -> Self,
    ) -> Vec<Self> {
        let mut found: Vec<&String> = precisions.into_iter().collect();
        found.sort_by_key(|precision| series_of(precision));
        found.dedup();
        let entries = found
            .into_iter()
            .map(|precision| entry(series_of(precision), precision));
        entries.collect()
    }

    /// Filled marks.
    pub fn sign(series: u8, sign: Sign, text: &str) -> Self {
        Self::new(series, Key::Sign(sign, false), text)
    }

    /// Hollow marks, for estimates.
    pub fn hollow(series: u8, sign: Sign, text: &str) -> Self {
        Self::new(series, Key::Sign(sign, true), text)
    }

    /// A line.
    pub fn line(series: u8, text: &str) -> Self {
        Self::new(series, Key::Line, text)
    }

    /// A bar.
    pub fn bar(series: u8, text: &str) -> Self {
        Self::new(series, Key::Bar, text)
    }

    fn new(series: u8, sign: Key, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            series,
            sign,
        }
    }
}

/// Title, note and legend above room for content of this height; and where that begins.
pub(crate) fn open(title: &str, note: &str, legend: &[Entry], content: f64) -> (Picture, f64) {
    let inner = WIDTH - 2.0 * MARGIN;
    let notes = wrap(note, inner);
    let places = places(legend, inner);
    let lines = places.last().map_or(0, |(_, line)| line + 1);
    let notes_top = MARGIN + TITLE + 10.0;
    let legend_top = notes_top + LINE * notes.len() as f64;
    let top = legend_top + (LINE + 2.0) * lines as f64 + 8.0;
    let mut picture = Picture::new(WIDTH, (top + content + MARGIN).ceil());
    picture.text(Label {
        size: TITLE,
        is_bold: true,
        ..text(
            &font::shorten(title, TITLE, true, inner),
            MARGIN,
            MARGIN + TITLE / 2.0,
            Anchor::Start,
        )
    });
    for (i, note) in notes.iter().enumerate() {
        picture.text(quiet(
            note,
            MARGIN,
            notes_top + LINE * (i as f64 + 0.5),
            Anchor::Start,
        ));
    }
    for (entry, (x, line)) in legend.iter().zip(places) {
        let (x, y) = (MARGIN + x, legend_top + (LINE + 2.0) * (line as f64 + 0.5));
        key(&mut picture, entry, x, y);
        picture.text(text(&entry.text, x + KEY, y, Anchor::Start));
    }
    (picture, top)
}

fn key(picture: &mut Picture, entry: &Entry, x: f64, y: f64) {
    let series = entry.series;
    match entry.sign {
        Key::Sign(sign, is_hollow) => picture.sign(sign, (x + 6.0, y), series, is_hollow, ""),
        Key::Line => picture.line(&[(x, y), (x + 13.0, y)], 3.0, Ink::Series(series)),
        Key::Bar => {
            let (width, height) = (12.0, 12.0);
            let area = Area {
                x,
                y: y - height / 2.0,
                width,
                height,
            };
            picture.rectangle(area, Ink::Series(series), "");
        }
    }
}

/// Where each entry stands: its left side and its line.
fn places(legend: &[Entry], inner: f64) -> Vec<(f64, usize)> {
    let (mut x, mut line) = (0.0, 0);
    let place = |entry: &Entry| {
        let width = KEY + font::width(&entry.text, TEXT, false);
        if x > 0.0 && x + width > inner {
            (x, line) = (0.0, line + 1);
        }
        let at = (x, line);
        x += width + GAP;
        at
    };
    legend.iter().map(place).collect()
}

/// A text in lines that fit into a width.
fn wrap(text: &str, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if font::width(&format!("{line} {word}"), TEXT, false) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A text in the colour of the ink.
pub(crate) fn text(text: &str, x: f64, y: f64, anchor: Anchor) -> Label {
    Label {
        text: text.to_owned(),
        x,
        y,
        size: TEXT,
        is_bold: false,
        ink: Ink::Text,
        anchor,
    }
}

/// A text in a quieter colour.
pub(crate) fn quiet(words: &str, x: f64, y: f64, anchor: Anchor) -> Label {
    Label {
        ink: Ink::Quiet,
        ..text(words, x, y, anchor)
    }
}

/// Grid, ticks and title of a horizontal axis beneath an area.
pub(crate) fn x_axis(picture: &mut Picture, axis: &Axis, title: &str, area: Area) {
    let bottom = area.y + area.height;
    let mut last = f64::NEG_INFINITY;
    for (tick, label) in axis.ticks.iter().zip(axis.labels()) {
        let x = area.x + area.width * axis.at(*tick);
        picture.line(&[(x, area.y), (x, bottom)], 1.0, Ink::Grid);
        let half = font::width(&label, TEXT, false) / 2.0;
        // Ticks may be closer than their texts are wide.
        if x - half > last + 6.0 {
            picture.text(quiet(&label, x, bottom + 15.0, Anchor::Middle));
            last = x + half;
        }
    }
    picture.line(
        &[(area.x, bottom), (area.x + area.width, bottom)],
        1.0,
        Ink::Rule,
    );
    let title = font::shorten(title, TEXT, false, area.width + 40.0);
    picture.text(text(
        &title,
        area.x + area.width / 2.0,
        bottom + 36.0,
        Anchor::Middle,
    ));
}

/// Height of what stands beneath an area with a horizontal axis.
pub(crate) const X_AXIS: f64 = 46.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legends_and_notes_break_into_lines() {
        let entry = |_| Entry::line(0, "validation, some documents of the text");
        let legend: Vec<Entry> = (0..6).map(entry).collect();
        let (picture, top) = open("Title", &"words ".repeat(60), &legend, 100.0);
        assert_eq!(picture.overlaps(), [""; 0]);
        assert!(top > 100.0 && picture.height >= top + 100.0);
    }
}
