//! The command `hf`: a checkpoint as a folder that transformers loads, and such a folder as a checkpoint.
//!
//! | file | what |
//! |---|---|
//! | `config` | sizes, as `config.json` |
//! | `names` | where each tensor lies in `model.safetensors` |
//! | `card` | the model card |
//! | `read` | such a folder as a checkpoint |

mod card;
mod config;
mod names;
mod read;

use std::{borrow::Cow, collections::HashMap};

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, note};
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    files::write_atomic,
    models::LoadedCheckpoint,
    tokenizer::{END_OF_TEXT, Tokenizer},
};
use safetensors::{Dtype, View};
use serde_json::{Value, json};

use self::config::HfConfig;
pub(crate) use self::read::read;
use crate::{args::HfArgs, granite, onnx};

/// Names of the files.
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Writes the folder, after its weights were read back.
pub(crate) fn run(args: &HfArgs) -> anyhow::Result<ExitStatus> {
    let folder = &args.output;
    ensure!(
        !folder.exists() || folder.is_dir(),
        "`{}` is a file; give a folder",
        folder.display()
    );
    let loaded = onnx::load(&args.checkpoint, Precision::Fp32)?;
    let files =
        files(&loaded).with_context(|| format!("cannot write {} for transformers", loaded.name))?;
    check_same(&loaded.checkpoint, &files).context("the folder does not read back")?;
    let known = files
        .iter()
        .fold(onnx::files([&loaded]), |known, (name, _)| {
            known.write(format!("{name} of `--output`"), folder.join(name))
        });
    known.check()?;
    for (name, bytes) in &files {
        write_atomic(&folder.join(name), bytes)?;
    }
    note(format!(
        "wrote {} files into {}",
        files.len(),
        folder.display()
    ));
    Ok(ExitStatus::Done)
}

/// Names and bytes of the files.
fn files(loaded: &LoadedCheckpoint) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let Checkpoint {
        config, tokenizer, ..
    } = &loaded.checkpoint;
    granite::check(config, tokenizer)?;
    let end = tokenizer.end_of_text();
    let text = |value: &Value| serde_json::to_vec_pretty(value);
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": false,
        "model_max_length": granite::CONTEXT,
    });
    // Those of `itera-train sample`.
    let generation = json!({
        "bos_token_id": end, "eos_token_id": end, "do_sample": true, "temperature": 0.8, "top_k": 0,
        "max_new_tokens": 256,
    });
    let config = serde_json::to_value(HfConfig::new(config, end))?;
    Ok(vec![
        (CONFIG, text(&config)?),
        (WEIGHTS, weights(loaded)?),
        (TOKENIZER, text(&tokenizer_json(tokenizer))?),
        ("tokenizer_config.json", text(&tokenizer_config)?),
        ("generation_config.json", text(&generation)?),
        ("README.md", card::text(loaded)?.into_bytes()),
    ])
}

/// The tokenizer, which puts end-of-text before each text, as the model was trained.
fn tokenizer_json(tokenizer: &Tokenizer) -> Value {
    let mut json = tokenizer.to_json();
    let id = tokenizer.end_of_text();
    let special = json!({"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}});
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [special, sequence("A")],
        "pair": [special, sequence("A"), sequence("B")],
        "special_tokens": {
            END_OF_TEXT: {"id": END_OF_TEXT, "ids": [id], "tokens": [END_OF_TEXT]},
        },
    });
    json
}

/// A tensor of single floats, little-endian.
struct Floats {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Floats {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// `model.safetensors`.
fn weights(loaded: &LoadedCheckpoint) -> anyhow::Result<Vec<u8>> {
    let config = &loaded.checkpoint.config;
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut tensors = Vec::new();
    for place in names::places(config) {
        let values = granite::tensor(&loaded.checkpoint, &place.ours.name)?.to_f32();
        let (shape, bytes) = (place.shape, bytes(&values));
        tensors.push((place.theirs, Floats { shape, bytes }));
    }
    for (name, shape, value) in names::identity(config) {
        let bytes = bytes(&vec![value; shape.iter().product()]);
        tensors.push((name, Floats { shape, bytes }));
    }
    for (name, shape) in names::empty(config) {
        let bytes = Vec::new();
        tensors.push((name, Floats { shape, bytes }));
    }
    // transformers refuses a file that does not say this.
    let metadata = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("itera.source_sha256".to_owned(), loaded.file_sha256.clone()),
    ]);
    Ok(safetensors::serialize(tensors, Some(metadata))?)
}

/// Checks that the files hold the model.
fn check_same(checkpoint: &Checkpoint, files: &[(&str, Vec<u8>)]) -> anyhow::Result<()> {
    let back = read::files(|name| {
        let file = files.iter().find(|(other, _)| *other == name);
        file.map(|(_, bytes)| bytes.clone())
            .context("it is not written")
    })?;
    ensure!(
        back.tokenizer == checkpoint.tokenizer,
        "it has another tokenizer"
    );
    ensure!(
        back.config.tensors() == checkpoint.config.tensors(),
        "it has other sizes"
    );
    for (name, tensor) in &checkpoint.tensors {
        let same = back.tensors.get(name) == Some(tensor);
        ensure!(same, "the tensor `{name}` has other values");
    }
    Ok(())
}
