//! Scores documents one by one, from any source and of any size, into rows.
//!
//! ```text
//! reader thread: files -> batches -> all other threads: tokens -> likelihoods -> rows -> this thread: file
//! ```
//!
//! | file | what |
//! |---|---|
//! | `options` | the command line, checked |
//! | `batches` | documents in batches, and a digest of all that was read |
//! | `pipeline` | batches through threads and back in order; the summary has it too |
//! | `scorer` | the likelihood of the documents of a batch |
//! | `rows` | what is written of a document, in which form |
//! | `output` | the file that grows, and how a run goes on after it was killed |
//! | `parquet` | rows as Parquet |
//! | `merge` | the files of all shards joined |
//!
//! Memory does not depend on the input: a few batches are on their way, and a long document comes in parts.
//! Batches are cut by the length of the input and their content, so that neither threads nor a restart change a byte.

pub(crate) mod batches;
pub(crate) mod merge;
mod options;
mod output;
mod parquet;
pub(crate) mod pipeline;
mod rows;
mod scorer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use itera_cli::{ExitStatus, OutputLock, Progress, note, warn};
use itera_core::{model::bits_per_byte, models::LoadedCheckpoint};
use itera_data::{Oddities, records::Records};
use itera_record::{ScoresRecord, ScoresTotals};

use self::{
    batches::{Batch, Batches},
    options::Options,
    output::Output,
    pipeline::Give,
    rows::RowWriter,
    scorer::{Model, Scorer},
};
use crate::args::StreamArgs;

/// How often a run without a terminal says how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// Broken records that are named; the others are only counted.
const MOST_NAMED: usize = 10;

/// What became of a batch, or the rows of a part of a long document.
#[derive(Default)]
struct Scored {
    /// The batch that ends here, if one does.
    batch: Option<Batch>,
    rows: Vec<u8>,
    totals: ScoresTotals,
    oddities: Oddities,
    broken: Vec<String>,
}

/// Does what the command line says.
pub(crate) fn run(args: StreamArgs) -> anyhow::Result<ExitStatus> {
    let options = Options::new(args)?;
    let model = Model::load(&options.checkpoint, options.precision, options.kernel)?;
    let against = options.against.as_ref();
    let against = against.map(|name| Model::load(name, options.precision, options.kernel));
    let against = against.transpose()?;
    let models: Vec<&Model> = [&model].into_iter().chain(&against).collect();
    let loaded: Vec<&LoadedCheckpoint> = models.iter().map(|model| &model.loaded).collect();
    for caveat in loaded.iter().filter_map(|loaded| loaded.caveat()) {
        warn(caveat);
    }
    let lock = options
        .output
        .as_ref()
        .map(|file| OutputLock::take(&file.path));
    let _lock = lock.transpose()?;
    if let Some(record) = output::finished(&options, &loaded)? {
        note("the output is whole already");
        tell(&record);
        return Ok(ExitStatus::Done);
    }
    let records = Records::new(&options.inputs, options.records.clone())?;
    let mut output = Output::open(&options, &loaded)?;
    let started = Instant::now();
    let progress = Progress::new(records.bytes(), "bytes");
    let mut teller = Teller::new(&progress, &records);
    let (mut oddities, mut broken) = (Oddities::default(), 0);
    let rows = RowWriter::new(&options);
    let known = output.known();
    pipeline::run(
        options.threads,
        known.as_ref().map_or(0, |known| known.batches),
        |work| Batches::new(records, options.skips_broken, u64::MAX).send(known.as_ref(), work),
        || {
            let mut scorer = Scorer::new(&models, &rows);
            Ok(move |work, give: Give<_>| scorer.score(work, give))
        },
        |scored| {
            oddities += scored.oddities;
            for error in &scored.broken {
                broken += 1;
                progress.suspend(|| tell_broken(error, broken));
            }
            teller.tell();
            output.write(&scored)
        },
    )?;
    drop(progress);
    let names = options.names.join(" ");
    oddities.warnings(&names).iter().for_each(warn);
    let seconds = started.elapsed().as_secs_f64();
    let record = output.finish(&options, &loaded, seconds)?;
    tell(&record);
    Ok(ExitStatus::Done)
}

/// Names a broken record, the first ones each.
fn tell_broken(error: &str, number: usize) {
    if number <= MOST_NAMED {
        warn(error);
    } else if number == MOST_NAMED + 1 {
        warn("more records are broken; they are counted only");
    }
}

/// Says how far a run is.
pub(crate) struct Teller<'p> {
    progress: &'p Progress,
    bytes: u64,
    read: Arc<AtomicU64>,
    started: Instant,
    told: Instant,
}

impl<'p> Teller<'p> {
    pub(crate) fn new(progress: &'p Progress, records: &Records) -> Self {
        let now = Instant::now();
        Self {
            progress,
            bytes: records.bytes(),
            read: records.bytes_read(),
            started: now,
            told: now,
        }
    }

    /// Moves the bar, or writes a line where there is none.
    pub(crate) fn tell(&mut self) {
        let read = self.read.load(Ordering::Relaxed);
        self.progress.set_position(read);
        if !self.progress.is_hidden() || self.told.elapsed() < NOTE_EVERY {
            return;
        }
        self.told = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = read as f64 / seconds;
        let left = self.bytes.saturating_sub(read) as f64 / rate.max(1.0);
        note(format!(
            "{:.1} of {:.1} MB read, {:.2} MB/s, {:.0} min left",
            read as f64 / 1e6,
            self.bytes as f64 / 1e6,
            rate / 1e6,
            left / 60.0
        ));
    }
}

/// The totals, on standard error: rows may be on standard output.
fn tell(record: &ScoresRecord) {
    let (totals, seconds) = (&record.totals, record.seconds);
    let ScoresTotals {
        documents,
        rows,
        bytes,
        tokens,
        broken,
        ..
    } = totals;
    let bits = bits_per_byte(totals.nll_nats, *bytes as f64);
    let score = if *bytes > 0 {
        format!("; {bits:.4} bits/byte")
    } else {
        String::new()
    };
    note(format!(
        "documents {documents}, bytes {bytes}, tokens {tokens}, rows {rows}{score}"
    ));
    if *documents == 0 {
        warn("the input holds no document");
    }
    let rate = *bytes as f64 / 1e6 / seconds.max(1e-9);
    note(format!("scored in {seconds:.1} s, {rate:.3} MB/s"));
    if *broken > 0 {
        warn(format!("broken records left out: {broken}"));
    }
}
