//! What an operator decides about learning: candidates, a pause, and feedback that is set aside.

use sqlx::{AnyConnection, Row as _};

use super::{
    Entry, EntryStatus, Store, StoreError, Tx, canary, experiments, now_ms,
    versions::{activate_after, exists, lock_active, set, setting},
};

const PAUSED: &str = "learning_paused";

/// What became of a candidate that somebody wanted served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    /// It is served from now on.
    Served,
    /// It gets its first share of the traffic.
    Canary,
    /// This experiment runs, beside which no canary begins.
    Running(String),
    /// There is no candidate of this id.
    None,
    /// Another version is served than the one that it was learnt from.
    Superseded,
}

impl Store {
    /// Serves a candidate from now on, as a canary to a part of the traffic. Of two who decide at once, the second finds
    /// none.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn approve(&self, id: &str, as_canary: bool) -> Result<Approval, StoreError> {
        let mut tx = self.begin().await?;
        lock_active(&mut tx).await?;
        let row = sqlx::query("SELECT from_version, to_version FROM adaptations WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&mut *tx)
            .await?;
        let status = if as_canary {
            EntryStatus::Canary
        } else {
            EntryStatus::Accepted
        };
        let decided = decide(&mut tx, id, status).await?;
        let (Some(row), true) = (row, decided) else {
            tx.cancel().await?;
            return Ok(Approval::None);
        };
        let from: Option<String> = row.try_get("from_version")?;
        let to: Option<String> = row.try_get("to_version")?;
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        if as_canary && let Some(other) = experiments::running(&mut tx).await? {
            tx.cancel().await?;
            return Ok(Approval::Running(other));
        }
        let is_next = exists(&mut tx, &to).await?
            && if as_canary {
                canary::begin(&mut tx, &from, &to, "an operator has approved it").await?
            } else {
                activate_after(&mut tx, &from, &to).await?
            };
        if !is_next {
            tx.cancel().await?;
            return Ok(Approval::Superseded);
        }
        let approval = if as_canary {
            Approval::Canary
        } else {
            canary::supersede(&mut tx).await?;
            Approval::Served
        };
        tx.commit().await?;
        Ok(approval)
    }

    /// Forgets the weights of a candidate; what it alone has learnt is not learnt again. None if there is no candidate
    /// of this id.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn decline(&self, id: &str) -> Result<Option<Entry>, StoreError> {
        let mut tx = self.begin().await?;
        if !decide(&mut tx, id, EntryStatus::Declined).await? {
            tx.cancel().await?;
            return Ok(None);
        }
        forget_weights(&mut tx, EntryStatus::Declined).await?;
        tx.commit().await?;
        self.entry(id).await
    }

    /// Makes learning stop or go on, for every server of the database and until it is said otherwise.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn set_paused(&self, paused: bool) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        set(&mut tx, PAUSED, if paused { "yes" } else { "no" }).await?;
        tx.commit().await
    }

    /// Sets the feedback on an answer aside, so that it is not learnt, or takes that back; with `whole_source` all
    /// feedback so far of whoever gave it. Returns how many records that are; none if there is no such feedback.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn set_aside(
        &self,
        id: &str,
        is_aside: bool,
        whole_source: bool,
    ) -> Result<u64, StoreError> {
        let which = if whole_source {
            "id = $2 OR source = (SELECT source FROM feedback WHERE id = $3)"
        } else {
            "id IN ($2, $3)"
        };
        let mut tx = self.begin().await?;
        let sql = format!("UPDATE feedback SET set_aside = $1 WHERE {which}");
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(i64::from(is_aside))
            .bind(id.to_owned())
            .bind(id.to_owned())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

pub(super) async fn is_paused(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    Ok(setting(connection, PAUSED).await?.as_deref() == Some("yes"))
}

/// Whether a candidate waits for an operator.
#[cfg(feature = "adapt")]
pub(super) async fn has_candidate(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT id FROM adaptations WHERE status = $1 LIMIT 1")
        .bind(EntryStatus::Candidate.name())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Takes back candidates that nobody has decided about: another version is served now, or a later candidate is there,
/// which is `heir`. What they have learnt is new to others, or the heir's.
pub(super) async fn withdraw_candidates(
    tx: &mut Tx,
    heir: Option<&str>,
    why: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE feedback SET used_by = $1 WHERE used_by IN \
         (SELECT id FROM adaptations WHERE status = $2)",
    )
    .bind(heir.map(str::to_owned))
    .bind(EntryStatus::Candidate.name())
    .execute(&mut **tx)
    .await?;
    forget_weights(tx, EntryStatus::Candidate).await?;
    sqlx::query(
        "UPDATE adaptations SET status = $1, ended_ms = $2, message = $3 WHERE status = $4",
    )
    .bind(EntryStatus::Withdrawn.name())
    .bind(now_ms())
    .bind(why.to_owned())
    .bind(EntryStatus::Candidate.name())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends a candidate with a status. False if it is none.
async fn decide(tx: &mut Tx, id: &str, status: EntryStatus) -> Result<bool, StoreError> {
    let sql = "UPDATE adaptations SET status = $1, ended_ms = $2 WHERE id = $3 AND status = $4";
    let done = sqlx::query(sql)
        .bind(status.name())
        .bind(now_ms())
        .bind(id.to_owned())
        .bind(EntryStatus::Candidate.name())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Deletes versions that adaptations of a status have made, but for the one that is served.
async fn forget_weights(tx: &mut Tx, status: EntryStatus) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM versions WHERE adaptation IN (SELECT id FROM adaptations WHERE status = $1) \
         AND version <> (SELECT value FROM settings WHERE name = 'active_version')",
    )
    .bind(status.name())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
