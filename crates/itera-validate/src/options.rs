//! The command line, checked: nothing below meets a contradictory value.

use std::{num::NonZero, path::PathBuf, str::FromStr, thread};

use anyhow::{Context as _, Error, anyhow, bail, ensure};
use itera_cli::{Files, PrecisionArg, results_folder};
use itera_core::{
    checkpoint::Precision,
    kernels::{Kernel, KernelError},
};
use itera_data::{Dataset, Split, records::RecordOptions};
use itera_record::{Bootstrap, ProtocolKind, ScoringProtocol, ShardInfo};

use crate::{
    adapt,
    args::{EngineArg, Format, ProtocolArg, ScoreArgs},
    mix,
};

/// Tokens in a window by default: what most transformer tools use.
const DEFAULT_WINDOW: u64 = 512;

/// More threads than this are a typing error.
const MAX_THREADS: usize = 1024;

/// Resampled texts behind every interval, and the seed of the resampling.
const BOOTSTRAP: Bootstrap = Bootstrap {
    draws: 2000,
    seed: 0,
};

/// What to score, how, and where to put the result.
#[derive(Debug)]
pub(crate) struct Options {
    /// Names or paths; none for every shipped checkpoint.
    pub(crate) checkpoints: Vec<String>,
    /// None for each checkpoint's own.
    pub(crate) datasets: Vec<Dataset>,
    /// How they are read.
    pub(crate) records: RecordOptions,
    /// None for the data set's own choice.
    pub(crate) split: Option<Split>,
    pub(crate) protocol: ScoringProtocol,
    /// None for each checkpoint's own.
    pub(crate) precisions: Option<Vec<Precision>>,
    pub(crate) engine: EngineArg,
    pub(crate) kernel: Kernel,
    /// Whether to compare with the same model in fp32.
    pub(crate) reference: bool,
    pub(crate) threads: usize,
    pub(crate) shard: Option<Shard>,
    /// Whether texts are compressed for comparison.
    pub(crate) baselines: bool,
    pub(crate) output: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) json: bool,
    pub(crate) format: Format,
}

/// One of several parts of the documents, as typed: `I/N` with I from 1 to N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard(pub(crate) ShardInfo);

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        let (index, count) = parts.context("expected I/N, for example 1/3")?;
        ensure!(
            (1..=count).contains(&index),
            "there is no such shard, expected I/N with I from 1 to N, for example 1/3"
        );
        Ok(Self(ShardInfo { index, count }))
    }
}

impl Shard {
    /// Whether the document at this position of the text belongs to the shard.
    pub(crate) const fn contains(self, document: u64) -> bool {
        document % self.0.count == self.0.index - 1
    }
}

impl Options {
    /// Checks every argument, and that the output files can be written.
    pub(crate) fn new(args: ScoreArgs) -> anyhow::Result<Self> {
        let protocol = protocol(&args)?;
        let main_job = is_main_job(&args);
        let default_output = main_job
            .then(results_folder)
            .transpose()?
            .map(|results| results.join("validation.json"));
        let precisions = args.precision.or(main_job.then_some(PrecisionArg::All));
        let stream = protocol.name == ProtocolKind::Stream;
        ensure!(
            !(stream && args.shard.is_some()),
            "`--shard` cannot be used with the protocol stream, which carries the state from each \
             document to the next; use `--protocol document` or `--protocol window`"
        );
        if args.engine == EngineArg::Burn {
            ensure!(
                args.kernel == "auto" && args.reference.is_none(),
                "`--kernel` and `--reference` are for the native engine; leave out `--engine burn`"
            );
        }
        ensure!(
            args.reference.is_none() || protocol.name == ProtocolKind::Document,
            "`--reference` compares documents from a fresh state; use `--protocol document`"
        );
        ensure!(
            args.reference.is_none() || args.shard.is_none(),
            "`--reference` cannot be used with `--shard`, since quantiles of parts do not join; leave out one"
        );
        // Weights move in the engine that trains.
        let engine = match protocol.adaptation {
            Some(_) => EngineArg::Burn,
            None => args.engine,
        };
        let threads = threads(args.threads)?;
        let options = Self {
            checkpoints: args.checkpoint,
            datasets: args.dataset,
            records: RecordOptions {
                text_field: args.text_field,
                rule: args.document_rule,
                ..RecordOptions::default()
            },
            split: args.split,
            protocol,
            precisions: precisions.map(PrecisionArg::list),
            engine,
            kernel: kernel(&args.kernel)?,
            reference: args.reference.is_some(),
            threads,
            shard: args.shard,
            baselines: !args.no_baselines,
            output: args.output.or(default_output),
            csv: args.csv,
            json: args.json,
            format: args.format,
        };
        options.files().check()?;
        Ok(options)
    }

    /// The files of the run, but for those that are found by name.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::default();
        for dataset in &self.datasets {
            files = files.read_dataset("`--dataset`", dataset);
        }
        for (option, path) in [("`--output`", &self.output), ("`--csv`", &self.csv)] {
            if let Some(path) = path {
                files = files.write(option, path);
            }
        }
        files
    }
}

/// The number of threads: that of cores if none is given.
pub(crate) fn threads(given: Option<usize>) -> anyhow::Result<usize> {
    let available = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = given.unwrap_or_else(available);
    ensure!(
        (1..=MAX_THREADS).contains(&threads),
        "`--threads` is {threads}, expected 1 to {MAX_THREADS}"
    );
    Ok(threads)
}

