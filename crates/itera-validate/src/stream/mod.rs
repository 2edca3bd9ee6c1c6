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
//! | `scorer` | the likelihood of the documents of a batch |
//! | `rows` | what is written of a document, in which form |
//! | `output` | the file that grows, and how a run goes on after it was killed |
//! | `parquet` | rows as Parquet |
//! | `merge` | the files of all shards joined |
//!
//! Memory does not depend on the input: a few batches are on their way, and a long document comes in parts.
//! Batches are cut by their content alone, so that neither threads nor a restart change a byte.

mod batches;
pub(crate) mod merge;
mod options;
mod output;
mod parquet;
mod rows;
mod scorer;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use itera_cli::{ExitStatus, OutputLock, Progress, note, warn};
use itera_core::{model::bits_per_byte, models::LoadedCheckpoint};
use itera_data::{Oddities, records::Records};
use itera_record::{ScoresRecord, ScoresTotals};

use self::{
    batches::{Batch, Batches, Work},
    options::Options,
    output::Output,
    rows::RowWriter,
    scorer::Model,
};
use crate::args::StreamArgs;

/// How often a run without a terminal says how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// Broken records that are named; the others are only counted.
const MOST_NAMED: usize = 10;

/// What became of a batch.
struct Scored {
    batch: Batch,
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
    let rows = RowWriter::new(&options);
    pipeline(&options, records, &models, &rows, &mut output, &mut teller)?;
    let oddities = teller.oddities;
    drop(progress);
    let names = options.names.join(" ");
    oddities.warnings(&names).iter().for_each(warn);
    let seconds = started.elapsed().as_secs_f64();
    let record = output.finish(&options, &loaded, seconds)?;
    tell(&record);
    Ok(ExitStatus::Done)
}

/// Reads, scores and writes, each in threads of its own.
fn pipeline(
    options: &Options,
    records: Records,
    models: &[&Model],
    rows: &RowWriter,
    output: &mut Output,
    teller: &mut Teller,
) -> anyhow::Result<()> {
    let (work, to_do) = sync_channel::<Work>(options.threads);
    let to_do = Arc::new(Mutex::new(to_do));
    let (done, results) = sync_channel::<anyhow::Result<Scored>>(2 * options.threads);
    let known = output.known();
    let known = known.as_ref();
    thread::scope(|scope| {
        let failed = done.clone();
        scope.spawn(move || {
            if let Err(error) = Batches::new(records, options.skips_broken).send(known, &work) {
                let _ = failed.send(Err(error));
            }
        });
        for _ in 0..options.threads {
            let (to_do, done) = (Arc::clone(&to_do), done.clone());
            scope.spawn(move || work_off(&to_do, &done, models, rows));
        }
        drop((done, to_do));
        write_in_order(results, output, teller)
    })
}

/// Scores one batch after the other until there is none.
fn work_off(
    to_do: &Mutex<Receiver<Work>>,
    done: &SyncSender<anyhow::Result<Scored>>,
    models: &[&Model],
    rows: &RowWriter,
) {
    let mut scorer = scorer::Scorer::new(models, rows);
    loop {
        let Ok(receiver) = to_do.lock() else { return };
        let Ok(work) = receiver.recv() else { return };
        drop(receiver);
        let Some(scored) = scorer.score(work).transpose() else {
            return;
        };
        let is_over = scored.is_err();
        if done.send(scored).is_err() || is_over {
            return;
        }
    }
}

/// Writes the rows of the batches in the order in which they were read.
fn write_in_order(
    results: Receiver<anyhow::Result<Scored>>,
    output: &mut Output,
    teller: &mut Teller,
) -> anyhow::Result<()> {
    let mut early = BTreeMap::new();
    let mut next = output.known().map_or(0, |known| known.batches);
    for scored in results {
        let scored = scored?;
        early.insert(scored.batch.number, scored);
        while let Some(scored) = early.remove(&next) {
            scored.broken.iter().for_each(|error| teller.broken(error));
            teller.oddities += scored.oddities;
            output.write(&scored)?;
            next += 1;
        }
        teller.tell();
    }
    Ok(())
}

/// Says how far the run is, and what was broken.
struct Teller<'p> {
    progress: &'p Progress,
    bytes: u64,
    read: Arc<AtomicU64>,
    started: Instant,
    told: Instant,
    broken: usize,
    oddities: Oddities,
}

impl<'p> Teller<'p> {
    fn new(progress: &'p Progress, records: &Records) -> Self {
        let now = Instant::now();
        Self {
            progress,
            bytes: records.bytes(),
            read: records.bytes_read(),
            started: now,
            told: now,
            broken: 0,
            oddities: Oddities::default(),
        }
    }

    fn broken(&mut self, error: &str) {
        self.broken += 1;
        if self.broken <= MOST_NAMED {
            self.progress.suspend(|| warn(error));
        } else if self.broken == MOST_NAMED + 1 {
            self.progress
                .suspend(|| warn("more records are broken; they are counted only"));
        }
    }

    fn tell(&mut self) {
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
