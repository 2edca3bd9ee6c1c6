//! Answers and feedback on their way to the database: many in one transaction. Feedback is
//! acknowledged when the transaction is on the disk and not before.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sqlx::{AnyConnection, AnyPool, Row as _};
use tokio::sync::{mpsc, oneshot};

use super::{
    ArmOf, Feedback, Health, Place, StoreError, Tx, begin_rating, limited, results::count_units,
};

/// Most records in a transaction.
const BATCH: usize = 1024;

/// How long answers wait for others, so that a transaction has many.
const GATHER: Duration = Duration::from_millis(10);

/// Pause after the database has failed, and how often answers are then tried again.
const PAUSE: Duration = Duration::from_millis(200);
const TRIES: usize = 50;

/// Rows of one statement; few sizes, so that few statements are prepared.
const ROWS: [usize; 3] = [64, 8, 1];

/// An answer as it is logged for feedback.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) id: String,
    /// When it was written; the database's clock says so of what is logged.
    pub(crate) created_ms: i64,
    pub(crate) prompt: String,
    pub(crate) output: String,
    /// Whether the model ended the text itself.
    pub(crate) ended: bool,
    pub(crate) tokens: usize,
    pub(crate) variant: String,
    pub(crate) version: String,
    /// Temperature, seed and so on as a JSON object: enough to write the answer again.
    pub(crate) parameters: String,
    pub(crate) latency_us: i64,
    /// The digest of whom it was written for.
    pub(crate) user: Option<String>,
    /// The arm of an experiment that wrote it.
    pub(crate) arm: Option<ArmOf>,
}

/// What became of feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// None if there is no answer of this id.
    pub(crate) stored: Option<Stored>,
    /// Negative records that no adaptation has seen, this one included.
    pub(crate) new_negatives: i64,
}

/// Whether there was feedback of this id before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Recorded,
    /// There was, and this took its place.
    Updated {
        /// Whether it has a correction that was not there before.
        corrects: bool,
    },
    /// There was, and it stays as it is.
    Kept,
}

/// What the writer is handed.
#[derive(Debug)]
pub(super) enum Write {
    Answer(Answer),
    Feedback(Feedback, Acknowledge),
    Flush(oneshot::Sender<()>),
}

type Acknowledge = oneshot::Sender<Result<Outcome, StoreError>>;

#[derive(Debug, Default)]
struct Batch {
    answers: Vec<Answer>,
    feedback: Vec<(Feedback, Acknowledge)>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Times that the answers could not be written.
    failures: usize,
}

impl Batch {
    fn len(&self) -> usize {
        self.answers.len() + self.feedback.len()
    }

    fn add(&mut self, write: Write) {
        match write {
            Write::Answer(answer) => self.answers.push(answer),
            Write::Feedback(feedback, reply) => self.feedback.push((feedback, reply)),
            Write::Flush(reply) => self.flushes.push(reply),
        }
    }

    /// Whether somebody waits for the end of the transaction.
    fn is_awaited(&self) -> bool {
        !self.feedback.is_empty() || !self.flushes.is_empty()
    }
}

/// What writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) pool: AnyPool,
    pub(super) place: Arc<Place>,
    pub(super) health: Arc<Health>,
}

