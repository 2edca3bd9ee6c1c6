//! What happened in each hour, summed over the servers of the database: what outlives a process of its metrics.

use sqlx::Row as _;

use super::{Store, StoreError};

/// Hours that are kept: 400 days.
pub(crate) const KEPT_HOURS: i64 = 400 * 24;

const HOUR_MS: i64 = 3_600_000;

/// Names the fields once: of the struct, and of the columns in their order.
macro_rules! sums {
    ($($(#[$about:meta])* $field:ident)*) => {
        /// Sums since some time.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub(crate) struct HourSums {
            $($(#[$about])* pub(crate) $field: f64,)*
        }

        impl HourSums {
            const COLUMNS: &[&str] = &[$(stringify!($field)),*];

            fn values(self) -> Vec<f64> {
                vec![$(self.$field),*]
            }

            fn read(row: &sqlx::any::AnyRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?,)* })
            }

            /// What has been added since an earlier look.
            pub(crate) fn since(self, earlier: Self) -> Self {
                Self { $($field: self.$field - earlier.$field,)* }
            }
        }
    };
}

sums! {
    /// Requests to write or to score that were answered.
    requests
    /// Those of them that were answered with 5xx.
    errors
    /// Texts written.
    answers
    /// Tokens of these.
    tokens
    /// From the arrival of a request to the end of its text, in seconds.
    answer_seconds
    feedback
    negative
    /// Bytes of corrections, at the first verdict on an answer.
    corrected_bytes
    /// Their negative log-likelihood in nats before they were learnt from, by the weights that were served.
    corrected_nats_served
    /// The same by the weights of the start.
    corrected_nats_base
    /// Times that prompts were no longer like those of the reference window.
    drift_alarms
}

impl Store {
    /// Adds to the sums of this hour, by the clock of the database, and forgets hours that are too old.
    ///
    /// # Errors
    /// The database's; then nothing was added, unless it is that it did not answer in time.
    pub(crate) async fn add_sums(&self, sums: HourSums) -> Result<(), StoreError> {
        let columns = HourSums::COLUMNS;
        let places: Vec<_> = (1..=columns.len())
            .map(|place| format!("${place}"))
            .collect();
        let added: Vec<_> = columns
            .iter()
            .map(|column| format!("{column} = hours.{column} + excluded.{column}"))
            .collect();
        let hour = format!("{} / {HOUR_MS}", self.now());
        // Only names and constants of this file are put into the text.
        let sql = format!(
            "INSERT INTO hours (hour, {}) VALUES ({hour}, {}) ON CONFLICT (hour) DO UPDATE SET {}",
            columns.join(", "),
            places.join(", "),
            added.join(", ")
        );
        let mut tx = self.begin().await?;
        let mut add = sqlx::query(sqlx::AssertSqlSafe(sql));
        for value in sums.values() {
            add = add.bind(value);
        }
        add.execute(&mut *tx).await?;
        let sql = format!("DELETE FROM hours WHERE hour <= {hour} - {KEPT_HOURS}");
        let forget = sqlx::query(sqlx::AssertSqlSafe(sql));
        forget.execute(&mut *tx).await?;
        tx.commit().await
    }

    /// The sums of the latest hours in which something happened, the oldest first, with the start of each in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn sums(&self, hours: i64) -> Result<Vec<(i64, HourSums)>, StoreError> {
        let sql = format!(
            "SELECT * FROM hours WHERE hour > {} / {HOUR_MS} - {hours} ORDER BY hour",
            self.now()
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql));
        let rows = rows.fetch_all(&self.pool).await?;
        let read = |row: &sqlx::any::AnyRow| -> Result<_, StoreError> {
            let hour: i64 = row.try_get("hour")?;
            Ok((hour * HOUR_MS, HourSums::read(row)?))
        };
        rows.iter().map(read).collect()
    }
}
