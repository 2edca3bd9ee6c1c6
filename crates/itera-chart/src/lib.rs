//! Charts as SVG and PNG, drawn the same on every machine.
//!
//! There are two kinds: [`Dots`] compares values by row, [`Plane`] shows points and lines over two
//! axes. Both become a [`Picture`]: SVG whose colours are classes, so that a page can choose light or
//! dark, and PNG at twice the size, in colours that suit any colour vision.
//!
//! | file | what |
//! |---|---|
//! | `axis` | ticks, and where a value lies |
//! | `dots`, `plane` | the two kinds of chart |
//! | `frame` | title, legend and the parts of an axis |
//! | `picture` | shapes, and their SVG |
//! | `raster` | shapes as PNG |
//! | `font` | the compiled-in typeface and the width of a text |

mod axis;
mod dots;
mod font;
mod frame;
mod picture;
mod plane;
mod raster;

pub use self::{
    axis::Scale,
    dots::{Block, Dots, Group, Mark, Panel, Row},
    frame::Entry,
    picture::{PAGE_STYLE, Picture, Sign},
    plane::{Line, Plane, PlanePanel, Point},
    raster::ChartError,
};

/// The series, and so the colour, of a precision; the same in every chart.
pub fn series_of(precision: &str) -> u8 {
    match precision {
        "fp32" => 0,
        "int8" => 1,
        "int4" => 2,
        _ => 3,
    }
}
