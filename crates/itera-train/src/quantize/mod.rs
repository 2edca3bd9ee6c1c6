//! The subcommand `quantize`: a checkpoint of floats becomes one of integers.
//!
//! | file | what |
//! |---|---|
//! | `calibration` | the text that the rounding is calibrated with |
//! | `cost` | bits per byte before and after, for the whole model and for each tensor alone |
//! | `mixed` | which tensors get 8 bits and which 4 |
//! | `steps` | how fine each tensor is rounded within the bytes of a file |
//! | `replaced` | refuses to replace a better file |
//! | `output` | the table and the record |

mod calibration;
mod cost;
mod mixed;
mod output;
mod replaced;
mod steps;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, ensure};
use half::f16;
use itera_cli::{ExitStatus, Files, note, print};
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    files::write_atomic,
    models::{LoadedCheckpoint, companion_path, load_checkpoint},
    quant::{self, Method, Options, Precisions, Provenance, TensorReport},
};
use itera_data::Dataset;
use itera_record::Record as _;

pub(crate) use self::{
    calibration::{Calibration, texts as calibration_texts},
    cost::Text,
};
use self::{cost::Cost, steps::Steps};
use crate::args::{QuantizeArgs, TensorArg};

/// A checkpoint, its quantised form, and the figures about it.
struct Quantised {
    /// What is rounded.
    source: LoadedCheckpoint,
    /// What the result stands for: `source`, or what that was trained on from.
    of: LoadedCheckpoint,
    method: Method,
    calibration: Option<Calibration>,
    checkpoint: Checkpoint,
    bytes: Vec<u8>,
    tensors: Vec<TensorReport>,
    cost: Option<Cost>,
    path: PathBuf,
}

/// Quantises, writes the file and the record, prints the table.
pub(crate) fn run(args: &QuantizeArgs) -> anyhow::Result<ExitStatus> {
    check_options(args)?;
    let source = load_checkpoint(&args.checkpoint)?;
    let found = source.checkpoint.precision();
    ensure!(
        found == Precision::Fp32,
        "the checkpoint `{}` is {found} already; give the fp32 checkpoint that it was made from",
        source.name
    );
    let of = match &args.of {
        Some(name) => stands_for(name, &source)?,
        None => source.clone(),
    };
    let path = output_path(args, &of)?;
    let mut files = checked_files(args.dataset.as_ref(), [&source, &of]).write("`--output`", &path);
    if let Some(report) = &args.report {
        files = files.write("`--report`", report);
    }
    files.check()?;
    let quantised = quantise(args, source, of, path)?;
    write_atomic(&quantised.path, &quantised.bytes)?;
    if let Some(report) = &args.report {
        let json = output::record(&quantised)
            .to_json()
            .context("cannot write the record")?;
        write_atomic(report, json.as_bytes())?;
    }
    print(output::table(&quantised))?;
    note(format_args!("written to {}", quantised.path.display()));
    Ok(ExitStatus::Done)
}

/// The files that are read: checkpoints, and a data set that is named.
pub(crate) fn checked_files<const N: usize>(
    dataset: Option<&Dataset>,
    checkpoints: [&LoadedCheckpoint; N],
) -> Files {
    let mut files = Files::default();
    if let Some(dataset) = dataset {
        files = files.read_dataset("`--dataset`", dataset);
    }
    for path in checkpoints.iter().filter_map(|loaded| loaded.path.as_ref()) {
        files = files.read("the checkpoint", path);
    }
    files
}

/// The checkpoint that the result will stand for; it must be of the kind of `source`.
fn stands_for(name: &str, source: &LoadedCheckpoint) -> anyhow::Result<LoadedCheckpoint> {
    let of = load_checkpoint(name)?;
    let (a, b) = (&of.checkpoint, &source.checkpoint);
    ensure!(
        a.precision() == Precision::Fp32
            && a.config == b.config
            && a.tokenizer.to_json() == b.tokenizer.to_json(),
        "`{}` was not trained on from `{}`: precision, sizes or tokenizer differ; give the fp32 \
         checkpoint that `fit --init` named",
        source.name,
        of.name
    );
    Ok(of)
}

/// The file to write: by default beside the source.
fn output_path(args: &QuantizeArgs, source: &LoadedCheckpoint) -> anyhow::Result<PathBuf> {
    let own = source.path.as_deref();
    let beside = || {
        own.map(|path| match args.precision {
            Some(precision) => companion_path(path, precision),
            None => path.with_extension("mixed.safetensors"),
        })
    };
    args.output.clone().or_else(beside).with_context(|| {
        format!(
            "the checkpoint `{}` is no file; give `--output FILE.safetensors`",
            source.name
        )
    })
}

