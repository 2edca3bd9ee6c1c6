//! Tokenizers as Hugging Face `tokenizer.json`, in forms that the `tokenizers` library loads and
//! that give the same ids there:
//!
//! - `bytes`: a BPE model without merges, whose byte-level pre-tokenizer does not split.
//! - `char`: a word-level model, whose pre-tokenizer makes every character a word.
//! - `bpe`: a BPE model with the byte-level pre-tokenizer of GPT-2.
//!
//! Fields that the library does without are not written, and merges are texts `"a b"`; files that
//! have those fields, and merges as pairs, are read too. Where bytes count, [`compact`] leaves out the
//! vocabulary of a BPE model, which its merges determine, and writes the merges as one text.
//!
//! Reading takes merges or alphabet from the file, builds the tokenizer, writes that again and
//! compares: anything that the file says beyond it or against it would be ignored, and so is an error.
//! So is a key that occurs twice.

use alloc::{
    borrow::Cow,
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    string::ToString,
    vec::Vec,
};

use serde_json::{Map, Value, json};

use super::{
    BpeTokenizer, BytesTokenizer, CharTokenizer, END_OF_TEXT, Tokenizer, TokenizerError,
    characters::UNKNOWN,
};
use crate::unique;

/// Characters of an offending value that an error quotes.
const EXCERPT_CHARS: usize = 60;

/// The most bytes of a file; a vocabulary of 2,048 entries takes some 150 kB. It lies in the header of a
/// checkpoint, whose size is limited.
const MAX_BYTES: usize = 1 << 19;

/// Fields of a BPE model that are false where they are absent.
const FALSE_FIELDS: [&str; 3] = [
    "/model/byte_fallback",
    "/model/fuse_unk",
    "/model/ignore_merges",
];

const VOCAB: &str = "/model/vocab";
const MERGES: &str = "/model/merges";

/// `splits` tells `bpe` from `bytes`, which has no merges either.
pub(super) fn write_bpe(tokenizer: &BpeTokenizer, splits: bool) -> Value {
    document(
        BpeTokenizer::END_OF_TEXT,
        byte_level(splits),
        byte_level(true),
        bpe_model(tokenizer),
    )
}

pub(super) fn write_char(tokenizer: &CharTokenizer) -> Value {
    let characters = tokenizer
        .alphabet()
        .iter()
        .chain([&UNKNOWN])
        .map(char::to_string);
    let vocab = vocab(characters.chain([END_OF_TEXT.to_owned()]));
    let unknown = UNKNOWN.to_string();
    let model = json!({"type": "WordLevel", "vocab": vocab, "unk_token": unknown});
    // The empty pattern matches between any two characters.
    let split = json!({
        "type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": false,
    });
    document(
        tokenizer.end_of_text(),
        split,
        json!({"type": "Fuse"}),
        model,
    )
}

/// The frame around a model.
fn document(end_of_text: u32, pre_tokenizer: Value, decoder: Value, model: Value) -> Value {
    let mut value = json!({
        "version": "1.0",
        "added_tokens": [{
            "id": end_of_text, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }],
    });
    value["pre_tokenizer"] = pre_tokenizer;
    value["decoder"] = decoder;
    value["model"] = model;
    value
}

fn byte_level(use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": use_regex,
    })
}

fn bpe_model(tokenizer: &BpeTokenizer) -> Value {
    let symbols = |id| symbols(tokenizer.token_bytes(id));
    let names = (0..tokenizer.vocab_size() as u32).map(|id| {
        if id == BpeTokenizer::END_OF_TEXT {
            END_OF_TEXT.to_owned()
        } else {
            symbols(id)
        }
    });
    let merge =
        |&(left, right): &(u32, u32)| Value::from(format!("{} {}", symbols(left), symbols(right)));
    let merges: Value = tokenizer.merges().iter().map(merge).collect();
    json!({"type": "BPE", "vocab": vocab(names), "merges": merges})
}

/// The same file without the parts that [`read`] does not need, though the `tokenizers` library does: the
/// vocabulary of a BPE model, and the array of its merges. They are one text of names with spaces
/// between them, two names a merge: in a header, where this file is a text inside JSON, an element of
/// an array costs four bytes more.
pub(super) fn compact(mut value: Value) -> Value {
    if value["model"]["type"] == "BPE"
        && let Some(model) = value["model"].as_object_mut()
    {
        model.remove("vocab");
        let merges = model.get("merges").and_then(Value::as_array);
        let merges = merges.into_iter().flatten().filter_map(Value::as_str);
        let text = merges.collect::<Vec<_>>().join(" ");
        model.insert("merges".to_owned(), text.into());
    }
    value
}

