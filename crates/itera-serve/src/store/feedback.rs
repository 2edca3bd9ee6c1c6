//! Feedback as it is stored and read.

use sqlx::{Row as _, any::AnyRow};

use super::{
    Answer, ArmOf, EntryStatus, Store, StoreError,
    approval::is_paused,
    begin_rating,
    writer::{insert_answers, new_negatives, upsert},
};

/// What somebody says about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feedback {
    /// Id of the answer.
    pub(crate) id: String,
    /// 1 to 5.
    pub(crate) rating: Option<i64>,
    pub(crate) correct: Option<bool>,
    /// What should have been written.
    pub(crate) correction: Option<String>,
    pub(crate) comments: Option<String>,
    /// Whether it may take the place of what was said before.
    pub(crate) replaces: bool,
    /// Who says so; none of what was imported.
    pub(crate) source: Option<Source>,
}

/// Who has given feedback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Salted digest of the name of a key, or of a network.
    pub(crate) digest: String,
    /// Most of its records that count for an adaptation and that it learns from; none for all.
    pub(crate) most: Option<i64>,
}

impl Feedback {
    /// Whether the answer was found bad: said to be wrong, rated 1 or 2, or corrected.
    pub(crate) fn is_negative(&self) -> bool {
        self.correct == Some(false)
            || self.correction.is_some()
            || (self.correct.is_none() && self.rating.is_some_and(|rating| rating <= 2))
    }

    /// Whether the answer was found good: said to be right or rated 4 or 5, and not negative.
    pub(crate) fn is_positive(&self) -> bool {
        let good = self.correct == Some(true) || self.rating.is_some_and(|rating| rating >= 4);
        good && !self.is_negative()
    }
}

/// Feedback with the answer that it is about.
#[derive(Clone, Debug)]
pub(crate) struct Rated {
    pub(crate) feedback: Feedback,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    /// Whether an operator has set it aside, so that it is not learnt.
    pub(crate) is_aside: bool,
    pub(crate) answer: Answer,
}

/// How much feedback there is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) records: i64,
    /// Negative records that no adaptation has seen, as far as they count.
    pub(crate) new_negatives: i64,
    /// Candidates that wait for an operator.
    pub(crate) candidates: i64,
    /// Whether an operator has paused learning.
    pub(crate) is_paused: bool,
    /// Share of the last records that count that were not negative; none without records.
    pub(crate) recent_accuracy: Option<f64>,
}

/// Records that `recent_accuracy` is over, and among how many of the last they are looked for, so that it stays cheap.
const RECENT: i64 = 100;
const LOOKED_AT: &str =
    "(SELECT * FROM feedback ORDER BY updated_ms DESC LIMIT 10000) AS looked_at";

/// Adaptations that an operator has declined, and those whose versions are not part of the active one: it was
/// neither made of them, nor, if another checkpoint has come since, was what was active then. A rejected one has made a
/// version if that was a canary.
const UNWANTED: &str = "WITH RECURSIVE line (version) AS ( \
    SELECT value FROM settings WHERE name = 'active_version' \
    UNION SELECT made.from_version FROM adaptations made JOIN line ON made.to_version = line.version \
    WHERE made.status IN ('accepted', 'rejected')) \
    SELECT id FROM adaptations WHERE status = 'declined' OR (status IN ('accepted', 'rejected') AND to_version NOT IN \
    (SELECT version FROM line WHERE version IS NOT NULL))";

/// What counts of feedback, or of the latest: none that is set aside, that an operator has declined or that was rolled
/// back, and of each source as many as may, the latest.
fn counted(feedback: &str) -> String {
    format!(
        "(SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY source ORDER BY updated_ms DESC, id) AS number \
         FROM {feedback} WHERE set_aside = 0 AND (used_by IS NULL OR used_by NOT IN ({UNWANTED}))) AS numbered \
         WHERE most IS NULL OR number <= most)"
    )
}

/// Feedback with its answers; `{feedback}` is the table, or a part of it.
const RATED: &str = "SELECT f.id, f.created_ms AS f_created, f.updated_ms, f.rating, f.correct, \
    f.correction, f.comments, f.source, f.most, f.set_aside, a.created_ms AS a_created, a.prompt, a.output, a.ended, a.tokens, \
    a.variant, a.version, a.parameters, a.latency_us, a.experiment, a.arm, a.unit \
    FROM {feedback} f JOIN answers a ON a.id = f.id";

impl Store {
    /// Up to `most` records after `id`, by id: for reading all of them in parts.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn after(&self, id: &str, most: u32) -> Result<Vec<Rated>, StoreError> {
        let all = RATED.replace("{feedback}", "feedback");
        let sql = format!("{all} WHERE f.id > $1 ORDER BY f.id LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.to_owned())
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(rated).collect()
    }

