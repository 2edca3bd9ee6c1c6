//! The command line as typed; each subcommand checks its own part before it begins.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Parser, Subcommand,
    builder::{StringValueParser, TypedValueParser},
};
use itera_core::{checkpoint::Precision, quant::Method, tokenizer::TokenizerKind};
use itera_data::Dataset;
use serde::{Serialize, Serializer};

use crate::fit::RunConfig;

/// Train a model or a tokenizer on a text, or continue a prompt with a trained model.
#[derive(Debug, Parser)]
#[command(name = "itera-train", version)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model.
    ///
    /// Beside the checkpoint NAME.safetensors it writes NAME.metrics.csv, NAME.curve.png and
    /// NAME.training.json. Ctrl-C saves the run in NAME.resume; the same command with --resume goes
    /// on exactly where it was.
    Fit(Box<FitArgs>),
    /// Train variants of a model on the same text and say what each decision is worth.
    ///
    /// The plan names studies; each has a base and variants, which are options of `fit`. The record is
    /// written after each run; the same command continues it.
    Ablate(AblateArgs),
    /// Train a tokenizer on the training text of a data set.
    Tokenizer(TokenizerArgs),
    /// Continue a prompt, until the end of the text or for --max-tokens tokens.
    Sample(SampleArgs),
    /// Make a checkpoint smaller: weights become integers of 8 or 4 bits.
    ///
    /// Prints what each tensor has lost. The file is found by the other programs when they are
    /// asked for this precision of the checkpoint, until the checkpoint changes.
    Quantize(QuantizeArgs),
    /// Make a model smaller: heads, state columns, experts and expert channels go for good.
    ///
    /// What does least on training text goes first. The matrices of the result are smaller, nothing is
    /// masked. It has to be trained on afterwards: `fit --init PRUNED`, without --preset.
    Prune(PruneArgs),
}

/// Arguments of `fit`: the run, and what may differ when it is repeated.
#[derive(Debug, clap::Args)]
pub(crate) struct FitArgs {
    #[command(flatten)]
    pub(crate) run: RunConfig,
    /// Minutes between two savings of the run.
    #[arg(long, value_name = "M", default_value = "5", value_parser = minutes)]
    pub(crate) save_every: Duration,
    /// Checkpoint to write, for example data/models/NAME.safetensors.
    #[arg(long, value_name = "FILE.safetensors", value_parser = utf8_path())]
    pub(crate) output: PathBuf,
    /// Go on with the run that was interrupted.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Stop after this step and save the run.
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) stop_after: Option<u64>,
    /// Show no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// Arguments of `ablate`.
#[derive(Debug, clap::Args)]
pub(crate) struct AblateArgs {
    /// File of studies.
    #[arg(
        long,
        value_name = "FILE.json",
        default_value = "scripts/ablations.json"
    )]
    pub(crate) plan: PathBuf,
    /// Runs side by side, of one thread each.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) jobs: usize,
    /// Begin no run after this time.
    #[arg(long, value_name = "M", value_parser = minutes)]
    pub(crate) minutes: Option<Duration>,
    /// Record to write or to go on with; what it holds beside the plan stays [default:
    /// results/ablations.json].
    #[arg(long, value_name = "FILE.json")]
    pub(crate) output: Option<PathBuf>,
    /// Drop the recorded runs of variants that the plan describes otherwise now.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Arguments of `tokenizer`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenizerArgs {
    /// wikitext2, tinystories, sample, or a text file.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Dataset,
    /// bpe, char or bytes.
    #[arg(long, default_value = "bpe")]
    pub(crate) kind: TokenizerKind,
    /// Entries of a bpe vocabulary [default: 512].
    #[arg(long, value_name = "N")]
    pub(crate) vocab_size: Option<usize>,
    /// File to write, in the form of a Hugging Face tokenizer.json.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) output: PathBuf,
}

/// Arguments of `sample`.
#[derive(Debug, clap::Args)]
pub(crate) struct SampleArgs {
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: String,
    /// Text to continue; nothing for the beginning of a document.
    #[arg(
        long,
        default_value = "",
        value_name = "TEXT",
        hide_default_value = true
    )]
    pub(crate) prompt: String,
    /// Most tokens to add.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_tokens: usize,
    /// Above 1 for more variety, below 1 for less, 0 for the most probable token each time.
    #[arg(long, value_name = "X", default_value_t = 0.8)]
    pub(crate) temperature: f32,
    /// Draw from this many of the most probable tokens only.
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the most probable tokens that together have this probability.
    #[arg(long, value_name = "X")]
    pub(crate) top_p: Option<f32>,
    /// Chooses the draws; the same seed gives the same text.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Arguments of `quantize`.
