//! The file of rows, which grows frame by frame under another name until it is whole.
//!
//! Behind each frame a journal says how long the file is and where in the input it stands. A run that was killed
//! goes on behind the last frame that the journal names, so that the file becomes the one that an undisturbed run
//! writes.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{envelope, model_info, print};
use itera_core::{digest::sha256_hex, files::write_atomic, models::LoadedCheckpoint};
use itera_data::records::RecordOptions;
use itera_record::{Record as _, ScoresRecord, ScoresTotals, ShardInfo};
use serde::{Deserialize, Serialize};

use super::{
    Scored,
    options::{Options, OutputFile, Packing, Rows, Subject},
    parquet,
    rows::RowWriter,
};
use crate::TOOL;

/// Bytes of rows in a frame.
const FRAME: usize = 256 << 10;

/// Level of zstd.
const LEVEL: i32 = 3;

/// What an unfinished output holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Digest of what was asked for.
    run_sha256: String,
    /// Batches whose rows are there.
    pub(super) batches: u64,
    /// Digest of all that was read for them.
    pub(super) input_sha256: String,
    /// Length of the file.
    bytes: u64,
    totals: ScoresTotals,
    /// Time that it took.
    seconds: f64,
}

/// Where rows go.
pub(super) enum Output {
    Standard { totals: ScoresTotals },
    File(Box<Growing>),
}

/// A file that grows.
pub(super) struct Growing {
    names: OutputFile,
    file: File,
    known: Known,
    frame: Vec<u8>,
    /// Behind the batches of the frame.
    ahead: Known,
    /// Length of the file; beyond what is known while a long document is being written.
    bytes: u64,
    started: std::time::Instant,
}

impl Output {
    /// Opens the output: empty, or as far as an earlier run has come.
    pub(super) fn open(options: &Options, models: &[&LoadedCheckpoint]) -> anyhow::Result<Self> {
        let header = RowWriter::new(options).header();
        let Some(names) = options.output.clone() else {
            print(String::from_utf8_lossy(&header))?;
            return Ok(Self::Standard {
                totals: ScoresTotals::default(),
            });
        };
        let run_sha256 = run_digest(options, models);
        let partial = names.partial();
        let journal = read_journal(&names.journal())?;
        let known = match journal {
            Some(known) if options.resumes => {
                ensure!(
                    known.run_sha256 == run_sha256,
                    "`{}` was begun with other options, inputs or weights; give those, or remove it",
                    partial.display()
                );
                Some(known)
            }
            Some(_) => bail!(
                "`{}` is an unfinished output; go on with `--resume`, or remove it and `{}`",
                partial.display(),
                names.journal().display()
            ),
            None => None,
        };
        let is_new = known.is_none();
        let known = known.unwrap_or(Known {
            run_sha256,
            batches: 0,
            input_sha256: String::new(),
            bytes: 0,
            totals: ScoresTotals::default(),
            seconds: 0.0,
        });
        let cannot = || format!("cannot write `{}`", partial.display());
        if let Some(folder) = partial.parent() {
            fs::create_dir_all(folder).with_context(cannot)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&partial)
            .with_context(cannot)?;
        let len = file.metadata().with_context(cannot)?.len();
        ensure!(
            len >= known.bytes,
            "`{}` is shorter than its journal says; remove both and score anew",
            partial.display()
        );
        file.set_len(known.bytes).with_context(cannot)?;
        let mut growing = Growing {
            ahead: known.clone(),
            bytes: known.bytes,
            names,
            file,
            known,
            frame: Vec::new(),
            started: std::time::Instant::now(),
        };
        if is_new {
            // A frame of its own, so that `merge` can leave it out.
            growing.frame = header;
            growing.flush(true)?;
        }
        Ok(Self::File(Box::new(growing)))
    }

    /// What is there already; none for an output that begins.
    pub(super) fn known(&self) -> Option<Known> {
        match self {
            Self::File(growing) if growing.ahead.batches > 0 => Some(growing.ahead.clone()),
            _ => None,
        }
    }

