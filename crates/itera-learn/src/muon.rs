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

/// Root mean square of a step's elements per unit of learning rate: that of a typical `AdamW` step, so
/// that both are run with one learning rate (Liu et al. 2025, "Muon is scalable for LLM training",
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
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    fn random(shape: [usize; 3]) -> Tensor<3> {
        Tensor::random(shape, Distribution::Normal(0.0, 3.0), &Device::flex())
    }

    #[test]
    fn singular_values_become_one_about() {
        for shape in [[1, 12, 40], [3, 40, 12], [2, 16, 16]] {
            let x = orthogonalize(random(shape));
            let short = shape[1].min(shape[2]);
            let x = if shape[1] > shape[2] {
                x.swap_dims(1, 2)
            } else {
                x
            };
            // The trace of X X^T is the sum of the squares of the singular values.
            let gram = x.clone().matmul(x.swap_dims(1, 2));
            let diagonal: Vec<f32> = gram.into_data().try_into_vec().unwrap();
            for matrix in diagonal.chunks(short * short) {
                let trace: f32 = (0..short).map(|i| matrix[i * (short + 1)]).sum();
                let mean = trace / short as f32;
                assert!((0.5..1.4).contains(&mean), "{shape:?}: {mean}");
            }
        }
    }

    #[test]
    fn a_matrix_of_a_stack_moves_as_if_alone() {
        let (stack, grads) = (random([3, 8, 5]), random([3, 8, 5]));
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
        let (matrix, grad) = (random([1, 6, 9]), random([1, 6, 9]));
        let optimizer = Muon::new(0.0);
        let (a, _) = optimizer.step(0.01, matrix.clone(), grad.clone(), None);
        let (b, _) = optimizer.step(0.01, matrix, grad * 1000.0, None);
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-5));
    }
}
