//! Data sets: which file a name means, which bytes are documents, how much text that is, whether
//! it is the official text, and the order in which training reads it.
//!
//! ```text
//! Dataset + Split --Places--> file --Corpus--> documents --(a tokenizer, elsewhere)--> tokens
//!                                                                TokenSet --Lanes--> segments
//! ```
//!
//! | files | what |
//! |---|---|
//! | `dataset`, `known`, `places` | names of data sets, what is known of each, the folders with its files |
//! | `documents`, `format` | where documents begin and end; files that are not plain text |
//! | `digest`, `verdict`, `counts`, `warning` | which text a file is, how much it is, what is odd about it |
//! | `corpus` | a text with all of that |
//! | `records` | the same of files of any form, document by document; with the feature `records` |
//! | `tokens`, `random`, `lanes` | tokenised documents, and the order in which training reads them |
//! | [`baselines`] | what a guess costs that has learned nothing |
//! | `error` | what can go wrong |
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