/// The file with its merges as an array again, if they are one text.
fn expand(value: &Value) -> Result<Cow<'_, Value>, TokenizerError> {
    let Some(text) = value.pointer(MERGES).and_then(Value::as_str) else {
        return Ok(Cow::Borrowed(value));
    };
    let names: Vec<&str> = text.split(' ').filter(|name| !name.is_empty()).collect();
    let (merges, rest) = names.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(unexpected(value, MERGES, "two names for each merge"));
    }
    let merges: Value = merges.iter().map(|pair| pair.join(" ")).collect();
    let mut value = value.clone();
    value["model"]["merges"] = merges;
    Ok(Cow::Owned(value))
}

/// Token names to ids, in the order of the ids.
fn vocab(names: impl Iterator<Item = String>) -> Value {
    names
        .zip(0..)
        .map(|(name, id): (_, u32)| (name, Value::from(id)))
        .collect()
}

/// The printable stand-ins of `bytes`, by which byte-level vocabularies name their tokens.
fn symbols(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| symbol(byte)).collect()
}

/// GPT-2's stand-in: printable Latin-1 bytes stand for themselves, the others count up from U+0100.
fn symbol(byte: u8) -> char {
    let code = match byte {
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
        _ => u32::from(byte),
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Reads any of the three forms.
pub(super) fn read(text: &str) -> Result<Tokenizer, TokenizerError> {
    if text.len() > MAX_BYTES {
        return Err(TokenizerError::Syntax(format!(
            "it has {} bytes, expected at most {MAX_BYTES}: its tokens are too long or too many",
            text.len()
        )));
    }
    let value =
        unique::from_str(text).map_err(|error| TokenizerError::Syntax(error.to_string()))?;
    let value = &*expand(&value)?;
    let model_type = value.pointer("/model/type").and_then(Value::as_str);
    let splits = value
        .pointer("/pre_tokenizer/use_regex")
        .and_then(Value::as_bool);
    let tokenizer = match (model_type, splits) {
        (Some("BPE"), Some(false)) => Tokenizer::Bytes(BytesTokenizer::new()),
        (Some("BPE"), _) => Tokenizer::Bpe(read_bpe(value)?),
        (Some("WordLevel"), _) => Tokenizer::Char(read_char(value)?),
        _ => return Err(unexpected(value, "/model/type", "\"BPE\" or \"WordLevel\"")),
    };
    compare(&tokenizer.to_json(), value, "")?;
    Ok(tokenizer)
}

fn read_char(value: &Value) -> Result<CharTokenizer, TokenizerError> {
    let single = |name: &str| {
        let mut chars = name.chars();
        chars.next().filter(|_| chars.as_str().is_empty())
    };
    let alphabet: BTreeSet<char> = read_vocab(value)?
        .keys()
        .filter_map(|name| single(name))
        .collect();
    CharTokenizer::from_alphabet(alphabet)
        .ok_or_else(|| unexpected(value, "/model/vocab", "at least one character"))
}

fn read_bpe(value: &Value) -> Result<BpeTokenizer, TokenizerError> {
    let vocab = value.pointer(VOCAB).map(|_| read_vocab(value));
    let vocab = vocab.transpose()?;
    let merges = value
        .pointer(MERGES)
        .and_then(Value::as_array)
        .ok_or_else(|| unexpected(value, MERGES, "an array"))?;
    if merges.len() > BpeTokenizer::MAX_VOCAB_SIZE - BpeTokenizer::MIN_VOCAB_SIZE {
        let requested = BpeTokenizer::MIN_VOCAB_SIZE.saturating_add(merges.len());
        return Err(TokenizerError::VocabSize { requested });
    }
    let mut tokenizer = BpeTokenizer::without_merges();
    let mut ids: BTreeMap<String, u32> = (0..BpeTokenizer::END_OF_TEXT)
        .map(|id| (symbols(tokenizer.token_bytes(id)), id))
        .collect();
    for (at, merge) in merges.iter().enumerate() {
        let next = tokenizer.vocab_size() as u32;
        let expected = "a pair of tokens with lower ids, whose joined name has the next id";
        let refuse = || unexpected(value, &format!("{MERGES}/{at}"), expected);
        let (left, right) = sides(merge).ok_or_else(refuse)?;
        // Checked at each step: otherwise a short file could ask for tokens that double in length.
        let name = [left, right].concat();
        let named = vocab.is_none_or(|vocab| vocab.get(&name).is_some_and(|id| *id == next));
        let pair = ids.get(left).copied().zip(ids.get(right).copied());
        let pair = pair.filter(|_| named && !ids.contains_key(&name));
        tokenizer.push_merge(pair.ok_or_else(refuse)?);
        ids.insert(name, next);
    }
    Ok(tokenizer)
}

/// The names of the two tokens of a merge: a pair, or a text with a space between them. No name has
/// a space in it.
fn sides(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(text) => text.split_once(' '),
        Value::Array(pair) if pair.len() == 2 => pair[0].as_str().zip(pair[1].as_str()),
        _ => None,
    }
}

fn read_vocab(value: &Value) -> Result<&Map<String, Value>, TokenizerError> {
    value
        .pointer(VOCAB)
        .and_then(Value::as_object)
        .ok_or_else(|| unexpected(value, VOCAB, "an object"))
}

/// Fails at the first place where `found` differs from `expected`. A key that is absent and one
/// that is null are the same, as they are to the `tokenizers` library.
fn compare(expected: &Value, found: &Value, path: &str) -> Result<(), TokenizerError> {
    let child = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                compare(value, found.get(key).unwrap_or(&Value::Null), &child(key))?;
            }
            for (key, value) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                compare(&Value::Null, value, &child(key))?;
            }
            Ok(())
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => expected
            .iter()
            .zip(found)
            .enumerate()
            .try_for_each(|(at, (expected, found))| {
                compare(expected, found, &child(&at.to_string()))
            }),
        _ if expected == found || means_the_same(expected, found, path) => Ok(()),
        _ => Err(TokenizerError::Json {
            path: path.to_owned(),
            expected: excerpt(expected),
            found: excerpt(found),
        }),
    }
}

