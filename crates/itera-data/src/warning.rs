//! Texts that are read otherwise than they were probably meant.

use std::fmt;

use crate::{END_OF_TEXT, Layout};

/// Something in a text that looks like a slip, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Separators that are not alone on their line, or in capital letters.
    Separators {
        /// Name of the corpus.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// Lines end with a carriage return, alone or before the line feed.
    CarriageReturns {
        /// Name of the corpus.
        name: String,
        /// Whether line feeds follow.
        line_feeds: bool,
    },
}

impl Warning {
    /// What is odd about the documents of the corpus `name`.
    pub(crate) fn of<'a>(
        name: &str,
        documents: impl Iterator<Item = (Layout, &'a [u8])>,
    ) -> Vec<Self> {
        let (mut separators, mut returns, mut feeds) = (0, 0, 0);
        for (layout, text) in documents {
            if layout == Layout::Stories {
                separators += marks(text);
            }
            returns += text.iter().filter(|&&byte| byte == b'\r').count();
            feeds += text.iter().filter(|&&byte| byte == b'\n').count();
        }
        let name = || name.to_owned();
        let separators = (separators > 0).then(|| Self::Separators {
            name: name(),
            count: separators,
        });
        // A few of them are part of a text, one for every other line are not.
        let returns = (2 * returns > feeds).then(|| Self::CarriageReturns {
            name: name(),
            line_feeds: feeds > 0,
        });
        separators.into_iter().chain(returns).collect()
    }
}

/// How often [`END_OF_TEXT`] occurs, in any case of letters.
fn marks(text: &[u8]) -> usize {
    let (first, rest) = END_OF_TEXT.split_at(1);
    let is_mark = |after: &&[u8]| {
        after
            .get(..rest.len())
            .is_some_and(|mark| mark.eq_ignore_ascii_case(rest.as_bytes()))
    };
    let parts = text.split(|&byte| byte == first.as_bytes()[0]);
    parts.skip(1).filter(is_mark).count()
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Separators { name, count } => write!(
                f,
                "`{name}` holds {END_OF_TEXT} {count} times as text; to separate documents, write it in \
                 small letters on a line of its own"
            ),
            Self::CarriageReturns { name, line_feeds } => {
                let remedy = if *line_feeds {
                    "-d '\\r'"
                } else {
                    "'\\r' '\\n'"
                };
                write!(
                    f,
                    "the lines of `{name}` end with carriage returns, which count as text; \
                     use `tr {remedy}` if models were trained without them"
                )
            }
        }
    }
}
