//! What is served: one version of the weights at several precisions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, ensure};
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    config::ModelConfig,
    digest::sha256_hex,
    model::Model,
    models::{self, LoadedCheckpoint, Weights as Origin},
    quant,
    tokenizer::Tokenizer,
};
use itera_record::ModelInfo;

/// Precisions that may be served, finest first.
const PRECISIONS: [Precision; 3] = [Precision::Fp32, Precision::Int8, Precision::Int4];

/// One version of the weights.
#[derive(Debug)]
pub(crate) struct Weights {
    /// Digest of the floats, the same on every server.
    pub(crate) version: Arc<str>,
    /// The floats, from which an adaptation goes on.
    pub(crate) checkpoint: Arc<Checkpoint>,
    /// The floats at each precision, finest first.
    pub(crate) variants: Vec<Arc<Variant>>,
}

/// The weights at one precision, packed for the kernels, with what makes tokens of texts. A request holds the one
/// that it began with.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The model's name.
    pub(crate) name: Arc<str>,
    pub(crate) precision: Precision,
    pub(crate) version: Arc<str>,
    /// No other variant of this process has it: the same floats may have been rounded in more than one way.
    pub(crate) serial: u64,
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) model: Model,
}

/// A checkpoint that is served.
#[derive(Debug)]
pub(crate) struct Base {
    /// Its name, for `GET /v1/models`.
    pub(crate) name: Arc<str>,
    /// The name or path that it was loaded by.
    pub(crate) source: String,
    /// Precisions that requests may name.
    pub(crate) precisions: Vec<Precision>,
    /// The one of requests that name none.
    pub(crate) default: Precision,
    /// What was asked for as such.
    pub(crate) asked: Option<Precision>,
    /// Digests of the files of each precision.
    pub(crate) files: Vec<String>,
    /// Its weights.
    pub(crate) weights: Arc<Weights>,
    /// What a record says about it, at the default precision.
    pub(crate) info: ModelInfo,
    /// How the default precision came to be.
    pub(crate) origin: Origin,
}

impl Base {
    /// Loads a checkpoint at every precision that it has.
    ///
    /// # Errors
    /// No such checkpoint, a broken one, or one that has not the precision asked for.
    pub(crate) fn load(name: &str, precision: Option<Precision>) -> anyhow::Result<Self> {
        let own = models::load_checkpoint(name)?;
        let stored = own.checkpoint.precision();
        let has = |p: &Precision| *p == Precision::Fp32 || p.bits() <= stored.bits();
        // Integers cannot be rounded again; of a file of integers there are its own and floats.
        let is_own = |p: &Precision| stored == Precision::Fp32 || *p == stored;
        let precisions: Vec<_> = PRECISIONS
            .into_iter()
            .filter(|p| has(p) && (*p == Precision::Fp32 || is_own(p)))
            .collect();
        let default = precision.unwrap_or(if precisions.contains(&Precision::Int8) {
            Precision::Int8
        } else {
            stored
        });
        ensure!(
            precisions.contains(&default),
            "`{name}` is stored as {stored} and cannot be served at {default}; give --precision {stored} or fp32"
        );
        let loaded: Vec<LoadedCheckpoint> = precisions
            .iter()
            .map(|&precision| models::load_at_precision(name, precision))
            .collect::<Result<_, _>>()?;
        let floats = Arc::new(own.checkpoint.to_fp32());
        let version: Arc<str> = weights_version(&floats).into();
        let own_name: Arc<str> = own.name.into();
        let variants = loaded
            .iter()
            .zip(&precisions)
            .map(|(loaded, &precision)| {
                Variant::pack(&loaded.checkpoint, precision, &version, &own_name)
            })
            .collect::<anyhow::Result<_>>()
            .with_context(|| format!("cannot run the checkpoint `{name}`"))?;
        let at_default = precisions.iter().position(|p| *p == default).unwrap_or(0);
        Ok(Self {
            name: own_name,
            source: name.to_owned(),
            files: loaded.iter().map(|at| at.file_sha256.clone()).collect(),
            asked: precision,
            default,
            weights: Arc::new(Weights {
                version,
                checkpoint: floats,
                variants,
            }),
            info: {
                let at = &loaded[at_default];
                itera_cli::model_info(&at.name, &at.file_sha256, &at.checkpoint)
            },
            origin: loaded[at_default].weights,
            precisions,
        })
    }

