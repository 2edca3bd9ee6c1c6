//! What the server that learns does to journal and versions.

use sqlx::Row as _;

use super::{
    Entry, EntryStatus, Store, StoreError, StoredVersion, now_ms, random_id,
    versions::{activate_after, insert, set, setting},
};

impl Store {
    /// Begins the oldest adaptation that is asked for, or one of its own accord if `adapt_after` new
    /// negative records are there (0 for never). All feedback so far counts as seen by it.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn claim(
        &self,
        server: &str,
        adapt_after: u32,
    ) -> Result<Option<Entry>, StoreError> {
        let mut tx = self.begin().await?;
        let requested = sqlx::query(
            "SELECT id FROM adaptations WHERE status = $1 ORDER BY requested_ms, id LIMIT 1",
        )
        .bind(EntryStatus::Requested.name())
        .fetch_optional(&mut *tx)
        .await?;
        let id = if let Some(row) = requested {
            row.try_get("id")?
        } else {
            let fresh = super::writer::new_negatives(&mut tx).await?;
            if adapt_after == 0 || fresh < i64::from(adapt_after) {
                return Ok(None);
            }
            let id = random_id();
            sqlx::query(
                "INSERT INTO adaptations (id, requested_ms, trigger_kind, status) \
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(id.clone())
            .bind(now_ms())
            .bind("automatic")
            .bind(EntryStatus::Requested.name())
            .execute(&mut *tx)
            .await?;
            id
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

    /// Ends an adaptation: the version, if there is one, is stored and served from now on, in the same
    /// transaction as the receipt.
    ///
    /// # Errors
    /// The database's; [`StoreError::LeaseLost`] if the server may no longer learn, or could not for a while,
    /// [`StoreError::Superseded`] if another version is served than the one learnt from. Then all stays
    /// as it is.
    pub(crate) async fn finish(
        &self,
        entry: &Entry,
        server: &str,
        status: EntryStatus,
        message: &str,
        receipt: Option<&str>,
        version: Option<&StoredVersion>,
        learning_rate: Option<f64>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let lease = sqlx::query("SELECT holder FROM lease WHERE name = 'adapter'")
            .fetch_one(&mut *tx)
            .await?;
        if lease.try_get::<String, _>("holder")? != server {
            return Err(StoreError::LeaseLost);
        }
        if let Some(version) = version {
            insert(&mut tx, version, Some(&entry.id)).await?;
            let from = entry.from_version.as_deref().unwrap_or_default();
            if !activate_after(&mut tx, from, &version.version).await? {
                return Err(StoreError::Superseded);
            }
        }
        if let Some(rate) = learning_rate {
            set(&mut tx, "learning_rate", &rate.to_string()).await?;
        }
        let ended = sqlx::query(
            "UPDATE adaptations SET status = $1, ended_ms = $2, to_version = $3, message = $4, \
             receipt = $5 WHERE id = $6 AND status = $7",
        )
        .bind(status.name())
        .bind(now_ms())
        .bind(version.map(|version| version.version.clone()))
        .bind(message.to_owned())
        .bind(receipt.map(str::to_owned))
        .bind(entry.id.clone())
        .bind(EntryStatus::Running.name())
        .execute(&mut *tx)
        .await?;
        // The lease was lost and came back, and meanwhile somebody has ended the entry.
        if ended.rows_affected() == 0 {
            return Err(StoreError::LeaseLost);
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets old versions but for the first, the active one and the latest `keep`.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn prune_versions(&self, keep: u32) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM versions WHERE checkpoint IS NOT NULL \
             AND version <> (SELECT value FROM settings WHERE name = 'active_version') \
             AND version NOT IN (SELECT version FROM (SELECT version FROM versions \
                 ORDER BY created_ms DESC LIMIT $1) AS latest)",
        )
        .bind(i64::from(keep))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
