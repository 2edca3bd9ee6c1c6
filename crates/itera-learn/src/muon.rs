//! Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): momentum
//! whose steps are matrices with all singular values near 1.
//!
//! Burn has it for single matrices; experts are stacks of them, `[n_experts, rows, columns]`, and
//! each matrix of a stack gets a step of its own here.

use burn::{
    optim::{
        LearningRate, Optimizer,
        momentum::{Momentum, MomentumConfig, MomentumState},
    },
    tensor::{Device, Tensor},
};

/// Share of the step before that each step keeps.
const MOMENTUM: f64 = 0.95;

/// Newton-Schulz iterations, and the coefficients of their polynomial `a x + b x³ + c x⁵` (Jordan et
/// al. 2024), which lifts small singular values fast and leaves them between 0.7 and 1.2.
const ITERATIONS: usize = 5;
const POLYNOMIAL: (f32, f32, f32) = (3.4445, -4.7750, 2.0315);

/// Root mean square of a step's elements per unit of learning rate, as in a typical `AdamW` step, so that
/// both are run with one learning rate (Liu et al. 2025, "Muon is scalable for LLM training",
/// section 2.2).
const STEP_RMS: f64 = 0.2;

/// The optimiser; its parameters have at least two dimensions, the last two of which are matrices.
#[derive(Clone)]
pub(crate) struct Muon {
    momentum: Momentum,
    /// Decoupled weight decay per unit of learning rate.
    weight_decay: f64,
}

impl Muon {
    pub(crate) fn new(weight_decay: f32) -> Self {
        let momentum = MomentumConfig {
            momentum: MOMENTUM,
            dampening: 0.0,
            nesterov: true,
        };
        Self {
            momentum: Momentum::new(&momentum),
            weight_decay: weight_decay.into(),
        }
    }
}

impl Optimizer for Muon {
    type State<const D: usize> = MomentumState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let (direction, state) = self.momentum.transform(grad, state);
        let dims = tensor.dims();
        let [rows, columns] = [dims[D - 2], dims[D - 1]];
        let stack = dims.iter().product::<usize>() / (rows * columns);
        let direction = orthogonalize(direction.reshape([stack, rows, columns])).reshape(dims);
        // Each of min(rows, columns) singular values is 1, so the root mean square of the elements
        // is 1 / sqrt(max(rows, columns)).
        let scale = learning_rate * STEP_RMS * (rows.max(columns) as f64).sqrt();
        let kept = 1.0 - learning_rate * self.weight_decay;
        (
            tensor.mul_scalar(kept) - direction.mul_scalar(scale),
            Some(state),
        )
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.to_device(device)
    }
}

/// The nearest matrix with orthonormal rows or columns, about: `U V^T` of `U S V^T`.
///
/// # Shapes
/// `matrices [stack, rows, columns]`, the result alike.
fn orthogonalize(matrices: Tensor<3>) -> Tensor<3> {
    let [_, rows, columns] = matrices.dims();
    if rows > columns {
        return orthogonalize(matrices.swap_dims(1, 2)).swap_dims(1, 2);
    }
    // By the Frobenius norm, no singular value is above 1.
    let squares = matrices.clone() * matrices.clone();
    let norms = squares.sum_dim(2).sum_dim(1).sqrt(); // [stack, 1, 1]
    let mut x = matrices / (norms + 1e-7);
    let (a, b, c) = POLYNOMIAL;
    for _ in 0..ITERATIONS {
        let gram = x.clone().matmul(x.clone().swap_dims(1, 2)); // X X^T, [stack, rows, rows]
        let polynomial = gram.clone() * b + gram.clone().matmul(gram) * c;
        x = x.clone() * a + polynomial.matmul(x);
    }
    x
}

