//! Where documents begin and end in the bytes of a corpus.

use std::ops::Range;

/// The line that separates stories. Only the line itself is the separator; the same characters
/// inside a line are text.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The rule by which a text divides into documents and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// WikiText: a document begins at each top-level heading and every byte belongs to exactly
    /// one document. Words are whitespace-separated, plus one per line end.
    WikiText,
    /// Stories between [`END_OF_TEXT`] lines, or a plain text without such lines, which is one
    /// document. Words are whitespace-separated.
    Stories,
}

impl Layout {
    /// The documents of `text`, in order, without overlap, none of them empty.
    ///
    /// `WikiText`: a top-level heading is a line ` = Title = ` (not ` = = Sub = = `) followed by a
    /// blank line. The blank line is what tells a heading from a line of a formula; the official
    /// splits give 60 articles for test and 60 for validation by this rule, where the pattern
    /// alone would find 62 in test. Text before the first heading (in the official files one blank
    /// line) belongs to the first document; the blank line before every other heading belongs to
    /// the article that it ends.
    ///
    /// `Stories`: the line end before a separator, the separator and the line end after it are
    /// not part of any document. Where there is a separator at all, the line end that closes the
    /// file counts as if one more separator followed. Without a separator every byte is one
    /// document. Stories of nothing but white space are dropped.
    pub fn documents(self, text: &[u8]) -> Vec<Range<usize>> {
        match self {
            Self::WikiText => articles(text),
            Self::Stories => stories(text),
        }
    }
}

fn articles(text: &[u8]) -> Vec<Range<usize>> {
    let lines = line_ranges(text);
    let mut starts: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(index, line)| {
            let next = lines.get(index + 1).map(|next| &text[next.clone()]);
            is_title(&text[(*line).clone()]) && next.is_none_or(|next| next.trim_ascii().is_empty())
        })
        .map(|(_, line)| line.start)
        .collect();
    match starts.first_mut() {
        Some(first) => *first = 0,
        None if text.is_empty() => return Vec::new(),
        None => starts.push(0),
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| start..end)
        .collect()
}

/// Whether a line reads ` = Title = `: one equals sign on each side.
fn is_title(line: &[u8]) -> bool {
    line.trim_ascii_end()
        .strip_prefix(b" = ")
        .and_then(|rest| rest.strip_suffix(b" ="))
        .is_some_and(|title| !title.is_empty() && !title.starts_with(b"= "))
}

fn stories(text: &[u8]) -> Vec<Range<usize>> {
    let separators: Vec<_> = line_ranges(text)
        .into_iter()
        .filter(|line| without_line_end(text, line.clone()).len() == END_OF_TEXT.len())
        .filter(|line| text[line.clone()].starts_with(END_OF_TEXT.as_bytes()))
        .collect();
    if separators.is_empty() {
        return std::iter::once(0..text.len())
            .filter(|whole| !whole.is_empty())
            .collect();
    }
    let starts = [0]
        .into_iter()
        .chain(separators.iter().map(|line| line.end));
    let ends = separators.iter().map(|line| line.start).chain([text.len()]);
    starts
        .zip(ends)
        .map(|(start, end)| without_line_end(text, start..end))
        .filter(|story| !text[story.clone()].trim_ascii().is_empty())
        .collect()
}

/// Every line with its line end; together they are the whole text.
fn line_ranges(text: &[u8]) -> Vec<Range<usize>> {
    let mut end = 0;
    text.split_inclusive(|&byte| byte == b'\n')
        .map(|line| {
            let start = end;
            end += line.len();
            start..end
        })
        .collect()
}

/// The range without one `\n` or `\r\n` at its end.
fn without_line_end(text: &[u8], range: Range<usize>) -> Range<usize> {
    let bytes = &text[range.clone()];
    let kept = bytes
        .strip_suffix(b"\n")
        .map_or(bytes, |kept| kept.strip_suffix(b"\r").unwrap_or(kept));
    range.start..range.start + kept.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(layout: Layout, text: &str) -> Vec<&str> {
        layout
            .documents(text.as_bytes())
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn stories_lose_the_separator_and_its_line_ends_only() {
        let cases: [(&str, &[&str]); 9] = [
            ("a\n<|endoftext|>\nb\n<|endoftext|>\n", &["a", "b"]),
            ("a\n<|endoftext|>\nb\n", &["a", "b"]),
            ("a\n\n<|endoftext|>\n\nb", &["a\n", "\nb"]),
            ("a\r\n<|endoftext|>\r\nb\r\n", &["a", "b"]),
            ("<|endoftext|>\na\n<|endoftext|>\n \n<|endoftext|>", &["a"]),
            ("no separator\n", &["no separator\n"]),
            ("a <|endoftext|> b\n", &["a <|endoftext|> b\n"]),
            ("<|endoftext|>\n", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(Layout::Stories, text), expected, "{text:?}");
        }
    }

    #[test]
    fn articles_begin_at_headings_that_a_blank_line_follows() {
        let text = " \n = One = \n \n text \n = = Part = = \n \n x = 1 : \n = 2 km = \n so . \n \n = Two = \n \n end \n";
        assert_eq!(
            split(Layout::WikiText, text),
            [
                " \n = One = \n \n text \n = = Part = = \n \n x = 1 : \n = 2 km = \n so . \n \n",
                " = Two = \n \n end \n"
            ]
        );
        assert_eq!(split(Layout::WikiText, "no heading"), ["no heading"]);
        assert_eq!(split(Layout::WikiText, "").len(), 0);
        assert_eq!(
            split(Layout::WikiText, " = A =\n\n = B ="),
            [" = A =\n\n", " = B ="]
        );
    }

    proptest! {
        #[test]
        fn every_byte_of_a_wikitext_file_belongs_to_one_document(
            lines in prop::collection::vec("( = [ab= ]{0,4} = | |x)\n?", 0..20),
        ) {
            let text = lines.concat();
            let joined: String = split(Layout::WikiText, &text).concat();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn stories_never_hold_a_separator_line(
            lines in prop::collection::vec("(<\\|endoftext\\|>|| |x)\r?\n?", 0..20),
        ) {
            let text = lines.concat();
            let mut last = 0;
            for story in Layout::Stories.documents(text.as_bytes()) {
                prop_assert!(story.start >= last && !story.is_empty());
                last = story.end;
                prop_assert!(text[story].lines().all(|line| line != END_OF_TEXT));
            }
        }
    }
}