#[derive(Debug, clap::Args)]
pub(crate) struct QuantizeArgs {
    /// fp32 checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: String,
    /// fp32 checkpoint that the result will stand for at this precision, where --checkpoint was
    /// trained on from it with `fit --init NAME --quantize int4` [default: --checkpoint].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) of: Option<String>,
    /// int8 or int4.
    #[arg(long, required_unless_present = "mixed")]
    pub(crate) precision: Option<Precision>,
    /// int4 or int8 for each tensor, by what each costs in bits per byte on training text that is
    /// not calibrated with.
    #[arg(long, conflicts_with_all = ["precision", "tensor"], requires = "target_bits")]
    pub(crate) mixed: bool,
    /// Bits per weight of the mixed model at most, scales and what stays float included.
    #[arg(long, value_name = "B", requires = "mixed")]
    pub(crate) target_bits: Option<f64>,
    /// File to write [default: NAME.int8.safetensors, NAME.int4.safetensors or
    /// NAME.mixed.safetensors beside the checkpoint].
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) output: Option<PathBuf>,
    /// How weights are rounded: nearest; search, with the scales of least error; gptq, with error
    /// feedback.
    #[arg(long, default_value = "gptq")]
    pub(crate) method: Method,
    /// Text to calibrate and validate with: wikitext2, tinystories, sample, or a text file
    /// [default: the text that the checkpoint was trained on; sample if that is not there].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Option<Dataset>,
    /// Tokens of the training text to calibrate with.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    pub(crate) calibration_tokens: usize,
    /// Another precision for one tensor; may be repeated.
    #[arg(long, value_name = "NAME=PRECISION")]
    pub(crate) tensor: Vec<TensorArg>,
    /// Bytes of the file at most, with --precision int8: integers are as fine as fits, finest where rounding
    /// costs most on training text that is not calibrated with, and of any size up to 127, so that a file packs
    /// them into few bits.
    #[arg(long, value_name = "N", conflicts_with = "mixed")]
    pub(crate) bytes: Option<usize>,
    /// Measure the bits per byte on validation text before and after, and with each tensor
    /// quantised alone.
    #[arg(long)]
    pub(crate) validate: bool,
    /// Tokens of text to measure on with --validate, --mixed and --bytes, whole documents.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) validate_tokens: usize,
    /// File for the table as JSON.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,
    /// Write also over a file of integers that was made better: trained on, or calibrated with the text
    /// of the training.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// fp32 checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) checkpoint: String,
    /// Heads that are left in each mixer.
    #[arg(long, value_name = "N")]
    pub(crate) heads: Option<usize>,
    /// State columns that are left in each mixer.
    #[arg(long, value_name = "N")]
    pub(crate) d_state: Option<usize>,
    /// Experts that are left in each block.
    #[arg(long, value_name = "N")]
    pub(crate) experts: Option<usize>,
    /// Hidden channels that are left in each expert.
    #[arg(long, value_name = "N")]
    pub(crate) d_expert: Option<usize>,
    /// Text to calibrate and measure with: wikitext2, tinystories, sample, or a text file
    /// [default: the text that the checkpoint was trained on; sample if that is not there].
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Option<Dataset>,
    /// Tokens of the training text to calibrate with.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    pub(crate) calibration_tokens: usize,
    /// Tokens of the validation text to measure on, whole documents.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) validate_tokens: usize,
    /// File to write.
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) output: PathBuf,
}

/// The precision of one tensor, `layers.0.mixer.in_proj.weight=int8`.
#[derive(Clone, Debug)]
pub(crate) struct TensorArg {
    name: String,
    precision: Precision,
}

impl TensorArg {
    /// The precisions by the names of their tensors.
    pub(crate) fn overrides(tensors: &[Self]) -> BTreeMap<String, Precision> {
        let of = |tensor: &Self| (tensor.name.clone(), tensor.precision);
        tensors.iter().map(of).collect()
    }
}

impl FromStr for TensorArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, precision) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} has no `=`, expected NAME=PRECISION"))?;
        Ok(Self {
            name: name.to_owned(),
            precision: precision.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl Serialize for TensorArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}={}", self.name, self.precision))
    }
}

/// A path that a recorded command can repeat.
pub(crate) fn utf8_path() -> impl TypedValueParser<Value = PathBuf> {
    StringValueParser::new().map(PathBuf::from)
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text
        .parse()
        .ok()
        .and_then(|minutes: f64| Duration::try_from_secs_f64(60.0 * minutes).ok());
    minutes.ok_or_else(|| "expected minutes".to_owned())
}
