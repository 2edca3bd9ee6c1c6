//! Experiments: what they divide, when they begin, and when they end.

use itera_core::checkpoint::Precision;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Store, StoreError, Tx, now_ms, versions::lock_active};

/// What an experiment divides, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub(crate) by: By,
    /// Drawn for each experiment, so that each divides anew.
    pub(crate) salt: String,
    /// The first is the one that others are compared with.
    pub(crate) arms: Vec<ArmSpec>,
}

/// Who or what stays with an arm. A request that does not tell is assigned by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// Whoever a request says that it is for.
    User,
    /// The key of a request.
    Key,
    /// Every request by itself; a session as a whole.
    Request,
}

/// An arm, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmSpec {
    pub(crate) name: String,
    /// Its share is this over the sum of all.
    pub(crate) weight: u32,
    pub(crate) model: String,
    pub(crate) version: String,
    /// None for that which a request names, or the model's default.
    pub(crate) precision: Option<Precision>,
    #[serde(flatten)]
    pub(crate) sampling: Sampling,
}

/// What a request or an arm says about sampling; the rest is as by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sampling {
    pub(crate) temperature: Option<f64>,
    pub(crate) top_k: Option<u32>,
    pub(crate) top_p: Option<f64>,
}

/// Who has begun an experiment, which tells what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An operator, to compare.
    Comparison,
    /// The server, to try what it has learnt.
    Canary,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Comparison => "comparison",
            Self::Canary => "canary",
        }
    }
}

/// An experiment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Experiment {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) started_ms: i64,
    /// None while it runs.
    pub(crate) ended_ms: Option<i64>,
    /// Why it has ended.
    pub(crate) message: Option<String>,
    pub(crate) definition: Definition,
}

/// Whether an experiment has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Yes,
    /// There is or was one of this name.
    NameTaken,
    /// This one runs.
    Running(String),
}

/// The arm that an answer was written by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ArmOf {
    pub(crate) experiment: String,
    pub(crate) arm: String,
    /// Digest of who or what was assigned.
    pub(crate) unit: String,
}

/// Experiments in a list.
const LISTED: i64 = 100;

const COLUMNS: &str = "SELECT id, kind, started_ms, ended_ms, message, definition FROM experiments";

impl Store {
    /// Begins an experiment, if none runs.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn begin_experiment(
        &self,
        id: &str,
        definition: &Definition,
    ) -> Result<Begun, StoreError> {
        let mut tx = self.begin().await?;
        lock_active(&mut tx).await?;
        let known = sqlx::query("SELECT id FROM experiments WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&mut *tx)
            .await?;
        let begun = match (known, running(&mut tx).await?) {
            (Some(_), _) => Begun::NameTaken,
            (None, Some(other)) => Begun::Running(other),
            (None, None) => Begun::Yes,
        };
        if begun == Begun::Yes {
            insert(&mut tx, id, Kind::Comparison, definition).await?;
        }
        tx.commit().await?;
        Ok(begun)
    }

    /// The experiment that runs, if one does.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn running_experiment(&self) -> Result<Option<Experiment>, StoreError> {
        running_one(&mut *self.own.acquire().await?).await
    }

    /// An experiment.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn experiment(&self, id: &str) -> Result<Option<Experiment>, StoreError> {
        let sql = format!("{COLUMNS} WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(experiment).transpose()
    }

    /// The latest experiments, newest first.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn experiments(&self) -> Result<Vec<Experiment>, StoreError> {
        let sql = format!("{COLUMNS} ORDER BY started_ms DESC, id LIMIT $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(LISTED)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(experiment).collect()
    }
}

/// The experiment that runs, if one does.
pub(super) async fn running(connection: &mut AnyConnection) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT id FROM experiments WHERE running = 1")
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?)
}

/// The same with all that is known of it.
pub(super) async fn running_one(
    connection: &mut AnyConnection,
) -> Result<Option<Experiment>, StoreError> {
    let sql = format!("{COLUMNS} WHERE running = 1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(experiment).transpose()
}

/// Begins an experiment; the table permits one at a time.
pub(super) async fn insert(
    tx: &mut Tx,
    id: &str,
    kind: Kind,
    definition: &Definition,
) -> Result<(), StoreError> {
    // Plain data, whose maps have texts as keys.
    let definition = serde_json::to_string(definition).unwrap_or_default();
    sqlx::query(
        "INSERT INTO experiments (id, kind, running, started_ms, definition) VALUES ($1, $2, 1, $3, $4)",
    )
    .bind(id.to_owned())
    .bind(kind.name())
    .bind(now_ms())
    .bind(definition)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends an experiment; false if it does not run.
pub(super) async fn end(tx: &mut Tx, id: &str, message: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE experiments SET running = NULL, ended_ms = $1, message = $2 WHERE id = $3 AND running = 1",
    )
    .bind(now_ms())
    .bind(message.to_owned())
    .bind(id.to_owned())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

fn experiment(row: &AnyRow) -> Result<Experiment, StoreError> {
    let kind: String = row.try_get("kind")?;
    let definition: String = row.try_get("definition")?;
    let definition =
        serde_json::from_str(&definition).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Experiment {
        id: row.try_get("id")?,
        kind: if kind == Kind::Canary.name() {
            Kind::Canary
        } else {
            Kind::Comparison
        },
        started_ms: row.try_get("started_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        message: row.try_get("message")?,
        definition,
    })
}
