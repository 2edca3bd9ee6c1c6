//! Files of llama.cpp and folders of transformers: written, read back, and refused where they are of
//! another form. That the runtimes themselves compute the same is checked by `scripts/check-runtimes.sh`.

use std::{borrow::Cow, fs};

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::{ModelConfig, Preset, Routing},
    tokenizer::{BpeTokenizer, CharTokenizer, Tokenizer},
};
use itera_testing::{STORIES, bytes, random_checkpoint, snapshot};
use safetensors::{Dtype, SafeTensors, View, tensor::TensorView};
use serde_json::{Value, json};

use crate::fixture::{CliTest, text};

/// The smallest sizes that fit, with rows of 32.
fn config() -> ModelConfig {
    ModelConfig {
        d_model: 32,
        d_inner: 64,
        d_expert: 32,
        routing: Routing::Chosen,
        ..Preset::Test.config(257)
    }
}

/// A folder with the model `fits`.
fn folder(config: ModelConfig) -> CliTest {
    let test = CliTest::new();
    test.add_model("fits", &random_checkpoint(config, bytes(), 1));
    test
}

fn load(test: &CliTest, name: &str) -> Checkpoint {
    Checkpoint::from_bytes(&fs::read(test.path(name)).unwrap()).unwrap()
}

/// Exports and imports `fits`, and gives both checkpoints.
fn there_and_back(test: &CliTest, export: &str, file: &str) -> (Checkpoint, Checkpoint) {
    test.succeed(&format!("{export} --checkpoint fits --output {file}"));
    test.succeed(&format!("import {file} --output back.safetensors"));
    (
        load(test, "models/fits.safetensors"),
        load(test, "back.safetensors"),
    )
}

/// The kinds of model that these runtimes have: experts, with a shared one, dense.
fn kinds() -> [ModelConfig; 3] {
    let shared = ModelConfig {
        d_shared: 64,
        ..config()
    };
    let dense = ModelConfig {
        n_experts: 1,
        top_k: 1,
        routing: Routing::All,
        ..config()
    };
    [config(), shared, dense]
}

#[test]
fn a_folder_of_transformers_comes_back_bit_for_bit() {
    for config in kinds() {
        let test = folder(config);
        let (there, back) = there_and_back(&test, "hf", "hf");
        assert_eq!(back.config, there.config);
        assert_eq!(back.tokenizer, there.tokenizer);
        assert_eq!(back.tensors, there.tensors);
    }
}

#[test]
fn every_tokenizer_fits_into_a_folder_of_transformers() {
    let test = CliTest::new();
    let bpe = BpeTokenizer::train([STORIES.as_bytes()].into_iter(), 300).unwrap();
    let characters = CharTokenizer::train([STORIES.as_bytes()].into_iter()).unwrap();
    for tokenizer in [Tokenizer::Bpe(bpe), Tokenizer::Char(characters)] {
        let config = ModelConfig {
            vocab_size: tokenizer.vocab_size(),
            ..config()
        };
        test.add_model("fits", &random_checkpoint(config, tokenizer, 1));
        let (there, back) = there_and_back(&test, "hf", "hf");
        assert_eq!(back.tokenizer, there.tokenizer);
    }
}

#[test]
fn a_gguf_file_comes_back_with_its_weights() {
    for config in kinds() {
        let test = folder(config);
        for export in ["gguf --precision f32", "gguf --precision f32 --pure"] {
            let (there, back) = there_and_back(&test, export, "fits.gguf");
            let expected = ModelConfig {
                chunk: back.config.chunk,
                ..there.config.clone()
            };
            assert_eq!(
                back.config, expected,
                "the file has no chunk, which changes no result"
            );
            assert_eq!(back.tokenizer, there.tokenizer);
            for (name, tensor) in &there.tensors {
                let (tensor, found) = (tensor.to_f32(), back.tensors[name].to_f32());
                // GGUF holds -exp(a_log).
                let tolerance = if name.ends_with("a_log") { 1e-6 } else { 0.0 };
                let is_close = |(x, y): (&f32, &f32)| (x - y).abs() <= tolerance;
                assert!(tensor.iter().zip(&found).all(is_close), "{name}");
            }
        }
    }
}

