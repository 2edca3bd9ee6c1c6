//! The command line, checked.

use std::{
    collections::HashSet,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::Files;
use itera_core::{checkpoint::Precision, kernels::Kernel};
use itera_data::{
    Places,
    records::{Input, RecordOptions, find_inputs},
};

use crate::{
    args::{OnError, StreamArgs},
    options::{Shard, kernel, threads},
};

/// What to score, how, and where the rows go.
#[derive(Debug)]
pub(super) struct Options {
    /// As they were given.
    pub(super) names: Vec<String>,
    pub(super) inputs: Vec<Input>,
    /// Length of each; none where it has no end yet.
    pub(super) input_bytes: Vec<Option<u64>>,
    pub(super) records: RecordOptions,
    pub(super) checkpoint: String,
    pub(super) precision: Option<Precision>,
    pub(super) kernel: Kernel,
    pub(super) against: Option<String>,
    pub(super) skips_broken: bool,
    pub(super) subject: Subject,
    pub(super) limits: Limits,
    pub(super) threads: usize,
    /// None for standard output.
    pub(super) output: Option<OutputFile>,
    pub(super) resumes: bool,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Documents,
    DocumentsWithText,
    Tokens,
}

/// Which documents get a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    pub(super) min_bits_per_byte: Option<f64>,
    pub(super) max_bits_per_byte: Option<f64>,
    pub(super) max_difference: Option<f64>,
}

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputFile {
    pub(super) path: PathBuf,
    pub(super) form: Form,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) rows: Rows,
    pub(super) packing: Packing,
}

/// How a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    JsonLines,
    Csv,
    Parquet,
}

/// How the file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Form {
    /// The form that a file name asks for.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let ending = |path: &Path| path.extension().and_then(OsStr::to_str).map(str::to_owned);
        let last = ending(path).unwrap_or_default();
        let (packing, inner) = match last.as_str() {
            "gz" => (Packing::Gzip, ending(&path.with_extension(""))),
            "zst" => (Packing::Zstd, ending(&path.with_extension(""))),
            _ => (Packing::None, Some(last)),
        };
        let rows = match inner.as_deref() {
            Some("jsonl") => Rows::JsonLines,
            Some("csv") => Rows::Csv,
            Some("parquet") if packing == Packing::None => Rows::Parquet,
            _ => bail!(
                "`{}` names no form of rows; let it end with .jsonl, .csv or .parquet, the first two also with \
                 .gz or .zst behind it",
                path.display()
            ),
        };
        Ok(Self { rows, packing })
    }
}

impl Options {
    pub(super) fn new(args: StreamArgs) -> anyhow::Result<Self> {
        let shard = args.shard.as_deref().map(shard).transpose()?;
        let places = Places::of_environment();
        let mut inputs = Vec::new();
        for name in &args.inputs {
            let mut found = find_inputs(name, &places)?;
            if args.inputs.len() > 1 {
                // What a folder's own name would tell apart.
                found.iter_mut().for_each(Input::take_whole_name);
            }
            inputs.extend(found);
        }
        for (option, limit) in [
            ("--min-bits-per-byte", args.min_bits_per_byte),
            ("--max-bits-per-byte", args.max_bits_per_byte),
            ("--max-difference", args.max_difference),
        ] {
            ensure!(
                limit.is_none_or(f64::is_finite),
                "`{option}` is not finite, expected a number"
            );
        }
        ensure!(
            args.max_difference.is_none() || args.against.is_some(),
            "`--max-difference` needs a second model; name it with `--against`"
        );
        ensure!(
            !args.tokens || args.against.is_none(),
            "`--tokens` writes rows of one model; leave out `--against`"
        );
        refuse_twice(&inputs)?;
        let lens = inputs.iter().map(|input| match input {
            Input::Standard => None,
            Input::File { path, .. } => fs::metadata(path).ok().map(|metadata| metadata.len()),
            Input::Sample { text, .. } => Some(text.len() as u64),
        });
        let input_bytes = lens.collect();
        let output = args.output.filter(|path| path != Path::new("-"));
        ensure!(
            output.is_some() || !args.resume,
            "`--resume` needs the file to go on with; name it with `--output`"
        );
        let output = output.map(|path| output_file(path, shard)).transpose()?;
        let options = Self {
            names: args.inputs,
            inputs,
            input_bytes,
            records: RecordOptions {
                text_field: args.text_field,
                id_field: args.id_field,
                rule: args.document_rule,
                shard: shard.map(|Shard(info)| (info.index, info.count)),
                skips_empty: false,
            },
            checkpoint: args.checkpoint,
            precision: args.precision,
            kernel: kernel(&args.kernel)?,
            against: args.against,
            skips_broken: args.on_error == OnError::Skip,
            subject: match (args.tokens, args.keep_text) {
                (true, _) => Subject::Tokens,
                (false, true) => Subject::DocumentsWithText,
                (false, false) => Subject::Documents,
            },
            limits: Limits {
                min_bits_per_byte: args.min_bits_per_byte,
                max_bits_per_byte: args.max_bits_per_byte,
                max_difference: args.max_difference,
            },
            threads: threads(args.threads)?,
            output,
            resumes: args.resume,
        };
        options.check_files()?;
        Ok(options)
    }

