//! What has come of experiments: whom they have divided, what people said, how likely texts were.

use std::collections::BTreeMap;

use sqlx::{Row as _, any::AnyRow};

use super::{
    Answer, ArmOf, Store, StoreError, Tx,
    writer::{batches, places},
};
use crate::experiments::Sums;

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

impl Store {
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
            "SELECT SUM(f.negative) AS x, COUNT(*) AS y FROM answers a JOIN feedback f ON f.id = a.id AND f.set_aside = 0 \
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

    /// Stores how the arms have scored the text of an answer; a correction takes the place of what was scored before.
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
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (experiment, answer, arm) DO UPDATE SET \
                 kind = excluded.kind, bytes = excluded.bytes, nats = excluded.nats WHERE excluded.kind = 'corrected'",
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
    let mut counts: BTreeMap<&ArmOf, i64> = BTreeMap::new();
    for of in answers.iter().filter_map(|answer| answer.arm.as_ref()) {
        *counts.entry(of).or_default() += 1;
    }
    let counts: Vec<_> = counts.into_iter().collect();
    for rows in batches(&counts) {
        let sql = format!(
            "INSERT INTO experiment_units (experiment, unit, arm, answers) VALUES {} \
             ON CONFLICT (experiment, unit) DO UPDATE SET answers = experiment_units.answers + excluded.answers",
            places(rows.len(), 4)
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for (of, count) in rows {
            query = query
                .bind(of.experiment.clone())
                .bind(of.unit.clone())
                .bind(of.arm.clone())
                .bind(*count);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
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
