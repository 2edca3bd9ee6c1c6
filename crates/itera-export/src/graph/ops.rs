//! Small functions that several parts of the model share, as nodes.

use tract_onnx::pb::tensor_proto::DataType;

use super::builder::{Attribute, Builder, Value};

/// The right side of a product: `[inputs, outputs]`, or the other way round.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) value: Value,
    /// Whether it is stored as `[outputs, inputs]`.
    pub(crate) transposed: bool,
}

/// What normalisation needs beside its gain.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    opset: i64,
    epsilon: f32,
    names: Option<(Value, Value)>,
}

impl Norm {
    /// Writes the constants; from opset 23 on there is an operator, and none is needed.
    pub(crate) fn new(b: &mut Builder, opset: i64, epsilon: f32) -> Self {
        let names = (opset < 23).then(|| {
            let two = b.floats("two", &[], &[2.0]);
            (two, b.floats("epsilon", &[], &[epsilon]))
        });
        Self {
            opset,
            epsilon,
            names,
        }
    }

    /// `x / sqrt(mean(x^2) + epsilon) * gain` over the last axis. Runtimes know these nodes, in this
    /// order, as one operation.
    pub(crate) fn apply(&self, b: &mut Builder, label: &str, x: &str, gain: &str) -> Value {
        let Some((two, epsilon)) = &self.names else {
            debug_assert!(self.opset >= 23);
            let epsilon = Attribute::Float(self.epsilon);
            return b.op(
                label,
                "RMSNormalization",
                &[x, gain],
                vec![("epsilon", epsilon)],
            );
        };
        let at = |step: &str| format!("{label}_{step}");
        let last = b.ints(&[-1]);
        let square = b.op(&at("sq"), "Pow", &[x, two], vec![]);
        let mean = b.op(&at("ms"), "ReduceMean", &[&square, &last], vec![]);
        let sum = b.op(&at("eps"), "Add", &[&mean, epsilon], vec![]);
        let root = b.op(&at("rms"), "Sqrt", &[&sum], vec![]);
        let unit = b.op(&at("n"), "Div", &[x, &root], vec![]);
        b.op(label, "Mul", &[&unit, gain], vec![])
    }
}

/// `x / (1 + e^-x)`.
pub(crate) fn silu(b: &mut Builder, label: &str, x: &str) -> Value {
    let sigmoid = b.op(&format!("{label}_s"), "Sigmoid", &[x], vec![]);
    b.op(label, "Mul", &[x, &sigmoid], vec![])
}

/// `x W`.
pub(crate) fn product(b: &mut Builder, label: &str, x: &str, matrix: &Matrix) -> Value {
    if matrix.transposed {
        let turned = b.op(&format!("{label}_w"), "Transpose", &[&matrix.value], vec![]);
        return b.op(label, "MatMul", &[x, &turned], vec![]);
    }
    b.op(label, "MatMul", &[x, &matrix.value], vec![])
}

/// Floats of something else.
pub(crate) fn to_float(b: &mut Builder, label: &str, x: &str) -> Value {
    let to = Attribute::Int(DataType::Float as i64);
    b.op(label, "Cast", &[x], vec![("to", to)])
}

/// Puts the axes into another order.
pub(crate) fn transpose(b: &mut Builder, label: &str, x: &str, axes: &[i64]) -> Value {
    let axes = Attribute::Ints(axes.to_vec());
    b.op(label, "Transpose", &[x], vec![("perm", axes)])
}

/// Gives another shape; 0 keeps a size, -1 is what remains.
pub(crate) fn reshape(b: &mut Builder, label: &str, x: &str, shape: &[i64]) -> Value {
    let shape = b.ints(shape);
    b.op(label, "Reshape", &[x, &shape], vec![])
}

/// Inserts an axis of size 1.
pub(crate) fn unsqueeze(b: &mut Builder, label: &str, x: &str, axis: i64) -> Value {
    let axis = b.ints(&[axis]);
    b.op(label, "Unsqueeze", &[x, &axis], vec![])
}

/// Divides an axis into parts of the given sizes.
pub(crate) fn split<const N: usize>(
    b: &mut Builder,
    labels: [&str; N],
    x: &str,
    axis: i64,
    sizes: [usize; N],
) -> [Value; N] {
    let sizes = b.ints(&sizes.map(|size| size as i64));
    b.ops(
        labels,
        "Split",
        &[x, &sizes],
        vec![("axis", Attribute::Int(axis))],
    )
}
