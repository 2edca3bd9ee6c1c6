//! A tensor of integers as one run of bytes: bits of a value (u8); values that share a scale (u16), or 0 for one
//! scale (f16) that follows at once; then [streams](super::coding), each after its length (u32): the integers and,
//! unless there is one scale, the low bytes of the scales and their high bytes. Numbers are little-endian.

use half::f16;

use super::{Precision, Tensor, TensorData, coding, rounding::Rounded, unpack_nibbles};

/// The packed bytes of a quantised tensor, if they are fewer than its own.
pub(super) fn write(tensor: &Tensor) -> Option<Vec<u8>> {
    let (integers, scales, group) = match &tensor.data {
        TensorData::F32(_) | TensorData::F16(_) => return None,
        TensorData::Int8 {
            values,
            scales,
            group,
        } => (values.clone(), scales, *group),
        TensorData::Int4 {
            packed,
            scales,
            group,
        } => (unpack_nibbles(packed), scales, *group),
    };
    let mut bytes = vec![tensor.bits() as u8];
    let mut streams = vec![integers];
    let (first, others) = scales.split_first()?;
    let usual = tensor.precision().group(*tensor.shape.last()?) == Some(group);
    if usual
        && others
            .iter()
            .all(|scale| scale.to_bits() == first.to_bits())
    {
        bytes.extend([0, 0]);
        bytes.extend(first.to_le_bytes());
    } else {
        bytes.extend(u16::try_from(group).ok()?.to_le_bytes());
        let scales = scales.iter().map(|scale| scale.to_le_bytes());
        let (low, high) = scales
            .map(|[low, high]| (low.cast_signed(), high.cast_signed()))
            .unzip();
        streams.extend([low, high]);
    }
    for integers in streams {
        let stream = coding::encode(&integers)?;
        bytes.extend(u32::try_from(stream.len()).ok()?.to_le_bytes());
        bytes.extend(stream);
    }
    (bytes.len() < tensor.unpacked_bytes()).then_some(bytes)
}

/// The tensor of packed bytes; `None` if they are damaged.
pub(super) fn read(bytes: &[u8], shape: &[usize]) -> Option<Tensor> {
    let len = shape.iter().product();
    let (&[bits, low, high], mut rest) = bytes.split_first_chunk()?;
    let precision = match bits {
        8 => Precision::Int8,
        4 => Precision::Int4,
        _ => return None,
    };
    let group = usize::from(u16::from_le_bytes([low, high]));
    let one_scale = if group == 0 {
        let (scale, others) = rest.split_first_chunk()?;
        rest = others;
        Some(f16::from_le_bytes(*scale))
    } else {
        None
    };
    let mut take = |len| {
        let (length, others) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (stream, others) = others.split_at_checked(length)?;
        rest = others;
        coding::decode(stream, len)
    };
    let integers = take(len)?;
    let (group, scales) = if let Some(scale) = one_scale {
        let group = precision.group(*shape.last()?)?;
        (group, vec![scale; len / group])
    } else {
        let (low, high) = (take(len / group)?, take(len / group)?);
        let scale =
            |(low, high): (i8, i8)| f16::from_le_bytes([low.cast_unsigned(), high.cast_unsigned()]);
        (group, low.into_iter().zip(high).map(scale).collect())
    };
    let is_value = |integer: &i8| precision != Precision::Int4 || (-8..8).contains(integer);
    if !rest.is_empty() || !integers.iter().all(is_value) {
        return None;
    }
    let rounded = Rounded { integers, scales };
    Some(Tensor::of_integers(
        shape.to_vec(),
        precision,
        group,
        rounded,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(len: usize) -> Vec<f32> {
        let value = |at: usize| ((at * 7919 + at / 31) % 1009) as f32 / 1009.0 - 0.5;
        (0..len).map(|at| value(at).powi(3)).collect()
    }

    #[test]
    fn scales_of_groups_and_one_for_all_come_back() {
        for precision in [Precision::Int8, Precision::Int4] {
            let grouped = Tensor::quantized([256, 32], weights(8192), precision);
            let mut alike = grouped.clone();
            if let TensorData::Int8 { scales, .. } | TensorData::Int4 { scales, .. } =
                &mut alike.data
            {
                scales.fill(f16::from_f32(0.01));
            }
            let [grouped_bytes, bytes] = [&grouped, &alike].map(|tensor| {
                let bytes = write(tensor).unwrap();
                assert_eq!(read(&bytes, &tensor.shape).as_ref(), Some(tensor));
                bytes
            });
            assert!(bytes.len() + 256 < grouped_bytes.len(), "{precision}");
        }
    }

    #[test]
    fn damage_gives_none_or_another_tensor() {
        let tensor = Tensor::quantized([32, 32], weights(1024), Precision::Int4);
        let bytes = write(&tensor).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end], &tensor.shape), None, "cut at {end}");
        }
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(read(&damaged, &tensor.shape).as_ref(), Some(&tensor));
        }
    }
}
