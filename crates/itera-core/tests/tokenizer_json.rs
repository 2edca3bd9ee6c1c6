//! Tokenizer files: what is written is read back, anything else is refused and never panics.

use itera_core::tokenizer::{
    BpeTokenizer, BytesTokenizer, CharTokenizer, Tokenizer, TokenizerError,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn bpe(text: &[u8], vocab_size: usize) -> Tokenizer {
    Tokenizer::Bpe(BpeTokenizer::train([text].into_iter(), vocab_size).unwrap())
}

fn read(file: &Value) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(&file.to_string())
}

/// One of each kind, and a BPE without merges, which must not be mistaken for plain bytes.
fn tokenizers() -> [Tokenizer; 4] {
    let char = CharTokenizer::train([&b"the theme / ~ \""[..]].into_iter()).unwrap();
    [
        Tokenizer::Bytes(BytesTokenizer::new()),
        Tokenizer::Char(char),
        bpe(b"", 257),
        bpe(b"the theme of the other thesis", 265),
    ]
}

/// The JSON pointers of `value` and of everything in it.
fn paths(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, item)| paths(item, format!("{path}/{at}"), found)),
        Value::Object(entries) => entries.iter().for_each(|(key, entry)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            paths(entry, format!("{path}/{key}"), found);
        }),
        _ => {}
    }
    found.push(path);
}

