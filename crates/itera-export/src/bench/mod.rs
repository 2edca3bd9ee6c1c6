//! The command `bench`: how fast each runtime reads a sequence, in turns within one run.
//!
//! | file | what |
//! |---|---|
//! | `cases` | what is measured: a runtime at a precision |
//! | `burn` | those of Burn, with the feature `burn` |
//! | `apart` | what Python has measured apart |

mod apart;
#[cfg(feature = "burn")]
mod burn;
mod cases;

use std::time::Instant;

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, Progress, model_info, note, print};
use itera_core::{checkpoint::Precision, digest::sha256_hex, models::LoadedCheckpoint};
use itera_data::{Corpus, Dataset, Places};
use itera_record::{ExportBench, ExportBenchProtocol, ExportBenchRow, median, p95};

use self::cases::Case;
use crate::{args::BenchArgs, onnx, results, table};

/// Runs of each case before the first sample.
const WARM_UP: usize = 5;

/// Bounds of the options; more is a typing error.
const MAX_SEQ_LEN: usize = 16_384;
const MAX_SAMPLES: usize = 10_000;
const MAX_THREADS: usize = 256;

/// Measures, prints the table and puts it into the record.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitStatus> {
    check(args)?;
    let output = results::usual(args.output.as_ref())?;
    let precisions = Precision::ALL.into_iter();
    let loaded = precisions.map(|precision| onnx::load(&args.checkpoint, precision));
    let loaded: Vec<LoadedCheckpoint> = loaded.collect::<anyhow::Result<_>>()?;
    let files = onnx::files(&loaded).write("`--output`", &output);
    files.check()?;
    // Said before the work if it is something else.
    results::read_or_new(&output)?;
    let (text, tokens) = tokens(&loaded[0], args.seq_len)?;
    let (mut cases, mut missing) = cases::all(&loaded, &tokens, args.threads)?;
    note("measuring; other work on this machine makes the figures smaller");
    let samples = measure(&mut cases, args.samples)?;
    let mut rows: Vec<ExportBenchRow> = cases
        .iter()
        .zip(samples)
        .map(|(case, samples)| row(case, samples, args.seq_len))
        .collect();
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token.to_le_bytes())
        .collect();
    let protocol = ExportBenchProtocol {
        seq_len: args.seq_len as u64,
        samples: args.samples as u64,
        warm_up: WARM_UP as u64,
        threads: args.threads as u64,
        text,
        tokens_sha256: sha256_hex(&bytes),
    };
    let model = model_info(
        &loaded[0].name,
        &loaded[0].file_sha256,
        &loaded[0].checkpoint,
    );
    let (apart, unmeasured) = apart::rows(&output, &model, &protocol)?;
    rows.extend(apart);
    missing.extend(unmeasured);
    rank(&mut rows);
    let bench = ExportBench {
        model,
        protocol,
        rows,
        missing,
    };
    let table = table::bench(&bench);
    results::update(&output, |record| record.bench = Some(bench))?;
    print(table)?;
    Ok(ExitStatus::Done)
}

fn check(args: &BenchArgs) -> anyhow::Result<()> {
    let bounds = [
        ("--seq-len", args.seq_len, MAX_SEQ_LEN),
        ("--samples", args.samples, MAX_SAMPLES),
        ("--threads", args.threads, MAX_THREADS),
    ];
    for (option, value, most) in bounds {
        ensure!(
            (1..=most).contains(&value),
            "`{option}` is {value}, expected 1 to {most}"
        );
    }
    Ok(())
}

/// Name of the text that is always there, and as many of its tokens as are wanted, end-of-text first.
pub(crate) fn tokens(loaded: &LoadedCheckpoint, len: usize) -> anyhow::Result<(String, Vec<u32>)> {
    let corpus = Corpus::load(&Dataset::SampleTinyStories, None, &Places::of_environment())?;
    let tokenizer = &loaded.checkpoint.tokenizer;
    let mut all = Vec::new();
    for text in corpus.texts() {
        all.push(tokenizer.end_of_text());
        all.extend(
            tokenizer
                .encode(text)
                .context("cannot read the sample text")?,
        );
    }
    // A text shorter than is wanted begins again.
    Ok((corpus.name, all.into_iter().cycle().take(len).collect()))
}

/// Seconds of each sample of each case: every case in turn, round after round. Before each sample the
/// case runs once untimed, so that the caches hold its own data and not those of the case before.
fn measure(cases: &mut [Case], samples: usize) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut seconds = vec![Vec::with_capacity(samples); cases.len()];
    let progress = Progress::new(((WARM_UP + samples) * cases.len()) as u64, "runs");
    for round in 0..WARM_UP + samples {
        for (case, seconds) in cases.iter_mut().zip(&mut seconds) {
            let context = || format!("{} ({})", case.runtime, case.precision);
            (case.run)().with_context(context)?;
            if round >= WARM_UP {
                let started = Instant::now();
                (case.run)().with_context(context)?;
                seconds.push(started.elapsed().as_secs_f64());
            }
            progress.advance(1);
        }
    }
    Ok(seconds)
}

fn row(case: &Case, sample_seconds: Vec<f64>, tokens: usize) -> ExportBenchRow {
    let median_seconds = median(&sample_seconds);
    ExportBenchRow {
        runtime: case.runtime.clone(),
        version: case.version.clone(),
        precision: case.precision.to_string(),
        is_interleaved: true,
        median_seconds,
        p95_seconds: p95(&sample_seconds),
        sample_seconds,
        tokens_per_s: tokens as f64 / median_seconds,
        speed_up: 1.0,
        file_bytes: case.file_bytes as u64,
    }
}

/// Sorts the rows, fastest first, and says how much faster each is than the slowest.
fn rank(rows: &mut [ExportBenchRow]) {
    rows.sort_by(|a, b| a.median_seconds.total_cmp(&b.median_seconds));
    let slowest = rows.last().map_or(0.0, |row| row.median_seconds);
    for row in rows {
        row.speed_up = slowest / row.median_seconds;
    }
}