#[cfg(test)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};
    use rand_chacha::rand_core::Rng as _;

    use super::*;

    /// Values without a pattern, between -3 and 3.
    fn noise(shape: [usize; 3], seed: usize) -> Tensor<3> {
        // A sine of the index would give matrices of rank 2.
        let mut rng = itera_data::rng(seed as u64, itera_data::Domain::Order, 0);
        let mut value = || (f64::from(rng.next_u32()) / f64::from(u32::MAX) * 6.0 - 3.0) as f32;
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// Singular values of a matrix of `[rows, columns]`, by one-sided Jacobi rotations of its rows
    /// (Hestenes 1958): rows that are orthogonal to each other have them as lengths.
    fn singular_values(matrix: &[f32], columns: usize) -> Vec<f64> {
        let rows = matrix.chunks(columns);
        let mut rows: Vec<Vec<f64>> = rows
            .map(|row| row.iter().map(|value| f64::from(*value)).collect())
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for _ in 0..20 {
            for i in 0..rows.len() {
                for j in 0..i {
                    let (a, b) = (dot(&rows[i], &rows[i]), dot(&rows[j], &rows[j]));
                    let angle = 0.5 * (2.0 * dot(&rows[i], &rows[j])).atan2(a - b);
                    let (sin, cos) = angle.sin_cos();
                    let (head, tail) = rows.split_at_mut(i);
                    for (x, y) in tail[0].iter_mut().zip(&mut head[j]) {
                        (*x, *y) = (cos * *x + sin * *y, cos * *y - sin * *x);
                    }
                }
            }
        }
        rows.iter().map(|row| dot(row, row).sqrt()).collect()
    }

    /// `U V^T` has singular values of 1 and the inner product `sum(S)` with `U S V^T`; no other matrix
    /// with such singular values comes near that.
    #[test]
    fn a_step_has_the_singular_vectors_of_the_gradient_and_values_near_one() {
        for shape in [[1, 12, 40], [3, 40, 12], [2, 16, 16]] {
            let gradient = noise(shape, shape[1]);
            let step = orthogonalize(gradient.clone());
            let values = |tensor: Tensor<3>| tensor.into_data().try_into_vec::<f32>().unwrap();
            let wide = |tensor: Tensor<3>| {
                if shape[1] > shape[2] {
                    values(tensor.swap_dims(1, 2))
                } else {
                    values(tensor)
                }
            };
            let (gradient, step) = (wide(gradient), wide(step));
            let (len, columns) = (shape[1] * shape[2], shape[1].max(shape[2]));
            for (gradient, step) in gradient.chunks(len).zip(step.chunks(len)) {
                let nuclear_norm: f64 = singular_values(gradient, columns).iter().sum();
                let pairs = gradient.iter().zip(step);
                let product: f64 = pairs.map(|(g, x)| f64::from(*g) * f64::from(*x)).sum();
                let alike = product / nuclear_norm;
                assert!((0.7..1.2).contains(&alike), "{shape:?}: {alike}");
                for value in singular_values(step, columns) {
                    assert!((0.3..1.25).contains(&value), "{shape:?}: {value}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_of_a_stack_moves_as_if_alone() {
        let (stack, grads) = (noise([3, 8, 5], 1), noise([3, 8, 5], 2));
        let optimizer = Muon::new(0.1);
        let (moved, _) = optimizer.step(0.01, stack.clone(), grads.clone(), None);
        for matrix in 0..3 {
            let alone = |tensor: &Tensor<3>| tensor.clone().narrow(0, matrix, 1).reshape([8, 5]);
            let (expected, _) = optimizer.step::<2>(0.01, alone(&stack), alone(&grads), None);
            alone(&moved)
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn the_size_of_the_gradient_does_not_matter() {
        let (matrix, grad) = (noise([1, 6, 9], 1), noise([1, 6, 9], 2));
        let optimizer = Muon::new(0.0);
        let (a, _) = optimizer.step(0.01, matrix.clone(), grad.clone(), None);
        let (b, _) = optimizer.step(0.01, matrix, grad * 1000.0, None);
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-5));
    }
}
