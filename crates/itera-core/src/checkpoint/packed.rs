//! A tensor of integers as one run of bytes: bits of a value (u8); values that share a scale in memory (u16); how
//! many scales differ (u8), or 0 if they are too many to be written once each. Then, numbers being
//! little-endian and each [stream](super::coding) after its length:
//!
//! - Too many: streams of the low bytes of the scales, of their high bytes, and of the integers.
//! - Else each scale once (f16); if there are two or more, 1 if all rows have one scale each, else 0 (u8), and the
//!   stream of the places in that list for each row or each group; and for each scale the stream of the integers that
//!   have it, so that fine and coarse ones are written by frequencies of their own.

use alloc::{vec, vec::Vec};

use half::f16;

use super::{
    Precision, Tensor, TensorData,
    coding::{Unread, push},
    rounding::Rounded,
    unpack_nibbles,
};

/// The most scales that are written once each: a stream for each has a table of frequencies.
const MOST_SCALES: usize = 32;

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
    bytes.extend(u16::try_from(group).ok()?.to_le_bytes());
    let mut list: Vec<f16> = Vec::new();
    for scale in scales {
        if list.len() <= MOST_SCALES && !contains(&list, *scale) {
            list.push(*scale);
        }
    }
    list.sort_by(f16::total_cmp);
    if list.len() > MOST_SCALES {
        bytes.push(0);
        let scales = scales.iter().map(|scale| scale.to_le_bytes());
        let (low, high): (Vec<i8>, Vec<i8>) = scales
            .map(|[low, high]| (low.cast_signed(), high.cast_signed()))
            .unzip();
        for stream in [low, high, integers] {
            push(&mut bytes, &stream)?;
        }
    } else {
        bytes.push(list.len() as u8);
        bytes.extend(list.iter().flat_map(|scale| scale.to_le_bytes()));
        if list.len() > 1 {
            let groups = *tensor.shape.last()? / group;
            let mut rows = scales.chunks(groups);
            let by_row = rows.all(|row| row.iter().all(|scale| same(*scale, row[0])));
            bytes.push(u8::from(by_row));
            let step = if by_row { groups } else { 1 };
            let place = |scale: &f16| list.iter().position(|one| same(*one, *scale));
            let places = scales.iter().step_by(step);
            let places: Option<Vec<i8>> = places.map(|scale| Some(place(scale)? as i8)).collect();
            push(&mut bytes, &places?)?;
        }
        for one in &list {
            let groups = integers.chunks(group).zip(scales);
            let having = groups.filter(|(_, scale)| same(**scale, *one));
            push(
                &mut bytes,
                &having
                    .flat_map(|(integers, _)| integers)
                    .copied()
                    .collect::<Vec<i8>>(),
            )?;
        }
    }
    (bytes.len() < tensor.unpacked_bytes()).then_some(bytes)
}

/// Whether two scales are the same bits: 0 and -0 are not.
fn same(a: f16, b: f16) -> bool {
    a.to_bits() == b.to_bits()
}

fn contains(list: &[f16], scale: f16) -> bool {
    list.iter().any(|one| same(*one, scale))
}

/// The tensor of packed bytes; `None` if they are damaged.
pub(super) fn read(bytes: &[u8], shape: &[usize]) -> Option<Tensor> {
    let len: usize = shape.iter().product();
    let (&[bits, low, high, n_scales], rest) = bytes.split_first_chunk()?;
    let precision = match bits {
        8 => Precision::Int8,
        4 => Precision::Int4,
        _ => return None,
    };
    let group = usize::from(u16::from_le_bytes([low, high]));
    let row = *shape.last()?;
    if !precision.accepts_group(row, group) {
        return None;
    }
    let mut rest = Unread(rest);
    let rounded = if n_scales == 0 {
        let (low, high) = (rest.stream(len / group)?, rest.stream(len / group)?);
        let scale =
            |(low, high): (i8, i8)| f16::from_le_bytes([low.cast_unsigned(), high.cast_unsigned()]);
        Rounded {
            scales: low.into_iter().zip(high).map(scale).collect(),
            integers: rest.stream(len)?,
        }
    } else {
        let list: Option<Vec<f16>> = (0..n_scales)
            .map(|_| rest.chunk().map(f16::from_le_bytes))
            .collect();
        rest.by_scale(&list?, len, row, group)?
    };
    let is_value = |integer: &i8| precision != Precision::Int4 || (-8..8).contains(integer);
    if !rest.0.is_empty() || !rounded.integers.iter().all(is_value) {
        return None;
    }
    Some(Tensor::of_integers(
        shape.to_vec(),
        precision,
        group,
        rounded,
    ))
}