    /// Refuses an output over an input or a checkpoint.
    fn check_files(&self) -> anyhow::Result<()> {
        let Some(output) = &self.output else {
            return Ok(());
        };
        for name in &self.names {
            let (folder, path) = (Path::new(name), &output.path);
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let parent = fs::canonicalize(parent.unwrap_or(Path::new(".")));
            let is_inside = |folder: PathBuf| parent.is_ok_and(|parent| parent.starts_with(folder));
            ensure!(
                !(folder.is_dir() && fs::canonicalize(folder).is_ok_and(is_inside)),
                "`{}` would lie in the input folder `{name}` and be read by the next run; name a file elsewhere",
                path.display()
            );
        }
        let mut files = Files::default();
        for input in &self.inputs {
            if let Input::File { path, .. } = input {
                files = files.read("an input", path);
            }
        }
        for name in [Some(&self.checkpoint), self.against.as_ref()]
            .into_iter()
            .flatten()
        {
            files = files.read("the checkpoint", name);
        }
        files
            .write("`--output`", &output.path)
            .write("the summary", output.summary())
            .write("the unfinished output", output.partial())
            .write("the journal", output.journal())
            .check()
    }
}

impl OutputFile {
    fn with_ending(&self, ending: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        self.path.with_file_name(name)
    }

    /// The record of the run.
    pub(super) fn summary(&self) -> PathBuf {
        self.with_ending(".summary.json")
    }

    /// The rows while they are not all there.
    pub(super) fn partial(&self) -> PathBuf {
        self.with_ending(".partial")
    }

    /// A Parquet file that is made of the rows when all are there.
    pub(super) fn writing(&self) -> PathBuf {
        self.with_ending(".writing")
    }

    /// How much of the rows is whole.
    pub(super) fn journal(&self) -> PathBuf {
        self.with_ending(".resume")
    }
}

/// Refuses a file that is there by two names.
fn refuse_twice(inputs: &[Input]) -> anyhow::Result<()> {
    let place = |input: &Input| match input {
        Input::Standard => Some(PathBuf::from("-")),
        Input::File { path, .. } => fs::canonicalize(path).ok(),
        Input::Sample { name, .. } => Some(PathBuf::from(name)),
    };
    let mut known = HashSet::new();
    for input in inputs {
        ensure!(
            place(input).is_none_or(|place| known.insert(place)),
            "the input `{input}` is given twice; give each once"
        );
    }
    Ok(())
}

/// The file of rows of one shard: `NAME.1-of-4.jsonl` for `NAME.jsonl`.
fn output_file(path: PathBuf, shard: Option<Shard>) -> anyhow::Result<OutputFile> {
    let form = Form::of(&path)?;
    let Some(Shard(info)) = shard else {
        return Ok(OutputFile { path, form });
    };
    let name = path.file_name().unwrap_or_default();
    let name = name
        .to_str()
        .context("the name of `--output` is not Unicode")?;
    let endings = if form.packing == Packing::None { 1 } else { 2 };
    let at = name.rmatch_indices('.').nth(endings - 1);
    let (stem, ending) = name.split_at(at.map_or(name.len(), |(at, _)| at));
    let name = format!("{stem}.{}-of-{}{ending}", info.index, info.count);
    Ok(OutputFile {
        path: path.with_file_name(name),
        form,
    })
}

/// `I/N`, or `auto` for what a scheduler says.
fn shard(text: &str) -> anyhow::Result<Shard> {
    if text != "auto" {
        return text.parse();
    }
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let slurm = || {
        let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
        let index = number("SLURM_ARRAY_TASK_ID")?.checked_sub(first)?;
        Some((index, number("SLURM_ARRAY_TASK_COUNT")?))
    };
    let kubernetes = || Some((number("JOB_COMPLETION_INDEX")?, number("JOB_COMPLETIONS")?));
    let (index, count) = slurm().or_else(kubernetes).context(
        "`--shard auto` finds neither SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT nor JOB_COMPLETION_INDEX \
         with JOB_COMPLETIONS; give `--shard I/N`",
    )?;
    format!("{}/{count}", index + 1).parse()
}
