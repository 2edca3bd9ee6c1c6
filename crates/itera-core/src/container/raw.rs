//! Tensors as they lie in a file: little-endian bytes with a dtype and a shape.

use alloc::{borrow::Cow, format, vec::Vec};

use half::f16;

use super::ContainerError;

/// Types of values, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dtype {
    /// Bytes.
    U8,
    /// Integers of 8 bits.
    I8,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
}

impl Dtype {
    const ALL: [Self; 4] = [Self::U8, Self::I8, Self::F16, Self::F32];

    /// The name in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of a tensor; `None` where the product overflows.
    pub(super) fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        let size = match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
        };
        shape
            .iter()
            .try_fold(size, |bytes: usize, &size| bytes.checked_mul(size))
    }
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor<'a> {
    /// Type of the values.
    pub dtype: Dtype,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The values, row-major, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> RawTensor<'a> {
    /// A tensor of single floats.
    pub fn f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self::new(Dtype::F32, shape, bytes.collect::<Vec<_>>())
    }

    /// A tensor of half floats.
    pub fn f16(shape: impl Into<Vec<usize>>, values: &[f16]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self::new(Dtype::F16, shape, bytes.collect::<Vec<_>>())
    }

    /// A tensor of integers.
    pub fn i8(shape: impl Into<Vec<usize>>, values: &[i8]) -> Self {
        let bytes = values.iter().map(|value| value.cast_unsigned());
        Self::new(Dtype::I8, shape, bytes.collect::<Vec<_>>())
    }

    /// A tensor of bytes.
    pub fn u8(shape: impl Into<Vec<usize>>, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(Dtype::U8, shape, bytes)
    }

    fn new(dtype: Dtype, shape: impl Into<Vec<usize>>, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            dtype,
            shape: shape.into(),
            bytes: bytes.into(),
        }
    }

    /// The values of a tensor of single floats.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        let (values, _) = self.bytes.as_chunks();
        values.iter().copied().map(f32::from_le_bytes).collect()
    }

    /// The values of a tensor of half floats.
    pub(crate) fn to_f16(&self) -> Vec<f16> {
        let (values, _) = self.bytes.as_chunks();
        values.iter().copied().map(f16::from_le_bytes).collect()
    }

    /// The values of a tensor of integers.
    pub(crate) fn to_i8(&self) -> Vec<i8> {
        self.bytes.iter().map(|byte| byte.cast_signed()).collect()
    }

    pub(crate) fn check_dtype(&self, name: &str, expected: Dtype) -> Result<(), ContainerError> {
        if self.dtype == expected {
            return Ok(());
        }
        let part = format!("the dtype of tensor {name:?}");
        Err(ContainerError::mismatch(
            part,
            expected.name(),
            &self.dtype.name(),
        ))
    }
}
