//! Adaptations asked for, running and done, and the lease of the one server that learns.

use sqlx::{Row as _, any::AnyRow};

use super::{Store, StoreError, now_ms, random_id, versions::activate};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) requested_ms: i64,
    pub(crate) started_ms: Option<i64>,
    pub(crate) ended_ms: Option<i64>,
    /// `manual`, `automatic` or `rollback`.
    pub(crate) trigger: String,
    pub(crate) status: EntryStatus,
    /// The server that did it.
    pub(crate) server: Option<String>,
    pub(crate) from_version: Option<String>,
    /// The version that is active since; none if none came of it.
    pub(crate) to_version: Option<String>,
    /// Why it ended so.
    pub(crate) message: Option<String>,
    /// The receipt as JSON.
    pub(crate) receipt: Option<String>,
}

/// How far an entry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryStatus {
    /// Waits for the server that learns.
    Requested,
    Running,
    /// The new version is served.
    Accepted,
    /// The guard refused the new version.
    Rejected,
    /// It could not be done.
    Failed,
    /// The server or the database ended while it ran; the old version is served.
    Interrupted,
    /// Nobody was there to do it.
    Withdrawn,
    /// An older version is served again.
    RolledBack,
}

impl EntryStatus {
    const ALL: [Self; 8] = [
        Self::Requested,
        Self::Running,
        Self::Accepted,
        Self::Rejected,
        Self::Failed,
        Self::Interrupted,
        Self::Withdrawn,
        Self::RolledBack,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Running => "running",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Withdrawn => "withdrawn",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether nothing more will happen to the entry.
    pub(crate) const fn is_final(self) -> bool {
        !matches!(self, Self::Requested | Self::Running)
    }

    fn of(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|status| status.name() == name);
        known.unwrap_or(Self::Failed)
    }
}

impl Store {
    /// Asks for an adaptation; returns the id of its entry.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn request(&self, trigger: &str) -> Result<String, StoreError> {
        let id = random_id();
        sqlx::query(
            "INSERT INTO adaptations (id, requested_ms, trigger_kind, status) \
             VALUES ($1, $2, $3, $4)",
        )
        .bind(id.clone())
        .bind(now_ms())
        .bind(trigger.to_owned())
        .bind(EntryStatus::Requested.name())
        .execute(&self.pool)
        .await?;
        Ok(id)
    }

    /// Takes a request back if nobody has begun. Returns whether it was.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn withdraw(&self, id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE adaptations SET status = $1, ended_ms = $2, message = $3 \
             WHERE id = $4 AND status = $5",
        )
        .bind(EntryStatus::Withdrawn.name())
        .bind(now_ms())
        .bind("no server that learns has taken it")
        .bind(id.to_owned())
        .bind(EntryStatus::Requested.name())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Marks adaptations that no server works on any more, and sets their feedback free. Only the holder
    /// of the lease may call this, and not while it learns.
    ///
    /// # Errors
    /// The database's.
    #[cfg(feature = "adapt")]
    pub(crate) async fn interrupted(&self) -> Result<u64, StoreError> {
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
        .bind(EntryStatus::Interrupted.name())
        .bind(now_ms())
        .bind("learning did not come to its end; nothing has changed")
        .bind(EntryStatus::Running.name())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    /// Serves a version again, and writes that into the journal.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn roll_back(&self, from: &str, to: &str) -> Result<Entry, StoreError> {
        let (id, now) = (random_id(), now_ms());
        let mut tx = self.begin().await?;
        activate(&mut tx, to).await?;
        sqlx::query(
            "INSERT INTO adaptations (id, requested_ms, started_ms, ended_ms, trigger_kind, status, \
             from_version, to_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id.clone())
        .bind(now)
        .bind(now)
        .bind(now)
        .bind("rollback")
        .bind(EntryStatus::RolledBack.name())
        .bind(from.to_owned())
        .bind(to.to_owned())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let entry = self.entry(&id).await?;
        entry.ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// One entry of the journal.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn entry(&self, id: &str) -> Result<Option<Entry>, StoreError> {
        let row = sqlx::query("SELECT * FROM adaptations WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(entry).transpose()
    }

    /// The latest entries of the journal, newest first.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn journal(&self, most: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("SELECT * FROM adaptations ORDER BY requested_ms DESC, id LIMIT $1")
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(entry).collect()
    }

    /// Takes or keeps the lease of the server that learns. Returns whether this server has it now.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn lease(&self, server: &str, ttl_ms: i64) -> Result<bool, StoreError> {
        let now = now_ms();
        let done = sqlx::query(
            "UPDATE lease SET holder = $1, expires_ms = $2 \
             WHERE name = 'adapter' AND (holder = $3 OR expires_ms < $4)",
        )
        .bind(server.to_owned())
        .bind(now + ttl_ms)
        .bind(server.to_owned())
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// The server that learns, if one does.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn lease_holder(&self) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT holder, expires_ms FROM lease WHERE name = 'adapter'")
            .fetch_one(&self.pool)
            .await?;
        let expires: i64 = row.try_get("expires_ms")?;
        let holder: String = row.try_get("holder")?;
        Ok((expires >= now_ms()).then_some(holder))
    }

    /// Lets another server learn.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn release(&self, server: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE lease SET expires_ms = 0 WHERE name = 'adapter' AND holder = $1")
            .bind(server.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn entry(row: &AnyRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        id: row.try_get("id")?,
        requested_ms: row.try_get("requested_ms")?,
        started_ms: row.try_get("started_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        trigger: row.try_get("trigger_kind")?,
        status: EntryStatus::of(row.try_get::<String, _>("status")?.as_str()),
        server: row.try_get("server")?,
        from_version: row.try_get("from_version")?,
        to_version: row.try_get("to_version")?,
        message: row.try_get("message")?,
        receipt: row.try_get("receipt")?,
    })
}
