//! Shapes into PNG.
//!
//! Everything is drawn at twice the size and every two by two pixels become their mean, which
//! smooths the edges of bars, lines and letters alike. Nothing outside the program takes part: the
//! same shapes give the same bytes on every machine.

use std::fs;

use anyhow::{Context as _, anyhow};
use plotters::{
    coord::Shift,
    prelude::{
        BitMapBackend, Circle, DrawingArea, DrawingAreaErrorKind, DrawingBackend,
        IntoDrawingArea as _, PathElement, Polygon, Rectangle, Text as Label,
    },
    style::{
        Color as _, RGBColor, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    canvas::{Area, Canvas, Shape, Sign, Text},
    font::{font, words},
    palette::WHITE,
};

/// Pixels drawn for each side of a pixel shown.
const FINE: u32 = 2;

/// Half the width of a sign, in pixels shown.
const SIGN_RADIUS: f64 = 6.0;

/// Texts are lowered by this share of their size: plotters centres a box that reaches below them.
const LOWERED: f64 = 0.07;

/// The picture as a PNG file.
pub(crate) fn png(canvas: &Canvas) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (canvas.width.ceil() as u32, canvas.height.ceil() as u32);
    let fine = (FINE * width, FINE * height);
    let mut pixels = vec![u8::MAX; 3 * fine.0 as usize * fine.1 as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, fine).into_drawing_area();
        for shape in &canvas.shapes {
            // The error type of plotters names its backend and cannot leave this function.
            draw(&area, shape).map_err(|error| anyhow!("cannot draw: {error}"))?;
        }
        area.present()
            .map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    encode(&halve(&pixels, width as usize), (width, height))
}

/// The mean of every two by two pixels.
fn halve(pixels: &[u8], width: usize) -> Vec<u8> {
    let fine = FINE as usize;
    let line = 3 * fine * width;
    let rows = pixels.chunks_exact(fine * line);
    let mut halved = Vec::with_capacity(pixels.len() / (fine * fine));
    for rows in rows {
        for x in 0..width {
            for channel in 0..3 {
                let left = 3 * fine * x + channel;
                let four = [left, left + 3, left + line, left + line + 3];
                let sum: u32 = four.iter().map(|&i| u32::from(rows[i])).sum();
                halved.push(((sum + 2) / 4) as u8);
            }
        }
    }
    halved
}

/// Pixels as a PNG file, by the encoder that plotters brings, which writes to files only.
fn encode(pixels: &[u8], size: (u32, u32)) -> anyhow::Result<Vec<u8>> {
    let file = tempfile::Builder::new().suffix(".png").tempfile();
    let file = file.context("cannot make a temporary file for a picture; free some space there")?;
    let mut backend = BitMapBackend::new(file.path(), size);
    backend
        .blit_bitmap((0, 0), size, pixels)
        .and_then(|()| backend.present())
        .map_err(|error| anyhow!("cannot encode a picture: {error}"))?;
    drop(backend);
    fs::read(file.path()).context("cannot read a picture back")
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, shape: &Shape) -> Drawn<B> {
    match shape {
        Shape::Rectangle(rectangle, color) => {
            let Area {
                x,
                y,
                width,
                height,
            } = *rectangle;
            let corners = [point((x, y)), inner((x + width, y + height))];
            area.draw(&Rectangle::new(corners, color.filled()))
        }
        Shape::Line(points, thickness, color) => {
            let points: Vec<_> = points.iter().map(|&at| point(at)).collect();
            let style = color.stroke_width(pixels(*thickness) as u32);
            area.draw(&PathElement::new(points, style))
        }
        Shape::Sign(Sign::Dot, at, color) => draw_sign(area, Sign::Dot, *at, SIGN_RADIUS, *color),
        Shape::Sign(sign, at, color) => {
            // A white rim keeps signs apart from bars and lines beneath them.
            draw_sign(area, *sign, *at, SIGN_RADIUS + 2.0, WHITE)?;
            draw_sign(area, *sign, *at, SIGN_RADIUS, *color)
        }
        Shape::Text(text) => draw_text(area, text),
    }
}

fn draw_sign<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    sign: Sign,
    (x, y): (f64, f64),
    r: f64,
    color: RGBColor,
) -> Drawn<B> {
    let polygon = |corners: &[(f64, f64)]| {
        let corners: Vec<_> = corners
            .iter()
            .map(|(dx, dy)| point((x + dx, y + dy)))
            .collect();
        Polygon::new(corners, color.filled())
    };
    match sign {
        Sign::Circle => area.draw(&Circle::new(point((x, y)), pixels(r * 0.9), color.filled())),
        Sign::Dot => area.draw(&Circle::new(point((x, y)), pixels(r * 0.6), color.filled())),
        Sign::Diamond => area.draw(&polygon(&[(0.0, -r), (r, 0.0), (0.0, r), (-r, 0.0)])),
        Sign::Triangle => area.draw(&polygon(&[(0.0, -r), (r, 0.8 * r), (-r, 0.8 * r)])),
        Sign::Square => {
            let r = 0.8 * r;
            area.draw(&polygon(&[(-r, -r), (r, -r), (r, r), (-r, r)]))
        }
    }
}

fn draw_text<B: DrawingBackend>(area: &DrawingArea<B, Shift>, text: &Text) -> Drawn<B> {
    let style = TextStyle::from(font(text.size * f64::from(FINE)))
        .color(&text.color)
        .pos(Pos::new(HPos::Left, VPos::Center));
    let left = text.area().x;
    let middle = text.y + text.size * LOWERED;
    // The typeface is a light one. A second stroke half a pixel aside makes letters readable.
    let strokes = if text.bold { 3 } else { 2 };
    for (x, word) in words(&text.text, text.size) {
        let (x, y) = point((left + x, middle));
        for stroke in 0..strokes {
            area.draw(&Label::new(word, (x + stroke, y), style.clone()))?;
        }
    }
    Ok(())
}

fn pixels(length: f64) -> i32 {
    (length * f64::from(FINE)).round() as i32
}

fn point((x, y): (f64, f64)) -> (i32, i32) {
    (pixels(x), pixels(y))
}

/// The last pixel before a point: plotters' rectangles include their lower right corner.
fn inner((x, y): (f64, f64)) -> (i32, i32) {
    (pixels(x) - 1, pixels(y) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::palette::{BLUE, INK};

    #[test]
    fn a_picture_is_a_png_and_always_the_same() {
        let mut canvas = Canvas::new(60.0, 40.0);
        canvas.rectangle(
            Area {
                x: 1.0,
                y: 1.0,
                width: 20.0,
                height: 5.0,
            },
            BLUE,
        );
        canvas.sign(Sign::Triangle, (30.0, 20.0), INK);
        let first = png(&canvas).unwrap();
        assert!(first.starts_with(b"\x89PNG"));
        assert_eq!(first, png(&canvas).unwrap());
    }

    #[test]
    fn pixels_are_averaged() {
        let pixels = [[0, 0, 0], [4, 8, 12], [0, 0, 0], [4, 8, 12]].concat();
        assert_eq!(halve(&pixels, 1), [2, 4, 6]);
    }
}
