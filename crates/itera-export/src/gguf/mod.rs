//! The command `gguf`: a checkpoint as a file of llama.cpp, and such a file as a checkpoint.
//!
//! | file | what |
//! |---|---|
//! | `file` | the format: metadata and tensors |
//! | `blocks` | values of a tensor |
//! | `names` | where each tensor lies |
//! | `vocabulary` | the tokenizer |
//! | `model` | a checkpoint as such a file |
//! | `read` | such a file as a checkpoint |

mod blocks;
mod file;
mod model;
mod names;
mod read;
mod vocabulary;

use anyhow::{Context as _, ensure};
use itera_cli::{Align, ExitStatus, Table, note, print};
use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    files::write_atomic,
};

pub(crate) use self::read::read;
use self::{blocks::Kind, model::Stored};
use crate::{
    args::{GgufArgs, GgufPrecision},
    granite, onnx,
};

/// Keys of the metadata that are written and read.
mod key {
    pub(super) const ARCHITECTURE: &str = "general.architecture";
    /// The architecture of these files.
    pub(super) const GRANITE: &str = "granitehybrid";
    pub(super) const SOURCE: &str = "itera.source_sha256";
    pub(super) const TOKENIZER: &str = "tokenizer.ggml.model";
    pub(super) const PRE: &str = "tokenizer.ggml.pre";
    pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
    pub(super) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
    pub(super) const MERGES: &str = "tokenizer.ggml.merges";
    pub(super) const BOS: &str = "tokenizer.ggml.bos_token_id";
    pub(super) const EOS: &str = "tokenizer.ggml.eos_token_id";
    // Those of the architecture, see `of_architecture`.
    pub(super) const CONTEXT: &str = "context_length";
    pub(super) const VOCAB: &str = "vocab_size";
    pub(super) const D_MODEL: &str = "embedding_length";
    pub(super) const LAYERS: &str = "block_count";
    pub(super) const D_EXPERT: &str = "feed_forward_length";
    pub(super) const HEADS: &str = "attention.head_count";
    pub(super) const KV_HEADS: &str = "attention.head_count_kv";
    pub(super) const EPS: &str = "attention.layer_norm_rms_epsilon";
    pub(super) const EXPERTS: &str = "expert_count";
    pub(super) const TOP_K: &str = "expert_used_count";
    pub(super) const D_SHARED: &str = "expert_shared_feed_forward_length";
    pub(super) const ROPE: &str = "rope.scaling.finetuned";
    pub(super) const D_CONV: &str = "ssm.conv_kernel";
    pub(super) const D_INNER: &str = "ssm.inner_size";
    pub(super) const D_STATE: &str = "ssm.state_size";
    pub(super) const SSM_HEADS: &str = "ssm.time_step_rank";
    pub(super) const GROUPS: &str = "ssm.group_count";

    /// The key of a size.
    pub(super) fn of_architecture(name: &str) -> String {
        format!("{GRANITE}.{name}")
    }
}

/// Largest error of `a_log` by way of `-exp(a_log)` in single floats.
const A_LOG_TOLERANCE: f32 = 1e-6;

/// Writes the file, after it was read back, and prints how each tensor is stored.
pub(crate) fn run(args: &GgufArgs) -> anyhow::Result<ExitStatus> {
    let (precision, floats) = match args.precision {
        GgufPrecision::F32 => (Precision::Fp32, Kind::F32),
        GgufPrecision::F16 => (Precision::Fp32, Kind::F16),
        GgufPrecision::Int8 => (Precision::Int8, Kind::F16),
        GgufPrecision::Int4 => (Precision::Int4, Kind::F16),
    };
    let loaded = onnx::load(&args.checkpoint, precision)?;
    onnx::files([&loaded])
        .write("`--output`", &args.output)
        .check()?;
    let context = || format!("cannot write {} as GGUF", loaded.name);
    let checkpoint = &loaded.checkpoint;
    granite::check(&checkpoint.config, &checkpoint.tokenizer).with_context(context)?;
    let (file, stored) = model::build(&loaded, floats, args.pure).with_context(context)?;
    let bytes = file.to_bytes();
    check_same(checkpoint, &bytes, &stored).context("the file does not read back")?;
    write_atomic(&args.output, &bytes)?;
    print(table(&stored))?;
    note(format!(
        "wrote {}, {} bytes",
        args.output.display(),
        bytes.len()
    ));
    if args.pure {
        note("without the identity layer llama.cpp loads the file and stops at the first token");
    }
    Ok(ExitStatus::Done)
}

/// Checks that the file holds the model.
fn check_same(checkpoint: &Checkpoint, bytes: &[u8], stored: &[Stored]) -> anyhow::Result<()> {
    let back = read(bytes)?;
    let (config, expected) = (&back.config, &checkpoint.config);
    let is_same = config.tensors() == expected.tensors() && config.top_k == expected.top_k;
    ensure!(is_same, "it has sizes {config:?}, expected {expected:?}");
    let kinds = names::places(config).into_iter().zip(stored);
    for (place, stored) in kinds {
        let name = &place.ours.name;
        let original = granite::tensor(checkpoint, name)?.to_f32();
        let expected = match stored.kind {
            Kind::F16 => Tensor::f16([original.len()], &original).to_f32(),
            _ => original,
        };
        let tolerance = match place.part {
            names::Part::Decay => A_LOG_TOLERANCE,
            _ => 0.0,
        };
        let found = back
            .tensors
            .get(name)
            .map(Tensor::to_f32)
            .unwrap_or_default();
        let is_close = |(x, y): (&f32, &f32)| (x - y).abs() <= tolerance * x.abs().max(1.0);
        let is_same = found.len() == expected.len() && expected.iter().zip(&found).all(is_close);
        ensure!(
            is_same,
            "the tensor `{}` has other values than `{name}`",
            stored.name
        );
    }
    Ok(())
}

fn table(stored: &[Stored]) -> Table {
    let mut table = Table::new(&[
        ("tensor", Align::Left),
        ("shape", Align::Left),
        ("type", Align::Left),
        ("bytes", Align::Right),
        ("note", Align::Left),
    ]);
    for tensor in stored {
        table.row([
            tensor.name.clone(),
            tensor
                .shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join("x"),
            tensor.kind.name().to_owned(),
            tensor.bytes.to_string(),
            tensor.reason.to_owned(),
        ]);
    }
    table
}
