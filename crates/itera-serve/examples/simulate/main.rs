//! `cargo run --release -p itera-serve --example simulate`: the proof that the model learns, a stream of
//! feedback from a text that it has not seen. Each text is scored before it is learnt from, by the
//! weights of the start and by those of that time; documents of the model's own text, which nothing else
//! sees, tell what was forgotten. Then the same streams with a source among the others that plants a text.

mod attack;
#[path = "../../src/source.rs"]
mod source;
#[path = "../../src/adapt/learn/texts.rs"]
#[expect(dead_code, reason = "a server's own texts are chosen otherwise")]
mod texts;
#[path = "../../src/weights.rs"]
#[expect(dead_code, reason = "a part of the server")]
mod weights;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, ensure};
use clap::Parser;
use itera_cli::{
    Align, ExitStatus, Files, Progress, Table, envelope, main_with, note, parse as arguments, print,
};
use itera_core::{
    checkpoint::Checkpoint,
    files::write_atomic,
    model::{Model, bits_per_byte},
};
use itera_data::Corpus;
use itera_learn::adapt::{
    self as learning, AdaptConfig, Example, GuardDocument, Material, Receipt, Verdict,
    recent_accuracy_rate,
};
use itera_record::{
    AttackRun, Record as _, SimulationAdaptation, SimulationAttack, SimulationProtocol,
    SimulationRecord, SimulationRun, SimulationWindow,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use self::{
    attack::{Attack, HONEST_SOURCES, PLANTED},
    source::MOST_OF_VISITOR,
    texts::{load, parse},
    weights::{Base, Weights},
};

/// Name of the program in records.
const TOOL: &str = "itera-serve";

/// What is asked for: better by this on the new text, worse by at most that on the own, in percent.
const BAR_IMPROVEMENT: f64 = 5.0;
const BAR_BASE_LOSS: f64 = 1.0;

/// And with a hostile source: a planted text no likelier than by this factor, and still better by this in percent.
const BAR_FACTOR: f64 = 2.0;
const BAR_ATTACKED: f64 = 15.0;

/// Records that are scored after the last adaptation.
const AFTER: usize = 100;

/// Bytes of a prompt, and most bytes of what should follow it.
const PROMPT_BYTES: usize = 48;
const OUTPUT_BYTES: usize = 256;

/// Most bytes of own text that guard, and that tell what was forgotten.
const GUARD_BYTES: usize = 64 << 10;
const HELD_OUT_BYTES: usize = 256 << 10;

/// Most records that an adaptation sees, the newest; what a server does unless told otherwise.
const MOST_RECORDS: usize = 500;

/// Show that the model learns: play feedback from a text it has not seen, score before learning.
#[derive(Debug, Parser)]
struct Args {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH", default_value = "micro-tinystories")]
    checkpoint: String,
    /// Text that the model has not seen, from which the feedback comes.
    #[arg(long, value_name = "NAME|PATH", default_value = "wikitext2")]
    domain: String,
    /// The model's own text: half is guarded and replayed, half tells what was forgotten.
    #[arg(long, value_name = "NAME|PATH", default_value = "tinystories")]
    base: String,
    /// Feedback records after which the bar is held.
    #[arg(long, value_name = "N", default_value_t = 500)]
    records: usize,
    /// Records from one adaptation to the next.
    #[arg(long, value_name = "N", default_value_t = 50)]
    adapt_after: usize,
    /// Orders in which the feedback is played.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Settings of the adaptation as JSON, for those that differ from the defaults.
    #[arg(long, value_name = "JSON")]
    adapt_settings: Option<String>,
    /// File for the result as JSON.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    main_with(|| run(&arguments()))
}

/// Everything that the streams share.
struct World {
    base: Base,
    config: AdaptConfig,
    records: Vec<Snippet>,
    guard: Vec<GuardDocument>,
    replay: Vec<Vec<u32>>,
    held_out: Vec<GuardDocument>,
}

/// A piece of the new text: what a user asks for, and what should be written.
#[derive(Clone)]
struct Snippet {
    prompt: Vec<u32>,
    output: Vec<u32>,
    bytes: usize,
}

/// Plays every stream; status 1 if the bar is missed.
fn run(args: &Args) -> anyhow::Result<ExitStatus> {
    ensure!(
        args.adapt_after > 0 && args.records >= args.adapt_after && args.seeds > 0,
        "`--records`, `--adapt-after` and `--seeds` are to be above 0, and records at least as many as \
         lead to an adaptation"
    );
    if let Some(path) = &args.output {
        Files::default().write("`--output`", path).check()?;
    }
    let (domain, own) = (load(&parse(&args.domain))?, load(&parse(&args.base))?);
    let world = World::new(args, &domain, &own)?;
    let streams = 2 * args.seeds + 1;
    let progress = Progress::new(streams * (args.records + AFTER) as u64, "records");
    let (mut runs, mut attacked) = (Vec::new(), Vec::new());
    for seed in 0..args.seeds {
        let (run, end) = world.play(args, seed, None, &progress)?;
        runs.push(run);
        attacked.push(world.attack(args, seed, &end, &progress)?);
    }
    drop(progress);
    let mut record = SimulationRecord {
        envelope: envelope::<SimulationRecord>(TOOL, Some(world.base.info.clone())),
        protocol: world.protocol(args, &domain, &own)?,
        runs,
        least_improvement_percent: 0.0,
        largest_base_loss_percent: 0.0,
        passed: false,
        attack: Some(world.attacks(attacked)?),
    };
    record.judge();
    let withstood = record.attack.as_ref().is_some_and(|attack| attack.passed);
    let json = record.to_json()?;
    if let Some(path) = &args.output {
        write_atomic(path, json.as_bytes())?;
        note(format!("wrote {}", path.display()));
    }
    print(table(&record))?;
    Ok(if record.passed && withstood {
        ExitStatus::Done
    } else {
        ExitStatus::CheckFailed
    })
}

impl World {
    /// Divides the texts. A third of the own documents may guard, a third is replayed, a third tells
    /// what was forgotten.
    fn new(args: &Args, domain: &Corpus, own: &Corpus) -> anyhow::Result<Self> {
        let base = Base::load(&args.checkpoint, None)?;
        let mut config: AdaptConfig = match &args.adapt_settings {
            Some(json) => serde_json::from_str(json).context("in `--adapt-settings`")?,
            None => AdaptConfig::default(),
        };
        config.quantize = base.default.max_integer().map(|_| base.default);
        config.validate().context("in `--adapt-settings`")?;
        let checkpoint = &base.weights.checkpoint;
        let records = snippets(checkpoint, domain)?;
        let wanted = args.records + AFTER;
        ensure!(
            records.len() >= wanted,
            "{} has {} pieces long enough for feedback, and {wanted} are wanted; give fewer --records",
            domain.name,
            records.len()
        );
        let third = |which: usize, most: usize| documents(checkpoint, own, which, most);
        let guard = third(0, GUARD_BYTES)?;
        let replay = third(1, usize::MAX)?;
        let held_out = third(2, HELD_OUT_BYTES)?;
        ensure!(
            !guard.is_empty() && !held_out.is_empty(),
            "{} has fewer than three documents; give a longer --base",
            own.name
        );
        Ok(Self {
            config,
            records,
            guard,
            replay: replay.into_iter().map(|document| document.tokens).collect(),
            held_out,
            base,
        })
    }

    /// The records of a seed in order: those that are learnt from, and those after them.
    fn stream(&self, args: &Args, seed: u64) -> (Vec<&Snippet>, Vec<&Snippet>) {
        let order = shuffled(self.records.len(), seed);
        let mut learnt: Vec<_> = order.iter().map(|at| &self.records[*at]).collect();
        learnt.truncate(args.records + AFTER);
        let after = learnt.split_off(args.records);
        (learnt, after)
    }

    /// One stream, and the weights at its end.
    fn play(
        &self,
        args: &Args,
        seed: u64,
        attack: Option<&Attack>,
        progress: &Progress,
    ) -> anyhow::Result<(SimulationRun, Arc<Weights>)> {
        let (learnt, after) = self.stream(args, seed);
        let round = attack.map_or(args.adapt_after, |attack| attack.round(args.adapt_after));
        let start = self.base.weights.variant(self.base.default);
        let mut now = Arc::clone(&self.base.weights);
        let (mut windows, mut adaptations) = (Vec::new(), Vec::new());
        let mut rate = self.config.learning_rate;
        for (index, window) in learnt.chunks(round).enumerate() {
            let before = index * round;
            let model = &now.variant(self.base.default).model;
            windows.push(SimulationWindow {
                records_before: before as u64,
                records: window.len() as u64,
                bytes: window.iter().map(|snippet| snippet.bytes as u64).sum(),
                static_bits_per_byte: self.score(&start.model, window),
                adapted_bits_per_byte: self.score(model, window),
            });
            progress.advance(window.len() as u64);
            if window.len() < round {
                continue;
            }
            let seen = before + window.len();
            let examples = match attack {
                Some(attack) => attack.examples(&learnt[..seen]),
                None => corrections(&learnt[seen.saturating_sub(MOST_RECORDS)..seen]),
            };
            let mut config = self.config.clone();
            config.seed = seed;
            // Every record is a correction, so that no answer was right.
            config.learning_rate = recent_accuracy_rate(&config, 0.0, rate);
            rate = config.learning_rate;
            let adaptation = self.learn(&examples, &now.checkpoint, &config)?;
            let receipt = &adaptation.receipt;
            progress.note(format!(
                "seed {seed}, {seen} records: {} ({})",
                if receipt.accepted {
                    "accepted"
                } else {
                    "rejected"
                },
                receipt.reason
            ));
            adaptations.push(account(seen, receipt));
            if receipt.accepted {
                now = self
                    .base
                    .adapted(adaptation.checkpoint, adaptation.quantized.as_ref())?;
            }
        }
        progress.advance(after.len() as u64);
        let end = &now.variant(self.base.default).model;
        let (was, is) = (self.score(&start.model, &after), self.score(end, &after));
        let (own_was, own_is) = (self.own(&start.model), self.own(end));
        let run = SimulationRun {
            seed,
            windows,
            adaptations,
            after_static_bits_per_byte: was,
            after_adapted_bits_per_byte: is,
            improvement_percent: 100.0 * (1.0 - is / was),
            base_static_bits_per_byte: own_was,
            base_adapted_bits_per_byte: own_is,
            base_loss_percent: 100.0 * (own_is / own_was - 1.0),
        };
        Ok((run, now))
    }

    /// The stream of a seed with a hostile source; `without` are the weights at the end of the same without it.
    fn attack(
        &self,
        args: &Args,
        seed: u64,
        without: &Weights,
        progress: &Progress,
    ) -> anyhow::Result<AttackRun> {
        let tokenizer = &self.base.weights.checkpoint.tokenizer;
        let limited = Attack::new(tokenizer, true)?;
        let (_, after) = self.stream(args, seed);
        let planted = limited.behind(&after);
        let planted: Vec<&Snippet> = planted.iter().collect();
        // Bits per byte to nats per token.
        let unit = PLANTED.len() as f64 * std::f64::consts::LN_2 / limited.planted.len() as f64;
        let nats = |weights: &Weights| {
            let model = &weights.variant(self.base.default).model;
            unit * self.score(model, &planted)
        };
        let (stream, end) = self.play(args, seed, Some(&limited), progress)?;
        let unlimited_nats = if seed == 0 {
            let unlimited = Attack::new(tokenizer, false)?;
            let (_, end) = self.play(args, seed, Some(&unlimited), progress)?;
            Some(nats(&end))
        } else {
            None
        };
        let (static_nats, adapted_nats) = (nats(&self.base.weights), nats(&end));
        Ok(AttackRun {
            stream,
            static_nats,
            adapted_nats,
            without_nats: nats(without),
            unlimited_nats,
            factor: (static_nats - adapted_nats).exp(),
        })
    }

    /// The account of such streams.
    fn attacks(&self, runs: Vec<AttackRun>) -> anyhow::Result<SimulationAttack> {
        let tokenizer = &self.base.weights.checkpoint.tokenizer;
        let mut attack = SimulationAttack {
            planted: PLANTED.to_owned(),
            planted_tokens: Attack::new(tokenizer, true)?.planted.len() as u64,
            honest_sources: HONEST_SOURCES as u64,
            most_of_source: MOST_OF_VISITOR as u64,
            bar_factor: BAR_FACTOR,
            bar_improvement_percent: BAR_ATTACKED,
            runs,
            largest_factor: 0.0,
            least_improvement_percent: 0.0,
            passed: false,
        };
        attack.judge();
        Ok(attack)
    }

    fn learn(
        &self,
        examples: &[Example],
        current: &Checkpoint,
        config: &AdaptConfig,
    ) -> anyhow::Result<learning::Adaptation> {
        let material = Material {
            examples,
            replay: &self.replay,
            guard: &self.guard,
            probes: &[],
        };
        let mut go_on = |_| ControlFlow::Continue(());
        let base = &self.base.weights.checkpoint;
        learning::adapt(base, current, material, config, &mut go_on).context("cannot learn")
    }

    /// Bits per byte of what should be written, given the prompts.
    fn score(&self, model: &Model, snippets: &[&Snippet]) -> f64 {
        let end_of_text = self.base.weights.checkpoint.tokenizer.end_of_text();
        let mut scorer = model.scorer(end_of_text);
        let (mut nats, mut bytes) = (0.0, 0);
        for snippet in snippets {
            let tokens = [snippet.prompt.as_slice(), &snippet.output].concat();
            let (mut position, prompt) = (0, snippet.prompt.len());
            scorer.tokens(&[&tokens], |_, of_token| {
                nats += if position < prompt { 0.0 } else { of_token };
                position += 1;
            });
            bytes += snippet.bytes;
        }
        bits_per_byte(nats, bytes as f64)
    }

    /// Bits per byte of the own text that is held out.
    fn own(&self, model: &Model) -> f64 {
        let end_of_text = self.base.weights.checkpoint.tokenizer.end_of_text();
        let documents = self.held_out.iter();
        let documents: Vec<&[u32]> = documents.map(|document| &document.tokens[..]).collect();
        let bytes: u64 = self.held_out.iter().map(|document| document.bytes).sum();
        let nats = model.scorer(end_of_text).documents(&documents);
        bits_per_byte(nats.iter().sum(), bytes as f64)
    }

    fn protocol(
        &self,
        args: &Args,
        domain: &Corpus,
        own: &Corpus,
    ) -> anyhow::Result<SimulationProtocol> {
        Ok(SimulationProtocol {
            domain: domain.name.clone(),
            domain_sha256: domain.sha256.clone(),
            base: own.name.clone(),
            base_sha256: own.sha256.clone(),
            guard_documents: self.guard.len() as u64,
            replay_documents: self.replay.len() as u64,
            held_out_documents: self.held_out.len() as u64,
            held_out_bytes: self.held_out.iter().map(|document| document.bytes).sum(),
            records: args.records as u64,
            records_after: AFTER as u64,
            adapt_after: args.adapt_after as u64,
            settings: serde_json::to_value(&self.config)?,
            bar_improvement_percent: BAR_IMPROVEMENT,
            bar_base_loss_percent: BAR_BASE_LOSS,
        })
    }
}

/// Records as examples.
fn corrections(records: &[&Snippet]) -> Vec<Example> {
    let records = records.iter();
    let examples = records.map(|snippet| Example {
        prompt: snippet.prompt.clone(),
        output: snippet.output.clone(),
        verdict: Verdict::Corrected,
        weight: 1.0,
    });
    examples.collect()
}

/// Lines of the text that are long enough, cut into prompt and continuation at characters.
fn snippets(checkpoint: &Checkpoint, corpus: &Corpus) -> anyhow::Result<Vec<Snippet>> {
    let mut found = Vec::new();
    for text in corpus.texts() {
        let text = String::from_utf8_lossy(text);
        for line in text.lines().map(str::trim) {
            if line.len() < PROMPT_BYTES + OUTPUT_BYTES / 2 {
                continue;
            }
            let cut = line.floor_char_boundary(PROMPT_BYTES);
            let end = line.floor_char_boundary(cut + OUTPUT_BYTES);
            let (prompt, output) = (&line[..cut], &line[cut..end]);
            found.push(Snippet {
                prompt: checkpoint.tokenizer.encode(prompt.as_bytes())?,
                output: checkpoint.tokenizer.encode(output.as_bytes())?,
                bytes: output.len(),
            });
        }
    }
    Ok(found)
}

/// Every third document from `first` on, until there are `most` bytes.
fn documents(
    checkpoint: &Checkpoint,
    corpus: &Corpus,
    first: usize,
    most: usize,
) -> anyhow::Result<Vec<GuardDocument>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for text in corpus.texts().skip(first).step_by(3) {
        if bytes >= most {
            break;
        }
        bytes += text.len();
        found.push(GuardDocument {
            tokens: checkpoint.tokenizer.encode(text)?,
            bytes: text.len() as u64,
        });
    }
    Ok(found)
}

