//! Products of matrices with tokens.

use super::{LENS, assert_close, others, values};
use crate::{
    checkpoint::{Precision, Tensor, TensorData, rounding::Rounded},
    kernels::{Buffer, Kernel, Matrix, Product, Quantize, Quantized, Table, lanes::WIDTH},
};

/// `X W^T` by a kernel: outputs `[n, rows]` without padding.
fn product(kernel: Kernel, tensor: &Tensor, x: &[f32], chosen: Option<&[u32]>) -> Vec<f32> {
    let matrix = Matrix::from_tensor(tensor, kernel);
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let n = x.len() / cols;
    let stride = cols.next_multiple_of(WIDTH);
    let mut floats = Buffer::new(n * stride);
    for (to, x) in floats.chunks_mut(stride).zip(x.chunks(cols)) {
        // Padding must not matter.
        to.fill(f32::MAX);
        to[..cols].copy_from_slice(x);
    }
    let mut integers = Quantized::new(n, cols);
    let x = super::rows(&floats, stride);
    kernel.run(Quantize {
        matrix: &matrix,
        x,
        to: &mut integers,
    });
    let outputs = chosen.map_or(n, <[u32]>::len);
    let mut out = Table::new(outputs, rows);
    kernel.multiply(Product {
        matrix: &matrix,
        x,
        integers: &integers,
        chosen,
        out: out.rows_mut(0, outputs),
    });
    out.iter().flatten().copied().collect()
}

/// Integers of a tensor, its scales and its group.
fn integers(tensor: &Tensor) -> (Vec<i32>, Vec<f32>, usize) {
    let wide = |values: &[i8]| values.iter().map(|q| i32::from(*q)).collect();
    let floats = |scales: &[half::f16]| scales.iter().map(|s| s.to_f32()).collect();
    match &tensor.data {
        TensorData::Int8 {
            values,
            scales,
            group,
        } => (wide(values), floats(scales), *group),
        TensorData::Int4 {
            packed,
            scales,
            group,
        } => (
            wide(&crate::checkpoint::unpack_nibbles(packed)),
            floats(scales),
            *group,
        ),
        _ => panic!("the tensor is not quantised"),
    }
}

/// The definition of an integer product, without layouts: integers of inputs by the stated rule,
/// exact sums, then floats.
fn integer_definition(tensor: &Tensor, x: &[f32]) -> Vec<f32> {
    let cols = tensor.shape[1];
    let (weights, scales, group) = integers(tensor);
    let mut out = Vec::new();
    for x in x.chunks(cols) {
        for (row, w) in weights.chunks(cols).enumerate() {
            let mut sum = 0.0;
            for (g, (x, w)) in x.chunks(group).zip(w.chunks(group)).enumerate() {
                let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                let inverse = if largest < 1e-30 {
                    0.0
                } else {
                    127.0 / largest
                };
                let dot: i32 = x
                    .iter()
                    .zip(w)
                    .map(|(x, w)| (x * inverse).round_ties_even() as i32 * w)
                    .sum();
                let scale = if largest < 1e-30 {
                    0.0
                } else {
                    largest * (1.0 / 127.0)
                };
                sum += dot as f32 * scale * scales[row * (cols / group) + g];
            }
            out.push(sum);
        }
    }
    out
}

#[test]
fn the_extreme_integers_and_scales_of_either_sign_agree_with_their_definition() {
    let (rows, cols) = (33, 64);
    // -8 and 7 next to the largest inputs: the greatest sums that there are.
    let weights = (0..rows * cols).map(|i: usize| if i.is_multiple_of(3) { 7 } else { -8 });
    let sign = |i: usize| if i.is_multiple_of(2) { 0.25 } else { -0.125 };
    let scales = (0..rows * cols / 32).map(|i| half::f16::from_f32(sign(i)));
    let tensor = Tensor::of_integers(
        [rows, cols].into(),
        Precision::Int4,
        32,
        Rounded {
            integers: weights.collect(),
            scales: scales.collect(),
        },
    );
    for x in [
        vec![1.0; 2 * cols],
        vec![-1.0; 2 * cols],
        values(5, 2 * cols),
    ] {
        let expected = integer_definition(&tensor, &x);
        for kernel in Kernel::available() {
            for (a, b) in product(kernel, &tensor, &x, None).iter().zip(&expected) {
                assert!(
                    (a - b).abs() <= 1e-5 * b.abs().max(1.0),
                    "{kernel}: {a}, expected {b}"
                );
            }
        }
    }
}

