//! The subcommand `quantize`: a checkpoint of floats becomes one of integers.
//!
//! | file | what |
//! |---|---|
//! | `inputs` | the texts that the options ask for |
//! | `calibration` | the text that the rounding is calibrated with |
//! | `cost` | bits per byte before and after, for the whole model and for each tensor alone |
//! | `mixed` | which tensors get 8 bits and which 4 |
//! | `steps` | how fine each tensor is rounded within the bytes of a file |
//! | `replaced` | refuses to replace a better file |
//! | `output` | the table and the record |

mod calibration;
mod cost;
mod inputs;
mod mixed;
mod output;
mod replaced;
mod steps;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, ensure};
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
use self::{cost::Cost, inputs::Inputs, steps::Steps};
use crate::args::{QuantizeArgs, TensorArg};

/// A checkpoint, its quantised form, and the figures about it.
struct Quantised {
    /// What is rounded.
    source: LoadedCheckpoint,
    /// What the result stands for: `source`, or what that was trained on from.
    of: LoadedCheckpoint,
    method: Method,
    calibration: Option<Calibration>,
    made: Made,
    cost: Option<Cost>,
    path: PathBuf,
}

/// A quantised checkpoint and its file.
struct Made {
    checkpoint: Checkpoint,
    bytes: Vec<u8>,
    tensors: Vec<TensorReport>,
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
    write_atomic(&quantised.path, &quantised.made.bytes)?;
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

/// Quantises; writes nothing.
fn quantise(
    args: &QuantizeArgs,
    source: LoadedCheckpoint,
    of: LoadedCheckpoint,
    path: PathBuf,
) -> anyhow::Result<Quantised> {
    let inputs = Inputs::read(args, &source)?;
    let provenance = inputs.provenance(args, [&of, &source]);
    if !args.replace {
        replaced::check(&path, &provenance, &source)?;
    }
    if let Some(calibration) = &inputs.calibration {
        note(format_args!("calibrated with {calibration}"));
    }
    let made = make_within(args, &inputs, &source, &provenance)?;
    let cost = inputs.cost([&of, &source], &made.checkpoint)?;
    Ok(Quantised {
        source,
        of,
        method: args.method,
        calibration: inputs.calibration,
        made,
        cost,
        path,
    })
}

/// The file by the options; where they give its bytes, the steps between integers are chosen to keep to them.
fn make_within(
    args: &QuantizeArgs,
    inputs: &Inputs,
    source: &LoadedCheckpoint,
    provenance: &Provenance,
) -> anyhow::Result<Made> {
    let measured = inputs.after_calibration(args, source)?;
    let options = options(args, inputs, source, measured.as_ref())?;
    let make = |steps| {
        let options = Options {
            steps,
            ..options.clone()
        };
        make(source, &options, provenance)
    };
    match (args.bytes, &measured, &inputs.texts) {
        (Some(bytes), Some(text), Some(texts)) => {
            let counts = texts.token_counts(&source.checkpoint.tokenizer)?;
            Steps::measure(&source.checkpoint, &options, text, &counts)?.fit(bytes, make)
        }
        _ => Ok(make(BTreeMap::new())?.1),
    }
}

/// How to quantise; for a mixed model the precision of each tensor is chosen on the text `measured`.
fn options<'a>(
    args: &QuantizeArgs,
    inputs: &'a Inputs,
    source: &LoadedCheckpoint,
    measured: Option<&Text>,
) -> anyhow::Result<Options<'a>> {
    let calibration = inputs.calibration.as_ref();
    let mut options = Options {
        precisions: Precisions {
            usual: args.precision.unwrap_or(Precision::Int4),
            overrides: TensorArg::overrides(&args.tensor),
        },
        method: args.method,
        calibration: calibration.map(|calibration| &calibration.documents[..]),
        steps: BTreeMap::new(),
    };
    if let (Some(target_bits), Some(text)) = (args.target_bits, measured) {
        options.precisions = mixed::choose(&source.checkpoint, &options, text, target_bits)?;
    }
    Ok(options)
}

/// The file, after its size.
fn make(
    source: &LoadedCheckpoint,
    options: &Options<'_>,
    provenance: &Provenance,
) -> anyhow::Result<(usize, Made)> {
    let (mut checkpoint, tensors) = quant::quantize(&source.checkpoint, options)
        .with_context(|| format!("cannot quantise the checkpoint `{}`", source.name))?;
    checkpoint.training = provenance.with_training(&source.checkpoint.training);
    let bytes = checkpoint.to_bytes()?;
    let made = Made {
        checkpoint,
        bytes,
        tensors,
    };
    Ok((made.bytes.len(), made))
}
