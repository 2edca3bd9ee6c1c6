//! Texts that are read otherwise than they were probably meant.

use std::ops::AddAssign;

use crate::{DocumentRule, END_OF_TEXT, first_invalid_utf8};

/// What is odd about documents, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// [`END_OF_TEXT`] inside documents, in any case of letters.
    separators: usize,
    returns: usize,
    feeds: usize,
    /// Documents that are not UTF-8.
    undecodable: usize,
}

impl Oddities {
    /// Those of one document.
    pub fn of(rule: DocumentRule, text: &[u8]) -> Self {
        let (mut returns, mut feeds) = (0, 0);
        for byte in text {
            returns += usize::from(*byte == b'\r');
            feeds += usize::from(*byte == b'\n');
        }
        Self {
            separators: match rule {
                DocumentRule::Story => marks(text),
                _ => 0,
            },
            returns,
            feeds,
            undecodable: usize::from(first_invalid_utf8(text).is_some()),
        }
    }

    /// A line with the remedy for each kind that the text `name` has.
    pub fn warnings(&self, name: &str) -> Vec<String> {
        let Self {
            separators,
            returns,
            feeds,
            undecodable,
        } = *self;
        let separators = (separators > 0).then(|| {
            format!(
                "`{name}` holds {END_OF_TEXT} {separators} times as text; to separate documents, write it \
                 in small letters on a line of its own"
            )
        });
        // A few are part of a text, one for every other line are not.
        let returns = (2 * returns > feeds).then(|| {
            let remedy = if feeds > 0 { "-d '\\r'" } else { "'\\r' '\\n'" };
            format!(
                "the lines of `{name}` end with carriage returns, which count as text; use `tr {remedy}` if \
                 models were trained without them"
            )
        });
        let undecodable = (undecodable > 0).then(|| {
            format!(
                "not all of `{name}` is UTF-8 (documents: {undecodable}), its bytes are read as they are; convert \
                 Latin-1 with `iconv -f LATIN1 -t UTF-8`"
            )
        });
        separators
            .into_iter()
            .chain(returns)
            .chain(undecodable)
            .collect()
    }
}

impl AddAssign for Oddities {
    fn add_assign(&mut self, other: Self) {
        self.separators += other.separators;
        self.returns += other.returns;
        self.feeds += other.feeds;
        self.undecodable += other.undecodable;
    }
}

/// How often [`END_OF_TEXT`] occurs, in any case of letters.
fn marks(text: &[u8]) -> usize {
    let (first, rest) = END_OF_TEXT.as_bytes().split_at(1);
    let parts = text.split(|&byte| byte == first[0]).skip(1);
    parts
        .filter(|part| {
            part.get(..rest.len())
                .is_some_and(|mark| mark.eq_ignore_ascii_case(rest))
        })
        .count()
}
