//! The subcommand `quantize`: a checkpoint of floats becomes one of integers.
//!
//! | file | what |
//! |---|---|
//! | `calibration` | the text that the rounding is calibrated with |
//! | `cost` | bits per byte before and after, for the whole model and for each tensor alone |
//! | `mixed` | which tensors get 8 bits and which 4 |
//! | `output` | the table and the record |

mod calibration;
mod cost;
mod mixed;
mod output;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, note, print};
use itera_core::{
    checkpoint::{Checkpoint, Precision},
    files::{check_writable, write_atomic},
    models::{LoadedCheckpoint, companion_path, load_checkpoint},
    quant::{self, Method, Options, Precisions, Provenance, TensorReport},
};
use itera_record::Record as _;

use self::cost::Cost;
pub(crate) use self::{
    calibration::{Calibration, texts as calibration_texts},
    cost::Text,
};
use crate::{args::QuantizeArgs, texts::Texts};

/// A checkpoint, what it became, and what is known about that.
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
    ensure!(
        args.precision != Some(Precision::Fp32),
        "`--precision` is fp32, which is no quantisation; give int8 or int4"
    );
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
    for loaded in [&source, &of] {
        ensure!(
            !loaded.is_at(&path),
            "`--output` is the checkpoint itself; give another file, since that one is needed to \
             quantise again"
        );
    }
    check_writable(&path)?;
    if let Some(report) = &args.report {
        check_writable(report)?;
    }
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

/// The file to write: beside the source unless told otherwise.
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

fn quantise(
    args: &QuantizeArgs,
    source: LoadedCheckpoint,
    of: LoadedCheckpoint,
    path: PathBuf,
) -> anyhow::Result<Quantised> {
    let needs_text = args.method != Method::Nearest && args.calibration_tokens > 0;
    let measures = args.validate || args.mixed;
    ensure!(
        needs_text || args.method != Method::Gptq,
        "`--method gptq` needs calibration text; give `--calibration-tokens` of at least 1, or \
         `--method search`"
    );
    let texts = if needs_text || measures {
        Some(calibration::texts(args.dataset.as_ref(), &source)?)
    } else {
        None
    };
    let calibration = match &texts {
        Some(texts) if needs_text => {
            Some(Calibration::read(texts, &source, args.calibration_tokens)?)
        }
        _ => None,
    };
    if let Some(calibration) = &calibration {
        note(format_args!("calibrated with {calibration}"));
    }
    let mut options = Options {
        precisions: Precisions {
            usual: args.precision.unwrap_or(Precision::Int4),
            overrides: args.tensor.iter().cloned().collect(),
        },
        method: args.method,
        calibration: calibration
            .as_ref()
            .map(|calibration| &calibration.documents[..]),
    };
    if let (Some(target_bits), Some(texts)) = (args.target_bits, &texts) {
        options.precisions = mix(texts, &source, &options, args.validate_tokens, target_bits)?;
    }
    let (mut checkpoint, tensors) = quant::quantize(&source.checkpoint, &options)
        .with_context(|| format!("cannot quantise the checkpoint `{}`", source.name))?;
    let provenance = Provenance {
        source_sha256: of.file_sha256.clone(),
        tuned_sha256: args.of.is_some().then(|| source.file_sha256.clone()),
        method: args.method,
        calibration: calibration.as_ref().map(Calibration::provenance),
    };
    checkpoint.training = provenance.with_training(&source.checkpoint.training);
    let cost = match &texts {
        Some(texts) if args.validate => Some(cost::measure(
            texts,
            [&of, &source],
            &checkpoint,
            args.validate_tokens,
        )?),
        _ => None,
    };
    Ok(Quantised {
        bytes: checkpoint.to_bytes()?,
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

/// Precisions of which some tensors have more bits than the others, chosen on `limit` tokens of
/// training text after those of the calibration.
fn mix(
    texts: &Texts,
    source: &LoadedCheckpoint,
    options: &Options<'_>,
    limit: usize,
    target_bits: f64,
) -> anyhow::Result<Precisions> {
    let calibrated = options.calibration.map_or(0, <[_]>::len);
    let text = Text::read(
        texts.train_documents().skip(calibrated),
        &source.checkpoint.tokenizer,
        limit,
        &format!("{} after the calibration text", texts.name()),
    )?;
    mixed::choose(&source.checkpoint, options, &text, target_bits)
}
