//! Learning from corrections in a domain that a model has not seen: WikiText-2 for a model of
//! TinyStories. Each text is scored before it is learnt from, so that memorising it does not count.
//!
//! ```sh
//! ITERA_DATA_DIR=data cargo run --release -p itera-learn --example prequential -- \
//!     '{"learning_rate": 1e-4}' '{"kl_weight": 0}'
//! ```
//!
//! Each argument is a JSON object of settings beside the defaults; `ITERA_SEEDS` is the number of
//! seeds, 3 unless set.
#![expect(clippy::print_stdout, reason = "an example that prints a table")]

use std::{env, error::Error, ops::ControlFlow, time::Instant};

use itera_core::{
    checkpoint::Checkpoint,
    model::{self, Model},
    models::load_checkpoint,
    tokenizer::Tokenizer,
};
use itera_data::{Corpus, Places, Split};
use itera_learn::adapt::{AdaptConfig, Example, GuardDocument, Material, Verdict, adapt};

/// Tokens of a prompt, and of the correction that follows it.
const PROMPT: usize = 32;
const OUTPUT: usize = 64;

/// Records of feedback, and how many of them make an adaptation.
const RECORDS: usize = 500;
const ROUND: usize = 50;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Setting {
    base: Checkpoint,
    stream: Vec<Example>,
    replay: Vec<Vec<u32>>,
    guard: Vec<GuardDocument>,
    /// Stories that neither training nor the guard sees.
    judge: Vec<GuardDocument>,
}

fn main() -> Outcome<()> {
    let seeds = env::var("ITERA_SEEDS").map_or(Ok(3), |seeds| seeds.parse())?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments = if arguments.is_empty() {
        vec!["{}".to_owned()]
    } else {
        arguments
    };
    println!(
        "settings | seed | static, adapted bits/byte | gain | last 100 | base data | rounds | s/round"
    );
    for argument in &arguments {
        for seed in 0..seeds {
            let config: AdaptConfig = serde_json::from_str(argument)?;
            let config = AdaptConfig { seed, ..config };
            println!("{argument} | {seed} | {}", play(&setting(seed)?, &config)?);
        }
    }
    Ok(())
}

fn setting(seed: u64) -> Outcome<Setting> {
    let base = load_checkpoint("micro-tinystories")?.checkpoint;
    let places = Places::of_environment();
    let tokenizer = &base.tokenizer;
    let wiki = Corpus::load(&"wikitext2".parse()?, Some(Split::Valid), &places)?;
    let mut stream = Vec::new();
    for article in wiki.texts() {
        let tokens = tokenizer.encode(article)?;
        for snippet in tokens.chunks_exact(PROMPT + OUTPUT) {
            let (prompt, output) = snippet.split_at(PROMPT);
            stream.push(Example {
                prompt: prompt.to_vec(),
                output: output.to_vec(),
                verdict: Verdict::Corrected,
                weight: 1.0,
            });
        }
    }
    // Every seed has records of its own, from all over the text.
    let stride = stream.len() / RECORDS;
    let stream = stream
        .into_iter()
        .skip(seed as usize % stride)
        .step_by(stride);
    let train = Corpus::load(&"tinystories".parse()?, Some(Split::Train), &places)?;
    let valid = Corpus::load(&"tinystories".parse()?, Some(Split::Valid), &places)?;
    let guard = |skip, take| -> Outcome<Vec<GuardDocument>> {
        let texts = valid.texts().skip(skip).take(take);
        texts.map(|text| document(tokenizer, text)).collect()
    };
    let replay = train.texts().take(400).map(|text| tokenizer.encode(text));
    Ok(Setting {
        stream: stream.take(RECORDS).collect(),
        replay: replay.collect::<Result<_, _>>()?,
        guard: guard(0, 40)?,
        judge: guard(100, 300)?,
        base,
    })
}

fn document(tokenizer: &Tokenizer, text: &[u8]) -> Outcome<GuardDocument> {
    Ok(GuardDocument {
        tokens: tokenizer.encode(text)?,
        bytes: text.len() as u64,
    })
}

/// Plays the stream: a round of records is scored, then learnt from.
fn play(setting: &Setting, config: &AdaptConfig) -> Outcome<String> {
    let frozen = Model::from_checkpoint(&setting.base)?;
    let mut current = setting.base.clone();
    let mut model = frozen.clone();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let (mut accepted, mut rounds) = (0, 0);
    let started = Instant::now();
    for records in setting.stream.chunks(ROUND) {
        before.extend(records.iter().map(|r| nats(&frozen, &setting.base, r)));
        after.extend(records.iter().map(|r| nats(&model, &setting.base, r)));
        let material = Material {
            examples: records,
            replay: &setting.replay,
            guard: &setting.guard,
            probes: &[],
        };
        let mut progress = |_| ControlFlow::Continue(());
        let adaptation = adapt(&setting.base, &current, material, config, &mut progress)?;
        rounds += 1;
        if adaptation.receipt.accepted {
            accepted += 1;
            current = adaptation.checkpoint;
            model = Model::from_checkpoint(&current)?;
        } else if env::var_os("ITERA_REASONS").is_some() {
            println!("    round {rounds}: {}", adaptation.receipt.reason);
        }
    }
    let seconds = started.elapsed().as_secs_f64() / f64::from(rounds);
    let bytes: Vec<f64> = setting
        .stream
        .iter()
        .map(|r| bytes(&setting.base, r))
        .collect();
    let rate = |nats: &[f64], from: usize| {
        model::bits_per_byte(nats[from..].iter().sum(), bytes[from..].iter().sum())
    };
    let gain = |from| 100.0 * (1.0 - rate(&after, from) / rate(&before, from));
    let judge = |model: &Model| bits_per_byte(model, &setting.base, &setting.judge);
    Ok(format!(
        "{:.4}, {:.4} | {:.2} % | {:.2} % | {:+.2} % | {accepted} of {rounds} | {seconds:.1}",
        rate(&before, 0),
        rate(&after, 0),
        gain(0),
        gain(RECORDS - 100),
        100.0 * (judge(&model) / judge(&frozen) - 1.0),
    ))
}

fn nats(model: &Model, base: &Checkpoint, record: &Example) -> f64 {
    let text = [&record.prompt[..], &record.output].concat();
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let nats = model.score(&mut state, &mut work, base.tokenizer.end_of_text(), &text);
    nats[record.prompt.len()..].iter().sum()
}

fn bytes(base: &Checkpoint, record: &Example) -> f64 {
    let lens = record
        .output
        .iter()
        .map(|token| base.tokenizer.token_bytes(*token).len());
    lens.sum::<usize>() as f64
}

fn bits_per_byte(model: &Model, base: &Checkpoint, documents: &[GuardDocument]) -> f64 {
    let tokens: Vec<&[u32]> = documents.iter().map(|d| &d.tokens[..]).collect();
    let bytes: u64 = documents.iter().map(|d| d.bytes).sum();
    let mut scorer = model.scorer(base.tokenizer.end_of_text());
    model::bits_per_byte(scorer.documents(&tokens).iter().sum(), bytes as f64)
}