    /// Adds the rows of the next batch.
    pub(super) fn write(&mut self, scored: &Scored) -> anyhow::Result<()> {
        match self {
            Self::Standard { totals } => {
                totals.add(&scored.totals);
                print(String::from_utf8_lossy(&scored.rows))
            }
            Self::File(growing) => growing.write(scored),
        }
    }

    /// Gives the file its name, and writes the record of the run beside it.
    pub(super) fn finish(
        self,
        options: &Options,
        models: &[&LoadedCheckpoint],
        seconds: f64,
    ) -> anyhow::Result<ScoresRecord> {
        let model = |loaded: &LoadedCheckpoint| {
            model_info(&loaded.name, &loaded.file_sha256, &loaded.checkpoint)
        };
        let text_field = options.records.text_field().to_owned();
        let RecordOptions {
            id_field,
            rule,
            shard,
            ..
        } = options.records.clone();
        let mut record = ScoresRecord {
            envelope: envelope::<ScoresRecord>(TOOL, models.first().map(|loaded| model(loaded))),
            against: models.get(1).map(|loaded| model(loaded)),
            inputs: options.names.clone(),
            input_sha256: None,
            text_field,
            id_field,
            document_rule: rule.map(|rule| rule.to_string()),
            rows: if options.subject == Subject::Tokens {
                "tokens"
            } else {
                "documents"
            }
            .to_owned(),
            shard: shard.map(|(index, count)| ShardInfo { index, count }),
            run_sha256: run_digest(options, models),
            totals: ScoresTotals::default(),
            seconds,
            output_sha256: None,
            header_bytes: 0,
        };
        match self {
            Self::Standard { totals } => {
                record.totals = totals;
                Ok(record)
            }
            Self::File(growing) => growing.finish(options, record),
        }
    }
}

impl Growing {
    fn write(&mut self, scored: &Scored) -> anyhow::Result<()> {
        self.frame.extend_from_slice(&scored.rows);
        self.ahead.totals.add(&scored.totals);
        if let Some(batch) = &scored.batch {
            self.ahead.batches = batch.number + 1;
            self.ahead.input_sha256.clone_from(&batch.sha256);
        }
        if self.frame.len() >= FRAME {
            self.flush(scored.batch.is_some())?;
        }
        Ok(())
    }

    /// Adds the frame to the file, then says so in the journal if it ends where a batch does.
    fn flush(&mut self, is_end: bool) -> anyhow::Result<()> {
        let cannot = || {
            format!(
                "cannot write `{}`; make room and go on with `--resume`",
                self.names.partial().display()
            )
        };
        let packed = pack(&self.frame, self.names.form.packing).with_context(cannot)?;
        self.file.write_all(&packed).with_context(cannot)?;
        self.bytes += packed.len() as u64;
        self.frame.clear();
        if !is_end {
            return Ok(());
        }
        self.file.sync_data().with_context(cannot)?;
        self.ahead.bytes = self.bytes;
        self.ahead.seconds = self.known.seconds + self.started.elapsed().as_secs_f64();
        let journal = serde_json::to_vec(&self.ahead).with_context(cannot)?;
        write_atomic(&self.names.journal(), &journal).with_context(cannot)
    }

