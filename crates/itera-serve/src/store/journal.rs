//! Adaptations asked for, running and done, and the lease of the one server that learns.

use sqlx::{Row as _, any::AnyRow};

use super::{
    Store, StoreError, Tx,
    approval::withdraw_candidates,
    canary, now_ms, random_id,
    versions::{activate, exists},
};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) requested_ms: i64,
    pub(crate) started_ms: Option<i64>,
    pub(crate) ended_ms: Option<i64>,
    /// `manual`, `automatic`, `canary`, `import`, `rollback` or `rebase`.
    pub(crate) trigger: String,
    pub(crate) status: EntryStatus,
    /// The server that did it.
    pub(crate) server: Option<String>,
    pub(crate) from_version: Option<String>,
    /// The version that is active since, or would be; none if none came of it.
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
    /// The new version waits for an operator.
    Candidate,
    /// The new version gets a part of the traffic.
    Canary,
    /// The new version is served.
    Accepted,
    /// An operator did not want it.
    Declined,
    /// The guard refused the new version, or it did not do well as a canary.
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
    const ALL: [Self; 11] = [
        Self::Requested,
        Self::Running,
        Self::Candidate,
        Self::Canary,
        Self::Accepted,
        Self::Declined,
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
            Self::Candidate => "candidate",
            Self::Canary => "canary",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Withdrawn => "withdrawn",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether nothing more will happen to the entry by itself.
    pub(crate) const fn is_final(self) -> bool {
        !matches!(self, Self::Requested | Self::Running)
    }

    fn of(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|status| status.name() == name);
        known.unwrap_or(Self::Failed)
    }
}

impl Store {
    /// Asks for an adaptation by hand; returns the id of its entry, or of one that waits already.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn request(&self) -> Result<String, StoreError> {
        let mut tx = self.begin().await?;
        let waiting = sqlx::query("SELECT id FROM adaptations WHERE status = $1 LIMIT 1")
            .bind(EntryStatus::Requested.name())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(row) = waiting {
            tx.cancel().await?;
            return Ok(row.try_get("id")?);
        }
        let id = add(&mut tx, "manual", EntryStatus::Requested, None, None).await?;
        tx.commit().await?;
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

    /// Serves a version again, and writes that into the journal. None if there is no such version any more.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn roll_back(
        &self,
        from: &str,
        to: &str,
    ) -> Result<Option<Entry>, StoreError> {
        let mut tx = self.begin().await?;
        // The row of the active version is locked from here on, so that nobody forgets this one meanwhile.
        activate(&mut tx, to).await?;
        if !exists(&mut tx, to).await? {
            tx.cancel().await?;
            return Ok(None);
        }
        canary::supersede(&mut tx).await?;
        let why = "another version was made active";
        withdraw_candidates(&mut tx, None, why).await?;
        let (status, versions) = (EntryStatus::RolledBack, Some((from, to)));
        let id = add(&mut tx, "rollback", status, versions, None).await?;
        tx.commit().await?;
        self.entry(&id).await
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

    /// The server that learns, if one does.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn lease_holder(&self) -> Result<Option<String>, StoreError> {
        let sql = format!(
            "SELECT holder FROM lease WHERE name = 'adapter' AND expires_ms >= {}",
            self.now()
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("holder")).transpose()?)
    }
}

/// Adds an entry, for one that is at its end with the versions before and after; returns its id.
pub(super) async fn add(
    tx: &mut Tx,
    trigger: &str,
    status: EntryStatus,
    versions: Option<(&str, &str)>,
    message: Option<&str>,
) -> Result<String, StoreError> {
    let (id, now) = (random_id(), now_ms());
    let (from, to) = versions.unzip();
    let at_once = versions.map(|_| now);
    sqlx::query(
        "INSERT INTO adaptations (id, requested_ms, started_ms, ended_ms, trigger_kind, status, \
         from_version, to_version, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id.clone())
    .bind(now)
    .bind(at_once)
    .bind(at_once)
    .bind(trigger.to_owned())
    .bind(status.name())
    .bind(from.map(str::to_owned))
    .bind(to.map(str::to_owned))
    .bind(message.map(str::to_owned))
    .execute(&mut **tx)
    .await?;
    Ok(id)
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