#[test]
fn a_tokenizer_with_merges_passes_through_gguf() {
    let bpe = BpeTokenizer::train([STORIES.as_bytes()].into_iter(), 300).unwrap();
    let tokenizer = Tokenizer::Bpe(bpe);
    let test = CliTest::new();
    let config = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        ..config()
    };
    test.add_model("fits", &random_checkpoint(config, tokenizer.clone(), 1));
    let (_, back) = there_and_back(&test, "gguf --precision f16", "fits.gguf");
    assert_eq!(back.tokenizer, tokenizer);
}

#[test]
fn integers_pass_as_blocks_where_llama_cpp_runs_them() {
    let test = folder(config());
    let floats = load(&test, "models/fits.safetensors");
    for (precision, kind) in [(Precision::Int8, "Q8_0"), (Precision::Int4, "Q4_0")] {
        let run = test.run(&format!(
            "gguf --checkpoint fits --precision {precision} --output fits.gguf"
        ));
        assert!(run.status.success(), "{}", text(&run.stderr));
        let table = text(&run.stdout);
        let row = |name: &str| {
            let mut rows = table
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            rows.find(|row| row[0] == name).unwrap()
        };
        // 32 rows are a multiple of 32, which the kernels for AMX take; 148 and 257 are not.
        assert_eq!(row("blk.0.ssm_out.weight")[2], "F16");
        assert_eq!(row("blk.0.ssm_in.weight")[2], kind);
        // At 4 bits the embedding of a small vocabulary is in groups of 16.
        let of_embedding = [kind, "F16"][usize::from(precision == Precision::Int4)];
        assert_eq!(row("token_embd.weight")[2], of_embedding);
        assert_eq!(row("blk.0.ffn_up_exps.weight")[2], kind);
        assert_eq!(
            row("blk.2.ffn_up_exps.weight")[2],
            kind,
            "the identity layer"
        );
        assert_eq!(row("blk.0.ssm_norm.weight")[2], "F32");

        test.succeed("import fits.gguf --output back.safetensors");
        let back = load(&test, "back.safetensors");
        assert_eq!(back.precision(), precision);
        let name = "layers.1.moe.w_in";
        let tensor = &floats.tensors[name];
        let rounded = Tensor::quantized(tensor.shape.clone(), tensor.to_f32(), precision);
        assert_eq!(back.tensors[name].precision(), precision);
        assert_eq!(back.tensors[name].shape, rounded.shape);
    }
}

#[test]
fn rows_without_blocks_are_half_floats() {
    let test = folder(ModelConfig {
        d_model: 48,
        d_inner: 96,
        d_expert: 16,
        ..config()
    });
    let run = test.run("gguf --checkpoint fits --precision int8 --output fits.gguf");
    assert!(run.status.success(), "{}", text(&run.stderr));
    let table = text(&run.stdout);
    let row = table
        .lines()
        .find(|line| line.starts_with("blk.0.ssm_in.weight"));
    let row = row.unwrap();
    assert!(
        row.contains("F16") && row.contains("its groups are not of 32 values"),
        "{row}"
    );
}

#[test]
fn forms_that_these_runtimes_do_not_have() {
    let test = CliTest::new();
    snapshot!(test, "gguf --checkpoint small --precision f32 --output small.gguf", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot write small as GGUF: llama.cpp and transformers do not have this form of the model: routing is all, expected chosen, d_inner is 24, expected 2 * d_model = 32; train one that fits with `itera-train fit --preset test --tokenizer bytes --size d_inner=32 --size routing=chosen`
    ");
    let run = test.run("hf --checkpoint small --output hf");
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("--size d_inner=32 --size routing=chosen"));
    assert!(!test.path("small.gguf").exists() && !test.path("hf").exists());

    let characters = CharTokenizer::train([STORIES.as_bytes()].into_iter()).unwrap();
    let tokenizer = Tokenizer::Char(characters);
    let config = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        ..config()
    };
    test.add_model("char", &random_checkpoint(config, tokenizer, 1));
    snapshot!(test, "gguf --checkpoint char --precision f32 --output char.gguf", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot write char as GGUF: llama.cpp has no tokenizer of characters; the tokenizers bpe and bytes are written, and `itera-export hf` writes all
    ");
}

