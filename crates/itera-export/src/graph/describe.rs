//! What a file says about itself: names and shapes of inputs and outputs, documentation, metadata.

use itera_core::{checkpoint::Checkpoint, config::ModelConfig, digest::sha256_hex};
use prost::Message as _;
use tract_onnx::pb::{
    GraphProto, StringStringEntryProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

use super::{Kind, Source};

/// Keys of the metadata.
pub(crate) mod key {
    /// Version of the form of these files.
    pub(crate) const FORMAT: &str = "itera.onnx";
    /// `step` or `sequence`.
    pub(crate) const GRAPH: &str = "itera.graph";
    /// Precision of the weights.
    pub(crate) const PRECISION: &str = "itera.precision";
    /// Name of the checkpoint.
    pub(crate) const NAME: &str = "itera.name";
    /// SHA-256 of the checkpoint file.
    pub(crate) const SOURCE: &str = "itera.source_sha256";
    /// Sizes of the model as JSON.
    pub(crate) const CONFIG: &str = "itera.config";
    /// The tokenizer as JSON.
    pub(crate) const TOKENIZER: &str = "itera.tokenizer";
    /// SHA-256 of the graph.
    pub(crate) const DIGEST: &str = "itera.digest";
}

/// The version that [`key::FORMAT`] names.
pub(crate) const FORMAT_VERSION: &str = "1";

/// One size of a shape.
pub(crate) enum Size {
    Fixed(usize),
    Free(&'static str),
}

/// A value of floats; `None` for a shape that is left to inference.
pub(crate) fn float_value(name: &str, shape: Option<Vec<Size>>) -> ValueInfoProto {
    value(name, DataType::Float, shape)
}

/// A value of floats inside of a body.
pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    float_value(name, None)
}

fn value(name: &str, data_type: DataType, shape: Option<Vec<Size>>) -> ValueInfoProto {
    let dimension = |size| Dimension {
        value: Some(match size {
            Size::Fixed(size) => dimension::Value::DimValue(size as i64),
            Size::Free(name) => dimension::Value::DimParam(name.to_owned()),
        }),
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: data_type as i32,
        shape: shape.map(|sizes| TensorShapeProto {
            dim: sizes.into_iter().map(dimension).collect(),
        }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// Inputs of a graph, in order: tokens, then the state of each layer.
pub(super) fn inputs(config: &ModelConfig, kind: Kind) -> Vec<ValueInfoProto> {
    let mut tokens = vec![Size::Free("batch")];
    if kind == Kind::Sequence {
        tokens.push(Size::Free("seq"));
    }
    let mut all = vec![value(kind.tokens(), DataType::Int64, Some(tokens))];
    all.extend(states(config, "past"));
    all
}

/// Outputs of a graph, in order: logits, then the new state of each layer.
pub(super) fn outputs(config: &ModelConfig, kind: Kind) -> Vec<ValueInfoProto> {
    let mut logits = vec![Size::Free("batch")];
    if kind == Kind::Sequence {
        logits.push(Size::Free("seq"));
    }
    logits.push(Size::Fixed(config.vocab_size));
    let mut all = vec![float_value("logits", Some(logits))];
    all.extend(states(config, "present"));
    all
}

fn states(config: &ModelConfig, prefix: &str) -> Vec<ValueInfoProto> {
    let conv = [config.d_conv_channels(), config.d_conv - 1];
    let ssm = [config.n_heads(), config.head_dim, config.d_state];
    let shape = |sizes: &[usize]| {
        let fixed = sizes.iter().map(|&size| Size::Fixed(size));
        Some(std::iter::once(Size::Free("batch")).chain(fixed).collect())
    };
    let of_layer = |layer| {
        [
            float_value(&format!("{prefix}_conv.{layer}"), shape(&conv)),
            float_value(&format!("{prefix}_ssm.{layer}"), shape(&ssm)),
        ]
    };
    (0..config.n_layers).flat_map(of_layer).collect()
}

/// What a reader of the file should know.
pub(super) fn documentation(checkpoint: &Checkpoint, kind: Kind) -> String {
    let reads = match kind {
        Kind::Step => "token: one token of each sequence",
        Kind::Sequence => "tokens: the next 1 or more tokens of each sequence",
    };
    format!(
        "{reads}. logits: of the token that follows{}. past_conv.i, past_ssm.i: what layer i \
         remembers, zeros at first, afterwards present_conv.i, present_ssm.i of the call before. \
         Start a text with token {}, the end of text.",
        if kind == Kind::Sequence { " each" } else { "" },
        checkpoint.tokenizer.end_of_text()
    )
}

/// The metadata, the digest of the graph last.
pub(super) fn metadata(
    source: &Source<'_>,
    kind: Kind,
    graph: &GraphProto,
) -> Vec<StringStringEntryProto> {
    let checkpoint = source.checkpoint;
    let config = serde_json::to_string(&checkpoint.config).expect("sizes are plain JSON");
    // As in checkpoints: whole, for other libraries, where a few kilobytes do not matter.
    let tokenizer = match checkpoint.precision().max_integer() {
        None => checkpoint.tokenizer.to_json(),
        Some(_) => checkpoint.tokenizer.to_compact_json(),
    };
    [
        (key::FORMAT, FORMAT_VERSION.to_owned()),
        (key::GRAPH, kind.name().to_owned()),
        (key::PRECISION, checkpoint.precision().to_string()),
        (key::NAME, source.name.to_owned()),
        (key::SOURCE, source.file_sha256.to_owned()),
        (key::CONFIG, config),
        (key::TOKENIZER, tokenizer.to_string()),
        (key::DIGEST, sha256_hex(&graph.encode_to_vec())),
    ]
    .map(|(key, value)| StringStringEntryProto {
        key: key.to_owned(),
        value,
    })
    .to_vec()
}
