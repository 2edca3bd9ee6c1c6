//! One stored tensor: its precisions, their values in f32 and their size in bytes.
//!
//! [`Tensor::to_f32`] is the definition of the quantised forms; kernels that compute on the packed
//! values must agree with it.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use half::f16;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    packed,
    rounding::{Rounded, RowFormat},
};

/// Group of values that share a scale, where a row divides by it.
const GROUP: usize = 32;

/// Group for rows that do not divide by [`GROUP`].
const SMALL_GROUP: usize = 16;

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    Fp32,
    /// IEEE half precision: for the small tensors of a quantised model, which compute in fp32.
    Fp16,
    /// Integers of 8 bits, symmetric, with an f16 scale for each group.
    Int8,
    /// Integers of 4 bits, symmetric, with an f16 scale for each group.
    Int4,
}

/// No precision has this name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no precision is called {0:?}; precisions are fp32, int8, int4")]
pub struct UnknownPrecision(pub String);

impl Precision {
    /// Every precision that a model can have as a whole, finest first.
    pub const ALL: [Self; 3] = [Self::Fp32, Self::Int8, Self::Int4];

    /// The name used on command lines and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// Bits of one value, without its share of the scale.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Fp32 => 32,
            Self::Fp16 => 16,
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// The largest integer of this precision; `None` for floats.
    pub const fn max_integer(self) -> Option<i8> {
        match self {
            Self::Fp32 | Self::Fp16 => None,
            Self::Int8 => Some(127),
            Self::Int4 => Some(7),
        }
    }

    /// The lowest integer of this precision, `None` for floats: 4 bits have one more below zero than
    /// above, and a scale may be negative to use it for either sign.
    pub const fn min_integer(self) -> Option<i8> {
        match self {
            Self::Fp32 | Self::Fp16 => None,
            Self::Int8 => Some(-127),
            Self::Int4 => Some(-8),
        }
    }

    /// The group that a row of `row` values is quantised in: 32, else 16, else for int8 the whole
    /// row. `None` where this precision cannot store such a row (int4 then falls back to int8).
    pub const fn group(self, row: usize) -> Option<usize> {
        match self {
            Self::Fp32 | Self::Fp16 => None,
            _ if row == 0 => None,
            _ if row.is_multiple_of(GROUP) => Some(GROUP),
            _ if row.is_multiple_of(SMALL_GROUP) => Some(SMALL_GROUP),
            Self::Int8 => Some(row),
            Self::Int4 => None,
        }
    }

    /// Whether a row of `row` values may be stored in groups of `group`.
    pub(super) const fn accepts_group(self, row: usize, group: usize) -> bool {
        let usual = group == GROUP || group == SMALL_GROUP;
        match self {
            Self::Fp32 | Self::Fp16 => false,
            Self::Int8 => (usual || group == row) && row > 0 && row.is_multiple_of(group),
            Self::Int4 => usual && row > 0 && row.is_multiple_of(group),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| UnknownPrecision(name.to_owned()))
    }
}

/// A tensor of a checkpoint, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes in values, outermost first; packing does not show here.
    pub shape: Vec<usize>,
    /// The values.
    pub data: TensorData,
}

/// Values of a tensor as stored.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Plain values, `[len]`.
    F32(Vec<f32>),
    /// Plain values, `[len]`.
    F16(Vec<f16>),
    /// `value[i] = values[i] * scales[i / group]`.
    Int8 {
        /// Integers from -127 to 127, `[len]`.
        values: Vec<i8>,
        /// Finite, `[len / group]`.
        scales: Vec<f16>,
        /// Values that share a scale; divides the last size of the shape.
        group: usize,
    },
    /// `value[i] = nibble[i] * scales[i / group]`, nibble `i` being the low half of byte `i / 2`
    /// for even `i` and the high half for odd `i`.
    Int4 {
        /// Integers from -8 to 7 in two's complement, two in a byte, `[len / 2]`.
        packed: Vec<u8>,
        /// Finite, of either sign, `[len / group]`.
        scales: Vec<f16>,
        /// Values that share a scale, 32 or 16; divides the last size of the shape.
        group: usize,
    },
}

