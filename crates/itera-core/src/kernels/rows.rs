//! Rows of floats with their stride: views, and the buffer that they are views of.

use super::{buffer::Buffer, lanes::WIDTH};

/// Rows of floats, `stride` values from the start of one to the next. A row has more values than
/// are meant: whoever reads it knows its width. Loops count rows: an iterator over chunks divides by the stride, which
/// takes as long as a vector's work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) len: usize,
}

impl<'a> Rows<'a> {
    /// The rows without their first `skipped` columns.
    pub(crate) fn columns(self, skipped: usize) -> Self {
        let values = &self.values[skipped..];
        Self { values, ..self }
    }

    /// The first `width` values of a row.
    #[inline(always)]
    pub(crate) fn row(self, index: usize, width: usize) -> &'a [f32] {
        &self.values[index * self.stride..][..width]
    }
}

/// [`Rows`] to write.
#[derive(Debug)]
pub(crate) struct RowsMut<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) stride: usize,
}

impl RowsMut<'_> {
    /// The first `width` values of a row.
    #[inline(always)]
    pub(super) fn row(&mut self, index: usize, width: usize) -> &mut [f32] {
        &mut self.values[index * self.stride..][..width]
    }
}

/// A buffer of rows that are filled up to whole vectors.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    values: Buffer<f32>,
    width: usize,
    stride: usize,
}

impl Table {
    /// Zeros, `[rows, width]`.
    pub(crate) fn new(rows: usize, width: usize) -> Self {
        let stride = width.next_multiple_of(WIDTH);
        Self {
            values: Buffer::new(rows * stride),
            width,
            stride,
        }
    }

    /// `len` rows from `first` on.
    pub(crate) fn rows(&self, first: usize, len: usize) -> Rows<'_> {
        Rows {
            values: &self.values[first * self.stride..][..len * self.stride],
            stride: self.stride,
            len,
        }
    }

    /// [`Self::rows`] to write.
    pub(crate) fn rows_mut(&mut self, first: usize, len: usize) -> RowsMut<'_> {
        RowsMut {
            values: &mut self.values[first * self.stride..][..len * self.stride],
            stride: self.stride,
        }
    }

    /// One row, `[width]`.
    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.stride..][..self.width]
    }

    /// One row to write, `[width]`.
    pub(crate) fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.values[index * self.stride..][..self.width]
    }

    /// All rows, `[width]` each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        let rows = self.values.chunks(self.stride);
        rows.map(|row| &row[..self.width])
    }

    /// Copies a row over another.
    pub(crate) fn copy_row(&mut self, from: usize, to: usize) {
        let from = from * self.stride;
        self.values
            .copy_within(from..from + self.stride, to * self.stride);
    }
}
