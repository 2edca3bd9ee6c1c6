//! tract, which is compiled in.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use itera_core::config::ModelConfig;
use tract_onnx::prelude::{
    Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _, IntoRunnable as _,
    IntoTValue as _, TVec, Tensor, TypedRunnableModel, tvec,
};

use super::{Session, State, shapes};
use crate::{file::OnnxFile, graph::Kind};

/// Version of tract in this build, as the manifest of the workspace asks for it.
pub(crate) const VERSION: &str = "0.23";

/// A graph in tract. It is prepared anew for each shape of input, as tract does best.
pub(crate) struct Tract {
    model: InferenceModel,
    kind: Kind,
    config: ModelConfig,
    plans: BTreeMap<[usize; 2], Arc<TypedRunnableModel>>,
}

impl Tract {
    /// Reads a file.
    ///
    /// # Errors
    /// What tract says; it lacks some operators and types.
    pub(crate) fn load(file: &OnnxFile) -> anyhow::Result<Self> {
        let model = tract_onnx::onnx().model_for_read(&mut file.bytes.as_slice())?;
        Ok(Self {
            model,
            kind: file.kind,
            config: file.config.clone(),
            plans: BTreeMap::new(),
        })
    }

    /// The graph, optimised for `batch` inputs of `len` tokens.
    fn plan(&mut self, batch: usize, len: usize) -> anyhow::Result<Arc<TypedRunnableModel>> {
        if let Some(plan) = self.plans.get(&[batch, len]) {
            return Ok(Arc::clone(plan));
        }
        let tokens = match self.kind {
            Kind::Step => vec![batch],
            Kind::Sequence => vec![batch, len],
        };
        let mut model = self.model.clone();
        model.set_input_fact(0, InferenceFact::dt_shape(i64_type(), tokens))?;
        for (i, shape) in shapes(&self.config, batch).into_iter().enumerate() {
            model.set_input_fact(i + 1, InferenceFact::dt_shape(f32_type(), shape))?;
        }
        let plan = model.into_optimized()?.into_runnable()?;
        self.plans.insert([batch, len], Arc::clone(&plan));
        Ok(plan)
    }
}

fn i64_type() -> tract_onnx::prelude::DatumType {
    tract_onnx::prelude::DatumType::I64
}

fn f32_type() -> tract_onnx::prelude::DatumType {
    tract_onnx::prelude::DatumType::F32
}

impl Session for Tract {
    fn run(&mut self, tokens: &[u32], batch: usize, state: &mut State) -> anyhow::Result<Vec<f32>> {
        let len = tokens.len() / batch;
        let plan = self.plan(batch, len)?;
        let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        let shape: &[usize] = match self.kind {
            Kind::Step => &[batch],
            Kind::Sequence => &[batch, len],
        };
        let mut inputs: TVec<_> = tvec!(Tensor::from_shape(shape, &ids)?.into_tvalue());
        for (values, shape) in state.0.iter().zip(shapes(&self.config, batch)) {
            inputs.push(Tensor::from_shape(&shape, values)?.into_tvalue());
        }
        let outputs = plan.run(inputs)?;
        let floats = |index: usize| -> anyhow::Result<Vec<f32>> {
            let tensor = outputs.get(index).context("an output is missing")?;
            Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        };
        for (index, values) in state.0.iter_mut().enumerate() {
            *values = floats(index + 1)?;
        }
        floats(0)
    }
}
