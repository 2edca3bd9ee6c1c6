//! What is wrong with bytes that should be a compressed text.

use thiserror::Error;

/// Why bytes are not what this program wrote.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Damage {
    #[error("it is damaged, it ends too early; copy it again")]
    Short,
    #[error("it is damaged, bytes follow its end; copy it again")]
    Long,
    #[error("it is damaged, a length in it is impossible; copy it again")]
    Length,
    #[error("it is damaged, its code stands for no text; copy it again")]
    Code,
    #[error("it is damaged, the checksum of the text is another one; copy it again")]
    Checksum,
}
