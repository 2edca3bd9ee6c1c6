//! Memory that starts at a cache line, so that no vector of it lies across two.

use alloc::{vec, vec::Vec};
use core::{
    ops::{Deref, DerefMut},
    slice,
};

/// A cache line, and the widest vector.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Numbers that may have any bits.
pub(crate) trait Plain: Copy {
    /// Bytes of one.
    const BYTES: usize;
}

impl Plain for f32 {
    const BYTES: usize = 4;
}

impl Plain for i32 {
    const BYTES: usize = 4;
}

impl Plain for u8 {
    const BYTES: usize = 1;
}

impl Plain for i8 {
    const BYTES: usize = 1;
}

/// A slice of numbers at an address that is a multiple of 64, zero at first; its size is fixed.
#[derive(Clone, Debug)]
pub(crate) struct Buffer<T> {
    lines: Vec<Line>,
    len: usize,
    of: core::marker::PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// `len` zeros.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = len.checked_mul(T::BYTES).expect("sizes have been checked");
        Self {
            lines: vec![Line([0; 64]); bytes.div_ceil(64)],
            len,
            of: core::marker::PhantomData,
        }
    }
}

impl Buffer<f32> {
    /// A copy of `values`.
    pub(crate) fn of(values: &[f32]) -> Self {
        let mut buffer = Self::new(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `lines` has at least `len * BYTES` initialised bytes, any of which make a valid
        // number, at an alignment above that of any `Plain`, borrowed as long as the slice.
        unsafe { slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
