//! The check of a setting, and the message where it fails.

use thiserror::Error;

/// A setting is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{setting}` is {found}, expected {expected}")]
pub struct SettingError {
    /// Name of the field.
    pub setting: &'static str,
    /// Its value.
    pub found: String,
    /// Its range.
    pub expected: String,
}

/// Refuses a setting unless it `fits`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers and words alike, without `&` at each"
)]
pub(crate) fn ensure(
    fits: bool,
    setting: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> Result<(), SettingError> {
    if fits {
        return Ok(());
    }
    Err(SettingError {
        setting,
        found: found.to_string(),
        expected: expected.into(),
    })
}

/// Refuses a count below 1 or above its bound; each is `(setting, count, most)`.
pub(crate) fn ensure_counts(
    counts: impl IntoIterator<Item = (&'static str, usize, usize)>,
) -> Result<(), SettingError> {
    for (setting, count, most) in counts {
        let fits = (1..=most).contains(&count);
        ensure(fits, setting, count, format!("1 to {most}"))?;
    }
    Ok(())
}

/// Refuses a batch that the replicas cannot share evenly.
pub(crate) fn ensure_shared(batch: usize, replicas: usize) -> Result<(), SettingError> {
    let fits = batch.is_multiple_of(replicas);
    let expected = format!("a multiple of {replicas} replicas");
    ensure(fits, "batch", batch, expected)
}
