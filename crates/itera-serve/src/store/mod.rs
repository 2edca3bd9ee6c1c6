//! What must not be lost: answers, feedback, versions of the weights and the journal of adaptations,
//! in SQLite or PostgreSQL by the same statements.
//!
//! | file | what |
//! |---|---|
//! | `schema` | tables, made and brought up to date at the start |
//! | `place` | which database a name means, and its file |
//! | `tx` | transactions whose connections are never used again after an error |
//! | `writer` | answers and feedback, many in one transaction; feedback is acknowledged after it |
//! | `feedback` | records as they are stored, read, exported |
//! | `versions` | weights, and which of them are active |
//! | `journal` | adaptations asked for, running and done; the lease of the server that learns |
//! | `approval` | what an operator decides: candidates, a pause, feedback that is set aside |
//! | `hours` | what happened in each hour |
//! | `learning` | what that server does: begin an adaptation, end it with a new version |
//! | `canary` | steps by which a new version gets the traffic |
//! | `experiments`, `results` | experiments, and what has come of them |
//!
//! Texts are stored as bytes, since PostgreSQL's text has no NUL. Times are milliseconds since 1970; those that
//! something depends on are by the clock of the database, which servers share.

mod approval;
mod canary;
mod experiments;
mod feedback;
mod hours;
mod journal;
#[cfg(feature = "adapt")]
mod learning;
mod place;
mod results;
mod retention;
mod schema;
mod tx;
mod versions;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use itera_core::digest::sha256_hex;
use jiff::Timestamp;
use sqlx::{
    AnyConnection, AnyPool, Connection as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

#[cfg(feature = "adapt")]
pub(crate) use self::learning::FinishError;
pub(crate) use self::{
    approval::Approval,
    canary::SHARES,
    experiments::{
        ArmOf, ArmSpec, Begun, By, Definition, Experiment, Kind as ExperimentKind, Sampling,
    },
    feedback::{Counts, Feedback, Rated, Source},
    hours::{HourSums, KEPT_HOURS},
    journal::{Entry, EntryStatus},
    place::{Place, is_none, is_postgres},
    results::{ArmSums, PairSums, ScoredText},
    retention::{Forgotten, Which},
    versions::{Imported, StoredVersion, VersionRow},
    writer::{Answer, Outcome, Stored},
};
use self::{
    place::Kind,
    tx::{Tx, begin_rating, lock_answers},
    writer::Write,
};

/// Answers and feedback that may wait for the database; beyond that answers are not logged.
const WAITING: usize = 4096;

/// How long a statement waits for a connection and for locks, and how long it may take on PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest that anything waits for the database, which may have stopped or be cut off.
const LIMIT: Duration = Duration::from_secs(8);

/// Connections for what clients ask, and for the writer, the lease and learning, which they cannot take away.
const READERS: u32 = 4;
const OWN: u32 = 3;

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// For what clients ask.
    pool: AnyPool,
    /// For the server itself.
    own: AnyPool,
    place: Arc<Place>,
    writer: mpsc::Sender<Write>,
    health: Arc<Health>,
    /// Makes digests of users that nobody without the database can.
    salt: Arc<str>,
}

/// Whether the last look and the last transaction went well.
#[derive(Debug, Default)]
struct Health {
    cannot_read: AtomicBool,
    cannot_write: AtomicBool,
    /// How often either failed.
    errors: AtomicU64,
    /// Answers that were not stored.
    lost: AtomicU64,
    /// Whether something was logged that pruning has not seen.
    has_grown: AtomicBool,
}

/// Why the database did not do its part.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// What the database says.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The database was made by a later version of this program.
    #[error(
        "its tables are of form {found}, this program knows forms up to {known}; use a newer itera-serve"
    )]
    Newer {
        /// The form of the tables.
        found: i64,
        /// The newest form that this program knows.
        known: i64,
    },
    /// The database belongs to another model.
    #[error(
        "it belongs to the model {found}, and {expected} is to be served; give the --checkpoint that it was made with or another --database, or move it with `itera-serve rebase`"
    )]
    OtherModel {
        /// The model of the database.
        found: String,
        /// The model that is served.
        expected: String,
    },
    /// The file is not the one that was opened.
    #[error("the database file was removed or replaced; put it back, or start the server again")]
    Replaced,
    /// A file cannot be made.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// It has not answered in time.
    #[error("the database does not answer")]
    Late,
    /// It is not there.
    #[error("there is none yet")]
    Missing,
    /// What was asked for does not work with this kind of database.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Too much waits to be written.
    #[error("too many records wait to be written")]
    Overloaded,
    /// The writer has ended.
    #[error("the server is ending")]
    Closed,
}

impl Store {
    /// Opens a database and brings its tables up to date. A file that is not there is made. The task writes what is
    /// logged until every copy of the store is gone.
    ///
    /// # Errors
    /// It cannot be reached or written, or is no database of this program.
    pub(crate) async fn open(place: Place) -> Result<(Self, JoinHandle<()>), StoreError> {
        place.make_file()?;
        Self::connect(place, true).await
    }

    /// Opens a database that is there, and leaves its tables as they are.
    ///
    /// # Errors
    /// It cannot be reached, or is no database of this program.
    pub(crate) async fn open_existing(place: Place) -> Result<Self, StoreError> {
        if place.file().is_some_and(|file| !file.exists()) {
            return Err(StoreError::Missing);
        }
        Ok(Self::connect(place, false).await?.0)
    }

