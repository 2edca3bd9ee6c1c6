//! The tables. A change is a new entry of `FORMS`, never an edit of an old one.

use sqlx::{AnyConnection, Row as _};

use super::{Kind, StoreError, random_id};

/// Statements that lead from each form to the next. `{bytes}` is the type of byte strings.
const FORMS: [&[&str]; 7] = [
    &[
        "CREATE TABLE answers (
        id TEXT PRIMARY KEY,
        created_ms BIGINT NOT NULL,
        prompt {bytes} NOT NULL,
        output {bytes} NOT NULL,
        ended BIGINT NOT NULL,
        tokens BIGINT NOT NULL,
        variant TEXT NOT NULL,
        version TEXT NOT NULL,
        parameters TEXT NOT NULL,
        latency_us BIGINT NOT NULL
    )",
        "CREATE INDEX answers_created ON answers (created_ms)",
        "CREATE TABLE feedback (
        id TEXT PRIMARY KEY,
        created_ms BIGINT NOT NULL,
        updated_ms BIGINT NOT NULL,
        rating BIGINT,
        correct BIGINT,
        correction {bytes},
        comments {bytes},
        negative BIGINT NOT NULL,
        used_by TEXT
    )",
        "CREATE INDEX feedback_updated ON feedback (updated_ms)",
        "CREATE INDEX feedback_used ON feedback (used_by)",
        "CREATE TABLE versions (
        version TEXT PRIMARY KEY,
        created_ms BIGINT NOT NULL,
        parent TEXT,
        adaptation TEXT,
        checkpoint {bytes},
        quantized {bytes}
    )",
        "CREATE TABLE adaptations (
        id TEXT PRIMARY KEY,
        requested_ms BIGINT NOT NULL,
        started_ms BIGINT,
        ended_ms BIGINT,
        trigger_kind TEXT NOT NULL,
        status TEXT NOT NULL,
        server TEXT,
        from_version TEXT,
        to_version TEXT,
        message TEXT,
        receipt TEXT
    )",
        "CREATE INDEX adaptations_requested ON adaptations (requested_ms)",
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, expires_ms BIGINT NOT NULL)",
        "INSERT INTO lease (name, holder, expires_ms) VALUES ('adapter', '', 0)",
    ],
    &["ALTER TABLE answers ADD COLUMN user_digest TEXT"],
    &["ALTER TABLE feedback ADD COLUMN visitor TEXT"],
    // Feedback of keys has a source too; what was given without a key counted ten times at most.
    &[
        "ALTER TABLE feedback RENAME COLUMN visitor TO source",
        "ALTER TABLE feedback ADD COLUMN most BIGINT",
        "UPDATE feedback SET most = 10 WHERE source IS NOT NULL",
        "ALTER TABLE feedback ADD COLUMN set_aside BIGINT NOT NULL DEFAULT 0",
        "CREATE INDEX feedback_source ON feedback (source)",
    ],
    &[
        // Numbers that are the same may stand once, so that at most one experiment runs; NULL may stand often.
        "CREATE TABLE experiments (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        running BIGINT UNIQUE,
        started_ms BIGINT NOT NULL,
        ended_ms BIGINT,
        message TEXT,
        definition TEXT NOT NULL
    )",
        "CREATE TABLE experiment_units (
        experiment TEXT NOT NULL,
        unit TEXT NOT NULL,
        arm TEXT NOT NULL,
        answers BIGINT NOT NULL,
        PRIMARY KEY (experiment, unit)
    )",
        "CREATE TABLE experiment_scores (
        experiment TEXT NOT NULL,
        answer TEXT NOT NULL,
        arm TEXT NOT NULL,
        unit TEXT NOT NULL,
        kind TEXT NOT NULL,
        bytes BIGINT NOT NULL,
        nats DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (experiment, answer, arm)
    )",
        "ALTER TABLE answers ADD COLUMN experiment TEXT",
        "ALTER TABLE answers ADD COLUMN arm TEXT",
        "ALTER TABLE answers ADD COLUMN unit TEXT",
        "CREATE INDEX answers_experiment ON answers (experiment, arm, created_ms) WHERE experiment IS NOT NULL",
    ],
    &["CREATE TABLE hours (
        hour BIGINT PRIMARY KEY,
        requests DOUBLE PRECISION NOT NULL,
        errors DOUBLE PRECISION NOT NULL,
        answers DOUBLE PRECISION NOT NULL,
        tokens DOUBLE PRECISION NOT NULL,
        answer_seconds DOUBLE PRECISION NOT NULL,
        feedback DOUBLE PRECISION NOT NULL,
        negative DOUBLE PRECISION NOT NULL,
        corrected_bytes DOUBLE PRECISION NOT NULL,
        corrected_nats_served DOUBLE PRECISION NOT NULL,
        corrected_nats_base DOUBLE PRECISION NOT NULL
    )"],
    &["ALTER TABLE hours ADD COLUMN drift_alarms DOUBLE PRECISION NOT NULL DEFAULT 0"],
];

