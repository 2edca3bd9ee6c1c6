//! Operators whose forward and backward passes are written by hand over host memory, plugged into
//! Burn's autodiff.
//!
//! A training step made of Burn's elementwise tensor operations spends most of its time moving
//! memory between them. An [`Operator`] fuses such a chain: it sees its inputs as slices, returns
//! one output, keeps what its backward pass needs, and later turns the gradient of the output into
//! the gradients of the inputs. [`apply`] runs it on the flex and the ndarray backend, with or
//! without autodiff.
#![cfg_attr(
    feature = "ndarray",
    expect(
        deprecated,
        reason = "the ndarray backend is deprecated in favour of flex, and still supported"
    )
)]

use std::{borrow::Cow, fmt::Debug};

#[cfg(feature = "ndarray")]
use burn::backend::{NdArray, ops::FloatTensorOps};
use burn::{
    backend::{
        Autodiff, Backend, BackendTensor, DispatchDevice, DispatchKindConversion, DispatchTensor,
        DispatchTensorKind, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::{Device, Shape, TensorData},
};

#[cfg(feature = "cuda")]
const NOT_HERE: &str = "fused operators run in host memory";

/// A backend whose tensors lie in host memory.
pub(crate) trait HostBackend: Backend {
    /// The elements of a tensor in row-major order; borrowed where the backend allows it.
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]>;

    /// A tensor over `values`, without a copy where the backend allows it.
    fn tensor(values: Vec<f32>, shape: &[usize]) -> FloatTensor<Self> {
        let device = <Self as burn::backend::BackendTypes>::Device::default();
        Self::float_from_data(
            TensorData::new(values, Shape::from(shape.to_vec())),
            &device,
        )
    }
}

impl HostBackend for Flex {
    fn read(tensor: &FlexTensor) -> Cow<'_, [f32]> {
        match tensor.as_slice::<f32>() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(into_vec(tensor.to_contiguous().into_data())),
        }
    }
}

#[cfg(feature = "ndarray")]
impl HostBackend for NdArray {
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]> {
        let data = burn::backend::read_sync(Self::float_into_data(tensor.clone()));
        Cow::Owned(into_vec(data.expect("host tensors can be read")))
    }
}

fn into_vec(data: TensorData) -> Vec<f32> {
    data.try_into_vec::<f32>()
        .expect("fused operators work on f32 tensors")
}

/// An operator of `N` differentiable inputs and one output.
///
/// Inputs that need no gradient (masks, carried state) are fields of the operator.
pub(crate) trait Operator<const N: usize>: Clone + Debug + Send + 'static {
    /// Values for the backward pass beyond the inputs.
    type Saved: Clone + Debug + Send + 'static;

    /// The output with its shape, and what to keep for the backward pass.
    fn forward<B: HostBackend>(&self, inputs: [&[f32]; N]) -> (Vec<f32>, Vec<usize>, Self::Saved);

    /// Gradients of the inputs, in their order and with their numbers of elements.
    fn backward<B: HostBackend>(
        &self,
        inputs: [&[f32]; N],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; N];
}

/// Runs `op` on the backend that `inputs` live on. The second result is what the operator saved,
/// for callers that need a by-product of the forward pass.
///
/// # Panics
/// If the inputs live on a backend that is not on the host.
pub(crate) fn apply<const N: usize, O: Operator<N>>(
    op: O,
    inputs: [DispatchTensor; N],
) -> (DispatchTensor, O::Saved) {
    match &inputs[0].kind {
        DispatchTensorKind::Flex(_) => apply_plain::<N, Flex, O>(&op, inputs),
        #[cfg(feature = "ndarray")]
        DispatchTensorKind::NdArray(_) => apply_plain::<N, NdArray, O>(&op, inputs),
        DispatchTensorKind::Autodiff(inner) => match inner.as_ref() {
            DispatchTensorKind::Flex(_) => apply_tracked::<N, Flex, O>(op, inputs),
            #[cfg(feature = "ndarray")]
            DispatchTensorKind::NdArray(_) => apply_tracked::<N, NdArray, O>(op, inputs),
            #[cfg(feature = "cuda")]
            DispatchTensorKind::Cube(_) => panic!("{NOT_HERE}"),
            DispatchTensorKind::Autodiff(_) => unreachable!("autodiff does not nest"),
        },
        #[cfg(feature = "cuda")]
        DispatchTensorKind::Cube(_) => panic!("{NOT_HERE}"),
    }
}

