//! Texts that are read otherwise than they were probably meant.

use crate::{END_OF_TEXT, Layout};

/// What is odd about the documents of the corpus `name`, a line with the remedy for each.
pub(crate) fn warnings<'a>(
    name: &str,
    documents: impl Iterator<Item = (Layout, &'a [u8])>,
) -> Vec<String> {
    let (mut separators, mut returns, mut feeds) = (0, 0, 0);
    for (layout, text) in documents {
        if layout == Layout::Stories {
            separators += marks(text);
        }
        for byte in text {
            returns += usize::from(*byte == b'\r');
            feeds += usize::from(*byte == b'\n');
        }
    }
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
    separators.into_iter().chain(returns).collect()
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
