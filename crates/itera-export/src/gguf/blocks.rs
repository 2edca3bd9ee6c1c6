//! Values of a GGUF tensor: floats, and blocks of 32 integers with a scale, which are our groups.

use anyhow::{bail, ensure};
use half::{bf16, f16};
use itera_core::checkpoint::{Tensor, TensorData};

/// Values of a block.
const BLOCK: usize = 32;

/// Types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    /// Read only: what training elsewhere leaves.
    Bf16,
    /// An f16 scale and 32 integers of 8 bits.
    Q8,
    /// An f16 scale and 32 integers of 4 bits plus 8, the first 16 in low nibbles.
    Q4,
}

impl Kind {
    const ALL: [(Self, u32, &'static str); 5] = [
        (Self::F32, 0, "F32"),
        (Self::F16, 1, "F16"),
        (Self::Q4, 2, "Q4_0"),
        (Self::Q8, 8, "Q8_0"),
        (Self::Bf16, 30, "BF16"),
    ];

    fn entry(self) -> (Self, u32, &'static str) {
        let found = Self::ALL.into_iter().find(|(kind, ..)| *kind == self);
        found.unwrap_or(Self::ALL[0])
    }

    /// The number that stands for it in a file.
    pub(super) fn id(self) -> u32 {
        self.entry().1
    }

    pub(super) fn of_id(id: u32) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(_, other, _)| *other == id);
        found.map(|(kind, ..)| kind)
    }

    pub(super) fn name(self) -> &'static str {
        self.entry().2
    }

    /// Bytes of a row of `row` values; `None` where it does not divide into blocks.
    pub(super) fn row_bytes(self, row: usize) -> Option<usize> {
        match self {
            Self::F32 => row.checked_mul(4),
            Self::F16 | Self::Bf16 => row.checked_mul(2),
            Self::Q8 => row.is_multiple_of(BLOCK).then_some(row / BLOCK * 34),
            Self::Q4 => row.is_multiple_of(BLOCK).then_some(row / BLOCK * 18),
        }
    }
}

/// Whether the integers of a tensor are blocks as they are.
pub(super) fn of_integers(tensor: &Tensor) -> Option<Kind> {
    match tensor.data {
        TensorData::Int8 { group: BLOCK, .. } => Some(Kind::Q8),
        TensorData::Int4 { group: BLOCK, .. } => Some(Kind::Q4),
        _ => None,
    }
}

/// The values of a tensor. Blocks are made of integers in groups of 32 only, without loss.
///
/// # Errors
/// A value that the floats of `kind` cannot hold, or no such integers.
pub(super) fn encode(tensor: &Tensor, kind: Kind) -> anyhow::Result<Vec<u8>> {
    match (kind, &tensor.data) {
        (Kind::F32, _) => Ok(tensor
            .to_f32()
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect()),
        (Kind::F16, _) => {
            let values: Vec<f16> = tensor.to_f32().into_iter().map(f16::from_f32).collect();
            let too_large = values.iter().position(|value| !value.is_finite());
            if let Some(at) = too_large {
                bail!("value {at} is beyond half precision; use --precision f32");
            }
            Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect())
        }
        (
            Kind::Q8,
            TensorData::Int8 {
                values,
                scales,
                group: BLOCK,
            },
        ) => {
            let blocks = values.chunks(BLOCK).zip(scales);
            let bytes = blocks.flat_map(|(values, scale)| {
                let values = values.iter().map(|value| value.cast_unsigned());
                scale.to_le_bytes().into_iter().chain(values)
            });
            Ok(bytes.collect())
        }
        (
            Kind::Q4,
            TensorData::Int4 {
                packed,
                scales,
                group: BLOCK,
            },
        ) => {
            let blocks = packed.chunks(BLOCK / 2).zip(scales);
            let bytes = blocks.flat_map(|(packed, scale)| {
                scale
                    .to_le_bytes()
                    .into_iter()
                    .chain(halves_of_neighbours(packed))
            });
            Ok(bytes.collect())
        }
        _ => bail!("its values are no integers in groups of {BLOCK}"),
    }
}

