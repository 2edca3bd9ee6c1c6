//! The option `--precision` of programs that run or write models.

use clap::ValueEnum;
use itera_core::checkpoint::Precision;

/// Precision of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32-bit floats; quantised weights are unpacked.
    Fp32,
    /// 8-bit integers with a scale for each group.
    Int8,
    /// 4-bit integers with a scale for each group.
    Int4,
    /// One after the other.
    All,
}

impl PrecisionArg {
    /// The only one that is asked for; `None` for all.
    pub const fn only(self) -> Option<Precision> {
        match self {
            Self::Fp32 => Some(Precision::Fp32),
            Self::Int8 => Some(Precision::Int8),
            Self::Int4 => Some(Precision::Int4),
            Self::All => None,
        }
    }

    /// Those that are asked for, widest first.
    pub fn list(self) -> Vec<Precision> {
        self.only()
            .map_or_else(|| Precision::ALL.to_vec(), |precision| vec![precision])
    }
}
