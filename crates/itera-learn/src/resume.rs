//! A run's whole state as one file, so that a resumed run goes on bit for bit: the parameters, the
//! optimiser's moments, the carried state of every lane, the place in the data.
//!
//! The file is a [`Container`], so digests cover its content. Its only header, a tensor of JSON, holds the
//! place in the run and the caller's own account of the run, with the settings. [`Trainer::restore`] takes
//! a new run of those settings to that place.

use std::collections::BTreeMap;

use burn::tensor::Bytes;
use itera_core::container::{Container, ContainerError, Format, RawTensor};
use itera_data::{LanesError, LanesPosition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    model::{
        Carry,
        convert::{Values, values, with_values},
    },
    trainer::Trainer,
};

/// The versions before were not containers.
const FORMAT: Format = Format {
    key: "itera.resume",
    versions: 4..=4,
};

/// How files of versions before 4 begin.
const OLD_START: &[u8] = b"{\"format\":\"itera.resume/";

/// The header, a tensor of bytes: a text of the container has a limit of length.
const HEADER: &str = "header";

/// The optimiser's record, a tensor of bytes.
const OPTIMIZER: &str = "optimizer";

/// Scales of a run for integers, and the moments of their gradients.
const SCALES: &str = "scales";
const SCALES_MEAN: &str = "scales_mean";
const SCALES_SQUARE: &str = "scales_square";

/// Why a run cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The file was written by a version that had another layout.
    #[error(
        "it was written by an earlier version of itera-train; go on with that version, or start the run anew"
    )]
    Old,
    /// The file is damaged, of another version, or of another run.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The header is not the JSON that it should be.
    #[error("the header cannot be read")]
    Header(#[from] serde_json::Error),
    /// The record of the optimiser cannot be written or read.
    #[error("the record of the optimiser is unusable: {0}")]
    Optimizer(String),
    /// The documents do not fit the place in the data.
    #[error(transparent)]
    Lanes(#[from] LanesError),
}

/// `R` is the caller's account of the run.
#[derive(Serialize, Deserialize)]
struct Header<R> {
    run: R,
    step: u64,
    position: LanesPosition,
}

/// A file that was read, with sound digests.
pub struct Resume<'a, R> {
    header: Header<R>,
    file: Container<'a>,
}

impl<'a, R: DeserializeOwned> Resume<'a, R> {
    /// Reads the bytes of [`Trainer::save_resume`].
    ///
    /// # Errors
    /// When the bytes are damaged or of another version.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ResumeError> {
        if bytes.starts_with(OLD_START) {
            return Err(ResumeError::Old);
        }
        let mut file = Container::parse(bytes, &FORMAT)?;
        let header = serde_json::from_slice(&file.take(HEADER)?.bytes)?;
        Ok(Self { header, file })
    }
}

impl<R> Resume<'_, R> {
    /// The caller's account of the run.
    pub const fn run(&self) -> &R {
        &self.header.run
    }

    /// Takes the tensors `kind.name` out, one for each name of `current` and as long.
    fn take(&mut self, kind: &str, current: &Values) -> Result<Values, ResumeError> {
        let tensors = current.iter().map(|(name, current)| {
            let values = self.take_one(&format!("{kind}.{name}"), current)?;
            Ok((name.clone(), values))
        });
        tensors.collect()
    }

    fn take_one(&mut self, name: &str, current: &[f32]) -> Result<Vec<f32>, ResumeError> {
        Ok(self.file.take_f32(name, &[current.len()])?)
    }

    /// Takes the carries of all replicas out.
    fn carries(&mut self, current: &[Carry]) -> Result<Vec<Carry>, ResumeError> {
        let carries = current.iter().enumerate().map(|(replica, carry)| {
            let values = self.take(&format!("carry.{replica}"), &carry.values())?;
            Ok(carry.with_values(&values))
        });
        carries.collect()
    }
}

impl Trainer {
    /// The run as bytes, with the caller's account of it.
    ///
    /// # Errors
    /// When a part cannot be serialised.
    pub fn save_resume(&self, run: &impl Serialize) -> Result<Vec<u8>, ResumeError> {
        let header = Header {
            run,
            step: self.step,
            position: self.lanes.position(),
        };
        let mut tensors = BTreeMap::new();
        let mut put = |kind: &str, values: &Values| {
            for (name, values) in values {
                let tensor = RawTensor::f32([values.len()], values);
                tensors.insert(format!("{kind}.{name}"), tensor);
            }
        };
        put("parameter", &values(self.model()));
        if let Some(average) = &self.average {
            put("average", &average.values);
        }
        for (replica, carry) in self.carries.iter().enumerate() {
            put(&format!("carry.{replica}"), &carry.values());
        }
        if let Some(grid) = &self.grid {
            put(SCALES, &grid.scales.values());
            put(SCALES_MEAN, &grid.mean);
            put(SCALES_SQUARE, &grid.square);
        }
        let optimizer = self.learner.optimizer.into_bytes().map_err(optimizer)?;
        for (name, bytes) in [
            (HEADER, serde_json::to_vec(&header)?),
            (OPTIMIZER, optimizer.to_vec()),
        ] {
            tensors.insert(name.to_owned(), RawTensor::u8([bytes.len()], bytes));
        }
        let file = Container {
            metadata: BTreeMap::new(),
            tensors,
        };
        Ok(file.to_bytes(&FORMAT)?)
    }

    /// Goes to the place where a run of the same settings, documents and teachers was saved, and returns the
    /// caller's account of it.
    ///
    /// # Errors
    /// When the file does not fit the run, which must then not be used.
    pub fn restore<R>(&mut self, mut saved: Resume<'_, R>) -> Result<R, ResumeError> {
        self.step = saved.header.step;
        self.lanes.seek(saved.header.position)?;
        let current = values(self.model());
        if let Some(average) = self.average.as_mut().filter(|_| self.step > 0) {
            average.values = saved.take("average", &current)?;
        }
        let model = self.learner.model.clone();
        self.learner.model = with_values(model, saved.take("parameter", &current)?);
        self.carries = saved.carries(&self.carries)?;
        if let Some(grid) = &mut self.grid {
            for matrix in grid.scales.matrices_mut() {
                let name = format!("{SCALES}.{}", matrix.name());
                matrix.scales = saved.take_one(&name, &matrix.scales)?;
            }
            grid.mean = saved.take(SCALES_MEAN, &grid.mean)?;
            grid.square = saved.take(SCALES_SQUARE, &grid.square)?;
        }
        let record = Bytes::from_bytes_vec(saved.file.take(OPTIMIZER)?.bytes.into_owned());
        let current = self.learner.optimizer.clone();
        self.learner.optimizer = current.from_bytes(record).map_err(optimizer)?;
        saved.file.finish()?;
        Ok(saved.header.run)
    }
}

fn optimizer(error: impl std::fmt::Display) -> ResumeError {
    ResumeError::Optimizer(error.to_string())
}