/// The values that bytes stand for; floats of any kind become single ones.
///
/// # Errors
/// The bytes are not those of `len` values.
pub(super) fn decode(kind: Kind, bytes: &[u8], len: usize) -> anyhow::Result<TensorData> {
    ensure!(
        kind.row_bytes(len) == Some(bytes.len()),
        "it has {} bytes, too many or too few for {len} values of {}",
        bytes.len(),
        kind.name()
    );
    let pairs = || bytes.as_chunks::<2>().0.iter().copied();
    Ok(match kind {
        Kind::F32 => {
            let values = bytes.as_chunks::<4>().0.iter();
            TensorData::F32(values.map(|x| f32::from_le_bytes(*x)).collect())
        }
        Kind::F16 => TensorData::F32(pairs().map(|x| f16::from_le_bytes(x).to_f32()).collect()),
        Kind::Bf16 => TensorData::F32(pairs().map(|x| bf16::from_le_bytes(x).to_f32()).collect()),
        Kind::Q8 => {
            let blocks = bytes.as_chunks::<34>().0.iter();
            TensorData::Int8 {
                values: blocks
                    .clone()
                    .flat_map(|b| b[2..].iter().map(|q| q.cast_signed()))
                    .collect(),
                scales: blocks.map(|b| f16::from_le_bytes([b[0], b[1]])).collect(),
                group: BLOCK,
            }
        }
        Kind::Q4 => {
            let blocks = bytes.as_chunks::<18>().0.iter();
            TensorData::Int4 {
                packed: blocks
                    .clone()
                    .flat_map(|b| neighbours_of_halves(&b[2..]))
                    .collect(),
                scales: blocks.map(|b| f16::from_le_bytes([b[0], b[1]])).collect(),
                group: BLOCK,
            }
        }
    })
}

/// `packed [16]` with neighbours in a byte, in two's complement, to bytes of value `i` and value
/// `i + 16`, each plus 8. Adding 8 to four bits of two's complement flips the highest.
fn halves_of_neighbours(packed: &[u8]) -> impl Iterator<Item = u8> {
    let nibble = |i: usize| packed[i / 2] >> (4 * (i % 2)) & 0x0f;
    (0..BLOCK / 2).map(move |i| (nibble(i) | nibble(i + BLOCK / 2) << 4) ^ 0x88)
}

/// The inverse of [`halves_of_neighbours`].
fn neighbours_of_halves(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let nibble = |i: usize| bytes[i % (BLOCK / 2)] >> (4 * (i / (BLOCK / 2))) & 0x0f;
    (0..BLOCK / 2).map(move |i| (nibble(2 * i) | nibble(2 * i + 1) << 4) ^ 0x88)
}

#[cfg(test)]
mod tests {
    use itera_core::checkpoint::Precision;

    use super::*;

    fn waves() -> Vec<f32> {
        (0..128).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    #[test]
    fn integers_pass_through_blocks_without_loss() {
        for (precision, kind, bytes) in [
            (Precision::Int8, Kind::Q8, 136),
            (Precision::Int4, Kind::Q4, 72),
        ] {
            let tensor = Tensor::quantized([2, 64], waves(), precision);
            assert_eq!(of_integers(&tensor), Some(kind));
            let encoded = encode(&tensor, kind).unwrap();
            assert_eq!(encoded.len(), bytes);
            assert_eq!(decode(kind, &encoded, 128).unwrap(), tensor.data);
        }
    }

    #[test]
    fn four_bits_lie_as_ggml_reads_them() {
        // ggml: value j is (low nibble of byte j - 8) * d, value j + 16 that of the high one.
        let tensor = Tensor::quantized([1, 32], waves()[..32].to_vec(), Precision::Int4);
        let block = encode(&tensor, Kind::Q4).unwrap();
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        let read = |j: usize| {
            let byte = block[2 + j % 16];
            let nibble = if j < 16 { byte & 0x0f } else { byte >> 4 };
            (f32::from(nibble) - 8.0) * scale
        };
        let values: Vec<f32> = (0..32).map(read).collect();
        assert_eq!(values, tensor.to_f32());
    }

    #[test]
    fn other_groups_and_large_floats_are_refused() {
        let small = Tensor::quantized([2, 16], waves()[..32].to_vec(), Precision::Int8);
        assert_eq!(of_integers(&small), None);
        assert!(encode(&small, Kind::Q8).is_err());
        let large = Tensor::f32([1, 2], vec![1.0, 1e6]);
        assert!(
            encode(&large, Kind::F16)
                .unwrap_err()
                .to_string()
                .contains("value 1")
        );
        assert!(decode(Kind::Q8, &[0; 33], 32).is_err());
    }
}
