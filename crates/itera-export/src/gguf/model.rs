//! A checkpoint as a GGUF file of the architecture `granitehybrid`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use itera_core::{
    checkpoint::{Checkpoint, Tensor, TensorData},
    config::ModelConfig,
    models::LoadedCheckpoint,
};

use super::{
    blocks::{self, Kind},
    file::{Gguf, GgufTensor, Value},
    key,
    names::{self, HEAD, Part, Place},
    vocabulary,
};
use crate::granite::{CONTEXT, LICENCE, tensor};

/// A row of the table that the command prints: a tensor, and why it is stored otherwise than asked for.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) bytes: usize,
    pub(super) reason: &'static str,
}

/// The file, and how each tensor is stored. Matrices of floats are of kind `floats`.
///
/// # Errors
/// A value that a kind cannot hold, with the tensor.
pub(super) fn build(
    loaded: &LoadedCheckpoint,
    floats: Kind,
    is_pure: bool,
) -> anyhow::Result<(Gguf, Vec<Stored>)> {
    let (checkpoint, config) = (&loaded.checkpoint, &loaded.checkpoint.config);
    let (mut tensors, mut stored) = (Vec::new(), Vec::new());
    let mut put = |tensor: GgufTensor, reason: &'static str| {
        stored.push(Stored {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            kind: tensor.kind,
            bytes: tensor.bytes.len(),
            reason,
        });
        tensors.push(tensor);
    };
    let mut kinds = BTreeMap::new();
    for place in names::places(config) {
        let (kind, reason) = kind_of(&place, tensor(checkpoint, &place.ours.name)?, floats);
        let name = place.theirs.clone();
        let tensor =
            stored_as(checkpoint, place, kind).with_context(|| format!("tensor `{name}`"))?;
        kinds.insert(name, kind);
        put(tensor, reason);
    }
    if !is_pure {
        let layer = config.n_layers;
        for (name, shape, value) in names::identity(config, layer) {
            let like = name.replace(&format!("blk.{layer}."), "blk.0.");
            let matrix = if name.contains(".attn_") {
                Kind::F16
            } else {
                Kind::F32
            };
            let kind = match shape.len() {
                1 => Kind::F32,
                _ => kinds.get(&like).copied().unwrap_or(matrix),
            };
            put(constant(name, shape, value, kind)?, "identity layer");
        }
    }
    let file = Gguf {
        metadata: metadata(loaded, floats, is_pure)?,
        tensors,
    };
    Ok((file, stored))
}

/// How a tensor is stored, and why otherwise than asked for. llama.cpp wants gains, taps and dynamics in
/// single floats. Its kernels for AMX take matrices whose rows are a multiple of 32 and crash on integers
/// of these sizes; those for experts are others.
fn kind_of(place: &Place, tensor: &Tensor, floats: Kind) -> (Kind, &'static str) {
    let is_integer = matches!(
        tensor.data,
        TensorData::Int8 { .. } | TensorData::Int4 { .. }
    );
    match (place.is_matrix(), is_integer, blocks::of_integers(tensor)) {
        (false, ..) => (Kind::F32, ""),
        (true, false, _) => (floats, ""),
        (true, true, None) => (Kind::F16, "its groups are not of 32 values, so no blocks"),
        (true, true, Some(kind)) => {
            let is_stack = place.shape.len() == 3;
            let takes_amx = !is_stack && place.shape[0].is_multiple_of(32);
            if takes_amx {
                (Kind::F16, "llama.cpp's AMX kernels crash on integers here")
            } else {
                (kind, "")
            }
        }
    }
}

/// The tensor at `place`.
fn stored_as(checkpoint: &Checkpoint, place: Place, kind: Kind) -> anyhow::Result<GgufTensor> {
    let tensor = tensor(checkpoint, &place.ours.name)?;
    let all = if place.part == Part::Decay {
        let values = tensor.to_f32().into_iter().map(|a_log| -a_log.exp());
        blocks::encode(&Tensor::f32(tensor.shape.clone(), values.collect()), kind)?
    } else {
        blocks::encode(tensor, kind)?
    };
    let row = tensor.shape.last().copied().unwrap_or(0);
    let row = kind.row_bytes(row).context("rows of other blocks")?;
    let rows = place.rows().into_iter();
    let bytes = rows.flat_map(|rows| &all[rows.start * row..rows.end * row]);
    Ok(GgufTensor {
        bytes: bytes.copied().collect(),
        name: place.theirs,
        shape: place.shape,
        kind,
    })
}