impl Unread<'_> {
    /// `len` integers in rows of `row` and groups of `group`, of which each has one of the scales of `list`.
    fn by_scale(&mut self, list: &[f16], len: usize, row: usize, group: usize) -> Option<Rounded> {
        let mut places = vec![0; len / group];
        if list.len() > 1 {
            let run = match self.chunk()? {
                [0] if group < row => 1,
                [1] => row / group,
                _ => return None,
            };
            let stream = self.stream(places.len() / run)?;
            for (places, place) in places.chunks_mut(run).zip(stream) {
                places.fill(
                    usize::try_from(place)
                        .ok()
                        .filter(|place| *place < list.len())?,
                );
            }
        }
        let mut integers = vec![0; len];
        for at in 0..list.len() {
            let groups = places.iter().filter(|place| **place == at).count();
            let stream = self.stream(groups * group)?;
            let mut stream = stream.chunks(group);
            for (values, place) in integers.chunks_mut(group).zip(&places) {
                if *place == at {
                    values.copy_from_slice(stream.next()?);
                }
            }
        }
        let scales = places.into_iter().map(|place| list[place]).collect();
        Some(Rounded { integers, scales })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(len: usize) -> Vec<f32> {
        let value = |at: usize| ((at * 7919 + at / 31) % 1009) as f32 / 1009.0 - 0.5;
        (0..len).map(|at| value(at).powi(3)).collect()
    }

    #[test]
    fn the_fewer_scales_differ_the_fewer_bytes_they_take() {
        for precision in [Precision::Int8, Precision::Int4] {
            let grouped = Tensor::quantized([256, 64], weights(16_384), precision);
            let with = |scale: fn(usize) -> f32| {
                let mut tensor = grouped.clone();
                if let TensorData::Int8 { scales, .. } | TensorData::Int4 { scales, .. } =
                    &mut tensor.data
                {
                    for (at, own) in scales.iter_mut().enumerate() {
                        *own = f16::from_f32(scale(at));
                    }
                }
                tensor
            };
            // Two groups are a row.
            let tensors = [
                with(|_| 0.01),
                with(|at| [0.01, 0.02][at / 256]),
                with(|at| [0.01, -0.02, 0.0][at / 2 % 3]),
                with(|at| [0.01, 0.02][at % 2]),
                grouped.clone(),
            ];
            let bytes = tensors.each_ref().map(|tensor| {
                let bytes = write(tensor).unwrap();
                assert_eq!(read(&bytes, &tensor.shape).as_ref(), Some(tensor));
                bytes.len()
            });
            let [same, .., grouped] = bytes;
            for few in &bytes[1..4] {
                assert!(same < *few && *few < grouped, "{precision}: {bytes:?}");
            }
        }
    }

    #[test]
    fn rows_of_fine_and_of_coarse_integers_have_tables_of_their_own() {
        let wide = weights(4096).into_iter().map(|weight| 400.0 * weight);
        let narrow = weights(4096).into_iter().map(|weight| 16.0 * weight);
        let integers: Vec<i8> = wide
            .chain(narrow)
            .map(|weight| weight.round() as i8)
            .collect();
        let tensor = |coarse: f32| {
            let scale = |at: usize| f16::from_f32(if at < 128 { 0.01 } else { coarse });
            let rounded = Rounded {
                integers: integers.clone(),
                scales: (0..256).map(scale).collect(),
            };
            Tensor::of_integers(vec![256, 32], Precision::Int8, 32, rounded)
        };
        let [one, two] = [0.01, 0.25].map(|coarse| write(&tensor(coarse)).unwrap().len());
        assert!(two + 100 < one, "{two} {one}");
    }

    #[test]
    fn damage_gives_none_or_another_tensor() {
        let many = Tensor::quantized([64, 32], weights(2048), Precision::Int8);
        let mut few = many.clone();
        if let TensorData::Int8 { scales, .. } = &mut few.data {
            for (at, scale) in scales.iter_mut().enumerate() {
                *scale = f16::from_f32([0.1, 0.2, 0.4][at % 3]);
            }
        }
        for tensor in [many, few] {
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
}