/// Any number that nothing else in the database locks.
const MIGRATION_LOCK: i64 = 0x0069_7465_7261;

/// Makes the tables, or brings them up to date, in one transaction. Returns the salt of users' digests.
pub(super) async fn migrate(
    connection: &mut AnyConnection,
    kind: Kind,
) -> Result<String, StoreError> {
    sqlx::query(match kind {
        Kind::Sqlite => "BEGIN IMMEDIATE",
        Kind::Postgres => "BEGIN",
    })
    .execute(&mut *connection)
    .await?;
    if kind == Kind::Postgres {
        // Servers that start at one time go one after the other.
        sqlx::query("SELECT pg_advisory_xact_lock($1)::text")
            .bind(MIGRATION_LOCK)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("CREATE TABLE IF NOT EXISTS form (number BIGINT NOT NULL)")
        .execute(&mut *connection)
        .await?;
    let found = form(connection).await?;
    let bytes = match kind {
        Kind::Sqlite => "BLOB",
        Kind::Postgres => "BYTEA",
    };
    for (number, statements) in (1_i64..).zip(FORMS).skip(found as usize) {
        for statement in statements {
            let statement = statement.replace("{bytes}", bytes);
            // The text is a constant of this file.
            let statement = sqlx::AssertSqlSafe(statement);
            sqlx::query(statement).execute(&mut *connection).await?;
        }
        sqlx::query("INSERT INTO form (number) VALUES ($1)")
            .bind(number)
            .execute(&mut *connection)
            .await?;
    }
    let salt = salt(connection).await?;
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(salt)
}

/// Checks that this program knows the tables. Returns the salt of users' digests, empty if there are none yet.
pub(super) async fn check(connection: &mut AnyConnection) -> Result<String, StoreError> {
    form(connection).await?;
    let row = sqlx::query("SELECT value FROM settings WHERE name = 'user_salt'")
        .fetch_optional(connection)
        .await?;
    Ok(row
        .map(|row| row.try_get("value"))
        .transpose()?
        .unwrap_or_default())
}

/// The form of the tables.
async fn form(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT COALESCE(MAX(number), 0) AS number FROM form")
        .fetch_one(connection)
        .await?;
    let (found, known): (i64, i64) = (row.try_get("number")?, FORMS.len() as i64);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    Ok(found)
}

/// What the digests of users begin with: drawn once for a database.
async fn salt(connection: &mut AnyConnection) -> Result<String, StoreError> {
    let sql =
        "INSERT INTO settings (name, value) VALUES ('user_salt', $1) ON CONFLICT (name) DO NOTHING";
    sqlx::query(sql)
        .bind(random_id())
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query("SELECT value FROM settings WHERE name = 'user_salt'")
        .fetch_one(&mut *connection)
        .await?;
    Ok(row.try_get("value")?)
}