    fn finish(
        mut self,
        options: &Options,
        mut record: ScoresRecord,
    ) -> anyhow::Result<ScoresRecord> {
        self.flush(true)?;
        let (partial, path) = (self.names.partial(), &self.names.path);
        let cannot = || {
            format!(
                "cannot write `{}`; make room and go on with `--resume`",
                path.display()
            )
        };
        let mut whole = partial.clone();
        if self.names.form.rows == Rows::Parquet {
            whole = self.names.writing();
            parquet::write(&partial, &whole, options).with_context(cannot)?;
        }
        record.totals = self.ahead.totals;
        record.input_sha256 =
            Some(self.ahead.input_sha256.clone()).filter(|sha256| !sha256.is_empty());
        record.seconds += self.known.seconds;
        record.output_sha256 = Some(file_digest(&whole).with_context(cannot)?);
        let header = RowWriter::new(options).header();
        record.header_bytes = pack(&header, self.names.form.packing)
            .with_context(cannot)?
            .len() as u64;
        let json = record.to_json().context("cannot write the summary")?;
        write_atomic(&self.names.summary(), json.as_bytes()).with_context(cannot)?;
        fs::rename(&whole, path).with_context(cannot)?;
        fs::remove_file(self.names.journal()).with_context(cannot)?;
        if whole != partial {
            fs::remove_file(&partial).with_context(cannot)?;
        }
        Ok(record)
    }
}

/// One frame, which can stand behind another.
fn pack(rows: &[u8], packing: Packing) -> anyhow::Result<Vec<u8>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    Ok(match packing {
        Packing::None => rows.to_vec(),
        Packing::Zstd => zstd::encode_all(rows, LEVEL)?,
        Packing::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(rows)?;
            encoder.finish()?
        }
    })
}

/// The record of an output that is whole already and was made by the same command, for a scheduler that runs it again.
pub(super) fn finished(
    options: &Options,
    models: &[&LoadedCheckpoint],
) -> anyhow::Result<Option<ScoresRecord>> {
    let Some(names) = options.output.as_ref().filter(|_| options.resumes) else {
        return Ok(None);
    };
    if !names.path.exists() {
        return Ok(None);
    }
    let summary = names.summary();
    let is_begun = names.journal().exists();
    if is_begun && !summary.exists() {
        return Ok(None);
    }
    let read = |path: &Path| anyhow::Ok(ScoresRecord::from_json(&fs::read(path)?)?);
    let record = read(&summary).with_context(|| {
        format!(
            "`{}` is there without its summary `{}`; remove it, or give another `--output`",
            names.path.display(),
            summary.display()
        )
    })?;
    let is_same = record.run_sha256 == run_digest(options, models);
    let digest = file_digest(&names.path).ok();
    let is_whole = digest.is_some() && digest == record.output_sha256;
    if is_begun && !(is_same && is_whole) {
        // What lies there is of an earlier run; the journal is of a later one.
        return Ok(None);
    }
    ensure!(
        is_same,
        "`{}` was made with other options, inputs or weights; remove it, or give another `--output`",
        names.path.display()
    );
    ensure!(
        is_whole,
        "`{}` is not the file that its summary is about; remove both, or give another `--output`",
        names.path.display()
    );
    for left in [names.journal(), names.partial()] {
        if left.exists() {
            fs::remove_file(&left)
                .with_context(|| format!("cannot remove `{}`", left.display()))?;
        }
    }
    Ok(Some(record))
}

fn read_journal(path: &Path) -> anyhow::Result<Option<Known>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => {
            let json = read.with_context(|| format!("cannot read `{}`", path.display()))?;
            let known = serde_json::from_slice(&json);
            known.map(Some).with_context(|| {
                format!(
                    "`{}` is no journal of this program; remove it",
                    path.display()
                )
            })
        }
    }
}

/// Digest of everything that decides what the rows are, but for what the inputs hold.
fn run_digest(options: &Options, models: &[&LoadedCheckpoint]) -> String {
    let weights: Vec<_> = models.iter().map(|loaded| &loaded.file_sha256).collect();
    let form = options.output.as_ref().map(|output| output.form);
    let records = &options.records;
    let said = format!(
        "{:?}",
        (
            weights,
            (options.precision, options.kernel),
            &options.names,
            options
                .inputs
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            &options.input_bytes,
            (&records.text_field, &records.id_field, records.rule),
            options.subject,
            options.limits,
            form,
        )
    );
    sha256_hex(said.as_bytes())
}

/// SHA-256 of a file.
pub(super) fn file_digest(path: &Path) -> std::io::Result<String> {
    itera_data::sha256_of(File::open(path)?)
}
