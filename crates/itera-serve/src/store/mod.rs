//! What must not be lost: answers, feedback, versions of the weights and the journal of adaptations,
//! in SQLite or PostgreSQL by the same statements.
//!
//! | file | what |
//! |---|---|
//! | `schema` | tables, made and brought up to date at the start |
//! | `writer` | answers and feedback, many in one transaction; feedback is acknowledged after it |
//! | `feedback` | records as they are stored, read, exported |
//! | `versions` | weights, and which of them are active |
//! | `journal` | adaptations asked for, running and done; the lease of the server that learns |
//! | `learning` | what that server does: begin an adaptation, end it with a new version |
//!
//! Texts are stored as bytes, since PostgreSQL's text has no NUL. Times are milliseconds since 1970.

mod feedback;
mod journal;
#[cfg(feature = "adapt")]
mod learning;
mod schema;
mod versions;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{
    AnyConnection, AnyPool, Connection as _, Transaction,
    any::{Any, AnyConnectOptions, AnyPoolOptions},
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

#[cfg(feature = "adapt")]
pub(crate) use self::versions::StoredVersion;
use self::writer::Write;
pub(crate) use self::{
    feedback::{Counts, Feedback, Rated},
    journal::{Entry, EntryStatus},
    versions::VersionRow,
    writer::{Answer, Outcome, Stored},
};

/// Answers and feedback that may wait for the database; beyond that answers are not logged.
const WAITING: usize = 4096;

/// How long a statement waits for a connection, and SQLite for another process's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: AnyPool,
    kind: Kind,
    writer: mpsc::Sender<Write>,
}

/// Which database it is; statements differ in how a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
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
        "it belongs to the model {found}, and {expected} is to be served; give another --database, or the --checkpoint that it was made with"
    )]
    OtherModel {
        /// The model of the database.
        found: String,
        /// The model that is served.
        expected: String,
    },
    /// Too much waits to be written.
    #[error("too many records wait to be written")]
    Overloaded,
    /// The writer has ended.
    #[error("the server is ending")]
    Closed,
    #[cfg(feature = "adapt")]
    /// The lease was lost to another server while this one learnt.
    #[error("another server has taken the lease")]
    LeaseLost,
    #[cfg(feature = "adapt")]
    /// Somebody has rolled back meanwhile.
    #[error("another version was made active while this one was learnt; it is not used")]
    Superseded,
}

/// A transaction of either database.
type Tx = Transaction<'static, Any>;

impl Store {
    /// Opens a database, a file or `postgres://` URL, and brings its tables up to date. A file that is
    /// not there is made.
    ///
    /// # Errors
    /// It cannot be reached or written, or is no database of this program.
    pub(crate) async fn open(place: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let kind = if is_postgres(place) {
            Kind::Postgres
        } else {
            Kind::Sqlite
        };
        let url = match kind {
            Kind::Postgres => place.to_owned(),
            Kind::Sqlite => sqlite_url(place),
        };
        let connect = AnyConnectOptions::from_str(&url)?;
        // A pool would try again and again, and then say that time is up and not what is wrong.
        let mut first = AnyConnection::connect_with(&connect).await?;
        prepare(&mut first, kind).await?;
        first.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| Box::pin(prepare(connection, kind)))
            .connect_with(connect)
            .await?;
        let (writer, waiting) = mpsc::channel(WAITING);
        let store = Self { pool, kind, writer };
        store.migrate().await?;
        tokio::spawn(writer::run(store.pool.clone(), kind, waiting));
        Ok(store)
    }

    /// Logs an answer soon. False if so much waits that it is not.
    pub(crate) fn log(&self, answer: Answer) -> bool {
        self.writer.try_send(Write::Answer(answer)).is_ok()
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
        if self.writer.send(Write::Flush(reply)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
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
    }

    /// A transaction that will write.
    async fn begin(&self) -> Result<Tx, StoreError> {
        begin(&self.pool, self.kind).await
    }
}

/// Sets a new connection up.
async fn prepare(connection: &mut AnyConnection, kind: Kind) -> Result<(), sqlx::Error> {
    if kind == Kind::Sqlite {
        // A commit is on the disk before it is acknowledged.
        let settings = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
                        PRAGMA synchronous = FULL;";
        sqlx::raw_sql(settings).execute(connection).await?;
    }
    Ok(())
}

/// A transaction that will write: SQLite locks at once, so that none fails halfway because another
/// was faster.
async fn begin(pool: &AnyPool, kind: Kind) -> Result<Tx, StoreError> {
    let statement = match kind {
        Kind::Sqlite => "BEGIN IMMEDIATE",
        Kind::Postgres => "BEGIN",
    };
    Ok(pool.begin_with(statement).await?)
}

/// A transaction that will write feedback: until it ends, no answer is forgotten. PostgreSQL would else let
/// another server forget one between the look for it and the commit; SQLite has one writer at a time.
async fn begin_rating(pool: &AnyPool, kind: Kind) -> Result<Tx, StoreError> {
    let mut tx = begin(pool, kind).await?;
    lock_answers(&mut tx, kind, "pg_advisory_xact_lock_shared").await?;
    Ok(tx)
}

/// Takes the lock that keeps answers, on PostgreSQL, by the function of this name.
async fn lock_answers(tx: &mut Tx, kind: Kind, function: &str) -> Result<(), StoreError> {
    /// Names the lock; any number that no other program takes.
    const KEY: i64 = 0x6974_6572_6100;
    if kind == Kind::Postgres {
        // As text, since the driver knows no type for nothing.
        let sql = format!("SELECT {function}({KEY})::text");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Whether a place is a PostgreSQL URL and not a file.
pub(crate) fn is_postgres(place: &str) -> bool {
    place.starts_with("postgres://") || place.starts_with("postgresql://")
}

/// A file as a URL, with what URLs give a meaning escaped.
fn sqlite_url(place: &str) -> String {
    let path = place.strip_prefix("sqlite://").unwrap_or(place);
    let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let escaped = escape(&absolute);
    format!("sqlite://{escaped}?mode=rwc")
}

fn escape(path: &Path) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let text = path.to_string_lossy();
    let escaped = text.bytes().map(|byte| {
        if keep(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    escaped.collect()
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