/// Whether the tensors of a device lie in host memory, so that operators can run on them.
pub(crate) fn holds(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => true,
        #[cfg(feature = "cuda")]
        DispatchDevice::Cube(_) => false,
        DispatchDevice::Autodiff(_) => unreachable!("an inner device has no autodiff"),
    }
}

fn float<B: Backend>(tensor: DispatchTensor) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let tensor = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor);
    tensor
        .expect("all inputs of a fused operator live on one backend")
        .float()
}

fn apply_plain<const N: usize, B: HostBackend, O: Operator<N>>(
    op: &O,
    inputs: [DispatchTensor; N],
) -> (DispatchTensor, O::Saved)
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let inputs = inputs.map(float::<B>);
    let (output, saved) = run::<N, B, O>(op, &inputs);
    (
        DispatchTensor::from_backend(BackendTensor::<B>::Float(output)),
        saved,
    )
}

fn run<const N: usize, B: HostBackend, O: Operator<N>>(
    op: &O,
    inputs: &[FloatTensor<B>; N],
) -> (FloatTensor<B>, O::Saved) {
    let values = inputs.each_ref().map(|tensor| B::read(tensor));
    let (output, shape, saved) = op.forward::<B>(values.each_ref().map(AsRef::as_ref));
    (B::tensor(output, &shape), saved)
}

/// An application of an operator, kept for its backward pass.
#[derive(Clone, Debug)]
struct Tape<const N: usize, B: Backend, O: Operator<N>> {
    op: O,
    inputs: [FloatTensor<B>; N],
    saved: O::Saved,
}

/// The backward step of every fused operator.
#[derive(Debug)]
struct Reverse<O>(std::marker::PhantomData<O>);

impl<const N: usize, B: HostBackend, O: Operator<N>> Backward<B, N> for Reverse<O> {
    type State = Tape<N, B, O>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let Tape { op, inputs, saved } = ops.state;
        let values = inputs.each_ref().map(|tensor| B::read(tensor));
        let values = values.each_ref().map(AsRef::as_ref);
        let input_grads = op.backward::<B>(values, saved, &B::read(&grad));
        for ((parent, values), input) in ops.parents.into_iter().zip(input_grads).zip(&inputs) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, B::tensor(values, &input.shape()));
            }
        }
    }
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "Burn does not export the type that the methods belong to"
)]
fn apply_tracked<const N: usize, B: HostBackend, O: Operator<N>>(
    op: O,
    inputs: [DispatchTensor; N],
) -> (DispatchTensor, O::Saved)
where
    DispatchTensor: DispatchKindConversion<Autodiff<B>>,
{
    let inputs = inputs.map(float::<Autodiff<B>>);
    let guards = inputs.each_ref().map(|tensor| tensor.node());
    let inputs = inputs.map(|tensor| tensor.into_primitive());
    let (output, saved) = run::<N, B, O>(&op, &inputs);
    let step = Reverse(std::marker::PhantomData::<O>);
    let prepared = Backward::<B, N>::prepare::<NoCheckpointing>(step, guards).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(
            Tape {
                op,
                inputs,
                saved: saved.clone(),
            },
            output,
        ),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    (
        DispatchTensor::from_backend(BackendTensor::<Autodiff<B>>::Float(output)),
        saved,
    )
}

/// A matrix of a backend, for products within an operator.
pub(crate) struct Matrix<B: HostBackend>(FloatTensor<B>);

impl<B: HostBackend> Matrix<B> {
    /// A matrix over row-major `values`, without a copy where the backend allows it.
    pub(crate) fn new(values: Vec<f32>, [rows, columns]: [usize; 2]) -> Self {
        Self(B::tensor(values, &[rows, columns]))
    }

    pub(crate) fn transposed(&self) -> Self {
        Self(B::float_swap_dims(self.0.clone(), 0, 1))
    }

    /// `self other` by the backend's matrix product.
    pub(crate) fn times(&self, other: &Self) -> Self {
        Self(B::float_matmul(self.0.clone(), other.0.clone()))
    }

    /// The elements in row-major order, without a copy where the backend allows it.
    pub(crate) fn into_values(self) -> Vec<f32> {
        let data = burn::backend::read_sync(B::float_into_data(self.0));
        into_vec(data.expect("host tensors can be read"))
    }
}