    /// The weights that an adaptation has made. Precisions other than that of `quantized` are rounded
    /// from the floats: the server that made it may have had another default.
    ///
    /// # Errors
    /// If the checkpoint is of another model, or broken.
    pub(crate) fn adapted(
        &self,
        floats: Checkpoint,
        quantized: Option<&Checkpoint>,
    ) -> anyhow::Result<Arc<Weights>> {
        ensure!(
            floats.config == self.weights.checkpoint.config
                && floats.tokenizer == self.weights.checkpoint.tokenizer,
            "the version is of another model than {}",
            self.name
        );
        let version: Arc<str> = weights_version(&floats).into();
        let variant = |&precision: &Precision| {
            let rounded = match (precision, quantized) {
                (Precision::Fp32, _) => {
                    return Variant::pack(&floats, precision, &version, &self.name);
                }
                (_, Some(quantized)) if precision == quantized.precision() => quantized.clone(),
                _ => quant::quantize(&floats, &quant::Options::data_free(precision))?.0,
            };
            Variant::pack(&rounded, precision, &version, &self.name)
        };
        let variants = self.precisions.iter().map(variant);
        let variants = variants.collect::<anyhow::Result<_>>()?;
        Ok(Arc::new(Weights {
            version,
            checkpoint: Arc::new(floats),
            variants,
        }))
    }
}

impl Weights {
    /// The weights at one of the base's precisions; at another the finest.
    pub(crate) fn variant(&self, precision: Precision) -> &Arc<Variant> {
        let mut variants = self.variants.iter();
        let found = variants.find(|variant| variant.precision == precision);
        found.unwrap_or(&self.variants[0])
    }
}

impl Variant {
    /// Whether it has this name: `MODEL.PRECISION` or `MODEL-PRECISION`.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&*self.name);
        rest.is_some_and(|rest| rest.strip_prefix(['.', '-']) == Some(self.precision.name()))
    }

    /// The name that tells it from all others: `MODEL.PRECISION`.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.name, self.precision)
    }

    /// Negative log-likelihood of each token of a text, in nats.
    pub(crate) fn nats(&self, tokens: &[u32]) -> Vec<f64> {
        let (model, end_of_text) = (&self.model, self.tokenizer.end_of_text());
        let (mut state, mut work) = (model.new_state(), model.new_workspace());
        model.score(&mut state, &mut work, end_of_text, tokens)
    }

    fn pack(
        checkpoint: &Checkpoint,
        precision: Precision,
        version: &Arc<str>,
        name: &Arc<str>,
    ) -> anyhow::Result<Arc<Self>> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Ok(Arc::new(Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            name: Arc::clone(name),
            precision,
            version: Arc::clone(version),
            config: checkpoint.config.clone(),
            tokenizer: checkpoint.tokenizer.clone(),
            model: Model::from_checkpoint(checkpoint)?,
        }))
    }
}

/// SHA-256 of the floats by name, shape and value: that which `itera_learn::adapt` gives too, so that
/// receipts and answers name one version alike. Notes on training do not count.
pub(crate) fn weights_version(checkpoint: &Checkpoint) -> String {
    let mut bytes = Vec::new();
    for (name, tensor) in &checkpoint.tensors {
        bytes.extend(format!("{name} {:?}\n", tensor.shape).into_bytes());
        bytes.extend(tensor.to_f32().into_iter().flat_map(f32::to_le_bytes));
    }
    sha256_hex(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::random_checkpoint;

    #[test]
    fn integers_of_another_precision_are_not_served_as_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small.safetensors");
        std::fs::write(&path, random_checkpoint(1).to_bytes().unwrap()).unwrap();
        let base = Base::load(path.to_str().unwrap(), Some(Precision::Int4)).unwrap();
        let floats = random_checkpoint(2);
        let rounded = |precision| {
            let options = quant::Options::data_free(precision);
            quant::quantize(&floats, &options).unwrap().0
        };
        let score = |quantized: Option<&Checkpoint>, precision| {
            let weights = base.adapted(floats.clone(), quantized).unwrap();
            let model = &weights.variant(precision).model;
            let (mut state, mut work) = (model.new_state(), model.new_workspace());
            model.step(97, &mut state, &mut work).to_vec()
        };
        let int8 = rounded(Precision::Int8);
        for precision in PRECISIONS {
            let expected = score(None, precision);
            assert_eq!(score(Some(&int8), precision), expected, "{precision}");
        }
        // What an adaptation has rounded is served as it is.
        let mut coarse = rounded(Precision::Int4);
        let other = quant::quantize(
            &random_checkpoint(3),
            &quant::Options::data_free(Precision::Int4),
        );
        coarse.tensors = other.unwrap().0.tensors;
        assert_ne!(
            score(Some(&coarse), Precision::Int4),
            score(None, Precision::Int4)
        );
    }
}
