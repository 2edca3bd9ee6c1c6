//! A run's whole state as one safetensors file, so that a resumed run goes on bit for bit: the
//! parameters, the optimiser's moments, the carried state of every lane, the place in the data.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use burn::tensor::Bytes;
use itera_core::{checkpoint::Checkpoint, config::ModelConfig, quant::Scales};
use itera_data::{LanesError, LanesPosition, TokenSet};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Backend,
    grid::Grid,
    model::{Carry, LanguageModel},
    trainer::{TrainConfig, Trainer},
};

/// Version of the file's layout.
const FORMAT: u32 = 3;

/// Key of the JSON header in the metadata.
const HEADER: &str = "itera.resume";

/// Name of the optimiser's record.
const OPTIMIZER: &str = "optimizer";

/// Scales of a run for integers, and the moments of their gradients.
const SCALES: &str = "scales";
const SCALES_MEAN: &str = "scales_mean";
const SCALES_SQUARE: &str = "scales_square";

/// Why a run cannot go on.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// The file is cut short or not a resume file.
    #[error("the resume file is damaged: {0}; start the run anew without --resume")]
    Damaged(String),
    /// The file's layout is of another version.
    #[error("the resume file has format {found}, this build reads {FORMAT}; start the run anew")]
    Format {
        /// Version in the file.
        found: u32,
    },
    /// The documents do not fit the place in the data.
    #[error(transparent)]
    Lanes(#[from] LanesError),
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    model: ModelConfig,
    config: TrainConfig,
    step: u64,
    position: LanesPosition,
}

