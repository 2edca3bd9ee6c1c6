//! What is forgotten, and what is kept elsewhere.

use std::{path::Path, sync::atomic::Ordering};

use sqlx::Row as _;

use super::{Kind, Store, StoreError, Tx, lock_answers, place};

/// Which answers are forgotten, with their feedback.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    /// One.
    Id(String),
    /// Those written before a time, in milliseconds since 1970.
    Before(i64),
    /// Those of a user.
    User(String),
}

/// How much was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) answers: u64,
    pub(crate) feedback: u64,
}

impl Store {
    /// Forgets answers with their feedback. What a version has learnt from them stays learnt.
    ///
    /// # Errors
    /// The database's; then nothing is forgotten.
    pub(crate) async fn forget(&self, which: Which) -> Result<Forgotten, StoreError> {
        let column = match &which {
            Which::Id(_) => "id = $1",
            Which::Before(_) => "created_ms < $1",
            Which::User(_) => "user_digest = $1",
        };
        let mut tx = self.begin_forgetting().await?;
        let mut delete = async |sql: String| -> Result<u64, StoreError> {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql));
            let query = match &which {
                Which::Id(id) => query.bind(id.clone()),
                Which::Before(ms) => query.bind(*ms),
                Which::User(user) => query.bind(self.user_digest(user)),
            };
            Ok(query.execute(&mut *tx).await?.rows_affected())
        };
        let ids = format!("SELECT id FROM answers WHERE {column}");
        let scores = format!("DELETE FROM experiment_scores WHERE answer IN ({ids})");
        delete(scores).await?;
        if matches!(which, Which::User(_)) {
            let units = format!("SELECT unit FROM answers WHERE {column}");
            let units = format!("DELETE FROM experiment_units WHERE unit IN ({units})");
            delete(units).await?;
        }
        let forgotten = Forgotten {
            feedback: delete(format!("DELETE FROM feedback WHERE id IN ({ids})")).await?,
            answers: delete(format!("DELETE FROM answers WHERE {column}")).await?,
        };
        tx.commit().await?;
        Ok(forgotten)
    }

    /// Forgets answers without feedback but for the latest `keep`, if there are new ones. Returns how many.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn prune(&self, keep: u32) -> Result<u64, StoreError> {
        if !self.health.has_grown.swap(false, Ordering::Relaxed) {
            return Ok(0);
        }
        let oldest = sqlx::query(
            "SELECT created_ms, id FROM answers ORDER BY created_ms DESC, id DESC LIMIT 1 OFFSET $1",
        )
        .bind(i64::from(keep))
        .fetch_optional(&self.own)
        .await?;
        let Some(oldest) = oldest else {
            return Ok(0);
        };
        let limit: i64 = oldest.try_get("created_ms")?;
        let last: String = oldest.try_get("id")?;
        let mut tx = self.begin_forgetting().await?;
        let deleted = sqlx::query(
            "DELETE FROM answers WHERE (created_ms < $1 OR (created_ms = $2 AND id <= $3)) \
             AND NOT EXISTS (SELECT 1 FROM feedback WHERE feedback.id = answers.id)",
        )
        .bind(limit)
        .bind(limit)
        .bind(last)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(deleted.rows_affected())
    }

    /// Writes a copy of the database to a new file, while servers use it.
    ///
    /// # Errors
    /// The database's, or it is not SQLite, or the file is there already.
    pub(crate) async fn backup(&self, file: &Path) -> Result<(), StoreError> {
        if self.place.kind == Kind::Postgres {
            return Err(StoreError::Unsupported(
                "a PostgreSQL database is copied by its own `pg_dump`",
            ));
        }
        // SQLite fills an empty file; this one is its owner's alone.
        place::make_private(file)?;
        sqlx::query("VACUUM INTO $1")
            .bind(file.to_string_lossy().into_owned())
            .execute(&self.own)
            .await?;
        Ok(())
    }

    async fn begin_forgetting(&self) -> Result<Tx, StoreError> {
        let mut tx = self.begin().await?;
        lock_answers(&mut tx, self.place.kind, "pg_advisory_xact_lock").await?;
        Ok(tx)
    }
}
