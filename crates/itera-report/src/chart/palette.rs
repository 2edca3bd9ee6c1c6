//! Colours that people with any kind of colour vision can tell apart: those of Okabe and Ito.

use plotters::style::RGBColor;

pub(crate) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(crate) const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub(crate) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(crate) const VERMILION: RGBColor = RGBColor(213, 94, 0);
pub(crate) const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub(crate) const SKY: RGBColor = RGBColor(86, 180, 233);

pub(crate) const WHITE: RGBColor = RGBColor(255, 255, 255);
pub(crate) const INK: RGBColor = RGBColor(20, 20, 20);
pub(crate) const QUIET: RGBColor = RGBColor(85, 85, 85);
pub(crate) const GRID: RGBColor = RGBColor(224, 224, 224);
pub(crate) const FRAME: RGBColor = RGBColor(150, 150, 150);

/// The colour of a precision, the same in every picture.
pub(crate) fn of_precision(precision: &str) -> RGBColor {
    match precision {
        "fp32" => BLUE,
        "int8" => ORANGE,
        "int4" => GREEN,
        _ => PURPLE,
    }
}

/// The colour of a text on this ground.
pub(crate) fn ink_on(RGBColor(red, green, blue): RGBColor) -> RGBColor {
    // Weights of perceived brightness (ITU-R BT.601).
    let brightness = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    if brightness > 140_000 { INK } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_can_be_read_on_their_bars() {
        assert_eq!(ink_on(BLUE), WHITE);
        assert_eq!(ink_on(ORANGE), INK);
        assert_eq!(ink_on(WHITE), INK);
    }
}