#[test]
fn products_of_every_size_agree_with_their_definition() {
    for (seed, &rows) in LENS.iter().enumerate() {
        for cols in [1, 5, 16, 20, 32, 48, 64, 112] {
            for n in [1, 2, 4, 5, 9] {
                let weights = values(seed as u64, rows * cols);
                let x = values(seed as u64 + 100, n * cols);
                for precision in Precision::ALL {
                    let tensor = Tensor::quantized([rows, cols], weights.clone(), precision);
                    let expected = if tensor.precision() == Precision::Fp32 {
                        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| x * w).sum();
                        x.chunks(cols)
                            .flat_map(|x| weights.chunks(cols).map(move |w| dot(x, w)))
                            .collect()
                    } else {
                        integer_definition(&tensor, &x)
                    };
                    for kernel in Kernel::available() {
                        let what = format!("{kernel} {precision} {n}x{cols}x{rows}");
                        let found = product(kernel, &tensor, &x, None);
                        // Of `cols` additions of products below 1, each rounded.
                        let bound = cols as f32 * f32::EPSILON;
                        assert_eq!(found.len(), expected.len(), "{what}");
                        for (a, b) in found.iter().zip(&expected) {
                            assert!((a - b).abs() <= bound, "{what}: {a}, expected {b}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn kernels_with_fused_multiply_adds_agree_to_the_last_bit() {
    let (rows, cols, n) = (70, 112, 7);
    let x = values(1, n * cols);
    let kernels = others(2);
    for precision in Precision::ALL {
        let tensor = Tensor::quantized([rows, cols], values(2, rows * cols), precision);
        let results = kernels.iter().map(|k| product(*k, &tensor, &x, None));
        let results: Vec<_> = results.collect();
        assert!(
            results.windows(2).all(|pair| pair[0] == pair[1]),
            "{precision}"
        );
    }
}

#[test]
fn a_product_does_not_depend_on_what_else_is_in_the_batch() {
    let (rows, cols, n) = (37, 48, 9);
    let x = values(3, n * cols);
    for precision in Precision::ALL {
        let tensor = Tensor::quantized([rows, cols], values(4, rows * cols), precision);
        for kernel in Kernel::available() {
            let together = product(kernel, &tensor, &x, None);
            let alone = x
                .chunks(cols)
                .flat_map(|x| product(kernel, &tensor, x, None));
            assert_eq!(together, alone.collect::<Vec<_>>(), "{kernel} {precision}");
            let chosen = [8, 0, 3, 3, 5];
            let found = product(kernel, &tensor, &x, Some(&chosen));
            let expected = chosen
                .iter()
                .flat_map(|&t| &together[t as usize * rows..][..rows]);
            assert_eq!(
                found,
                expected.copied().collect::<Vec<_>>(),
                "{kernel} {precision}"
            );
        }
    }
}

#[test]
fn extreme_groups_are_exact_or_zero() {
    let cols = 64;
    let mut x = values(5, cols);
    x[..32].fill(0.0);
    for extreme in [0.0, f32::MIN_POSITIVE / 8.0, 1e-20, 1e20] {
        x[40] = extreme;
        for largest in [0.0, 1e-8, 1.0] {
            let weights: Vec<f32> = values(6, 20 * cols).iter().map(|w| w * largest).collect();
            for precision in [Precision::Int8, Precision::Int4] {
                let tensor = Tensor::quantized([20, cols], weights.clone(), precision);
                let expected = integer_definition(&tensor, &x);
                for kernel in Kernel::available() {
                    let found = product(kernel, &tensor, &x, None);
                    assert!(found.iter().all(|x| x.is_finite()), "{kernel} {extreme}");
                    assert_close(&found, &expected, 2e-6, &format!("{kernel} {extreme}"));
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_survive_integers() {
    for (cols, precision) in [
        (64, Precision::Int4),
        (64, Precision::Int8),
        (21, Precision::Int8),
    ] {
        let tensor = Tensor::quantized([5, cols], values(3, 5 * cols), precision);
        for kernel in Kernel::available() {
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, cols - 1] {
                    let mut x = values(4, 3 * cols);
                    x[cols + at] = broken;
                    let found = product(kernel, &tensor, &x, None);
                    let (first, rest) = found.split_at(5);
                    let (second, third) = rest.split_at(5);
                    assert!(
                        first.iter().chain(third).all(|y| y.is_finite()),
                        "{kernel:?}"
                    );
                    assert!(
                        second.iter().all(|y| y.is_nan()),
                        "{kernel:?} {broken}: {second:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_read_back_as_stored() {
    for (rows, cols) in [(5, 20), (70, 64), (130, 48)] {
        for precision in Precision::ALL {
            let tensor = Tensor::quantized([rows, cols], values(7, rows * cols), precision);
            let expected = tensor.to_f32();
            for kernel in Kernel::available() {
                let matrix = Matrix::from_tensor(&tensor, kernel);
                let mut row = vec![0.0; cols];
                for (index, expected) in expected.chunks(cols).enumerate() {
                    matrix.read_row(index, &mut row);
                    assert_eq!(row, expected, "{kernel} {precision} row {index}");
                }
            }
        }
    }
}
