//! A text as documents and back. The model reads each from a fresh state, as it was trained to, and many abreast.

use std::ops::Range;

use itera_data::DocumentRule;

/// What stands between stories.
const SEPARATOR: &[u8] = b"\n<|endoftext|>\n";

/// How a text is made of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// It is one.
    Whole,
    /// Stories with a separator between them.
    Separated,
    /// Stories, each with a separator behind it.
    Closed,
    /// Articles of `WikiText`, one behind the other.
    Articles,
}

/// A text as documents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Divided<'t> {
    pub(crate) layout: Layout,
    pub(crate) documents: Vec<&'t [u8]>,
}

impl<'t> Divided<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Self {
        let mut documents = stories(text);
        if documents.len() > 1 {
            let is_closed = documents.pop_if(|last| last.is_empty()).is_some();
            let layout = if is_closed {
                Layout::Closed
            } else {
                Layout::Separated
            };
            return Self { layout, documents };
        }
        let articles = articles(text);
        if articles.len() > 1 {
            return Self {
                layout: Layout::Articles,
                documents: articles.into_iter().map(|article| &text[article]).collect(),
            };
        }
        Self {
            layout: Layout::Whole,
            documents,
        }
    }
}

impl Layout {
    pub(crate) const ALL: [Self; 4] = [Self::Whole, Self::Separated, Self::Closed, Self::Articles];

    /// Puts documents together again.
    pub(crate) fn join(self, documents: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Whole | Self::Articles => documents.concat(),
            Self::Separated => documents.join(SEPARATOR),
            Self::Closed => {
                let closed = documents
                    .iter()
                    .flat_map(|text| [text.as_slice(), SEPARATOR]);
                closed.collect::<Vec<&[u8]>>().concat()
            }
        }
    }

    /// Bytes of a text of so many documents that are in none of them.
    pub(crate) const fn bytes_between(self, documents: usize) -> usize {
        match self {
            Self::Whole | Self::Articles => 0,
            Self::Separated => documents.saturating_sub(1) * SEPARATOR.len(),
            Self::Closed => documents * SEPARATOR.len(),
        }
    }
}

/// Where a text that goes on is best cut: behind its last whole document, if it has one.
pub(crate) fn cut(text: &[u8]) -> usize {
    let separator = text
        .windows(SEPARATOR.len())
        .rposition(|bytes| bytes == SEPARATOR);
    if let Some(at) = separator {
        return at + SEPARATOR.len();
    }
    match articles(text).last() {
        Some(last) if last.start > 0 => last.start,
        _ => text.len(),
    }
}

fn articles(text: &[u8]) -> Vec<Range<usize>> {
    DocumentRule::Article.documents(text, false)
}

/// What stands between separators: one text more than there are of these.
fn stories(text: &[u8]) -> Vec<&[u8]> {
    let (mut stories, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = text[at..].iter().position(|&byte| byte == SEPARATOR[0]) {
        at += found;
        if text[at..].starts_with(SEPARATOR) {
            stories.push(&text[start..at]);
            at += SEPARATOR.len();
            start = at;
        } else {
            at += 1;
        }
    }
    stories.push(&text[start..]);
    stories
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(text: &[u8]) -> Vec<u8> {
        let Divided { layout, documents } = Divided::new(text);
        let documents: Vec<Vec<u8>> = documents.into_iter().map(<[u8]>::to_vec).collect();
        let joined = layout.join(&documents);
        let inside: usize = documents.iter().map(Vec::len).sum();
        assert_eq!(inside + layout.bytes_between(documents.len()), text.len());
        joined
    }

    #[test]
    fn texts_are_divided_as_they_are_scored() {
        let cases: [(&str, Layout, &[&str]); 8] = [
            ("", Layout::Whole, &[""]),
            ("a\nb\n", Layout::Whole, &["a\nb\n"]),
            ("a\n<|endoftext|>\nb\n", Layout::Separated, &["a", "b\n"]),
            (
                "a\n<|endoftext|>\nb\n<|endoftext|>\n",
                Layout::Closed,
                &["a", "b"],
            ),
            ("\n<|endoftext|>\n", Layout::Closed, &[""]),
            (
                "a\n<|endoftext|>\n<|endoftext|>\n",
                Layout::Separated,
                &["a", "<|endoftext|>\n"],
            ),
            (
                " = A = \n\n x \n = B = \n\n y",
                Layout::Articles,
                &[" = A = \n\n x \n", " = B = \n\n y"],
            ),
            ("a <|endoftext|> b", Layout::Whole, &["a <|endoftext|> b"]),
        ];
        for (text, layout, documents) in cases {
            let documents = documents.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(
                Divided::new(text.as_bytes()),
                Divided { layout, documents },
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(pieces in prop::collection::vec("\n?(<\\|endoftext\\|>)?\n?( = A = \n)?x?", 0..12)) {
            let text = pieces.concat().into_bytes();
            prop_assert_eq!(joined(&text), text.clone());
            let (before, behind) = text.split_at(cut(&text));
            prop_assert_eq!([joined(before), joined(behind)].concat(), text.clone());
            prop_assert!(!before.is_empty() || text.is_empty());
        }
    }
}
