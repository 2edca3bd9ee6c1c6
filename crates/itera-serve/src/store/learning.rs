//! What the server that learns does to journal and versions.

use sqlx::{AnyConnection, Row as _};
use thiserror::Error;

use super::{
    Entry, EntryStatus, Store, StoreError, StoredVersion,
    approval::{has_candidate, is_paused, withdraw_candidates},
    canary, experiments,
    journal::add,
    now_ms,
    versions::{activate_after, insert, lock_active, set, setting},
    writer::new_negatives,
};

/// Why an adaptation could not be ended.
#[derive(Debug, Error)]
pub(crate) enum FinishError {
    /// What the database says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lease was lost to another server while this one learnt.
    #[error("another server has taken the lease")]
    LeaseLost,
    /// Somebody has rolled back meanwhile, or begun an experiment before a canary.
    #[error(
        "another version was made active or an experiment begun while this one was learnt; it is not used"
    )]
    Superseded,
    /// An operator has paused learning meanwhile.
    #[error("learning was paused while this version was learnt; it is not used")]
    Paused,
}

impl From<sqlx::Error> for FinishError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Adaptations in a row that did not come to their end, after which none begins by itself: learning may be what
/// ends the server.
pub(super) const GIVES_UP_AFTER: i64 = 2;

impl Store {
    /// Takes or keeps the lease of the server that learns, by the database's clock. Returns whether this server
    /// has it now. A lease that would last longer than any is of a clock that was wrong.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn lease(&self, server: &str, ttl_ms: i64) -> Result<bool, StoreError> {
        let now = self.now();
        let sql = format!(
            "UPDATE lease SET holder = $1, expires_ms = {now} + $2 WHERE name = 'adapter' \
             AND (holder = $3 OR expires_ms < {now} OR expires_ms > {now} + $4)"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(server.to_owned())
            .bind(ttl_ms)
            .bind(server.to_owned())
            .bind(ttl_ms)
            .execute(&self.own)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Lets another server learn.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn release(&self, server: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE lease SET expires_ms = 0 WHERE name = 'adapter' AND holder = $1")
            .bind(server.to_owned())
            .execute(&self.own)
            .await?;
        Ok(())
    }

    /// Whether an adaptation waits, runs or is due; only reads. While learning is paused, only one that runs counts.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn has_work(&self, adapt_after: u32) -> Result<bool, StoreError> {
        let mut connection = self.own.acquire().await?;
        let paused = is_paused(&mut connection).await?;
        let (running, requested) = (EntryStatus::Running, EntryStatus::Requested);
        let row = sqlx::query("SELECT COUNT(*) AS open FROM adaptations WHERE status IN ($1, $2)")
            .bind(running.name())
            .bind(if paused { running } else { requested }.name())
            .fetch_one(&mut *connection)
            .await?;
        if paused || row.try_get::<i64, _>("open")? > 0 {
            return Ok(row.try_get::<i64, _>("open")? > 0);
        }
        is_due(&mut connection, adapt_after).await
    }