impl Trainer {
    /// The run as bytes.
    ///
    /// # Errors
    /// [`ResumeError::Damaged`] when the optimiser's record cannot be written.
    pub fn save_resume(&self) -> Result<Vec<u8>, ResumeError> {
        let header = Header {
            format: FORMAT,
            model: self.model().config().clone(),
            config: self.config.clone(),
            step: self.step,
            position: self.lanes.position(),
        };
        let mut tensors = BTreeMap::new();
        let mut put = |name: String, values: &[f32]| {
            tensors.insert(name, (Dtype::F32, values.len(), le_bytes(values)));
        };
        for (name, (_, values)) in self.model().parameters() {
            put(format!("parameter.{name}"), &values);
        }
        for (name, values) in self.average.iter().flat_map(|average| &average.values) {
            put(format!("average.{name}"), values);
        }
        for (replica, carry) in self.carries.iter().enumerate() {
            for (name, values) in carry.values() {
                put(format!("carry.{replica}.{name}"), &values);
            }
        }
        let teacher = self.teacher.iter().flat_map(|teacher| &teacher.carries);
        for (replica, carry) in teacher.enumerate() {
            for (name, values) in carry.values() {
                put(format!("teacher.{replica}.{name}"), &values);
            }
        }
        if let Some(Grid {
            scales,
            mean,
            square,
        }) = &self.grid
        {
            for (kind, tensors) in [
                (SCALES, &scales.values()),
                (SCALES_MEAN, mean),
                (SCALES_SQUARE, square),
            ] {
                for (name, values) in tensors {
                    put(format!("{kind}.{name}"), values);
                }
            }
        }
        let optimizer = self.learner.optimizer.into_bytes().map_err(damaged)?;
        tensors.insert(
            OPTIMIZER.to_owned(),
            (Dtype::U8, optimizer.len(), optimizer.to_vec()),
        );
        let views = tensors.iter().map(|(name, (dtype, len, bytes))| {
            let view = TensorView::new(*dtype, vec![*len], bytes).map_err(damaged)?;
            Ok((name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, ResumeError>>()?;
        let header = serde_json::to_string(&header).map_err(damaged)?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        safetensors::serialize(views, Some(metadata)).map_err(damaged)
    }

    /// The run that [`Trainer::save_resume`] saved, over the same documents and with the same teacher.
    ///
    /// # Errors
    /// When the bytes are damaged, of another version, or do not fit the documents or the teacher.
    pub fn load_resume(
        bytes: &[u8],
        documents: impl Into<Arc<TokenSet>>,
        end_of_text: u32,
        backend: Backend,
        teacher: Option<&Checkpoint>,
    ) -> Result<Self, ResumeError> {
        let header = read_header(bytes)?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let floats = |name: &str| -> Result<Vec<f32>, ResumeError> {
            Ok(from_le_bytes(file.tensor(name).map_err(damaged)?.data()))
        };
        let mut run = Self::new(
            &header.model,
            header.config,
            documents,
            end_of_text,
            backend,
        )?;
        run.step = header.step;
        run.lanes.seek(header.position)?;
        let parameters = |kind: &str, model: &LanguageModel| {
            let shapes = model.parameters().into_iter();
            let read = shapes.map(|(name, (_, current))| {
                let values = floats(&format!("{kind}.{name}"))?;
                same_len(&name, current.len(), values.len())?;
                Ok((name, values))
            });
            read.collect::<Result<BTreeMap<_, _>, ResumeError>>()
        };
        let values = parameters("parameter", &run.learner.model)?;
        if let Some(average) = run.average.as_mut().filter(|_| header.step > 0) {
            average.values = parameters("average", &run.learner.model)?;
        }
        run.learner.model = run.learner.model.with_parameters(values);
        for (replica, carry) in run.carries.iter_mut().enumerate() {
            let values = |name: &str| floats(&format!("carry.{replica}.{name}"));
            *carry = restore(carry, values)?;
        }
        run.grid = restore_grid(&run, &file)?;
        if let Some(checkpoint) = teacher {
            run.teach(checkpoint).map_err(damaged)?;
        }
        let teacher = run
            .teacher
            .iter_mut()
            .flat_map(|teacher| &mut teacher.carries);
        for (replica, carry) in teacher.enumerate() {
            let values = |name: &str| floats(&format!("teacher.{replica}.{name}"));
            *carry = restore(carry, values)?;
        }
        let optimizer = file.tensor(OPTIMIZER).map_err(damaged)?.data().to_vec();
        let optimizer = Bytes::from_bytes_vec(optimizer);
        run.learner.optimizer = run
            .learner
            .optimizer
            .from_bytes(optimizer)
            .map_err(damaged)?;
        Ok(run)
    }
}

fn read_header(bytes: &[u8]) -> Result<Header, ResumeError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(HEADER));
    let text = text.ok_or_else(|| ResumeError::Damaged(format!("no `{HEADER}` entry")))?;
    let header: Header = serde_json::from_str(text).map_err(damaged)?;
    if header.format != FORMAT {
        return Err(ResumeError::Format {
            found: header.format,
        });
    }
    Ok(header)
}

fn restore(
    carry: &Carry,
    values: impl Fn(&str) -> Result<Vec<f32>, ResumeError>,
) -> Result<Carry, ResumeError> {
    let mut restored = BTreeMap::new();
    for (name, current) in carry.values() {
        let read = values(&name)?;
        same_len(&name, current.len(), read.len())?;
        restored.insert(name, read);
    }
    Ok(carry.with_values(&restored))
}

/// The grid of a run for integers, if it has one yet.
fn restore_grid(run: &Trainer, file: &SafeTensors<'_>) -> Result<Option<Grid>, ResumeError> {
    let Some(precisions) = &run.config.quantize else {
        return Ok(None);
    };
    let stored = |kind: &str| -> BTreeMap<String, Vec<f32>> {
        let stored = file.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix(kind)?.strip_prefix('.')?;
            Some((name.to_owned(), from_le_bytes(tensor.data())))
        });
        stored.collect()
    };
    let (scales, mean, square) = (stored(SCALES), stored(SCALES_MEAN), stored(SCALES_SQUARE));
    if scales.is_empty() {
        return Ok(None);
    }
    for (name, scales) in &scales {
        for moments in [&mean, &square] {
            same_len(name, scales.len(), moments.get(name).map_or(0, Vec::len))?;
        }
    }
    let scales = Scales::from_values(run.model().config(), &scales, precisions).map_err(damaged)?;
    Ok(Some(Grid {
        scales,
        mean,
        square,
    }))
}

fn same_len(name: &str, expected: usize, found: usize) -> Result<(), ResumeError> {
    if expected == found {
        return Ok(());
    }
    Err(ResumeError::Damaged(format!(
        "`{name}` has {found} values, expected {expected}"
    )))
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn from_le_bytes(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

fn damaged(error: impl std::fmt::Display) -> ResumeError {
    ResumeError::Damaged(error.to_string())
}
