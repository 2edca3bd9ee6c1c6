//! Versions of the weights, and which of them is served.

use sqlx::{AnyConnection, Row as _};

use super::{
    EntryStatus, Store, StoreError, Tx, approval::withdraw_candidates, canary, experiments,
    journal::add, now_ms,
};

/// A version as a line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionRow {
    pub(crate) version: String,
    pub(crate) created_ms: i64,
    pub(crate) parent: Option<String>,
    /// The adaptation that made it; none of the first.
    pub(crate) adaptation: Option<String>,
    /// Whether it waits for an operator.
    pub(crate) is_candidate: bool,
}

/// A version with its weights, as files of checkpoints. The first version has none: it is the
/// checkpoint that the server is started with.
#[derive(Clone, Debug)]
pub(crate) struct StoredVersion {
    pub(crate) version: String,
    pub(crate) parent: Option<String>,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) quantized: Option<Vec<u8>>,
}

/// What became of a version that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    /// It is served from now on, in place of this one.
    Served(String),
    /// It gets its first share of the traffic.
    Canary,
    /// It is served already.
    Already,
    /// This experiment runs, beside which no canary begins.
    Running(String),
}

pub(super) const ACTIVE: &str = "active_version";
const BASE: &str = "base_version";
pub(super) const MODEL: &str = "base_model";
const REFERENCE: &str = "prompt_reference";

impl Store {
    /// Binds a new database to a model, or checks that this is the database of that model.
    ///
    /// # Errors
    /// [`StoreError::OtherModel`], or the database's.
    pub(crate) async fn bind(&self, model: &str, base_version: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        match setting(&mut tx, BASE).await? {
            Some(found) if found == base_version => {}
            Some(found) => {
                let name = setting(&mut tx, MODEL).await?.unwrap_or_default();
                let short = |version: &str| version.get(..12).unwrap_or(version).to_owned();
                return Err(StoreError::OtherModel {
                    found: format!("{name} ({})", short(&found)),
                    expected: format!("{model} ({})", short(base_version)),
                });
            }
            None => {
                begin_with(&mut tx, model, base_version).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Binds the database to another checkpoint: feedback and journal stay, versions of the former one go, since
    /// what it had learnt is not part of the new one. None if it is bound to this checkpoint already.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn rebase(
        &self,
        model: &str,
        base_version: &str,
    ) -> Result<Option<String>, StoreError> {
        let mut tx = self.begin().await?;
        let former = setting(&mut tx, BASE).await?.ok_or(StoreError::Missing)?;
        if former == base_version {
            tx.cancel().await?;
            return Ok(None);
        }
        let active = setting(&mut tx, ACTIVE).await?;
        withdraw_candidates(&mut tx, None, "another checkpoint has come").await?;
        sqlx::query("DELETE FROM versions")
            .execute(&mut *tx)
            .await?;
        if let Some(id) = experiments::running(&mut tx).await? {
            experiments::end(&mut tx, &id, "a new checkpoint").await?;
        }
        sqlx::query("DELETE FROM settings WHERE name IN ('learning_rate', 'prompt_reference')")
            .execute(&mut *tx)
            .await?;
        begin_with(&mut tx, model, base_version).await?;
        let message = format!("a new checkpoint, {model}");
        let versions = Some((active.as_deref().unwrap_or(&former), base_version));
        add(
            &mut tx,
            "rebase",
            EntryStatus::Accepted,
            versions,
            Some(&message),
        )
        .await?;
        tx.commit().await?;
        Ok(Some(former))
    }

    /// Adds a version that was made elsewhere and serves it from now on, as a canary to a part of the traffic, with the
    /// record of how it was made in the journal.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn import_version(
        &self,
        mut version: StoredVersion,
        receipt: Option<&str>,
        as_canary: bool,
    ) -> Result<Imported, StoreError> {
        let mut tx = self.begin().await?;
        lock_active(&mut tx).await?;
        let former = setting(&mut tx, ACTIVE).await?.ok_or(StoreError::Missing)?;
        if former == version.version {
            tx.cancel().await?;
            return Ok(Imported::Already);
        }
        canary::supersede(&mut tx).await?;
        if as_canary && let Some(other) = experiments::running(&mut tx).await? {
            tx.cancel().await?;
            return Ok(Imported::Running(other));
        }
        withdraw_candidates(&mut tx, None, "another version was imported").await?;
        version.parent = Some(former.clone());
        insert(&mut tx, &version, None).await?;
        let status = if as_canary {
            EntryStatus::Canary
        } else {
            EntryStatus::Accepted
        };
        let versions = Some((&*former, &*version.version));
        let id = add(&mut tx, "import", status, versions, None).await?;
        sqlx::query("UPDATE adaptations SET receipt = $1 WHERE id = $2")
            .bind(receipt.map(str::to_owned))
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let imported = if as_canary {
            canary::begin(&mut tx, &former, &version.version, "it was imported").await?;
            Imported::Canary
        } else {
            activate(&mut tx, &version.version).await?;
            Imported::Served(former)
        };
        tx.commit().await?;
        Ok(imported)
    }

    /// The version that is to be served.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn active(&self) -> Result<String, StoreError> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = $1")
            .bind(ACTIVE)
            .fetch_one(&self.own)
            .await?;
        Ok(row.try_get("value")?)
    }

