//! Shapes as PNG.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash,
    Transform,
};

use crate::{
    font,
    picture::{Area, DASHES, Ink, Label, Picture, RADIUS, Shape, Sign},
};

/// Pixels of the PNG for each pixel of the picture.
const FINE: f32 = 2.0;

/// Colours of series: those of Okabe and Ito, which people with any kind of colour vision tell apart.
const SERIES: [[u8; 3]; 6] = [
    [0, 114, 178],
    [230, 159, 0],
    [0, 158, 115],
    [204, 121, 167],
    [213, 94, 0],
    [86, 180, 233],
];

/// Why a picture cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// The picture has no size, or one that does not fit into memory.
    #[error("cannot draw a chart of {0} by {1} pixels")]
    Size(f64, f64),
    /// The pixels cannot be encoded.
    #[error("cannot encode a chart as PNG: {0}")]
    Png(String),
}

/// The picture as a PNG file, on white.
pub(crate) fn png(picture: &Picture) -> Result<Vec<u8>, ChartError> {
    let [width, height] =
        [picture.width, picture.height].map(|side| (side * f64::from(FINE)).round() as u32);
    let size = || ChartError::Size(picture.width, picture.height);
    let mut pixels = Pixmap::new(width, height).ok_or_else(size)?;
    pixels.fill(Color::WHITE);
    for shape in &picture.shapes {
        draw(&mut pixels, shape);
    }
    pixels
        .encode_png()
        .map_err(|error| ChartError::Png(error.to_string()))
}

fn paint(ink: Ink) -> Paint<'static> {
    let [red, green, blue] = match ink {
        Ink::Series(series) => SERIES[usize::from(series) % SERIES.len()],
        Ink::Text => [26, 26, 26],
        Ink::Quiet => [90, 90, 90],
        Ink::Ground => [255, 255, 255],
        Ink::Grid => [228, 228, 228],
        Ink::Rule => [138, 138, 138],
    };
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

fn fill(pixels: &mut Pixmap, path: Option<Path>, ink: Ink) {
    if let Some(path) = path {
        pixels.fill_path(&path, &paint(ink), FillRule::Winding, scale(), None);
    }
}

fn stroke(pixels: &mut Pixmap, path: Option<Path>, ink: Ink, stroke: &Stroke) {
    if let Some(path) = path {
        pixels.stroke_path(&path, &paint(ink), stroke, scale(), None);
    }
}

fn scale() -> Transform {
    Transform::from_scale(FINE, FINE)
}

fn draw(pixels: &mut Pixmap, shape: &Shape) {
    match shape {
        Shape::Rectangle { area, ink, .. } => fill(pixels, rectangle(*area), *ink),
        Shape::Line {
            points,
            width,
            ink,
            is_dashed,
        } => {
            let style = Stroke {
                width: *width as f32,
                line_cap: LineCap::Butt,
                line_join: LineJoin::Round,
                dash: is_dashed
                    .then(|| StrokeDash::new(DASHES.to_vec(), 0.0))
                    .flatten(),
                ..Stroke::default()
            };
            stroke(pixels, polygon(points, false), *ink, &style);
        }
        Shape::Sign {
            sign,
            at,
            ink,
            is_hollow,
            ..
        } => {
            let path = match sign {
                Sign::Circle => PathBuilder::from_circle(at.0 as f32, at.1 as f32, RADIUS as f32),
                sign => polygon(&sign.corners(*at), true),
            };
            let (inside, rim, width) = if *is_hollow {
                (Ink::Ground, *ink, 2.0)
            } else {
                (*ink, Ink::Ground, 1.0)
            };
            fill(pixels, path.clone(), inside);
            stroke(
                pixels,
                path,
                rim,
                &Stroke {
                    width,
                    ..Stroke::default()
                },
            );
        }
        Shape::Text(label) => fill(pixels, letters(label), label.ink),
    }
}

fn rectangle(area: Area) -> Option<Path> {
    let Area {
        x,
        y,
        width,
        height,
    } = area;
    polygon(
        &[
            (x, y),
            (x + width, y),
            (x + width, y + height),
            (x, y + height),
        ],
        true,
    )
}

fn polygon(points: &[(f64, f64)], is_closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (i, (x, y)) in points.iter().enumerate() {
        if i == 0 {
            path.move_to(*x as f32, *y as f32);
        } else {
            path.line_to(*x as f32, *y as f32);
        }
    }
    if is_closed {
        path.close();
    }
    path.finish()
}

/// The outlines of a text.
fn letters(label: &Label) -> Option<Path> {
    let mut outline = Outline {
        path: PathBuilder::new(),
        x: label.area().x as f32,
        y: label.baseline() as f32,
        scale: 0.0,
    };
    font::outline(&label.text, label.size, label.is_bold, &mut outline);
    outline.path.finish()
}

/// Turns the outlines of letters into a path. Letters count upwards from their line, pixels downwards.
pub(crate) struct Outline {
    path: PathBuilder,
    /// Where the next letter begins.
    pub(crate) x: f32,
    y: f32,
    /// Pixels for each unit of the typeface.
    pub(crate) scale: f32,
}

impl Outline {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + self.scale * x, self.y - self.scale * y)
    }
}

impl ttf_parser::OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
