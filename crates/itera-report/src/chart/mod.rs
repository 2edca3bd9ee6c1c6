//! Pictures: pure functions from data to a list of shapes, and one place that turns shapes into PNG.
//!
//! The layout is this crate's own, not that of plotters' charts: a picture grows with the number of
//! its rows, and every text's box is known before it is drawn, so that a test can hold that none
//! overlap.

pub(crate) mod axis;
pub(crate) mod bars;
pub(crate) mod canvas;
pub(crate) mod curves;
pub(crate) mod font;
pub(crate) mod frame;
pub(crate) mod legend;
pub(crate) mod palette;
pub(crate) mod raster;
pub(crate) mod scatter;