    /// All versions, newest first, without their weights.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn versions(&self) -> Result<Vec<VersionRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT version, created_ms, parent, adaptation, \
             (SELECT COUNT(*) FROM adaptations WHERE id = adaptation AND status = $1) AS waiting \
             FROM versions ORDER BY created_ms DESC, version",
        )
        .bind(EntryStatus::Candidate.name())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(VersionRow {
                    version: row.try_get("version")?,
                    created_ms: row.try_get("created_ms")?,
                    parent: row.try_get("parent")?,
                    adaptation: row.try_get("adaptation")?,
                    is_candidate: row.try_get::<i64, _>("waiting")? > 0,
                })
            })
            .collect()
    }

    /// A version with its weights.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn version(&self, version: &str) -> Result<Option<StoredVersion>, StoreError> {
        let row = sqlx::query(
            "SELECT version, parent, checkpoint, quantized FROM versions WHERE version = $1",
        )
        .bind(version.to_owned())
        .fetch_optional(&self.own)
        .await?;
        row.map(|row| {
            Ok(StoredVersion {
                version: row.try_get("version")?,
                parent: row.try_get("parent")?,
                checkpoint: row.try_get("checkpoint")?,
                quantized: row.try_get("quantized")?,
            })
        })
        .transpose()
    }

    /// The learning rate of the next adaptation, if one has been set that started from that of the settings.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn learning_rate(&self, start: f64) -> Result<Option<f64>, StoreError> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = 'learning_rate'")
            .fetch_optional(&self.own)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let value: String = row.try_get("value")?;
        let (rate, from) = value.split_once(" from ").unwrap_or((&value, ""));
        let holds = from
            .parse()
            .is_ok_and(|from: f64| from.total_cmp(&start).is_eq());
        Ok(rate.parse().ok().filter(|_| holds))
    }
}

impl Store {
    /// Keeps the bits per byte of the prompts that later ones are compared with, by the weights of the start.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn keep_reference(&self, bits_per_byte: &[f64]) -> Result<(), StoreError> {
        let values = bits_per_byte.iter().map(f64::to_string);
        let mut tx = self.begin().await?;
        set(&mut tx, REFERENCE, &values.collect::<Vec<_>>().join(" ")).await?;
        tx.commit().await
    }

    /// What was kept so, if anything was.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn reference(&self) -> Result<Option<Vec<f64>>, StoreError> {
        let kept = setting(&mut *self.own.acquire().await?, REFERENCE).await?;
        Ok(kept.and_then(|text| text.split(' ').map(|value| value.parse().ok()).collect()))
    }
}

/// Makes a checkpoint the base, and the version that is served.
async fn begin_with(tx: &mut Tx, model: &str, base_version: &str) -> Result<(), StoreError> {
    let settings = [(BASE, base_version), (ACTIVE, base_version), (MODEL, model)];
    for (name, value) in settings {
        set(tx, name, value).await?;
    }
    let version = StoredVersion {
        version: base_version.to_owned(),
        parent: None,
        checkpoint: None,
        quantized: None,
    };
    insert(tx, &version, None).await
}

/// Whether there is a version.
pub(super) async fn exists(tx: &mut Tx, version: &str) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT version FROM versions WHERE version = $1")
        .bind(version.to_owned())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Adds a version; one that is there already stays as it is, since equal names are equal weights.
pub(super) async fn insert(
    tx: &mut Tx,
    version: &StoredVersion,
    adaptation: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO versions (version, created_ms, parent, adaptation, checkpoint, quantized) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (version) DO NOTHING",
    )
    .bind(version.version.clone())
    .bind(now_ms())
    .bind(version.parent.clone())
    .bind(adaptation.map(str::to_owned))
    .bind(version.checkpoint.clone())
    .bind(version.quantized.clone())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Holds the row of the active version until the end of the transaction, so that nobody makes another one active, and
/// no experiment begins or goes on, between a look at it and the end.
pub(super) async fn lock_active(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("UPDATE settings SET value = value WHERE name = $1")
        .bind(ACTIVE)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Makes a version the one that is served, by every server of the database.
pub(super) async fn activate(tx: &mut Tx, version: &str) -> Result<(), StoreError> {
    set(tx, ACTIVE, version).await
}

/// Serves a version from now on if `from` is served. One statement: between a look and a change somebody could
/// roll back.
pub(super) async fn activate_after(
    tx: &mut Tx,
    from: &str,
    version: &str,
) -> Result<bool, StoreError> {
    let changed = sqlx::query("UPDATE settings SET value = $1 WHERE name = $2 AND value = $3")
        .bind(version.to_owned())
        .bind(ACTIVE)
        .bind(from.to_owned())
        .execute(&mut **tx)
        .await?;
    Ok(changed.rows_affected() > 0)
}

pub(super) async fn setting(
    connection: &mut AnyConnection,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT value FROM settings WHERE name = $1")
        .bind(name.to_owned())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("value")).transpose()?)
}

pub(super) async fn set(tx: &mut Tx, name: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO settings (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name.to_owned())
    .bind(value.to_owned())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
