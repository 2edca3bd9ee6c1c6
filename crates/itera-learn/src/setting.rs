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
