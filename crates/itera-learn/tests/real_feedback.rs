//! Learning from corrections in text that the model has not seen, if `ITERA_DATA_DIR` leads to real
//! text.

use std::{
    env,
    io::{self, Write as _},
    ops::ControlFlow,
    path::PathBuf,
};

use itera_core::{checkpoint::Checkpoint, model::Model, models::load_checkpoint};
use itera_data::{Corpus, Dataset, Places, Split};
use itera_learn::adapt::{AdaptConfig, Example, GuardDocument, Material, Verdict, adapt};

/// Tokens of a prompt, and of the correction that follows it.
const PROMPT: usize = 32;
const OUTPUT: usize = 64;

/// Records that are learnt from, and records that only judge.
const RECORDS: usize = 50;

fn is_there(file: &str) -> bool {
    let data = env::var_os("ITERA_DATA_DIR").map(PathBuf::from);
    let there = data.is_some_and(|data| data.join(file).exists());
    if !there {
        let text = format!("SKIPPED: no {file} under ITERA_DATA_DIR\n");
        io::stderr().write_all(text.as_bytes()).unwrap();
    }
    there
}

/// Bytes that are read of a split: more than the texts that are used.
const BEGINNING: u64 = 2 << 20;

/// Tokens and bytes of the first `count` texts.
fn texts(dataset: &Dataset, split: Split, base: &Checkpoint, count: usize) -> Vec<(Vec<u32>, u64)> {
    let places = Places::of_environment();
    let corpus = Corpus::beginning(dataset, split, &places, BEGINNING).unwrap();
    let texts = corpus.texts().take(count);
    texts
        .map(|text| (base.tokenizer.encode(text).unwrap(), text.len() as u64))
        .collect()
}

/// Nats of the outputs of these records.
fn nats(checkpoint: &Checkpoint, records: &[Example]) -> f64 {
    let model = Model::from_checkpoint(checkpoint).unwrap();
    let end_of_text = checkpoint.tokenizer.end_of_text();
    let mut work = model.new_workspace();
    let mut score = |record: &Example| {
        let text = [&record.prompt[..], &record.output].concat();
        let nats = model.score(&mut model.new_state(), &mut work, end_of_text, &text);
        nats[PROMPT..].iter().sum::<f64>()
    };
    records.iter().map(&mut score).sum()
}

/// Nats of whole documents.
fn document_nats(checkpoint: &Checkpoint, documents: &[(Vec<u32>, u64)]) -> f64 {
    let model = Model::from_checkpoint(checkpoint).unwrap();
    let end_of_text = checkpoint.tokenizer.end_of_text();
    let mut work = model.new_workspace();
    let mut score = |(tokens, _): &(Vec<u32>, u64)| {
        let nats = model.score(&mut model.new_state(), &mut work, end_of_text, tokens);
        nats.iter().sum::<f64>()
    };
    documents.iter().map(&mut score).sum()
}

#[test]
fn fifty_corrections_help_with_the_next_fifty_and_spare_the_base_text() {
    let files = [
        "wikitext-2/valid.txt",
        "tinystories/train.txt",
        "tinystories/valid.txt",
    ];
    if !files.into_iter().all(is_there) {
        return;
    }
    let base = load_checkpoint("micro-tinystories").unwrap().checkpoint;
    let articles = texts(
        &"wikitext2".parse().unwrap(),
        Split::Valid,
        &base,
        usize::MAX,
    );
    let snippets: Vec<Example> = articles
        .iter()
        .flat_map(|(tokens, _)| tokens.chunks_exact(PROMPT + OUTPUT))
        .map(|snippet| Example {
            prompt: snippet[..PROMPT].to_vec(),
            output: snippet[PROMPT..].to_vec(),
            verdict: Verdict::Corrected,
            weight: 1.0,
        })
        .collect();
    // Records from all over the text, so that the next ones are of other articles.
    let stride = snippets.len() / (2 * RECORDS);
    let records: Vec<Example> = snippets.into_iter().step_by(stride).collect();
    let (learnt, next) = records.split_at(RECORDS);

    let replay = texts(&"tinystories".parse().unwrap(), Split::Train, &base, 400);
    let replay: Vec<Vec<u32>> = replay.into_iter().map(|(tokens, _)| tokens).collect();
    let stories = texts(&"tinystories".parse().unwrap(), Split::Valid, &base, 300);
    let guard: Vec<GuardDocument> = stories[..40]
        .iter()
        .map(|(tokens, bytes)| GuardDocument {
            tokens: tokens.clone(),
            bytes: *bytes,
        })
        .collect();
    let material = Material {
        examples: learnt,
        replay: &replay,
        guard: &guard,
        probes: &[],
    };
    let config = AdaptConfig::default();
    let mut progress = |_| ControlFlow::Continue(());
    let adaptation = adapt(&base, &base, material, &config, &mut progress).unwrap();
    let receipt = &adaptation.receipt;
    assert!(receipt.accepted, "{}", receipt.reason);

    let gain = 1.0 - nats(&adaptation.checkpoint, next) / nats(&base, next);
    assert!(gain > 0.03, "gain {gain} on text that was not learnt from");
    // Stories that neither the training nor the guard has seen.
    let others = &stories[100..300];
    let rise = document_nats(&adaptation.checkpoint, others) / document_nats(&base, others) - 1.0;
    assert!(rise < 0.01, "the base text got worse by {rise}");
    let text = format!(
        "{RECORDS} records in {:.1} s: gain {:.2} %, base text {:+.2} %\n",
        receipt.seconds,
        100.0 * gain,
        100.0 * rise
    );
    io::stderr().write_all(text.as_bytes()).unwrap();
}
