//! Data sets: which file a name means, which bytes are documents, how much text that is, whether
//! it is the official text, and the order in which training reads it.
//!
//! ```text
//! Dataset + Split --Places--> file --Corpus--> documents --(a tokenizer, elsewhere)--> tokens
//!                                                                TokenSet --Lanes--> segments
//! ```
//!
//! This crate knows bytes and token ids, no tokenizer and no model. It prints nothing, and
//! only [`Places`] and [`Corpus::load`] touch the disk.

pub mod baselines;
mod corpus;
mod counts;
mod dataset;
mod digest;
mod documents;
mod error;
mod format;
mod known;
mod lanes;
mod places;
mod random;
#[cfg(feature = "records")]
pub mod records;
mod tokens;
mod verdict;
mod warning;

pub use corpus::{Block, Corpus};
pub use counts::{Counts, first_invalid_utf8};
pub use dataset::{Dataset, Split};
pub use digest::{sha256_hex, sha256_of};
pub use documents::{DocumentRule, END_OF_TEXT};
pub use error::{DataError, LanesError};
pub use known::{KnownFile, KnownText};
pub use lanes::{LaneOptions, Lanes, LanesPosition, Segment};
pub use places::{Places, workspace_around};
pub use random::{Domain, rng};
pub use tokens::TokenSet;
pub use verdict::Verdict;
pub use warning::Oddities;
