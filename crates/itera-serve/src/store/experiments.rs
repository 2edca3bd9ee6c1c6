//! Experiments: what they divide, whom they have divided, and what has come of it.

use itera_core::checkpoint::Precision;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Answer, Store, StoreError, Tx, now_ms, versions::lock_active};
use crate::experiments::Sums;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArmOf {
    pub(crate) experiment: String,
    pub(crate) arm: String,
    /// Digest of who or what was assigned.
    pub(crate) unit: String,
}

/// What has come of an arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ArmSums {
    /// Users, keys or requests.
    pub(crate) units: f64,
    pub(crate) answers: f64,
    /// Negative answers over rated answers, by unit.
    pub(crate) negatives: Sums,
}

/// Texts that people want, scored by an arm and by the control, neither of which had learnt from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PairSums {
    pub(crate) texts: f64,
    pub(crate) bytes: f64,
    /// By the arm.
    pub(crate) nats: f64,
    /// Nats by the arm less those by the control, over bytes, by unit.
    pub(crate) differences: Sums,
}

/// A text that was scored by every arm.
#[derive(Clone, Debug)]
pub(crate) struct ScoredText {
    /// Id of the answer that it belongs to.
    pub(crate) answer: String,
    pub(crate) unit: String,
    pub(crate) kind: &'static str,
    pub(crate) bytes: usize,
    /// By each arm, with its name.
    pub(crate) nats: Vec<(String, f64)>,
}

/// Latest answers of an arm whose times are looked at.
const LATEST: i64 = 2_000;

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

    /// What has come of an arm.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn arm_sums(
        &self,
        experiment: &str,
        arm: &str,
    ) -> Result<ArmSums, StoreError> {
        let counted = sqlx::query(
            "SELECT COUNT(*) AS units, CAST(COALESCE(SUM(answers), 0) AS BIGINT) AS answers \
             FROM experiment_units WHERE experiment = $1 AND arm = $2",
        )
        .bind(experiment.to_owned())
        .bind(arm.to_owned())
        .fetch_one(&self.pool)
        .await?;
        let sql = sums_of(
            "SELECT SUM(f.negative) AS x, COUNT(*) AS y FROM answers a JOIN feedback f ON f.id = a.id \
             WHERE a.experiment = $1 AND a.arm = $2 GROUP BY a.unit",
        );
        let rated = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(experiment.to_owned())
            .bind(arm.to_owned())
            .fetch_one(&self.pool)
            .await?;
        Ok(ArmSums {
            units: counted.try_get::<i64, _>("units")? as f64,
            answers: counted.try_get::<i64, _>("answers")? as f64,
            negatives: sums(&rated)?,
        })
    }

    /// Texts of a kind that were scored by an arm and by the control.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn pair_sums(
        &self,
        experiment: &str,
        kind: &str,
        arm: &str,
        control: &str,
    ) -> Result<PairSums, StoreError> {
        let pairs = "FROM experiment_scores s JOIN experiment_scores c ON c.experiment = s.experiment \
             AND c.answer = s.answer AND c.arm = $1 WHERE s.experiment = $2 AND s.kind = $3 AND s.arm = $4";
        let totals = format!(
            "SELECT COUNT(*) AS texts, CAST(COALESCE(SUM(s.bytes), 0) AS DOUBLE PRECISION) AS bytes, \
             CAST(COALESCE(SUM(s.nats), 0) AS DOUBLE PRECISION) AS nats {pairs}"
        );
        let by_unit = sums_of(&format!(
            "SELECT SUM(s.nats - c.nats) AS x, SUM(s.bytes) AS y {pairs} GROUP BY s.unit"
        ));
        let mut rows = Vec::new();
        for sql in [totals, by_unit] {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(control.to_owned())
                .bind(experiment.to_owned())
                .bind(kind.to_owned())
                .bind(arm.to_owned());
            rows.push(query.fetch_one(&self.pool).await?);
        }
        Ok(PairSums {
            texts: rows[0].try_get::<i64, _>("texts")? as f64,
            bytes: rows[0].try_get("bytes")?,
            nats: rows[0].try_get("nats")?,
            differences: sums(&rows[1])?,
        })
    }

    /// Microseconds and tokens of the latest answers of an arm.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn times(
        &self,
        experiment: &str,
        arm: &str,
    ) -> Result<Vec<(f64, f64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT latency_us, tokens FROM answers WHERE experiment = $1 AND arm = $2 \
             ORDER BY created_ms DESC LIMIT $3",
        )
        .bind(experiment.to_owned())
        .bind(arm.to_owned())
        .bind(LATEST)
        .fetch_all(&self.pool)
        .await?;
        let both = |row: &AnyRow| -> Result<(f64, f64), StoreError> {
            let (us, tokens): (i64, i64) = (row.try_get("latency_us")?, row.try_get("tokens")?);
            Ok((us as f64, tokens as f64))
        };
        rows.iter().map(both).collect()
    }

    /// Stores how the arms have scored a text; what was said of it before stays.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn add_scores(
        &self,
        experiment: &str,
        text: &ScoredText,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for (arm, nats) in &text.nats {
            sqlx::query(
                "INSERT INTO experiment_scores (experiment, answer, arm, unit, kind, bytes, nats) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (experiment, answer, arm) DO NOTHING",
            )
            .bind(experiment.to_owned())
            .bind(text.answer.clone())
            .bind(arm.clone())
            .bind(text.unit.clone())
            .bind(text.kind)
            .bind(text.bytes as i64)
            .bind(*nats)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await
    }
}

/// Counts answers of experiments by unit. These counts outlive the answers, which are forgotten unless rated.
pub(super) async fn count_units(tx: &mut Tx, answers: &[Answer]) -> Result<(), StoreError> {
    for ArmOf {
        experiment,
        arm,
        unit,
    } in answers.iter().filter_map(|answer| answer.arm.as_ref())
    {
        sqlx::query(
            "INSERT INTO experiment_units (experiment, unit, arm, answers) VALUES ($1, $2, $3, 1) \
             ON CONFLICT (experiment, unit) DO UPDATE SET answers = experiment_units.answers + 1",
        )
        .bind(experiment.clone())
        .bind(unit.clone())
        .bind(arm.clone())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
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

/// The sums that [`Sums`] has, of rows with `x` and `y`.
fn sums_of(units: &str) -> String {
    let sum = |what: &str, name: &str| {
        format!("CAST(COALESCE(SUM({what}), 0) AS DOUBLE PRECISION) AS {name}")
    };
    format!(
        "SELECT COUNT(*) AS units, {}, {}, {}, {}, {} FROM (SELECT CAST(x AS DOUBLE PRECISION) AS x, \
         CAST(y AS DOUBLE PRECISION) AS y FROM ({units}) AS summed) AS each_unit",
        sum("x", "x"),
        sum("y", "y"),
        sum("x * x", "xx"),
        sum("x * y", "xy"),
        sum("y * y", "yy"),
    )
}

fn sums(row: &AnyRow) -> Result<Sums, StoreError> {
    Ok(Sums {
        units: row.try_get::<i64, _>("units")? as f64,
        x: row.try_get("x")?,
        y: row.try_get("y")?,
        xx: row.try_get("xx")?,
        xy: row.try_get("xy")?,
        yy: row.try_get("yy")?,
    })
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
