//! A GGUF file as a checkpoint.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, bail, ensure};
use itera_core::{
    checkpoint::{Tensor, TensorData},
    config::{ModelConfig, Preset, Routing, TensorSpec},
};

use super::{
    blocks,
    file::{Gguf, GgufTensor, Value},
    key,
    names::{self, Part, Place},
    vocabulary,
};
use crate::granite::{Foreign, expect};

/// Reads a file.
///
/// # Errors
/// It is broken, or of another form, with what differs.
pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Foreign> {
    let file = Gguf::parse(bytes)?;
    let entries = file
        .metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value));
    let metadata: HashMap<&str, &Value> = entries.collect();
    let architecture = match metadata.get(key::ARCHITECTURE) {
        Some(Value::Text(architecture)) => architecture.as_str(),
        _ => "absent",
    };
    expect(key::ARCHITECTURE, &architecture, &key::GRANITE)?;
    let (config, identities) = config(&metadata)?;
    ensure!(
        config.n_layers <= file.tensors.len(),
        "it has {} layers, more than tensors",
        config.n_layers
    );
    config
        .validate()
        .context("its sizes are not those of a model")?;
    let mut theirs: BTreeMap<&str, &GgufTensor> =
        file.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut places = names::places(&config).into_iter().peekable();
    let mut tensors = BTreeMap::new();
    while let Some(first) = places.next() {
        let ours = first.ours.clone();
        let mut parts = vec![first];
        parts.extend(std::iter::from_fn(|| {
            places.next_if(|place| place.ours == ours)
        }));
        tensors.insert(ours.name.clone(), join(&ours, &parts, &mut theirs)?);
    }
    for layer in config.n_layers..config.n_layers + identities {
        check_identity(&config, layer, &mut theirs)?;
    }
    match theirs.keys().next() {
        Some(name) => bail!("it has a tensor `{name}`, which this form of the model does not"),
        None => Ok(Foreign {
            tokenizer: vocabulary::read(&metadata)?,
            config,
            tensors,
        }),
    }
}

/// The sizes, and the number of identity layers at the end.
fn config(metadata: &HashMap<&str, &Value>) -> anyhow::Result<(ModelConfig, usize)> {
    let get = |name: &str| metadata.get(key::of_architecture(name).as_str()).copied();
    let number = |name: &str| match get(name) {
        Some(Value::U32(size)) => Ok(*size as usize),
        _ => bail!("it has no number `{}`", key::of_architecture(name)),
    };
    let or_zero = |name: &str| {
        if get(name).is_some() {
            number(name)
        } else {
            Ok(0)
        }
    };
    let Some(Value::F32(norm_eps)) = get(key::EPS) else {
        bail!("it has no number `{}`", key::of_architecture(key::EPS));
    };
    for scale in ["logit_scale", "residual_scale", "embedding_scale"] {
        match get(scale) {
            None => {}
            Some(Value::F32(factor)) => expect(&key::of_architecture(scale), factor, &1.0)?,
            Some(_) => bail!("`{}` is no number", key::of_architecture(scale)),
        }
    }
    expect(key::GROUPS, &number(key::GROUPS)?, &1)?;
    let layers = number(key::LAYERS)?;
    let identities = match get(key::KV_HEADS) {
        Some(Value::Integers(heads)) => {
            ensure!(
                heads.len() == layers && heads.is_sorted_by_key(|heads| *heads > 0),
                "`{}` is {heads:?}, expected zeros for the layers of the model, then those of identity",
                key::of_architecture(key::KV_HEADS)
            );
            heads.iter().filter(|heads| **heads > 0).count()
        }
        Some(Value::U32(0)) => 0,
        _ => bail!(
            "it has no list of numbers `{}`",
            key::of_architecture(key::KV_HEADS)
        ),
    };
    let (experts, heads) = (or_zero(key::EXPERTS)?, number(key::SSM_HEADS)?);
    let d_inner = number(key::D_INNER)?;
    ensure!(
        heads > 0 && d_inner.is_multiple_of(heads),
        "it has {heads} heads, expected a divisor of {d_inner}"
    );
    let vocab_size = match metadata.get(key::TOKENS) {
        Some(Value::Texts(tokens)) => tokens.len(),
        _ => 0,
    };
    let config = ModelConfig {
        d_model: number(key::D_MODEL)?,
        n_layers: layers - identities,
        d_inner,
        d_state: number(key::D_STATE)?,
        head_dim: d_inner / heads,
        d_conv: number(key::D_CONV)?,
        n_experts: experts.max(1),
        top_k: if experts > 0 { number(key::TOP_K)? } else { 1 },
        d_expert: number(key::D_EXPERT)?,
        d_shared: or_zero(key::D_SHARED)?,
        norm_eps: *norm_eps,
        routing: if experts > 0 {
            Routing::Chosen
        } else {
            Routing::All
        },
        ..Preset::Micro.config(vocab_size)
    };
    Ok((config, identities))
}