    /// The latest records that count, newest first: what is learnt from.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn latest(&self, most: u32) -> Result<Vec<Rated>, StoreError> {
        let sql = format!(
            "{} ORDER BY f.updated_ms DESC, f.id LIMIT $1",
            RATED.replace("{feedback}", &counted("feedback"))
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::from(most));
        let rows = query.fetch_all(&self.own).await?;
        rows.iter().map(rated).collect()
    }

    /// The record of an answer, if it has one.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn rated(&self, id: &str) -> Result<Option<Rated>, StoreError> {
        let all = RATED.replace("{feedback}", "feedback");
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{all} WHERE f.id = $1")))
            .bind(id.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(rated).transpose()
    }

    /// Puts records in, all or none, with their answers. Returns how many were not there before; what
    /// was there stays.
    ///
    /// # Errors
    /// The database's; then nothing is put in.
    pub(crate) async fn import(&self, records: &[Rated]) -> Result<usize, StoreError> {
        let mut tx = begin_rating(&self.own, self.place.kind).await?;
        let mut new = 0;
        for record in records {
            let known = sqlx::query("SELECT id FROM feedback WHERE id = $1")
                .bind(record.feedback.id.clone())
                .fetch_optional(&mut *tx)
                .await?;
            if known.is_some() {
                continue;
            }
            let answer = std::slice::from_ref(&record.answer);
            insert_answers(&mut tx, answer, record.answer.created_ms).await?;
            upsert(&mut tx, &record.feedback, record.updated_ms).await?;
            sqlx::query("UPDATE feedback SET created_ms = $1, set_aside = $2 WHERE id = $3")
                .bind(record.created_ms)
                .bind(i64::from(record.is_aside))
                .bind(record.feedback.id.clone())
                .execute(&mut *tx)
                .await?;
            new += 1;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// How much feedback there is.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn counts(&self) -> Result<Counts, StoreError> {
        let all = sqlx::query("SELECT COUNT(*) AS records FROM feedback")
            .fetch_one(&self.pool)
            .await?;
        let waiting = sqlx::query("SELECT COUNT(*) AS records FROM adaptations WHERE status = $1")
            .bind(EntryStatus::Candidate.name())
            .fetch_one(&self.pool)
            .await?;
        let (new_negatives, is_paused) = {
            let mut connection = self.pool.acquire().await?;
            let fresh = new_negatives(&mut connection).await?;
            (fresh, is_paused(&mut connection).await?)
        };
        let sql = format!(
            "SELECT COUNT(*) AS records, COUNT(CASE WHEN negative = 1 THEN 1 END) AS negatives \
             FROM (SELECT negative FROM {} AS counted ORDER BY updated_ms DESC LIMIT $1) AS recent",
            counted(LOOKED_AT)
        );
        let recent = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(RECENT)
            .fetch_one(&self.pool)
            .await?;
        let (records, negatives): (i64, i64) =
            (recent.try_get("records")?, recent.try_get("negatives")?);
        Ok(Counts {
            records: all.try_get("records")?,
            new_negatives,
            candidates: waiting.try_get("records")?,
            is_paused,
            recent_accuracy: (records > 0).then(|| 1.0 - negatives as f64 / records as f64),
        })
    }
}

/// A row of [`RATED`].
fn rated(row: &AnyRow) -> Result<Rated, StoreError> {
    let text = |column: &str| -> Result<String, StoreError> {
        let bytes: Vec<u8> = row.try_get(column)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let optional = |column: &str| -> Result<Option<String>, StoreError> {
        let bytes: Option<Vec<u8>> = row.try_get(column)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let id: String = row.try_get("id")?;
    let correct: Option<i64> = row.try_get("correct")?;
    let digest: Option<String> = row.try_get("source")?;
    let most = row.try_get("most")?;
    let source = digest.map(|digest| Source { digest, most });
    Ok(Rated {
        created_ms: row.try_get("f_created")?,
        updated_ms: row.try_get("updated_ms")?,
        is_aside: row.try_get::<i64, _>("set_aside")? != 0,
        answer: Answer {
            id: id.clone(),
            created_ms: row.try_get("a_created")?,
            prompt: text("prompt")?,
            output: text("output")?,
            ended: row.try_get::<i64, _>("ended")? != 0,
            tokens: row.try_get::<i64, _>("tokens")? as usize,
            variant: row.try_get("variant")?,
            version: row.try_get("version")?,
            parameters: row.try_get("parameters")?,
            latency_us: row.try_get("latency_us")?,
            user: None,
            arm: arm_of(row)?,
        },
        feedback: Feedback {
            id,
            rating: row.try_get("rating")?,
            correct: correct.map(|correct| correct != 0),
            correction: optional("correction")?,
            comments: optional("comments")?,
            replaces: true,
            source,
        },
    })
}

/// The arm that has written an answer.
fn arm_of(row: &AnyRow) -> Result<Option<ArmOf>, StoreError> {
    let columns = ["experiment", "arm", "unit"].map(|column| row.try_get(column));
    let [experiment, arm, unit]: [Result<Option<String>, _>; 3] = columns;
    let of = |((experiment, arm), unit)| ArmOf {
        experiment,
        arm,
        unit,
    };
    Ok(experiment?.zip(arm?).zip(unit?).map(of))
}