impl Writer {
    /// Writes until every [`Store`](super::Store) is gone and nothing waits.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Write>) {
        let mut batch = Batch::default();
        loop {
            if batch.answers.is_empty() {
                match waiting.recv().await {
                    Some(write) => batch.add(write),
                    None => return,
                }
            } else {
                // The database has failed: the answers are tried again, feedback meanwhile is refused.
                tokio::time::sleep(PAUSE).await;
            }
            if !batch.is_awaited() {
                tokio::time::sleep(GATHER).await;
            }
            while batch.len() < BATCH {
                match waiting.try_recv() {
                    Ok(write) => batch.add(write),
                    Err(_) => break,
                }
            }
            self.write(&mut batch).await;
        }
    }

    /// One transaction; what it could not write but answers is told so.
    async fn write(&self, batch: &mut Batch) {
        let feedback = batch.feedback.iter().map(|(feedback, _)| feedback);
        let feedback: Vec<&Feedback> = feedback.collect();
        let committed = limited(self.commit(&batch.answers, &feedback)).await;
        let failed = committed.is_err();
        self.health.cannot_write.store(failed, Ordering::Relaxed);
        self.health
            .errors
            .fetch_add(u64::from(failed), Ordering::Relaxed);
        match committed {
            Ok(outcomes) => {
                let acknowledged = mem::take(&mut batch.feedback);
                for ((_, reply), outcome) in acknowledged.into_iter().zip(outcomes) {
                    let _ = reply.send(Ok(outcome));
                }
                batch.answers.clear();
                batch.failures = 0;
            }
            Err(error) => {
                batch.failures += 1;
                tracing::error!(%error, answers = batch.answers.len(), "cannot write to the database");
                for (_, reply) in mem::take(&mut batch.feedback) {
                    let _ = reply.send(Err(StoreError::Late));
                }
                if batch.failures == TRIES {
                    let lost = batch.answers.len();
                    tracing::error!(answers = lost, "gave up on answers");
                    self.health.lost.fetch_add(lost as u64, Ordering::Relaxed);
                    batch.answers.clear();
                    batch.failures = 0;
                }
            }
        }
        for reply in mem::take(&mut batch.flushes) {
            let _ = reply.send(());
        }
    }

    async fn commit(
        &self,
        answers: &[Answer],
        feedback: &[&Feedback],
    ) -> Result<Vec<Outcome>, StoreError> {
        self.place.check_file()?;
        let kind = self.place.kind;
        let mut tx = if feedback.is_empty() {
            Tx::begin(&self.pool, kind).await?
        } else {
            begin_rating(&self.pool, kind).await?
        };
        let now = now(&mut tx, kind.now()).await?;
        insert_answers(&mut tx, answers, now).await?;
        count_units(&mut tx, answers).await?;
        let mut stored = Vec::with_capacity(feedback.len());
        for feedback in feedback {
            stored.push(upsert(&mut tx, feedback, now).await?);
        }
        let new_negatives = if feedback.is_empty() {
            0
        } else {
            new_negatives(&mut tx).await?
        };
        tx.commit().await?;
        Ok(stored
            .into_iter()
            .map(|stored| Outcome {
                stored,
                new_negatives,
            })
            .collect())
    }
}

/// The time by the database's clock, but never before that of the latest answer: a clock that was set back would
/// make new answers the oldest, which are forgotten first.
async fn now(tx: &mut Tx, clock: &str) -> Result<i64, StoreError> {
    let sql = format!("SELECT {clock} AS now, (SELECT MAX(created_ms) FROM answers) AS latest");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_one(&mut **tx)
        .await?;
    let (now, latest): (i64, Option<i64>) = (row.try_get("now")?, row.try_get("latest")?);
    Ok(now.max(latest.unwrap_or(now)))
}

/// Adds answers; those that are there already stay as they are.
pub(super) async fn insert_answers(
    tx: &mut Tx,
    answers: &[Answer],
    at_ms: i64,
) -> Result<(), StoreError> {
    for rows in batches(answers) {
        insert_rows(tx, rows, at_ms).await?;
    }
    Ok(())
}

/// Rows in as many as a statement has.
pub(super) fn batches<T>(rows: &[T]) -> Vec<&[T]> {
    let (mut rest, mut batches) = (rows, Vec::new());
    for size in ROWS {
        let (whole, left) = rest.split_at(rest.len() / size * size);
        batches.extend(whole.chunks(size));
        rest = left;
    }
    batches
}

/// Places for the values of rows: `($1, $2), ($3, $4)`.
pub(super) fn places(rows: usize, columns: usize) -> String {
    let rows = (0..rows).map(|row| {
        let places = (1..=columns).map(|column| format!("${}", row * columns + column));
        format!("({})", places.collect::<Vec<_>>().join(", "))
    });
    rows.collect::<Vec<_>>().join(", ")
}