/// Whether two unlike values mean the same, as they do to the `tokenizers` library, or are left out by
/// [`compact`].
fn means_the_same(expected: &Value, found: &Value, path: &str) -> bool {
    match (expected, found) {
        (Value::Null, Value::Bool(false)) => FALSE_FIELDS.contains(&path),
        (Value::Object(_), Value::Null) => path == VOCAB,
        (Value::String(_), Value::Array(_)) if path.starts_with(MERGES) => {
            sides(expected) == sides(found)
        }
        _ => false,
    }
}

/// The error for the value at `path` of the whole document `value`.
fn unexpected(value: &Value, path: &str, expected: &str) -> TokenizerError {
    TokenizerError::Json {
        path: path.to_owned(),
        expected: expected.to_owned(),
        found: excerpt(value.pointer(path).unwrap_or(&Value::Null)),
    }
}

/// The beginning of a value, for an error message. Containers are only named: they can be large.
fn excerpt(value: &Value) -> String {
    match value {
        Value::Null => "absent".to_owned(),
        Value::Array(items) => format!("an array of {} items", items.len()),
        Value::Object(entries) => format!("an object of {} entries", entries.len()),
        Value::String(text) => {
            let shown: String = text.chars().take(EXCERPT_CHARS).collect();
            let dots = if shown.len() < text.len() { "..." } else { "" };
            format!("{shown:?}{dots}")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_those_of_gpt2() {
        let cases = [
            (0x00, 'Ā'),
            (b'\n', 'Ċ'),
            (b' ', 'Ġ'),
            (b'!', '!'),
            (b'~', '~'),
            (0x7f, 'ġ'),
            (0xa0, 'ł'),
            (0xa1, '¡'),
            (0xac, '¬'),
            (0xad, 'Ń'),
            (0xae, '®'),
            (0xff, 'ÿ'),
        ];
        for (byte, expected) in cases {
            assert_eq!(symbol(byte), expected, "byte {byte:#04x}");
        }
        let all: BTreeSet<char> = (0..=u8::MAX).map(symbol).collect();
        assert_eq!(all.len(), 256);
    }
}