impl Tensor {
    /// A tensor of plain values; `values` has as many entries as `shape` says.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self {
            shape: shape.into(),
            data: TensorData::F32(values),
        }
    }

    /// A tensor of `values` rounded to half precision.
    pub fn f16(shape: impl Into<Vec<usize>>, values: &[f32]) -> Self {
        Self {
            shape: shape.into(),
            data: TensorData::F16(values.iter().map(|x| f16::from_f32(*x)).collect()),
        }
    }

    /// Rounds `values` to the nearest that `precision` can store, the scale of a group being its
    /// largest magnitude divided by the largest integer. A row that int4 cannot store becomes int8.
    pub fn quantized(shape: impl Into<Vec<usize>>, values: Vec<f32>, precision: Precision) -> Self {
        let shape = shape.into();
        let row = shape.last().copied().unwrap_or(0);
        let stored = match (precision, precision.group(row)) {
            (Precision::Int4, None) => Precision::Int8,
            _ => precision,
        };
        let format = stored.group(row);
        let Some(format) = format.and_then(|group| RowFormat::new(stored, group)) else {
            return Self::f32(shape, values);
        };
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let rounded = Rounded::nearest(&values, format);
        Self::of_integers(shape, stored, format.group, rounded)
    }

    /// A tensor of integers that share scales: int4 if `precision` is, else int8.
    pub(crate) fn of_integers(
        shape: Vec<usize>,
        precision: Precision,
        group: usize,
        Rounded { integers, scales }: Rounded,
    ) -> Self {
        let data = if precision == Precision::Int4 {
            TensorData::Int4 {
                packed: pack_nibbles(&integers),
                scales,
                group,
            }
        } else {
            TensorData::Int8 {
                values: integers,
                scales,
                group,
            }
        };
        Self { shape, data }
    }

    /// Values of the tensor, by its shape.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the values are plain, and no integers.
    pub(super) const fn is_float(&self) -> bool {
        matches!(self.data, TensorData::F32(_) | TensorData::F16(_))
    }

    /// How the values are stored.
    pub const fn precision(&self) -> Precision {
        match self.data {
            TensorData::F32(_) => Precision::Fp32,
            TensorData::F16(_) => Precision::Fp16,
            TensorData::Int8 { .. } => Precision::Int8,
            TensorData::Int4 { .. } => Precision::Int4,
        }
    }

    /// Bits of one value, without its share of the scale: 32, 16, 8 or 4.
    pub const fn bits(&self) -> u32 {
        self.precision().bits()
    }

    /// Bytes of values and scales in a file, where integers are packed if that takes fewer.
    pub fn stored_bytes(&self) -> usize {
        packed::write(self).map_or_else(|| self.unpacked_bytes(), |bytes| bytes.len())
    }

    /// Bytes of values and scales in memory.
    pub(super) fn unpacked_bytes(&self) -> usize {
        match &self.data {
            TensorData::F32(values) => size_of_val(values.as_slice()),
            TensorData::F16(values) => size_of_val(values.as_slice()),
            TensorData::Int8 { values, scales, .. } => {
                values.len() + size_of_val(scales.as_slice())
            }
            TensorData::Int4 { packed, scales, .. } => {
                packed.len() + size_of_val(scales.as_slice())
            }
        }
    }

    /// The values that the tensor stands for, `[len]`, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            TensorData::F32(values) => values.clone(),
            TensorData::F16(values) => values.iter().map(|x| x.to_f32()).collect(),
            TensorData::Int8 {
                values,
                scales,
                group,
            } => dequantize(values, scales, *group),
            TensorData::Int4 {
                packed,
                scales,
                group,
            } => dequantize(&unpack_nibbles(packed), scales, *group),
        }
    }
}

/// `integers [len]`, `scales [len / group]` to `[len]`.
fn dequantize(integers: &[i8], scales: &[f16], group: usize) -> Vec<f32> {
    integers
        .chunks(group.max(1))
        .zip(scales)
        .flat_map(|(chunk, scale)| chunk.iter().map(|&q| f32::from(q) * scale.to_f32()))
        .collect()
}

/// Two values in a byte, the first in the low nibble; an odd last value gets a zero neighbour.
fn pack_nibbles(integers: &[i8]) -> Vec<u8> {
    let nibble = |q: i8| q.cast_unsigned() & 0x0f;
    integers
        .chunks(2)
        .map(|pair| nibble(pair[0]) | nibble(pair.get(1).copied().unwrap_or(0)) << 4)
        .collect()
}

/// The inverse of [`pack_nibbles`]: shifting left, then right with the sign, extends a nibble.
pub(crate) fn unpack_nibbles(packed: &[u8]) -> Vec<i8> {
    packed
        .iter()
        .flat_map(|&byte| [(byte << 4).cast_signed() >> 4, byte.cast_signed() >> 4])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_keep_order_and_sign() {
        let integers: Vec<i8> = (-8..8).collect();
        let packed = pack_nibbles(&integers);
        assert_eq!(packed[0], 0x98, "low nibble holds the first value");
        assert_eq!(unpack_nibbles(&packed), integers);
    }

    #[test]
    fn groups_fall_back_from_32_to_16_to_int8() {
        assert_eq!(Precision::Int4.group(64), Some(32));
        assert_eq!(Precision::Int4.group(112), Some(16));
        assert_eq!(Precision::Int4.group(24), None);
        assert_eq!(Precision::Int8.group(24), Some(24));
        assert_eq!(Precision::Fp32.group(64), None);
        let fallen = Tensor::quantized([2, 24], vec![1.0; 48], Precision::Int4);
        assert_eq!(fallen.precision(), Precision::Int8);
    }

    #[test]
    fn rounding_errs_by_half_a_step_at_most() {
        let values: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() * 0.3).collect();
        for (precision, steps) in [(Precision::Int8, 127.0), (Precision::Int4, 7.0)] {
            let tensor = Tensor::quantized([2, 32], values.clone(), precision);
            // Half a step, and the share of a step by which an f16 scale may be too small.
            let bound = 0.3 / steps * 0.5 + 0.3 * 0.001;
            for (x, back) in values.iter().zip(tensor.to_f32()) {
                assert!((x - back).abs() <= bound, "{precision}: {x} became {back}");
            }
        }
    }

    #[test]
    fn extreme_groups_stay_finite() {
        for extreme in [0.0, f32::MIN_POSITIVE, 1e-9, 65504.0, f32::MAX] {
            for precision in [Precision::Int8, Precision::Int4] {
                let tensor = Tensor::quantized([1, 16], vec![extreme; 16], precision);
                assert!(tensor.to_f32().iter().all(|x| x.is_finite()), "{extreme}");
            }
        }
    }

    #[test]
    fn names_parse_back() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("int3".parse::<Precision>().is_err());
    }
}