async fn insert_rows(tx: &mut Tx, answers: &[Answer], at_ms: i64) -> Result<(), StoreError> {
    const COLUMNS: usize = 14;
    let rows = places(answers.len(), COLUMNS);
    // Only numbers of parameters are put into the text.
    let sql = format!(
        "INSERT INTO answers (id, created_ms, prompt, output, ended, tokens, variant, version, \
         parameters, latency_us, user_digest, experiment, arm, unit) VALUES {rows} ON CONFLICT (id) DO NOTHING"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for answer in answers {
        query = query
            .bind(answer.id.clone())
            .bind(at_ms)
            .bind(answer.prompt.as_bytes().to_vec())
            .bind(answer.output.as_bytes().to_vec())
            .bind(i64::from(answer.ended))
            .bind(answer.tokens as i64)
            .bind(answer.variant.clone())
            .bind(answer.version.clone())
            .bind(answer.parameters.clone())
            .bind(answer.latency_us)
            .bind(answer.user.clone())
            .bind(answer.arm.as_ref().map(|of| of.experiment.clone()))
            .bind(answer.arm.as_ref().map(|of| of.arm.clone()))
            .bind(answer.arm.as_ref().map(|of| of.unit.clone()));
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

/// Stores feedback, or puts it in the place of what was said before. None if there is no such answer.
pub(super) async fn upsert(
    tx: &mut Tx,
    feedback: &Feedback,
    at_ms: i64,
) -> Result<Option<Stored>, StoreError> {
    let known = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM answers WHERE id = $1) AS answers, \
                (SELECT COUNT(*) FROM feedback WHERE id = $2) AS rated, \
                (SELECT correction FROM feedback WHERE id = $3) AS correction",
    )
    .bind(feedback.id.clone())
    .bind(feedback.id.clone())
    .bind(feedback.id.clone())
    .fetch_one(&mut **tx)
    .await?;
    let (answers, rated): (i64, i64) = (known.try_get("answers")?, known.try_get("rated")?);
    if answers == 0 {
        return Ok(None);
    }
    if rated > 0 && !feedback.replaces {
        return Ok(Some(Stored::Kept));
    }
    let before: Option<Vec<u8>> = known.try_get("correction")?;
    let after = feedback.correction.as_ref().map(String::as_bytes);
    sqlx::query(
        "INSERT INTO feedback (id, created_ms, updated_ms, rating, correct, correction, comments, \
         negative, used_by, source, most) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, $9, $10) \
         ON CONFLICT (id) DO UPDATE SET updated_ms = excluded.updated_ms, \
         rating = excluded.rating, correct = excluded.correct, correction = excluded.correction, \
         comments = excluded.comments, negative = excluded.negative, used_by = NULL, \
         source = excluded.source, most = excluded.most",
    )
    .bind(feedback.id.clone())
    .bind(at_ms)
    .bind(at_ms)
    .bind(feedback.rating)
    .bind(feedback.correct.map(i64::from))
    .bind(feedback.correction.clone().map(String::into_bytes))
    .bind(feedback.comments.clone().map(String::into_bytes))
    .bind(i64::from(feedback.is_negative()))
    .bind(feedback.source.as_ref().map(|source| source.digest.clone()))
    .bind(feedback.source.as_ref().and_then(|source| source.most))
    .execute(&mut **tx)
    .await?;
    Ok(Some(if rated == 0 {
        Stored::Recorded
    } else {
        Stored::Updated {
            corrects: after.is_some() && after != before.as_deref(),
        }
    }))
}

/// Negative records that no adaptation has seen and that are not set aside, of each source as many as count. Looks at no more than are enough
/// for any threshold, so that it stays cheap where nothing is learnt.
pub(super) async fn new_negatives(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(CASE WHEN most < records THEN most ELSE records END), 0) AS BIGINT) AS records \
         FROM (SELECT MAX(most) AS most, COUNT(*) AS records FROM (SELECT source, most FROM feedback \
         WHERE used_by IS NULL AND negative = 1 AND set_aside = 0 LIMIT 10000) AS fresh \
         GROUP BY source) AS sources",
    )
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("records")?)
}