    async fn connect(place: Place, migrates: bool) -> Result<(Self, JoinHandle<()>), StoreError> {
        sqlx::any::install_default_drivers();
        let kind = place.kind;
        let connect = AnyConnectOptions::from_str(&place.url)?;
        // A pool would try again and again, and then say that time is up and not what is wrong.
        let mut first = AnyConnection::connect_with(&connect).await?;
        prepare(&mut first, kind).await?;
        let salt = if migrates {
            schema::migrate(&mut first, kind).await?
        } else {
            schema::check(&mut first).await?
        };
        first.close().await?;
        let place = place.opened();
        let pool = |connections| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(PATIENCE)
                .after_connect(move |connection, _| Box::pin(prepare(connection, kind)))
                .connect_lazy_with(connect.clone())
        };
        let (writer, waiting) = mpsc::channel(WAITING);
        let store = Self {
            pool: pool(READERS),
            own: pool(OWN),
            place: Arc::new(place),
            writer,
            health: Arc::default(),
            salt: salt.into(),
        };
        let writing = writer::Writer {
            pool: store.own.clone(),
            place: Arc::clone(&store.place),
            health: Arc::clone(&store.health),
        };
        Ok((store, tokio::spawn(writing.run(waiting))))
    }

    /// Logs an answer soon. False if so much waits that it is not.
    pub(crate) fn log(&self, answer: Answer) -> bool {
        self.health.has_grown.store(true, Ordering::Relaxed);
        let is_logged = self.writer.try_send(Write::Answer(answer)).is_ok();
        self.health
            .lost
            .fetch_add(u64::from(!is_logged), Ordering::Relaxed);
        is_logged
    }

    /// Stores feedback; when this returns it is on the disk.
    ///
    /// # Errors
    /// The database failed; the feedback is not stored.
    pub(crate) async fn rate(&self, feedback: Feedback) -> Result<Outcome, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let write = Write::Feedback(feedback, reply);
        self.writer.try_send(write).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    /// Waits until all that was logged so far is stored, or cannot be.
    pub(crate) async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        let flushed = async {
            if self.writer.send(Write::Flush(reply)).await.is_ok() {
                let _ = done.await;
            }
        };
        if tokio::time::timeout(LIMIT, flushed).await.is_err() {
            tracing::error!("the database does not answer; the last answers are lost");
        }
    }

    /// Whether the database was read and written the last time that was tried.
    pub(crate) fn is_healthy(&self) -> bool {
        let Health {
            cannot_read,
            cannot_write,
            ..
        } = &*self.health;
        !cannot_read.load(Ordering::Relaxed) && !cannot_write.load(Ordering::Relaxed)
    }

    /// Notes how a look at the database went.
    pub(crate) fn was_read(&self, well: bool) {
        self.health.cannot_read.store(!well, Ordering::Relaxed);
        self.health
            .errors
            .fetch_add(u64::from(!well), Ordering::Relaxed);
    }

    /// How many looks and transactions have failed.
    pub(crate) fn errors(&self) -> u64 {
        self.health.errors.load(Ordering::Relaxed)
    }

    /// How many answers were not stored, because the database failed for long or is too slow.
    pub(crate) fn lost(&self) -> u64 {
        self.health.lost.load(Ordering::Relaxed)
    }

    /// The name of a user as it is stored.
    pub(crate) fn user_digest(&self, user: &str) -> String {
        sha256_hex(format!("{}{user}", self.salt).as_bytes())
    }

    /// Holds the lock of the database until dropped.
    #[cfg(test)]
    pub(crate) async fn lock(&self) -> Result<impl Drop, StoreError> {
        self.begin().await
    }

    /// Ends every connection, as if the database were gone.
    #[cfg(test)]
    pub(crate) async fn close(&self) {
        self.pool.close().await;
        self.own.close().await;
    }

    /// A transaction that will write.
    async fn begin(&self) -> Result<Tx, StoreError> {
        Tx::begin(&self.own, self.place.kind).await
    }

    /// The time by the database's clock, in milliseconds since 1970, as an expression.
    fn now(&self) -> &'static str {
        self.place.kind.now()
    }
}

/// Waits for the database for so long and no longer.
///
/// # Errors
/// [`StoreError::Late`], or those of `work`.
pub(crate) async fn limited<T>(
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let done = tokio::time::timeout(LIMIT, work).await;
    done.unwrap_or(Err(StoreError::Late))
}

/// Sets a new connection up.
async fn prepare(connection: &mut AnyConnection, kind: Kind) -> Result<(), sqlx::Error> {
    let settings = match kind {
        // A commit is on the disk before it is acknowledged. Temporary files would need a folder, which a
        // container may not have. Pages are cached by the system already: each connection keeps a quarter of a
        // megabyte, where its default of two megabytes would fill for hours.
        Kind::Sqlite => {
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -256;"
        }
        Kind::Postgres => {
            "SET statement_timeout = '5s'; SET lock_timeout = '5s'; \
             SET idle_in_transaction_session_timeout = '10s';"
        }
    };
    sqlx::raw_sql(settings).execute(connection).await?;
    Ok(())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Milliseconds since 1970 as RFC 3339.
pub(crate) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// A name that nobody has used and nobody can guess: 32 hexadecimal digits.
pub(crate) fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