/// Options that go together.
fn check_options(args: &QuantizeArgs) -> anyhow::Result<()> {
    ensure!(
        args.precision != Some(Precision::Fp32),
        "`--precision` is fp32, which is no quantisation; give int8 or int4"
    );
    ensure!(
        args.calibration_tokens > 0 || args.method != Method::Gptq,
        "`--method gptq` needs calibration text; give `--calibration-tokens` of at least 1, or \
         `--method search`"
    );
    ensure!(
        args.bytes.is_none() || args.precision == Some(Precision::Int8),
        "`--bytes` is for files of 8 bits; give `--precision int8` with it"
    );
    Ok(())
}

fn quantise(
    args: &QuantizeArgs,
    source: LoadedCheckpoint,
    of: LoadedCheckpoint,
    path: PathBuf,
) -> anyhow::Result<Quantised> {
    let needs_text = args.method != Method::Nearest && args.calibration_tokens > 0;
    let on_text = args.mixed || args.bytes.is_some();
    let texts = if needs_text || args.validate || on_text {
        Some(calibration::texts(args.dataset.as_ref(), &source)?)
    } else {
        None
    };
    let held_out = match &texts {
        Some(texts) if args.validate => Some(Text::held_out(texts, &source, args.validate_tokens)?),
        _ => None,
    };
    let calibration = match &texts {
        Some(texts) if needs_text => {
            // Tensors are compared on the rest of the text.
            let share = if on_text { 0.5 } else { 1.0 };
            Some(Calibration::read(
                texts,
                &source,
                args.calibration_tokens,
                share,
            )?)
        }
        _ => None,
    };
    let provenance = Provenance {
        source_sha256: of.file_sha256.clone(),
        tuned_sha256: args.of.is_some().then(|| source.file_sha256.clone()),
        method: args.method,
        calibration: calibration.as_ref().map(Calibration::provenance),
    };
    if !args.replace {
        replaced::check(&path, &provenance, &source)?;
    }
    if let Some(calibration) = &calibration {
        note(format_args!("calibrated with {calibration}"));
    }
    let mut options = Options {
        precisions: Precisions {
            usual: args.precision.unwrap_or(Precision::Int4),
            overrides: TensorArg::overrides(&args.tensor),
        },
        method: args.method,
        calibration: calibration
            .as_ref()
            .map(|calibration| &calibration.documents[..]),
        steps: BTreeMap::new(),
    };
    let measured = match &texts {
        Some(texts) if on_text => Some(Text::read(
            texts
                .train_documents()
                .skip(options.calibration.map_or(0, <[_]>::len)),
            &source.checkpoint.tokenizer,
            args.validate_tokens,
            &format!("{} after the calibration text", texts.name()),
        )?),
        _ => None,
    };
    if let (Some(target_bits), Some(text)) = (args.target_bits, &measured) {
        options.precisions = mixed::choose(&source.checkpoint, &options, text, target_bits)?;
    }
    let make = |steps: BTreeMap<String, Vec<f16>>| {
        let options = Options {
            steps,
            ..options.clone()
        };
        let (mut checkpoint, tensors) = quant::quantize(&source.checkpoint, &options)
            .with_context(|| format!("cannot quantise the checkpoint `{}`", source.name))?;
        checkpoint.training = provenance.with_training(&source.checkpoint.training);
        let bytes = checkpoint.to_bytes()?;
        Ok((bytes.len(), (checkpoint, tensors, bytes)))
    };
    let (checkpoint, tensors, bytes) = match (args.bytes, &measured, &texts) {
        (Some(bytes), Some(text), Some(texts)) => {
            let counts = texts.token_counts(&source.checkpoint.tokenizer)?;
            Steps::measure(&source.checkpoint, &options, text, &counts)?.fit(bytes, make)?
        }
        _ => make(BTreeMap::new())?.1,
    };
    let cost = match (&texts, &held_out) {
        (Some(texts), Some(text)) => Some(cost::measure(texts, text, [&of, &source], &checkpoint)?),
        _ => None,
    };
    Ok(Quantised {
        bytes,
        source,
        of,
        method: args.method,
        calibration,
        checkpoint,
        tensors,
        cost,
        path,
    })
}
