//! The tokenizer of a GGUF file: llama.cpp's `gpt2`, which gives the same ids.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use itera_core::tokenizer::{END_OF_TEXT, Tokenizer, TokenizerKind};
use serde_json::json;

use super::{file::Value, key};
use crate::granite::expect;

/// Types of tokens.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// The metadata of a tokenizer.
///
/// # Errors
/// It is one of characters.
pub(super) fn write(tokenizer: &Tokenizer) -> anyhow::Result<Vec<(String, Value)>> {
    ensure!(
        tokenizer.kind() != TokenizerKind::Char,
        "llama.cpp has no tokenizer of characters; the tokenizers bpe and bytes are written, and \
         `itera-export hf` writes all"
    );
    let json = tokenizer.to_json();
    let vocab = json["model"]["vocab"].as_object();
    let mut names = vec![String::new(); tokenizer.vocab_size()];
    for (name, id) in vocab.into_iter().flatten() {
        let id = id.as_u64().unwrap_or(u64::MAX) as usize;
        let place = names
            .get_mut(id)
            .context("the tokenizer has an id beyond its size")?;
        place.clone_from(name);
    }
    let end = tokenizer.end_of_text();
    let kind = |id| if id == end { CONTROL } else { NORMAL };
    let kinds = (0..tokenizer.vocab_size() as u32).map(kind).collect();
    let merges = json["model"]["merges"].as_array().into_iter().flatten();
    let merges = merges.filter_map(|merge| merge.as_str().map(str::to_owned));
    let entries = [
        (key::TOKENIZER, Value::Text("gpt2".to_owned())),
        (key::PRE, Value::Text("gpt-2".to_owned())),
        (key::TOKENS, Value::Texts(names)),
        (key::TOKEN_TYPES, Value::Integers(kinds)),
        (key::MERGES, Value::Texts(merges.collect())),
        (key::BOS, Value::U32(end)),
        (key::EOS, Value::U32(end)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
    ];
    Ok(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// The tokenizer that metadata describes.
///
/// # Errors
/// It gives other ids than ours do.
pub(super) fn read(metadata: &HashMap<&str, &Value>) -> anyhow::Result<Tokenizer> {
    let text = |key| match metadata.get(key) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "absent",
    };
    expect(key::TOKENIZER, &text(key::TOKENIZER), &"gpt2")?;
    expect(key::PRE, &text(key::PRE), &"gpt-2")?;
    let texts = |key| match metadata.get(key) {
        Some(Value::Texts(texts)) => Ok(texts),
        _ => bail!("it has no list of texts `{key}`"),
    };
    let (tokens, merges) = (texts(key::TOKENS)?, texts(key::MERGES)?);
    let vocab: serde_json::Map<_, _> = tokens
        .iter()
        .cloned()
        .zip((0..tokens.len()).map(Into::into))
        .collect();
    ensure!(
        vocab.len() == tokens.len(),
        "it has a token twice in `{}`",
        key::TOKENS
    );
    let end = vocab.get(END_OF_TEXT).and_then(serde_json::Value::as_u64);
    let end = end.with_context(|| format!("it has no token {END_OF_TEXT}"))?;
    for key in [key::BOS, key::EOS] {
        let Some(Value::U32(id)) = metadata.get(key) else {
            bail!("it has no number `{key}`");
        };
        expect(key, &u64::from(*id), &end)?;
    }
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        // Without merges nothing can be split wrongly, and this is the tokenizer of bytes.
        "use_regex": !merges.is_empty(),
    });
    let mut json = json!({
        "version": "1.0",
        "added_tokens": [{
            "id": end, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }],
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    json["decoder"] = byte_level.clone();
    json["decoder"]["use_regex"] = json!(true);
    json["pre_tokenizer"] = byte_level;
    Tokenizer::from_json(&json.to_string()).context("its tokenizer is not one of this project's")
}