/// The error of reading `tokenizer` with `value` at `path`: the path named, and what was found.
fn refusal(tokenizer: &Tokenizer, path: &str, value: Value) -> (String, String) {
    let mut file = tokenizer.to_json();
    let (parent, key) = path.rsplit_once('/').unwrap();
    match file.pointer_mut(parent).unwrap() {
        Value::Object(entries) => drop(entries.insert(key.replace("~1", "/"), value)),
        items => items[key.parse::<usize>().unwrap()] = value,
    }
    match read(&file) {
        Err(TokenizerError::Json { path, found, .. }) => (path, found),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_is_read_back() {
    for tokenizer in tokenizers() {
        let file = tokenizer.to_json().to_string();
        let read = Tokenizer::from_json(&file);
        assert_eq!(read, Ok(tokenizer));
    }
}

#[test]
fn files_have_the_hugging_face_form() {
    let file = bpe(b" a  a b a", 258).to_json();
    assert_eq!(file["version"], "1.0");
    assert_eq!(file["added_tokens"][0]["id"], 256);
    assert_eq!(file["added_tokens"][0]["content"], "<|endoftext|>");
    assert_eq!(file["model"]["merges"], json!(["Ġ a"]));
    assert_eq!(file["model"]["vocab"]["Ġa"], 257);
    assert_eq!(file["model"]["vocab"].as_object().unwrap().len(), 258);
    let char = Tokenizer::Char(CharTokenizer::train([&b"ba"[..]].into_iter()).unwrap());
    let vocab = json!({"a": 0, "b": 1, "\u{fffd}": 2, "<|endoftext|>": 3});
    assert_eq!(char.to_json()["model"]["vocab"], vocab);
}

/// Files as the `tokenizers` library saves them, and as this project wrote them before.
#[test]
fn fields_that_say_nothing_and_merges_as_pairs_are_read() {
    for tokenizer in tokenizers() {
        let mut file = tokenizer.to_json();
        for key in ["truncation", "padding", "normalizer", "post_processor"] {
            file[key] = Value::Null;
        }
        if file["model"]["type"] == "BPE" {
            for key in ["byte_fallback", "fuse_unk", "ignore_merges"] {
                file["model"][key] = json!(false);
            }
            file["model"]["dropout"] = Value::Null;
            for merge in file["model"]["merges"].as_array_mut().unwrap() {
                *merge = merge.as_str().unwrap().split(' ').collect();
            }
        }
        assert_eq!(read(&file), Ok(tokenizer));
    }
}

#[test]
fn the_merges_determine_the_vocabulary() {
    for tokenizer in tokenizers() {
        let file = tokenizer.to_compact_json();
        let is_bpe = file["model"]["type"] == "BPE";
        assert_eq!(file["model"].get("vocab").is_none(), is_bpe);
        assert_eq!(file["model"]["merges"].is_string(), is_bpe);
        assert_eq!(read(&file), Ok(tokenizer));
    }
    let [.., bpe] = tokenizers();
    let merges = bpe.to_json()["model"]["merges"].clone();
    for merge in [json!("t"), json!("a b c"), json!("zz z"), merges[0].clone()] {
        let mut file = bpe.to_json();
        file["model"].as_object_mut().unwrap().remove("vocab");
        assert_eq!(read(&file).as_ref(), Ok(&bpe));
        file["model"]["merges"][1] = merge;
        let refused = read(&file).unwrap_err().to_string();
        assert!(
            refused.starts_with("tokenizer JSON: `/model/merges/1` is"),
            "{refused}"
        );
    }
    let mut file = bpe.to_compact_json();
    let text = file["model"]["merges"].as_str().unwrap();
    file["model"]["merges"] = format!("{text} a").into();
    let refused = read(&file).unwrap_err().to_string();
    assert!(
        refused.starts_with("tokenizer JSON: `/model/merges` is"),
        "{refused}"
    );
}

#[test]
fn what_would_change_the_ids_is_refused_by_path() {
    let [bytes, char, _, bpe] = tokenizers();
    let refused = |tokenizer, path, value, found: &str| {
        assert_eq!(
            refusal(tokenizer, path, value),
            (path.to_owned(), found.to_owned())
        );
    };
    let lowercase = json!({"type": "Lowercase"});
    refused(&bpe, "/normalizer", lowercase, "an object of 1 entries");
    refused(&bpe, "/pre_tokenizer/add_prefix_space", json!(true), "true");
    refused(&bpe, "/pre_tokenizer/use_regex", json!(1), "1");
    refused(&bpe, "/added_tokens", json!([]), "an array of 0 items");
    refused(&bpe, "/model/type", json!("Unigram"), "\"Unigram\"");
    refused(&bpe, "/model/vocab", json!([]), "an array of 0 items");
    refused(&bpe, "/model/vocab/a", json!(98), "98");
    refused(&bpe, "/model/merges", Value::Null, "absent");
    refused(&bpe, "/model/merges/0", json!("t  h"), "\"t  h\"");
    refused(
        &bpe,
        "/model/merges/0",
        json!(["th", "e"]),
        "an array of 2 items",
    );
    refused(&char, "/model/vocab/t", json!(-1), "-1");
    refused(
        &char,
        "/model/unk_token",
        json!("x".repeat(99)),
        &format!("{:?}...", "x".repeat(60)),
    );
    refused(&bytes, "/model/ignore_merges", json!(true), "true");
}

#[test]
fn tokens_beyond_those_written_are_refused() {
    for tokenizer in tokenizers() {
        let mut file = tokenizer.to_json();
        file["model"]["vocab"]["one too many"] = json!(tokenizer.vocab_size());
        let refused = read(&file).unwrap_err().to_string();
        let found = tokenizer.vocab_size();
        let expected =
            format!("tokenizer JSON: `/model/vocab/one too many` is {found}, expected absent");
        assert_eq!(refused, expected);
    }
}

/// The `tokenizers` library keeps the first of two entries, `serde_json` the last.
#[test]
fn keys_that_occur_twice_are_refused() {
    for tokenizer in tokenizers() {
        let file = tokenizer.to_json().to_string();
        for (once, twice) in [
            ("\"version\":", "\"version\":\"0.9\",\"version\":"),
            ("\"special\":", "\"special\":false,\"special\":"),
            ("\"vocab\":{", "\"vocab\":{\"t\":7,"),
        ] {
            let refused = Tokenizer::from_json(&file.replacen(once, twice, 1));
            let Err(TokenizerError::Syntax(message)) = refused else {
                panic!("{refused:?}")
            };
            assert!(message.contains("appears twice"), "{message}");
        }
    }
}

#[test]
fn files_longer_than_any_checkpoint_holds_are_refused() {
    let [.., bpe] = tokenizers();
    let mut file = bpe.to_json().to_string();
    file.push_str(&" ".repeat((1 << 19) - file.len()));
    assert_eq!(Tokenizer::from_json(&file), Ok(bpe));
    file.push(' ');
    let refused = Tokenizer::from_json(&file).unwrap_err().to_string();
    assert!(refused.contains("at most 524288"), "{refused}");
}

#[test]
fn merges_that_double_forever_are_refused_at_once() {
    let mut file = bpe(b"", 257).to_json();
    file["model"]["merges"] = json!(vec![["a", "a"]; 1791]);
    let refused = read(&file).unwrap_err().to_string();
    assert!(
        refused.starts_with("tokenizer JSON: `/model/merges/0` is"),
        "{refused}"
    );
    file["model"]["merges"] = json!(vec![["a", "a"]; 1792]);
    let refused = read(&file);
    assert_eq!(refused, Err(TokenizerError::VocabSize { requested: 2049 }));
}

/// Any small JSON value, with names that matter in tokenizer files.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..300_u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(BPE|WordLevel|ByteLevel|t|th|\u{fffd}|<\\|endoftext\\|>|\\PC{0,3})".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("(type|vocab|merges|t|\\PC{0,2})", inner, 0..4)
                .prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn mutated_files_never_panic(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4),
    ) {
        let mut file = tokenizers()[which].to_json();
        for (place, value) in changes {
            let mut found = Vec::new();
            paths(&file, String::new(), &mut found);
            // Half of the changes above the vocabulary, which holds nearly all paths.
            let few: Vec<&String> = found.iter().filter(|path| !path.contains("/vocab/")).collect();
            let path = if value.is_number() { place.get(&found) } else { *place.get(&few) };
            *file.pointer_mut(path).unwrap() = value;
        }
        if let Ok(read) = read(&file) {
            prop_assert_eq!(self::read(&read.to_json()), Ok(read));
        }
    }

    #[test]
    fn arbitrary_json_never_panics(value in any_json()) {
        prop_assert!(read(&value).is_err());
    }

    #[test]
    fn any_trained_bpe_is_read_back(text: Vec<u8>, vocab_size in 257..300_usize) {
        let doubled = [&text[..], &text].concat();
        let tokenizer = bpe(&doubled, vocab_size);
        prop_assert_eq!(read(&tokenizer.to_json()), Ok(tokenizer));
    }
}
