//! Real text, if `ITERA_DATA_DIR` leads to it.

use std::{env, path::PathBuf};

use itera_core::{io::load_checkpoint, model::Model};
use itera_data::{Corpus, Dataset, Places, Split};
use serde_json::Value;

use crate::fixture::{CliTest, skip};

/// The folder of the data, if the file is there.
fn data(file: &str) -> Option<PathBuf> {
    let data = env::var_os("ITERA_DATA_DIR").map(PathBuf::from);
    let data = data.filter(|data| data.join(file).exists());
    if data.is_none() {
        skip(&format!("no {file} under ITERA_DATA_DIR"));
    }
    data.map(|data| data.canonicalize().unwrap())
}

/// The first row of a run with `--json`.
fn row(data: &PathBuf, arguments: &str) -> Value {
    let test = CliTest::new();
    let mut command = test.command(&format!("{arguments} --json"));
    let run = command.env("ITERA_DATA_DIR", data).output().unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{stderr}");
    let record: Value = serde_json::from_slice(&run.stdout).unwrap();
    record["rows"][0].clone()
}

#[test]
fn wikitext2_has_the_words_of_the_literature() {
    let Some(data) = data("wikitext-2/test.txt") else {
        return;
    };
    let row = row(&data, "--checkpoint small --dataset wikitext2");
    assert_eq!(row["words"], 245_569);
    assert_eq!(row["bytes"], 1_256_449);
    assert_eq!(row["bytes_scored_fraction"], 1.0);
    assert_eq!(row["documents"], 60);
    assert_eq!(
        row["dataset_verdict"],
        "official WikiText-2 v1 test split, by its digest"
    );
}

#[cfg(feature = "burn")]
#[test]
fn the_engines_agree_on_real_text() {
    let Some(data) = data("wikitext-2/valid.txt") else {
        return;
    };
    let arguments = "--checkpoint small --dataset wikitext2 --split valid --limit-documents 2";
    let bits = |engine: &str| {
        let row = row(&data, &format!("{arguments} --engine {engine}"));
        row["bits_per_byte"].as_f64().unwrap()
    };
    let (native, burn) = (bits("native"), bits("burn"));
    assert!((native - burn).abs() < 1e-4, "{native} and {burn}");
}

#[test]
fn bits_per_byte_do_not_rise_with_position() {
    const BUCKET: usize = 512;
    const BUCKETS: usize = 6;
    let Some(data) = data("wikitext-2/valid.txt") else {
        return;
    };
    let loaded = load_checkpoint("micro-wikitext2").expect("the checkpoint is shipped");
    let model = Model::from_checkpoint(&loaded.checkpoint).unwrap();
    let tokenizer = &loaded.checkpoint.tokenizer;
    let places = Places::new(vec![data]);
    let corpus = Corpus::load(&Dataset::WikiText2, Some(Split::Valid), &places).unwrap();
    let mut state = model.new_state();
    let (mut nats, mut bytes) = ([0.0; BUCKETS], [0; BUCKETS]);
    let texts = corpus.texts().map(|text| tokenizer.encode(text).unwrap());
    for tokens in texts
        .filter(|tokens| tokens.len() >= BUCKET * BUCKETS)
        .take(12)
    {
        state.reset();
        let scores = model.score(
            &mut state,
            tokenizer.end_of_text(),
            &tokens[..BUCKET * BUCKETS],
        );
        for (index, (score, token)) in scores.iter().zip(&tokens).enumerate() {
            nats[index / BUCKET] += score;
            bytes[index / BUCKET] += tokenizer.token_bytes(*token).len();
        }
    }
    let bits = |bucket: usize| nats[bucket] / std::f64::consts::LN_2 / bytes[bucket] as f64;
    let first = bits(0);
    // Texts differ from place to place; a state that decays or overflows shows at once.
    let late = (2..BUCKETS).map(bits).sum::<f64>() / (BUCKETS - 2) as f64;
    assert!(late < first * 1.01, "{first} at the start, {late} later");
}
