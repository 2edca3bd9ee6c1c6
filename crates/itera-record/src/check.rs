//! What can be wrong with a record, and the small checks that every record shares.

use thiserror::Error;

/// Why a record can be neither written nor trusted.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The text is no JSON of this form.
    #[error("not a record of this form: {0}")]
    Json(#[from] serde_json::Error),
    /// The file is of another kind or version.
    #[error("field `schema` is `{found}`, expected `{expected}`")]
    Schema {
        /// The schema that the reader understands.
        expected: &'static str,
        /// The schema that the file names; empty if none.
        found: String,
    },
    /// A number is NaN or infinite, which JSON cannot carry.
    #[error("field `{field}` is {value}, expected a finite number")]
    NotFinite {
        /// Name of the field.
        field: String,
        /// Its value.
        value: f64,
    },
    /// A field contradicts another or its own meaning.
    #[error("field `{field}` is {found}, expected {expected}")]
    Inconsistent {
        /// Name of the field.
        field: String,
        /// Its value.
        found: String,
        /// What the rest of the record implies.
        expected: String,
    },
}

/// Refuses NaN and infinity.
pub(crate) fn finite(field: &str, value: f64) -> Result<(), RecordError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(RecordError::NotFinite {
        field: field.to_owned(),
        value,
    })
}

/// Refuses a value that breaks a rule; `expected` says the rule.
#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers and words alike, without `&` at each"
)]
pub(crate) fn ensure(
    holds: bool,
    field: &str,
    found: impl ToString,
    expected: impl ToString,
) -> Result<(), RecordError> {
    if holds {
        return Ok(());
    }
    Err(RecordError::Inconsistent {
        field: field.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

/// Refuses a derived value that is not the one its sources give, up to rounding.
pub(crate) fn close(field: &str, found: f64, expected: f64) -> Result<(), RecordError> {
    finite(field, found)?;
    let tolerance = 1e-9 * expected.abs().max(1.0);
    ensure(
        (found - expected).abs() <= tolerance,
        field,
        found,
        expected,
    )
}

/// Refuses anything but 64 lower-case hexadecimal digits.
pub(crate) fn sha256(field: &str, digest: &str) -> Result<(), RecordError> {
    let is_hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    let holds = digest.len() == 64 && digest.bytes().all(is_hex);
    ensure(
        holds,
        field,
        format!("`{digest}`"),
        "64 lower-case hexadecimal digits",
    )
}