/// 0 to `len` in the order that a seed chooses (Fisher and Yates).
fn shuffled(len: usize, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        let other = (rng.next_u64() % (last as u64 + 1)) as usize;
        order.swap(last, other);
    }
    order
}

fn account(after_records: usize, receipt: &Receipt) -> SimulationAdaptation {
    SimulationAdaptation {
        after_records: after_records as u64,
        accepted: receipt.accepted,
        reason: receipt.reason.clone(),
        records_used: receipt.records_used as u64,
        steps: receipt.steps as u64,
        learning_rate: receipt.learning_rate,
        feedback_loss_before: receipt.feedback_loss_before,
        feedback_loss_after: receipt.feedback_loss_after,
        guard_bits_per_byte_before: receipt.guard_bits_per_byte_before,
        guard_bits_per_byte_after: receipt.guard_bits_per_byte_after,
        seconds: receipt.seconds,
    }
}

fn table(record: &SimulationRecord) -> String {
    let mut table = Table::new(&[
        ("seed", Align::Right),
        ("accepted", Align::Right),
        ("new text, static", Align::Right),
        ("adapted", Align::Right),
        ("better by", Align::Right),
        ("own text, static", Align::Right),
        ("adapted", Align::Right),
        ("worse by", Align::Right),
    ]);
    for run in &record.runs {
        let accepted = run.adaptations.iter().filter(|one| one.accepted).count();
        table.row([
            run.seed.to_string(),
            format!("{accepted} of {}", run.adaptations.len()),
            format!("{:.4}", run.after_static_bits_per_byte),
            format!("{:.4}", run.after_adapted_bits_per_byte),
            format!("{:.2} %", run.improvement_percent),
            format!("{:.4}", run.base_static_bits_per_byte),
            format!("{:.4}", run.base_adapted_bits_per_byte),
            format!("{:.2} %", run.base_loss_percent),
        ]);
    }
    let verdict = if record.passed { "passed" } else { "MISSED" };
    let attack = record.attack.as_ref().map(attack_table).unwrap_or_default();
    format!(
        "bits per byte after {} records, {} seeds\n{table}bar: better by at least {} %, worse by at most \
         {} %: {verdict}\n{attack}",
        record.protocol.records,
        record.runs.len(),
        record.protocol.bar_improvement_percent,
        record.protocol.bar_base_loss_percent,
    )
}

fn attack_table(attack: &SimulationAttack) -> String {
    let mut table = Table::new(&[
        ("seed", Align::Right),
        ("planted, static", Align::Right),
        ("adapted", Align::Right),
        ("factor", Align::Right),
        ("without it", Align::Right),
        ("unlimited", Align::Right),
        ("new text better by", Align::Right),
    ]);
    for run in &attack.runs {
        let unlimited = run.unlimited_nats.map(|nats| format!("{nats:.3}"));
        table.row([
            run.stream.seed.to_string(),
            format!("{:.3}", run.static_nats),
            format!("{:.3}", run.adapted_nats),
            format!("{:.2}", run.factor),
            format!("{:.3}", run.without_nats),
            unlimited.unwrap_or_default(),
            format!("{:.2} %", run.stream.improvement_percent),
        ]);
    }
    let verdict = if attack.passed { "passed" } else { "MISSED" };
    format!(
        "\na hostile source, nats per token of what it plants\n{table}bar: likelier by a factor of at most {}, better \
         by at least {} %: {verdict}\n",
        attack.bar_factor, attack.bar_improvement_percent,
    )
}
