//! What all pictures have in common: their width, their title and their legend.

use super::{
    canvas::{Anchor, Canvas, Text},
    font,
    legend::{self, Entry},
    palette::{INK, QUIET},
};

/// Width of every picture: what a page shows without scaling.
pub(crate) const WIDTH: f64 = 980.0;
/// White around everything.
pub(crate) const MARGIN: f64 = 18.0;
/// Width within the margins.
pub(crate) const INNER: f64 = WIDTH - 2.0 * MARGIN;
/// Size of the texts at ticks and axes.
pub(crate) const TICK: f64 = 13.0;

const TITLE: f64 = 21.0;
const PANEL_TITLE: f64 = 16.0;

/// A picture with title and legend and room for content of this height; and where that begins.
pub(crate) fn open(title: &str, entries: &[Entry], content: f64) -> (Canvas, f64) {
    let legend_top = MARGIN + TITLE + 12.0;
    let top = legend_top + legend::height(entries, INNER) + 10.0;
    let mut canvas = Canvas::new(WIDTH, top + content + MARGIN);
    canvas.text(Text {
        text: font::shorten(title, TITLE, INNER),
        x: MARGIN,
        y: MARGIN + TITLE / 2.0,
        size: TITLE,
        bold: true,
        color: INK,
        anchor: Anchor::Left,
    });
    legend::draw(&mut canvas, entries, MARGIN, legend_top, INNER);
    (canvas, top)
}

/// Width of one of several panels side by side.
pub(crate) fn column_width(columns: usize, gap: f64) -> f64 {
    (INNER - gap * (columns - 1) as f64) / columns as f64
}

/// The title of a panel whose upper left corner this is; and its height.
pub(crate) fn panel_title(canvas: &mut Canvas, title: &str, x: f64, y: f64) -> f64 {
    canvas.text(Text {
        text: title.to_owned(),
        x,
        y: y + PANEL_TITLE / 2.0,
        size: PANEL_TITLE,
        bold: true,
        color: INK,
        anchor: Anchor::Left,
    });
    PANEL_TITLE
}

/// Height of the title of a panel.
pub(crate) const fn panel_title_height() -> f64 {
    PANEL_TITLE
}

/// A text at a tick.
pub(crate) fn tick(text: String, x: f64, y: f64, anchor: Anchor) -> Text {
    Text {
        text,
        x,
        y,
        size: TICK,
        bold: false,
        color: QUIET,
        anchor,
    }
}

/// What an axis counts.
pub(crate) fn axis_title(text: &str, x: f64, y: f64, anchor: Anchor) -> Text {
    Text {
        bold: true,
        ..tick(text.to_owned(), x, y, anchor)
    }
}