/// Takes their tensor out and checks its shape.
fn take<'a>(
    theirs: &mut BTreeMap<&str, &'a GgufTensor>,
    name: &str,
    shape: &[usize],
) -> anyhow::Result<&'a GgufTensor> {
    let found = theirs.remove(name);
    let found = found.with_context(|| format!("it has no tensor `{name}`"))?;
    // An axis of length one at the front says nothing.
    let significant = |shape: &[usize]| {
        let ones = shape.iter().take_while(|size| **size == 1).count();
        shape[ones.min(shape.len() - 1)..].to_vec()
    };
    ensure!(
        significant(&found.shape) == significant(shape),
        "the tensor `{name}` has shape {:?}, expected {shape:?}",
        found.shape
    );
    Ok(found)
}

/// Our tensor from the ones that hold its parts.
fn join(
    ours: &TensorSpec,
    parts: &[Place],
    theirs: &mut BTreeMap<&str, &GgufTensor>,
) -> anyhow::Result<Tensor> {
    let taken = parts
        .iter()
        .map(|place| take(theirs, &place.theirs, &place.shape));
    let taken = taken.collect::<anyhow::Result<Vec<_>>>()?;
    let (name, kind) = (&parts[0].theirs, taken[0].kind);
    for tensor in &taken {
        ensure!(
            tensor.kind == kind,
            "the tensor `{}` is {} and `{name}` {}, expected the same type",
            tensor.name,
            tensor.kind.name(),
            kind.name()
        );
    }
    let row = kind.row_bytes(ours.shape.last().copied().unwrap_or(0));
    let row =
        row.with_context(|| format!("the tensor `{name}` is not in rows of {:?}", ours.shape))?;
    let rows = taken.iter().map(|tensor| tensor.bytes.len()).sum::<usize>() / row.max(1);
    let mut bytes = vec![0; rows * row];
    for (place, tensor) in parts.iter().zip(&taken) {
        let mut from = tensor.bytes.as_slice();
        for rows in place.rows() {
            let (values, rest) = from.split_at((rows.end - rows.start) * row);
            bytes[rows.start * row..rows.end * row].copy_from_slice(values);
            from = rest;
        }
    }
    let mut data =
        blocks::decode(kind, &bytes, ours.len()).with_context(|| format!("the tensor `{name}`"))?;
    if let (Part::Decay, TensorData::F32(values)) = (parts[0].part, &mut data) {
        for value in values {
            *value = (-f64::from(*value)).ln() as f32;
        }
    }
    Ok(Tensor {
        shape: ours.shape.clone(),
        data,
    })
}

/// Checks that a layer adds nothing: what it multiplies last is zero.
fn check_identity(
    config: &ModelConfig,
    layer: usize,
    theirs: &mut BTreeMap<&str, &GgufTensor>,
) -> anyhow::Result<()> {
    let prefix = format!("blk.{layer}.");
    let names: Vec<&str> = theirs
        .keys()
        .copied()
        .filter(|name| name.starts_with(&prefix))
        .collect();
    for name in names {
        let Some(tensor) = theirs.remove(name) else {
            continue;
        };
        let is_last = name.contains("attn_output") || name.contains("ffn_down");
        if is_last {
            let data = blocks::decode(tensor.kind, &tensor.bytes, tensor.shape.iter().product())?;
            let shape = tensor.shape.clone();
            let values = Tensor { shape, data }.to_f32();
            ensure!(
                values.iter().all(|value| *value == 0.0),
                "the tensor `{name}` is not zero: layer {layer} has attention, which this model of {} layers \
                 does not",
                config.n_layers
            );
        }
    }
    Ok(())
}