/// The kernel of this name; `auto` is the fastest.
pub(crate) fn kernel(name: &str) -> anyhow::Result<Kernel> {
    match name {
        "auto" => Ok(Kernel::best()),
        name => name
            .parse()
            .map_err(|error: KernelError| anyhow!("{error}; give one of these with `--kernel`")),
    }
}

/// The protocol that the arguments describe. `--window` and `--stride` imply windows.
fn protocol(args: &ScoreArgs) -> anyhow::Result<ScoringProtocol> {
    let windowed = args.window.is_some() || args.stride.is_some();
    let name = match args.protocol {
        None if windowed => ProtocolKind::Window,
        None | Some(ProtocolArg::Document) => ProtocolKind::Document,
        Some(ProtocolArg::Stream) => ProtocolKind::Stream,
        Some(ProtocolArg::Window) => ProtocolKind::Window,
    };
    for (option, value) in [
        ("--window", args.window),
        ("--stride", args.stride),
        ("--max-tokens", args.max_tokens),
        ("--limit-documents", args.limit_documents),
    ] {
        ensure!(value != Some(0), "`{option}` is 0, expected at least 1");
    }
    let (mut window_tokens, mut stride_tokens) = (None, None);
    if name == ProtocolKind::Window {
        let window = args.window.unwrap_or(DEFAULT_WINDOW);
        let stride = args.stride.unwrap_or(window);
        ensure!(
            stride <= window,
            "`--stride` is {stride}, above the window of {window} tokens, so that tokens between \
             windows would never be scored; give a stride from 1 to {window}"
        );
        (window_tokens, stride_tokens) = (Some(window), Some(stride));
    } else if windowed {
        bail!("`--window` and `--stride` need `--protocol window`");
    }
    Ok(ScoringProtocol {
        name,
        window_tokens,
        stride_tokens,
        context_start: "end_of_text".to_owned(),
        separators_scored: false,
        max_tokens: args.max_tokens,
        limit_documents: args.limit_documents,
        bootstrap: BOOTSTRAP,
        adaptation: adapt::protocol(args)?,
        mix: mix::protocol(args)?,
    })
}

/// Whether nothing is said about what to score or how: the run whose result the project keeps.
fn is_main_job(args: &ScoreArgs) -> bool {
    args.checkpoint.is_empty()
        && args.dataset.is_empty()
        && args.split.is_none()
        && args.protocol.is_none()
        && args.window.is_none()
        && args.stride.is_none()
        && args.engine == EngineArg::Native
        && args.kernel == "auto"
        && args
            .precision
            .is_none_or(|precision| precision == PrecisionArg::All)
        && args.max_tokens.is_none()
        && args.limit_documents.is_none()
        && args.shard.is_none()
        && !args.no_baselines
        && !args.adapt
        && !args.mix
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    fn options(line: &str) -> anyhow::Result<Options> {
        let words = ["itera-validate"]
            .into_iter()
            .chain(line.split_whitespace());
        Options::new(Args::try_parse_from(words)?.score)
    }

    #[test]
    fn window_and_stride_have_defaults_and_imply_windows() {
        let shape = |line| {
            let protocol = options(line).unwrap().protocol;
            (
                protocol.name,
                protocol.window_tokens,
                protocol.stride_tokens,
            )
        };
        assert_eq!(
            shape("--dataset sample"),
            (ProtocolKind::Document, None, None)
        );
        assert_eq!(
            shape("--protocol window"),
            (ProtocolKind::Window, Some(512), Some(512))
        );
        assert_eq!(
            shape("--window 64"),
            (ProtocolKind::Window, Some(64), Some(64))
        );
        assert_eq!(
            shape("--window 64 --stride 16"),
            (ProtocolKind::Window, Some(64), Some(16))
        );
        assert_eq!(
            shape("--stride 64"),
            (ProtocolKind::Window, Some(512), Some(64))
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, message) in [
            ("--window 0", "`--window` is 0, expected at least 1"),
            ("--window 8 --stride 0", "`--stride` is 0"),
            (
                "--window 8 --stride 9",
                "`--stride` is 9, above the window of 8 tokens",
            ),
            ("--protocol document --window 8", "need `--protocol window`"),
            ("--max-tokens 0", "`--max-tokens` is 0"),
            ("--limit-documents 0", "`--limit-documents` is 0"),
            ("--threads 0", "`--threads` is 0, expected 1 to 1024"),
            (
                "--protocol stream --shard 1/2",
                "`--shard` cannot be used with",
            ),
            (
                "--shard 1/2 --reference fp32",
                "`--reference` cannot be used with",
            ),
            ("--shard 3/2", "there is no such shard"),
            ("--shard 0/2", "there is no such shard"),
            ("--shard 1", "expected I/N"),
        ] {
            let error = format!("{:#}", options(line).unwrap_err());
            assert!(error.contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn only_the_main_job_has_a_default_output() {
        let output = |line| options(line).unwrap().output;
        assert!(
            output("--threads 1 --json")
                .unwrap()
                .ends_with("results/validation.json")
        );
        assert_eq!(output("--dataset sample"), None);
        assert_eq!(
            output("--dataset sample --output x.json"),
            Some("x.json".into())
        );
    }

    #[test]
    fn shards_divide_the_documents() {
        for document in 0..10 {
            let owners =
                ["1/3", "2/3", "3/3"].map(|s| s.parse::<Shard>().unwrap().contains(document));
            assert_eq!(owners.iter().filter(|&&owner| owner).count(), 1);
        }
    }
}