    /// Ends adaptations that no server works on any more, and sets their feedback free. Only the holder of the
    /// lease may call this, and not while it learns.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn interrupted(&self, status: EntryStatus) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE feedback SET used_by = NULL WHERE used_by IN \
             (SELECT id FROM adaptations WHERE status = $1)",
        )
        .bind(EntryStatus::Running.name())
        .execute(&mut *tx)
        .await?;
        let done = sqlx::query(
            "UPDATE adaptations SET status = $1, ended_ms = $2, message = $3 WHERE status = $4",
        )
        .bind(status.name())
        .bind(now_ms())
        .bind("learning did not come to its end; nothing has changed")
        .bind(EntryStatus::Running.name())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    /// Begins the oldest adaptation that is asked for, or one of its own accord if `adapt_after` new
    /// negative records are there (0 for never), unless learning is paused or an experiment runs. All feedback so far
    /// counts as seen by it.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn claim(
        &self,
        server: &str,
        adapt_after: u32,
    ) -> Result<Option<Entry>, StoreError> {
        let mut tx = self.begin().await?;
        // The arms of an experiment stay what they are.
        if is_paused(&mut tx).await? || experiments::running(&mut tx).await?.is_some() {
            tx.cancel().await?;
            return Ok(None);
        }
        let requested = sqlx::query(
            "SELECT id FROM adaptations WHERE status = $1 ORDER BY requested_ms, id LIMIT 1",
        )
        .bind(EntryStatus::Requested.name())
        .fetch_optional(&mut *tx)
        .await?;
        let id = if let Some(row) = requested {
            row.try_get("id")?
        } else {
            if !is_due(&mut tx, adapt_after).await? {
                tx.cancel().await?;
                return Ok(None);
            }
            add(&mut tx, "automatic", EntryStatus::Requested, None, None).await?
        };
        let active = setting(&mut tx, "active_version").await?;
        sqlx::query(
            "UPDATE adaptations SET status = $1, started_ms = $2, server = $3, from_version = $4 \
             WHERE id = $5",
        )
        .bind(EntryStatus::Running.name())
        .bind(now_ms())
        .bind(server.to_owned())
        .bind(active)
        .bind(id.clone())
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE feedback SET used_by = $1 WHERE used_by IS NULL")
            .bind(id.clone())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.entry(&id).await
    }

    /// Ends an adaptation: the version, if there is one, is stored and served from now on, to a part of the traffic
    /// as a canary, or waits to be as a candidate, in the same transaction as the receipt.
    ///
    /// # Errors
    /// The database's; [`FinishError::LeaseLost`] if the server may no longer learn, or could not for a while,
    /// [`FinishError::Superseded`] if another version is served than the one learnt from, [`FinishError::Paused`].
    /// Then all stays as it is. The learning rate stands with the one of the settings that it started from.
    pub(crate) async fn finish(
        &self,
        entry: &Entry,
        server: &str,
        status: EntryStatus,
        message: &str,
        receipt: Option<&str>,
        version: Option<&StoredVersion>,
        learning_rate: Option<(f64, f64)>,
    ) -> Result<(), FinishError> {
        let mut tx = self.begin().await?;
        let lease = sqlx::query("SELECT holder FROM lease WHERE name = 'adapter'")
            .fetch_one(&mut *tx)
            .await?;
        if lease.try_get::<String, _>("holder")? != server {
            tx.cancel().await?;
            return Err(FinishError::LeaseLost);
        }
        if let Some(version) = version {
            if is_paused(&mut tx).await? {
                tx.cancel().await?;
                return Err(FinishError::Paused);
            }
            let why = "a later one has taken its place";
            withdraw_candidates(&mut tx, Some(&entry.id), why).await?;
            insert(&mut tx, version, Some(&entry.id)).await?;
            let from = entry.from_version.as_deref().unwrap_or_default();
            // A candidate changes nothing, and must be learnt from what is served all the same.
            let is_next = match status {
                EntryStatus::Canary => {
                    let why = "the guard has accepted it";
                    canary::begin(&mut tx, from, &version.version, why).await?
                }
                EntryStatus::Candidate => activate_after(&mut tx, from, from).await?,
                _ => activate_after(&mut tx, from, &version.version).await?,
            };
            if !is_next {
                tx.cancel().await?;
                return Err(FinishError::Superseded);
            }
        }
        if let Some((rate, start)) = learning_rate {
            set(&mut tx, "learning_rate", &format!("{rate} from {start}")).await?;
        }
        let ended = sqlx::query(
            "UPDATE adaptations SET status = $1, ended_ms = $2, to_version = $3, message = $4, \
             receipt = $5 WHERE id = $6 AND status = $7",
        )
        .bind(status.name())
        .bind((status != EntryStatus::Candidate).then(now_ms))
        .bind(version.map(|version| version.version.clone()))
        .bind(message.to_owned())
        .bind(receipt.map(str::to_owned))
        .bind(entry.id.clone())
        .bind(EntryStatus::Running.name())
        .execute(&mut *tx)
        .await?;
        // The lease was lost and came back, and meanwhile somebody has ended the entry.
        if ended.rows_affected() == 0 {
            tx.cancel().await?;
            return Err(FinishError::LeaseLost);
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets old versions but for the first, the active one, those of a running experiment and the latest `keep`.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn prune_versions(&self, keep: u32) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        lock_active(&mut tx).await?;
        sqlx::query(
            "DELETE FROM versions WHERE checkpoint IS NOT NULL \
             AND version <> (SELECT value FROM settings WHERE name = 'active_version') \
             AND NOT EXISTS (SELECT 1 FROM experiments WHERE running = 1 \
                 AND definition LIKE '%\"' || versions.version || '\"%') \
             AND version NOT IN (SELECT to_version FROM adaptations WHERE status = 'candidate') \
             AND version NOT IN (SELECT version FROM (SELECT version FROM versions \
                 ORDER BY created_ms DESC LIMIT $1) AS latest)",
        )
        .bind(i64::from(keep))
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}

/// Whether enough is new to learn from without being asked, no candidate waits, and learning has not failed again and
/// again.
async fn is_due(connection: &mut AnyConnection, adapt_after: u32) -> Result<bool, StoreError> {
    let busy = has_candidate(&mut *connection).await?
        || experiments::running(&mut *connection).await?.is_some();
    if adapt_after == 0 || busy {
        return Ok(false);
    }
    let row = sqlx::query(
        "SELECT COUNT(*) AS interrupted FROM (SELECT status FROM adaptations \
         ORDER BY requested_ms DESC, id LIMIT $1) AS latest WHERE status = $2",
    )
    .bind(GIVES_UP_AFTER)
    .bind(EntryStatus::Interrupted.name())
    .fetch_one(&mut *connection)
    .await?;
    let gives_up = row.try_get::<i64, _>("interrupted")? == GIVES_UP_AFTER;
    let fresh = new_negatives(connection).await?;
    Ok(fresh >= i64::from(adapt_after) && !gives_up)
}
