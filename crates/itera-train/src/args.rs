//! The command line as typed; each subcommand checks its own part before it begins.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use itera_core::{checkpoint::Precision, config::Preset, quant::Method, tokenizer::TokenizerKind};
use itera_data::Dataset;
use itera_learn::Backend;

use crate::{fit::SizeArg, tokenizer::TokenizerSource};

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
    /// written after each run; the same command goes on where it was.
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

/// Arguments of `fit`.
#[derive(Debug, clap::Args)]
pub(crate) struct FitArgs {
    /// wikitext2, tinystories, sample, or a text file.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) dataset: Dataset,
    /// Text file to evaluate on [default: the validation split; of a single text the last tenth of
    /// its documents].
    #[arg(long, value_name = "PATH")]
    pub(crate) valid: Option<PathBuf>,
    /// Size of the model: micro, nano, tiny or test [default: the sizes of --init].
    #[arg(long, required_unless_present = "init")]
    pub(crate) preset: Option<Preset>,
    /// Another size than the preset's, by its name in a checkpoint's config, or routing=chosen, where
    /// the weights of the experts that a token visits sum to one; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "preset")]
    pub(crate) size: Vec<SizeArg>,
    /// Train the model without routing that has as many parameters in all, or per token.
    #[arg(long, value_name = "SIZE", requires = "preset")]
    pub(crate) dense: Option<DenseArg>,
    /// bpe, char, bytes, or a file written by the subcommand `tokenizer` [default: that of --init,
    /// else bpe].
    #[arg(long, value_name = "KIND|FILE.json")]
    pub(crate) tokenizer: Option<TokenizerSource>,
    /// Entries of a bpe vocabulary that is trained for the run [default: 512].
    #[arg(long, value_name = "N")]
    pub(crate) vocab_size: Option<usize>,
    /// Seed of the initial parameters and of the order of the documents.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Checkpoint to start from, by name or path, in place of random weights; of the same tokenizer
    /// and, where --preset is given, of its sizes.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) init: Option<String>,
    /// Burn backend: flex or ndarray, or in a build with the feature `cuda` an NVIDIA card: cuda.
    #[arg(long, default_value = "flex")]
    pub(crate) backend: Backend,
    /// Documents read side by side, a multiple of --replicas.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) batch: usize,
    /// Tokens of each of them per step; the state is carried on to the next step.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) length: usize,
    /// Threads that share a batch [default: 2, on a card 1].
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<usize>,
    /// Highest learning rate; with --quantize in integers, so that it suits large and small weights
    /// [default: 0.004, with --quantize 0.1].
    #[arg(long, value_name = "X")]
    pub(crate) learning_rate: Option<f64>,
    /// Steps until the highest learning rate [default: 200, or a tenth of the steps if that is
    /// less].
    #[arg(long, value_name = "N")]
    pub(crate) warmup: Option<u64>,
    /// Shape of the learning rate after the warm-up.
    #[arg(long, default_value = "cosine")]
    pub(crate) decay: DecayArg,
    /// Learning rate at the end, as a share of the highest.
    #[arg(long, value_name = "X", default_value_t = 0.02)]
    pub(crate) floor: f64,
    /// What moves the projections; everything else is moved by adamw.
    #[arg(long, default_value = "adamw")]
    pub(crate) optimizer: OptimizerArg,
    /// Weight decay of the projections, per unit of learning rate.
    #[arg(long, value_name = "X", default_value_t = 0.05)]
    pub(crate) weight_decay: f32,
    /// Second moment of the optimiser: how much of the old is kept at each step.
    #[arg(long, value_name = "X", default_value_t = 0.99)]
    pub(crate) beta_2: f32,
    /// Gradients of a larger norm are scaled down to this one.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) clip: f32,
    /// Probability that an output of a layer is dropped on its way to the residual stream.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) dropout: f32,
    /// Make the result an exponential average of the weights over the steps, of which each step keeps
    /// this share, for example 0.999.
    #[arg(long, value_name = "X")]
    pub(crate) average: Option<f32>,
    /// Weight of the loss that balances the experts.
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    pub(crate) balance: f32,
    /// Weight of the loss that keeps the router's logits small.
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    pub(crate) z_loss: f32,
    /// Checkpoint to learn from beside the text, by name or path; of the same tokenizer. It may be
    /// larger, or with --quantize the very model that is trained on.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) teacher: Option<String>,
    /// Weight of what the teacher predicts against what the text says, above 0 and at most 1.
    #[arg(long, value_name = "X", default_value_t = 0.9, requires = "teacher")]
    pub(crate) distill: f32,
    /// Train for integer weights: each step draws the weights to multiples of their scales, ever
    /// harder; evaluations see them rounded. The checkpoint holds what the integers stand for;
    /// `quantize --method search --calibration-tokens 0` makes the file of integers.
    #[arg(long, value_name = "PRECISION")]
    pub(crate) quantize: Option<QuantizeArg>,
    /// Another precision for one tensor of a run with --quantize; may be repeated, and be said to
    /// `quantize` too.
    #[arg(long, value_name = "NAME=PRECISION", value_parser = tensor_precision, requires = "quantize")]
    pub(crate) tensor: Vec<(String, Precision)>,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Steps between two evaluations, 0 for none at all [default: a twentieth of the run].
    #[arg(long, value_name = "N")]
    pub(crate) evaluate_every: Option<u64>,
    /// Documents of an evaluation during the run [default: about 100 kB of them]; the last
    /// evaluation reads all.
    #[arg(long, value_name = "N")]
    pub(crate) evaluate_documents: Option<usize>,
    /// Minutes between two savings of the run.
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    pub(crate) save_every: f64,
    /// Checkpoint to write, for example data/models/NAME.safetensors.
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) output: PathBuf,
    /// Go on with the run that was interrupted.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Stop after this step as if Ctrl-C had been pressed.
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) stop_after: Option<u64>,
    /// Show no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// How long to train.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct BudgetArgs {
    /// Optimiser steps.
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,
    /// Minutes of training, evaluations not counted. The number of steps is fixed at the start,
    /// from the speed of a few trial steps.
    #[arg(long, value_name = "M")]
    pub(crate) minutes: Option<f64>,
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
    #[arg(long, value_name = "M")]
    pub(crate) minutes: Option<f64>,
    /// Record to write or to go on with [default: results/ablations.json].
    #[arg(long, value_name = "FILE.json")]
    pub(crate) output: Option<PathBuf>,
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
    #[arg(long, value_name = "NAME=PRECISION", value_parser = tensor_precision)]
    pub(crate) tensor: Vec<(String, Precision)>,
    /// Measure the bits per byte on validation text before and after, and with each tensor
    /// quantised alone.
    #[arg(long)]
    pub(crate) validate: bool,
    /// Tokens of text to measure on with --validate and --mixed, whole documents.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) validate_tokens: usize,
    /// File for the table as JSON.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,
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

/// `layers.0.mixer.in_proj.weight=int8`.
fn tensor_precision(text: &str) -> Result<(String, Precision), String> {
    let (name, precision) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} has no `=`, expected NAME=PRECISION"))?;
    let precision: Precision = precision.parse().map_err(|error| format!("{error}"))?;
    Ok((name.to_owned(), precision))
}

/// A precision of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeArg {
    /// 8-bit integers.
    Int8,
    /// 4-bit integers.
    Int4,
}

impl QuantizeArg {
    /// The precision of this name.
    pub(crate) const fn precision(self) -> Precision {
        match self {
            Self::Int8 => Precision::Int8,
            Self::Int4 => Precision::Int4,
        }
    }
}

/// What the dense twin has in common with the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DenseArg {
    /// The number of all parameters.
    Total,
    /// The number of parameters that one token visits.
    Active,
}

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecayArg {
    /// Half a cosine.
    Cosine,
    /// Constant, then linear over the last part.
    Trapezoid,
}

/// What moves the projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizerArg {
    /// The same.
    Adamw,
    /// Steps whose singular values are all alike.
    Muon,
}
