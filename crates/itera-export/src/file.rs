//! Reading back a file that `itera-export onnx` wrote, and what it says of itself.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, bail, ensure};
use itera_core::{checkpoint::Precision, config::ModelConfig, digest::sha256_hex};
use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto};

use crate::graph::{FORMAT_VERSION, Kind, count_nodes, key};

/// More than any file of this tool has.
const MAX_BYTES: u64 = 256 << 20;

/// A file of this tool.
pub(crate) struct OnnxFile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: String,
    pub(crate) kind: Kind,
    pub(crate) precision: Precision,
    /// Name of the checkpoint that it was made from.
    pub(crate) name: String,
    /// SHA-256 of that checkpoint's file.
    pub(crate) source_sha256: String,
    pub(crate) config: ModelConfig,
    pub(crate) opset: i64,
    pub(crate) nodes: usize,
    /// Whether the layers are one body that is scanned over stacked weights.
    pub(crate) is_stacked: bool,
}

impl OnnxFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, is no ONNX, is not ours, or was changed since.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .with_context(|| {
                format!(
                    "cannot read `{}`; give a file that `itera-export onnx` wrote",
                    path.display()
                )
            })?;
        ensure!(
            bytes.len() as u64 <= MAX_BYTES,
            "`{}` has more than {MAX_BYTES} bytes, more than any file of `itera-export onnx`",
            path.display()
        );
        Self::from_bytes(bytes).with_context(|| {
            format!(
                "`{}` cannot be used; write it again with `itera-export onnx`",
                path.display()
            )
        })
    }

    /// The same from bytes.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let proto =
            ModelProto::decode(bytes.as_slice()).context("it is no ONNX file, or cut short")?;
        let find = |wanted: &str| {
            proto
                .metadata_props
                .iter()
                .find(|entry| entry.key == wanted)
        };
        let Some(format) = find(key::FORMAT) else {
            bail!(
                "it was not written by `itera-export onnx`, or is cut short: it has no metadata `{}`",
                key::FORMAT
            );
        };
        ensure!(
            format.value == FORMAT_VERSION,
            "it has version {} of the form of these files, this build reads {FORMAT_VERSION}",
            format.value
        );
        let text = |key: &str| {
            find(key)
                .map(|entry| entry.value.clone())
                .with_context(|| format!("it is cut short: it has no metadata `{key}`"))
        };
        let graph = proto
            .graph
            .as_ref()
            .context("it is cut short: it has no graph")?;
        let digest = text(key::DIGEST)?;
        ensure!(
            sha256_hex(&graph.encode_to_vec()) == digest,
            "its graph is not the one that was written: the digest in its metadata differs"
        );
        let config: ModelConfig =
            serde_json::from_str(&text(key::CONFIG)?).context("its config is broken")?;
        config.validate().context("its config is broken")?;
        Ok(Self {
            sha256: sha256_hex(&bytes),
            kind: text(key::GRAPH)?.parse()?,
            precision: text(key::PRECISION)?.parse()?,
            name: text(key::NAME)?,
            source_sha256: text(key::SOURCE)?,
            config,
            opset: proto.opset_import.first().map_or(0, |set| set.version),
            nodes: count_nodes(graph),
            is_stacked: scans_layers(graph),
            bytes,
        })
    }
}

fn scans_layers(graph: &GraphProto) -> bool {
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let mut bodies = attributes.filter_map(|attribute| attribute.g.as_ref());
    bodies.any(|body| body.name == crate::graph::LAYER_BODY)
}