/// Replaces bytes of a file that `itera-export gguf` wrote and gives what `import` says.
fn import_edited(test: &CliTest, edit: impl Fn(&mut Vec<u8>)) -> String {
    let mut bytes = fs::read(test.path("fits.gguf")).unwrap();
    edit(&mut bytes);
    test.write("edited.gguf", bytes);
    refused(test, "import edited.gguf --output edited.safetensors")
}

/// What a command says that must end with status 2.
fn refused(test: &CliTest, command: &str) -> String {
    let run = test.run(command);
    let error = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// Where `text` ends in a file.
fn end_of(bytes: &[u8], text: &str) -> usize {
    let mut windows = bytes.windows(text.len());
    windows
        .position(|window| window == text.as_bytes())
        .unwrap()
        + text.len()
}

#[test]
fn gguf_files_of_another_form_are_refused_with_what_differs() {
    let test = folder(config());
    test.succeed("gguf --checkpoint fits --precision f32 --output fits.gguf");
    let error = import_edited(&test, |bytes| bytes.truncate(bytes.len() - 100));
    assert!(
        error.contains("the tensor `blk.2.ffn_down_exps.weight`"),
        "{error}"
    );
    let error = import_edited(&test, |bytes| bytes.truncate(200));
    assert!(error.contains("cut short"), "{error}");
    let error = import_edited(&test, |bytes| {
        let end = end_of(bytes, "granitehybrid");
        bytes[end - 13..end].copy_from_slice(b"llamallamalla");
    });
    assert!(
        error.contains("`general.architecture` is llamallamalla, expected"),
        "{error}"
    );
    let error = import_edited(&test, |bytes| {
        // 64 x 32 becomes 32 x 64: after the name comes the number of sizes, then these.
        let at = end_of(bytes, "blk.1.ssm_out.weight") + 4;
        bytes[at..at + 8].copy_from_slice(&32_u64.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&64_u64.to_le_bytes());
    });
    let expected = "the tensor `blk.1.ssm_out.weight` has shape [64, 32], expected [32, 64]";
    assert!(error.contains(expected), "{error}");
    let error = import_edited(&test, |bytes| {
        let at = end_of(bytes, "granitehybrid.ssm.inner_size") + 4;
        bytes[at..at + 4].copy_from_slice(&32_u32.to_le_bytes());
    });
    assert!(error.contains("blk.0.ssm_in.weight"), "{error}");
    let error = import_edited(&test, |bytes| {
        // The last bytes of the file are those of the identity layer.
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&1.0_f32.to_le_bytes());
    });
    assert!(
        error.contains("`blk.2.ffn_down_exps.weight` is not zero"),
        "{error}"
    );
    let error = refused(&test, "import stories.txt --output x.safetensors");
    assert!(error.contains("it is no GGUF file"), "{error}");
    assert!(!test.path("edited.safetensors").exists());
}

