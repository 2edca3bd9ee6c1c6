//! Transactions. After an error nobody knows what a connection is in the middle of (SQLite ends a transaction by
//! itself when the disk is full, PostgreSQL refuses all that follows), so a transaction that does not come to its
//! end takes its connection with it.

use std::ops::{Deref, DerefMut};

use sqlx::{Any, AnyConnection, AnyPool, pool::PoolConnection};

use super::{Kind, StoreError};

/// A transaction of either database.
pub(super) struct Tx {
    connection: PoolConnection<Any>,
    is_over: bool,
}

impl Tx {
    /// A transaction that will write: SQLite locks at once, so that none fails halfway because another was
    /// faster.
    pub(super) async fn begin(pool: &AnyPool, kind: Kind) -> Result<Self, StoreError> {
        let mut tx = Self {
            connection: pool.acquire().await?,
            is_over: false,
        };
        let begin = match kind {
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres => "BEGIN",
        };
        sqlx::query(begin).execute(&mut *tx.connection).await?;
        Ok(tx)
    }

    /// Makes everything hold.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    /// Makes nothing hold, and keeps the connection.
    pub(super) async fn cancel(self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), StoreError> {
        sqlx::query(statement)
            .execute(&mut *self.connection)
            .await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

/// A transaction that will write feedback: until it ends, no answer is forgotten. PostgreSQL would else let
/// another server forget one between the look for it and the commit; SQLite has one writer at a time.
pub(super) async fn begin_rating(pool: &AnyPool, kind: Kind) -> Result<Tx, StoreError> {
    let mut tx = Tx::begin(pool, kind).await?;
    lock_answers(&mut tx, kind, "pg_advisory_xact_lock_shared").await?;
    Ok(tx)
}

/// Takes the lock that keeps answers, on PostgreSQL, by the function of this name.
pub(super) async fn lock_answers(
    tx: &mut Tx,
    kind: Kind,
    function: &str,
) -> Result<(), StoreError> {
    /// Names the lock; any number that no other program takes.
    const KEY: i64 = 0x6974_6572_6100;
    if kind == Kind::Postgres {
        // As text, since the driver knows no type for nothing.
        let sql = format!("SELECT {function}({KEY})::text");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
