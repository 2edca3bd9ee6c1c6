//! The typeface, compiled in: a machine without fonts draws the same picture.

use std::sync::Once;

use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

/// The name under which plotters knows the typeface.
const FAMILY: &str = "itera-report";

/// A text's height is this share of its font size, ascenders and descenders included.
pub(crate) const LINE_HEIGHT: f64 = 1.15;

/// The typeface at a size in pixels.
pub(crate) fn font(size: f64) -> FontDesc<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // Fails only for bytes that are no font; the drawing then fails with the reason.
        let _ = register_font(FAMILY, FontStyle::Normal, UBUNTU_LIGHT);
    });
    FontDesc::new(FontFamily::Name(FAMILY), size, FontStyle::Normal)
}

/// The gap between words. The typeface's own is narrower, and plotters sets every letter without the
/// white on its left, which narrows it further.
const SPACE: f64 = 0.27;

/// Width of a text in pixels.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    words(text, size)
        .last()
        .map_or(0.0, |(x, word)| x + word_width(word, size))
}

/// The words of a text, each with the distance of its left side from that of the text.
pub(crate) fn words(text: &str, size: f64) -> Vec<(f64, &str)> {
    let mut x = 0.0;
    let place = |word| {
        let left = x;
        x += word_width(word, size) + SPACE * size;
        (left, word)
    };
    text.split(' ').map(place).collect()
}

fn word_width(word: &str, size: f64) -> f64 {
    // Measured large and scaled down: plotters gives whole pixels.
    const FINE: f64 = 8.0;
    font(size * FINE)
        .box_size(word)
        .map_or(0.0, |(width, _)| f64::from(width) / FINE)
}

/// The text, or as much of its beginning as fits into a width. The table under each picture has the
/// whole.
pub(crate) fn shorten(text: &str, size: f64, max: f64) -> String {
    if width(text, size) <= max {
        return text.to_owned();
    }
    let ends = text.char_indices().map(|(end, _)| end).rev();
    let fitting = ends
        .map(|end| format!("{}...", text[..end].trim_end()))
        .find(|short| width(short, size) <= max);
    fitting.unwrap_or_default()
}

/// Width of the widest of some texts.
pub(crate) fn widest<'t>(texts: impl IntoIterator<Item = &'t str>, size: f64) -> f64 {
    texts
        .into_iter()
        .map(|text| width(text, size))
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shorten("short", 14.0, 100.0), "short");
        let cut = shorten(&"many words ".repeat(20), 14.0, 100.0);
        assert!(cut.ends_with("...") && width(&cut, 14.0) <= 100.0, "{cut}");
        assert!(width("a b", 14.0) > width("ab", 14.0));
    }
}