/// A tensor of a file in memory.
struct Raw {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Raw {
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

/// Rewrites the weights of a folder, and gives what `import` says.
fn import_with(test: &CliTest, edit: impl Fn(&mut Vec<(String, Raw)>)) -> String {
    let bytes = fs::read(test.path("hf/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let raw = |(name, tensor): (String, TensorView<'_>)| {
        let (shape, bytes) = (tensor.shape().to_vec(), tensor.data().to_vec());
        (name, Raw { shape, bytes })
    };
    let mut tensors: Vec<_> = file.tensors().into_iter().map(raw).collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    for name in ["config.json", "tokenizer.json"] {
        test.write(
            &format!("edited/{name}"),
            fs::read(test.path(&format!("hf/{name}"))).unwrap(),
        );
    }
    test.write(
        "edited/model.safetensors",
        safetensors::serialize(views, None).unwrap(),
    );
    refused(test, "import edited --output edited.safetensors")
}

#[test]
fn folders_of_another_form_are_refused_with_what_differs() {
    let test = folder(config());
    test.succeed("hf --checkpoint fits --output hf");
    let config: Value =
        serde_json::from_slice(&fs::read(test.path("hf/config.json")).unwrap()).unwrap();
    let edits = [
        ("model_type", json!("llama"), "`model_type` is llama"),
        (
            "logits_scaling",
            json!(8.0),
            "`logits_scaling` is 8, expected 1",
        ),
        (
            "mamba_n_groups",
            json!(2),
            "`mamba_n_groups` is 2, expected 1",
        ),
        (
            "tie_word_embeddings",
            json!(false),
            "`tie_word_embeddings` is false, expected true",
        ),
        (
            "layer_types",
            json!(["attention", "mamba", "mamba"]),
            "attention before mamba",
        ),
        (
            "num_hidden_layers",
            json!(9),
            "`num_hidden_layers` is 9, expected 3",
        ),
        ("mamba_expand", json!(3), "`mamba_d_head` is 8, expected 12"),
        (
            "eos_token_id",
            json!(3),
            "`eos_token_id` is 3, expected 256",
        ),
        (
            "hidden_size",
            json!("many"),
            "`config.json` is not as expected",
        ),
    ];
    for (field, value, expected) in edits {
        let mut config = config.clone();
        config[field] = value;
        test.write("hf/config.json", config.to_string());
        let error = refused(&test, "import hf --output x.safetensors");
        assert!(error.contains(expected), "{field}: {error}");
    }
    test.write("hf/config.json", config.to_string());

    let norm = "model.layers.1.input_layernorm.weight";
    let error = import_with(&test, |tensors| tensors.retain(|(name, _)| name != norm));
    assert!(
        error.contains(&format!("it has no tensor `{norm}`")),
        "{error}"
    );
    let error = import_with(&test, |tensors| {
        let (_, tensor) = tensors.iter_mut().find(|(name, _)| name == norm).unwrap();
        tensor.shape = vec![4, 8];
    });
    assert!(
        error.contains(&format!("`{norm}` has shape [4, 8], expected [32]")),
        "{error}"
    );
    let error = import_with(&test, |tensors| {
        let (_, embedding) = tensors
            .iter()
            .find(|(name, _)| name.contains("embed_tokens"))
            .unwrap();
        let (shape, bytes) = (embedding.shape.clone(), vec![0; embedding.bytes.len()]);
        tensors.push(("lm_head.weight".to_owned(), Raw { shape, bytes }));
    });
    assert!(
        error.contains("`lm_head.weight` is not the embedding"),
        "{error}"
    );
    let output = "model.layers.2.self_attn.o_proj.weight";
    let error = import_with(&test, |tensors| {
        let (_, tensor) = tensors.iter_mut().find(|(name, _)| name == output).unwrap();
        tensor.bytes[..4].copy_from_slice(&1.0_f32.to_le_bytes());
    });
    assert!(
        error.contains(&format!("the tensor `{output}` is not zero")),
        "{error}"
    );

    fs::remove_file(test.path("hf/tokenizer.json")).unwrap();
    let error = refused(&test, "import hf --output x.safetensors");
    assert!(
        error.contains("cannot read") && error.contains("tokenizer.json"),
        "{error}"
    );
}

#[test]
fn a_folder_of_transformers_has_what_a_person_needs() {
    let test = folder(config());
    test.succeed("hf --checkpoint fits --output hf");
    let read = |name: &str| fs::read_to_string(test.path(&format!("hf/{name}"))).unwrap();
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    assert_eq!(
        config["architectures"],
        json!(["GraniteMoeHybridForCausalLM"])
    );
    assert_eq!(
        config["layer_types"],
        json!(["mamba", "mamba", "attention"])
    );
    let tokenizer: Value = serde_json::from_str(&read("tokenizer.json")).unwrap();
    assert_eq!(
        tokenizer["post_processor"]["special_tokens"]["<|endoftext|>"]["ids"],
        json!([256])
    );
    let card = read("README.md");
    assert!(
        card.contains("Not measured; `itera-validate` measures them."),
        "{card}"
    );
    assert!(card.contains("- dataset: `tinystories`"), "{card}");
    let generation: Value = serde_json::from_str(&read("generation_config.json")).unwrap();
    assert_eq!(generation["eos_token_id"], json!(256));
}
