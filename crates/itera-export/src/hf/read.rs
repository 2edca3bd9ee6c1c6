//! A folder of transformers as a checkpoint.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail, ensure};
use half::{bf16, f16};
use itera_core::{checkpoint::Tensor, config::ModelConfig, tokenizer::Tokenizer};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use super::{CONFIG, TOKENIZER, WEIGHTS, config::HfConfig, names};
use crate::{
    granite::{Foreign, expect},
    import::read_file,
};

/// The output head, which some files have beside the embedding.
const HEAD: &str = "lm_head.weight";

/// Reads a folder.
///
/// # Errors
/// A file is missing or broken, or the model is of another form, with what differs.
pub(crate) fn read(folder: &Path) -> anyhow::Result<Foreign> {
    files(|name| read_file(&folder.join(name)))
}

/// Reads what `file` gives by name.
pub(super) fn files(file: impl Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Foreign> {
    let config: HfConfig = json(&file, CONFIG)?;
    let (sizes, identities) = config.sizes().context(CONFIG)?;
    let tokenizer = tokenizer(json(&file, TOKENIZER)?).context(TOKENIZER)?;
    let ids = [
        ("bos_token_id", config.bos_token_id),
        ("eos_token_id", config.eos_token_id),
    ];
    for (name, id) in ids {
        let id = id.with_context(|| format!("{CONFIG} has no `{name}`"))?;
        expect(name, &id, &tokenizer.end_of_text()).context(CONFIG)?;
    }
    let bytes = file(WEIGHTS)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(anyhow::Error::from);
    let tensors = tensors.and_then(|tensors| weights(&sizes, identities, &tensors));
    Ok(Foreign {
        tensors: tensors.context(WEIGHTS)?,
        config: sizes,
        tokenizer,
    })
}

fn json<T: serde::de::DeserializeOwned>(
    file: &impl Fn(&str) -> anyhow::Result<Vec<u8>>,
    name: &'static str,
) -> anyhow::Result<T> {
    serde_json::from_slice(&file(name)?).with_context(|| format!("`{name}` is not as expected"))
}

/// The tokenizer, without what puts end-of-text before a text: our tools do that themselves.
fn tokenizer(mut json: Value) -> anyhow::Result<Tokenizer> {
    if let Some(fields) = json.as_object_mut() {
        for name in ["post_processor", "truncation", "padding"] {
            fields.remove(name);
        }
    }
    Tokenizer::from_json(&json.to_string()).context("it is not one of this project's")
}

/// All tensors by our names.
fn weights(
    config: &ModelConfig,
    identities: usize,
    file: &SafeTensors<'_>,
) -> anyhow::Result<BTreeMap<String, Tensor>> {
    ensure!(
        config.n_layers <= file.len(),
        "it has {} layers, more than tensors",
        config.n_layers
    );
    config
        .validate()
        .context("its sizes are not those of a model")?;
    let in_files = |name: String| {
        let renamed = names::RENAMED
            .into_iter()
            .find(|(memory, _)| name.ends_with(memory));
        renamed.map_or(name.clone(), |(memory, in_files)| {
            name.replace(memory, in_files)
        })
    };
    let tensors = file.tensors().into_iter();
    let mut theirs: BTreeMap<String, TensorView<'_>> = tensors
        .map(|(name, tensor)| (in_files(name), tensor))
        .collect();
    let mut ours = BTreeMap::new();
    for place in names::places(config) {
        let name = &place.theirs;
        let found = theirs.remove(name);
        let found = found.with_context(|| format!("it has no tensor `{name}`"))?;
        ensure!(
            found.shape() == place.shape,
            "the tensor `{name}` has shape {:?}, expected {:?}",
            found.shape(),
            place.shape
        );
        let values = floats(name, &found)?;
        if name == names::EMBEDDING
            && let Some(head) = theirs.remove(HEAD)
        {
            let is_tied = floats(HEAD, &head)? == values;
            ensure!(
                is_tied,
                "the tensor `{HEAD}` is not the embedding, to which it is tied here"
            );
        }
        ours.insert(place.ours.name, Tensor::f32(place.ours.shape, values));
    }
    theirs.retain(|name, tensor| !is_empty(name, tensor));
    for layer in config.n_layers..config.n_layers + identities {
        check_identity(layer, &mut theirs)?;
    }
    match theirs.keys().next() {
        Some(name) => bail!("it has a tensor `{name}`, which this form of the model does not"),
        None => Ok(ours),
    }
}

/// Whether a tensor is that of a shared expert of no width.
fn is_empty(name: &str, tensor: &TensorView<'_>) -> bool {
    name.contains("shared_mlp.") && tensor.shape().contains(&0)
}

fn floats(name: &str, tensor: &TensorView<'_>) -> anyhow::Result<Vec<f32>> {
    let pairs = || tensor.data().as_chunks::<2>().0.iter().copied();
    Ok(match tensor.dtype() {
        Dtype::F32 => {
            let values = tensor.data().as_chunks::<4>().0.iter();
            values.map(|x| f32::from_le_bytes(*x)).collect()
        }
        Dtype::F16 => pairs().map(|x| f16::from_le_bytes(x).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|x| bf16::from_le_bytes(x).to_f32()).collect(),
        other => bail!("the tensor `{name}` is {other:?}, expected F32, F16 or BF16"),
    })
}

/// Checks that a layer adds nothing: what it multiplies last is zero.
fn check_identity(
    layer: usize,
    theirs: &mut BTreeMap<String, TensorView<'_>>,
) -> anyhow::Result<()> {
    let prefix = format!("model.layers.{layer}.");
    let names: Vec<String> = theirs
        .keys()
        .filter(|name| name.starts_with(&prefix))
        .cloned()
        .collect();
    for name in names {
        let is_last = name.contains("o_proj") || name.contains("output_linear");
        if let Some(tensor) = theirs.remove(&name)
            && is_last
        {
            ensure!(
                floats(&name, &tensor)?.iter().all(|value| *value == 0.0),
                "the tensor `{name}` is not zero: layer {layer} has attention, which this model does not"
            );
        }
    }
    Ok(())
}