/// A tensor of one value, which is 0 if `kind` is not F32. Blocks of a scale of 0 are zeros.
fn constant(name: String, shape: Vec<usize>, value: f32, kind: Kind) -> anyhow::Result<GgufTensor> {
    let len: usize = shape.iter().product();
    let bytes = kind.row_bytes(len).context("rows of other blocks")?;
    let bytes = match kind {
        Kind::F32 => vec![value; len]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect(),
        _ => vec![0; bytes],
    };
    Ok(GgufTensor {
        name,
        shape,
        kind,
        bytes,
    })
}

fn metadata(
    loaded: &LoadedCheckpoint,
    floats: Kind,
    is_pure: bool,
) -> anyhow::Result<Vec<(String, Value)>> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut metadata = vec![
        (key::ARCHITECTURE.to_owned(), text(key::GRANITE)),
        ("general.type".to_owned(), text("model")),
        ("general.name".to_owned(), text(&loaded.name)),
        ("general.license".to_owned(), text(LICENCE)),
        ("general.quantization_version".to_owned(), Value::U32(2)),
        (
            "general.file_type".to_owned(),
            Value::U32(file_type(&loaded.checkpoint, floats)),
        ),
        (key::SOURCE.to_owned(), text(&loaded.file_sha256)),
    ];
    let config = &loaded.checkpoint.config;
    metadata.extend(sizes(config, is_pure));
    metadata.extend(vocabulary::write(&loaded.checkpoint.tokenizer)?);
    Ok(metadata)
}

/// What llama.cpp calls the type of most of a file.
fn file_type(checkpoint: &Checkpoint, floats: Kind) -> u32 {
    match (checkpoint.precision().bits(), floats) {
        (4, _) => 2,
        (8, _) => 7,
        (_, Kind::F16) => 1,
        _ => 0,
    }
}

/// The sizes, by the names of llama.cpp.
fn sizes(config: &ModelConfig, is_pure: bool) -> Vec<(String, Value)> {
    let layers = config.n_layers + usize::from(!is_pure);
    let mut heads = vec![0; config.n_layers];
    heads.extend((!is_pure).then_some(1));
    let is_dense = config.n_experts == 1;
    let experts = |size: usize| if is_dense { 0 } else { size };
    let numbers = [
        (key::CONTEXT, CONTEXT),
        (key::VOCAB, config.vocab_size),
        (key::D_MODEL, config.d_model),
        (key::LAYERS, layers),
        (key::D_EXPERT, config.d_expert),
        (key::HEADS, 1),
        ("attention.key_length", HEAD),
        ("attention.value_length", HEAD),
        ("rope.dimension_count", HEAD),
        (key::EXPERTS, experts(config.n_experts)),
        (key::TOP_K, experts(config.top_k)),
        (key::D_SHARED, config.d_shared),
        (key::D_CONV, config.d_conv),
        (key::D_INNER, config.d_inner),
        (key::D_STATE, config.d_state),
        (key::SSM_HEADS, config.n_heads()),
        (key::GROUPS, 1),
    ];
    let named = |(name, value): (&str, Value)| (key::of_architecture(name), value);
    let numbers = numbers.into_iter().filter(|(_, size)| *size > 0);
    let numbers = numbers.map(|(name, size)| (name, Value::U32(size as u32)));
    let others = [
        (key::KV_HEADS, Value::Integers(heads)),
        (key::EPS, Value::F32(config.norm_eps)),
        // Without this llama.cpp would turn the heads of the identity layer by their positions.
        (key::ROPE, Value::Bool(false)),
    ];
    numbers.chain(others).map(named).collect()
}
