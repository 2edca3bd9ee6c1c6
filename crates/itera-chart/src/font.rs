//! The typeface, compiled in: a machine without fonts draws the same picture.
//!
//! Inter, regular and semi-bold, reduced to Latin letters and the signs that charts use; its licence
//! lies beside the files.

use std::sync::LazyLock;

use ttf_parser::Face;

use crate::raster::Outline;

const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.ttf");
const BOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.ttf");

/// A letter that the typeface lacks is as wide as this share of its size.
const UNKNOWN: f64 = 0.6;

static FACES: LazyLock<[Option<Face<'static>>; 2]> =
    LazyLock::new(|| [REGULAR, BOLD].map(|bytes| Face::parse(bytes, 0).ok()));

/// Width of a text in pixels at a size in pixels.
pub(crate) fn width(text: &str, size: f64, is_bold: bool) -> f64 {
    text.chars()
        .map(|letter| advance(letter, size, is_bold))
        .sum()
}

/// How far the next letter is from this one.
fn advance(letter: char, size: f64, is_bold: bool) -> f64 {
    let advance = FACES[usize::from(is_bold)].as_ref().and_then(|face| {
        let glyph = face.glyph_index(letter)?;
        Some(f64::from(face.glyph_hor_advance(glyph)?) / f64::from(face.units_per_em()))
    });
    size * advance.unwrap_or(UNKNOWN)
}

/// Hands the outlines of a text over, letter by letter.
pub(crate) fn outline(text: &str, size: f64, is_bold: bool, outline: &mut Outline) {
    let Some(face) = &FACES[usize::from(is_bold)] else {
        return;
    };
    outline.scale = (size / f64::from(face.units_per_em())) as f32;
    for letter in text.chars() {
        if let Some(glyph) = face.glyph_index(letter) {
            face.outline_glyph(glyph, outline);
        }
        outline.x += advance(letter, size, is_bold) as f32;
    }
}

/// The text, or as much of its beginning as fits into a width.
pub(crate) fn shorten(text: &str, size: f64, is_bold: bool, most: f64) -> String {
    if width(text, size, is_bold) <= most {
        return text.to_owned();
    }
    let ends = text.char_indices().map(|(end, _)| end).rev();
    let mut cut = ends.map(|end| format!("{}…", text[..end].trim_end()));
    cut.find(|cut| width(cut, size, is_bold) <= most)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_the_width() {
        assert_eq!(shorten("short", 14.0, false, 100.0), "short");
        let cut = shorten(&"many words ".repeat(20), 14.0, false, 100.0);
        assert!(
            cut.ends_with('…') && width(&cut, 14.0, false) <= 100.0,
            "{cut}"
        );
    }

    #[test]
    fn semi_bold_letters_are_wider() {
        assert!(width("bits per byte", 14.0, true) > width("bits per byte", 14.0, false));
    }
}
