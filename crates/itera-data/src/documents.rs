//! Where documents begin and end in the bytes of a corpus.

use std::{fmt, ops::Range, str::FromStr};

use serde::Deserialize;

/// The line that separates stories, blanks around it aside. The same characters inside a line are
/// text. The tokenizers of itera-core have the same constant: neither of the two crates imports the other.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The rule by which a text divides into documents and words.
///
/// Words are runs of bytes that are not ASCII white space; of an [`Article`](Self::Article) each line end counts
/// as one more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentRule {
    #[default]
    /// What stands between lines [`END_OF_TEXT`]; all of a text that has none.
    Story,
    /// An article of WikiText: from one top-level heading to the next, so that every byte belongs to one
    /// document.
    Article,
    /// A line that is not blank, without its line end.
    Line,
    /// Lines between blank lines.
    Paragraph,
    /// A whole file.
    Whole,
}

impl DocumentRule {
    /// Every rule with its name.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("story", Self::Story),
        ("article", Self::Article),
        ("line", Self::Line),
        ("paragraph", Self::Paragraph),
        ("whole", Self::Whole),
    ];

    /// The rule for a text of unknown origin: articles where it begins with a top-level heading and has no
    /// separators.
    pub(crate) fn of(blocks: &[Vec<u8>]) -> Self {
        let [text] = blocks else {
            return Self::Story;
        };
        let is_blank = |line: &Range<usize>| text[line.clone()].trim_ascii().is_empty();
        let mut first = lines(text).skip_while(is_blank);
        let is_article = first.next().is_some_and(|line| is_title(&text[line]))
            && first.next().is_some_and(|line| is_blank(&line));
        if is_article && !lines(text).any(|line| is_separator(&text[line])) {
            Self::Article
        } else {
            Self::Story
        }
    }

    /// The documents of `text`, in order, without overlap, none of them empty. `separated`: the text
    /// follows a separator of the same file.
    ///
    /// `Article`: a top-level heading is a line ` = Title = ` (not ` = = Sub = = `) followed by a
    /// blank line. The blank line is what tells a heading from a line of a formula; the official
    /// splits give 60 articles for test and 60 for validation by this rule, where the pattern
    /// alone would find 62 in test. Text before the first heading (in the official files one blank
    /// line) belongs to the first document; the blank line before every other heading belongs to
    /// the article that it ends.
    ///
    /// `Story`: the line end before a separator, the separator and the line end after it are
    /// not part of any document. Where there is a separator at all, the line end that closes the
    /// file counts as if one more separator followed. Without a separator every byte is one
    /// document. Stories of nothing but white space are dropped.
    pub fn documents(self, text: &[u8], separated: bool) -> Vec<Range<usize>> {
        match self {
            _ if text.is_empty() => Vec::new(),
            Self::Article => articles(text),
            Self::Story => stories(text, separated),
            Self::Line => lines(text)
                .map(|line| without_line_end(text, line))
                .filter(|line| !text[line.clone()].trim_ascii().is_empty())
                .collect(),
            Self::Paragraph => paragraphs(text),
            Self::Whole => std::iter::once(0..text.len()).collect(),
        }
    }

    /// Where `text` can be cut so that both parts divide into the documents of the whole: behind the
    /// last line that is complete and ends a document.
    pub(crate) fn last_cut(self, text: &[u8]) -> Option<usize> {
        let ends: fn(&[u8]) -> bool = match self {
            Self::Article | Self::Whole => return None,
            Self::Story => is_separator,
            Self::Line => |_| true,
            Self::Paragraph => |line| line.trim_ascii().is_empty(),
        };
        let mut end = text.iter().rposition(|&byte| byte == b'\n')? + 1;
        loop {
            let before = text[..end - 1].iter().rposition(|&byte| byte == b'\n');
            let start = before.map_or(0, |before| before + 1);
            if ends(&text[start..end]) {
                return Some(end);
            }
            end = before? + 1;
        }
    }
}

impl fmt::Display for DocumentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMED.iter().find(|(_, rule)| rule == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for DocumentRule {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::NAMED.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, rule)| rule).ok_or_else(|| {
            let names = Self::NAMED.map(|(name, _)| name).join(", ");
            format!("no rule is called `{name}`; rules are {names}")
        })
    }
}

fn articles(text: &[u8]) -> Vec<Range<usize>> {
    let mut lines = lines(text).peekable();
    let mut starts = Vec::new();
    while let Some(line) = lines.next() {
        let is_blank = |next: &Range<usize>| text[next.clone()].trim_ascii().is_empty();
        if is_title(&text[line.clone()]) && lines.peek().is_none_or(is_blank) {
            starts.push(line.start);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let starts = [0].into_iter().chain(starts.iter().skip(1).copied());
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

/// Whether a line reads ` = Title = `: one equals sign on each side.
pub(crate) fn is_title(line: &[u8]) -> bool {
    line.trim_ascii_end()
        .strip_prefix(b" = ")
        .and_then(|rest| rest.strip_suffix(b" ="))
        .is_some_and(|title| !title.is_empty() && !title.starts_with(b"= "))
}

fn stories(text: &[u8], separated: bool) -> Vec<Range<usize>> {
    let (mut stories, mut start) = (Vec::new(), 0);
    let mut push = |story: Range<usize>| {
        let story = without_line_end(text, story);
        if !text[story.clone()].trim_ascii().is_empty() {
            stories.push(story);
        }
    };
    for line in lines(text).filter(|line| is_separator(&text[line.clone()])) {
        push(start..line.start);
        start = line.end;
    }
    if start == 0 && !separated {
        return std::iter::once(0..text.len()).collect();
    }
    push(start..text.len());
    stories
}

fn paragraphs(text: &[u8]) -> Vec<Range<usize>> {
    let is_blank = |line: &Range<usize>| text[line.clone()].trim_ascii().is_empty();
    let (mut paragraphs, mut open) = (Vec::new(), None);
    for line in lines(text) {
        if is_blank(&line) {
            paragraphs.extend(open.take());
        } else {
            let start = open.map_or(line.start, |open: Range<usize>| open.start);
            open = Some(start..line.end);
        }
    }
    paragraphs.extend(open);
    let without_end = |paragraph| without_line_end(text, paragraph);
    paragraphs.into_iter().map(without_end).collect()
}

pub(crate) fn is_separator(line: &[u8]) -> bool {
    line.trim_ascii() == END_OF_TEXT.as_bytes()
}

/// Every line with its line end; together they are the whole text.
fn lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    text.split_inclusive(|&byte| byte == b'\n')
        .map(move |line| {
            let start = end;
            end += line.len();
            start..end
        })
}

/// The range without one `\n` or `\r\n` at its end.
pub(crate) fn without_line_end(text: &[u8], range: Range<usize>) -> Range<usize> {
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

    fn split(rule: DocumentRule, text: &str) -> Vec<&str> {
        rule.documents(text.as_bytes(), false)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn stories_lose_the_separator_and_its_line_ends_only() {
        let cases: [(&str, &[&str]); 11] = [
            ("a\n<|endoftext|>\nb\n<|endoftext|>\n", &["a", "b"]),
            ("a\n<|endoftext|>\nb\n", &["a", "b"]),
            ("a\n\n<|endoftext|>\n\nb", &["a\n", "\nb"]),
            ("a\r\n<|endoftext|>\r\nb\r\n", &["a", "b"]),
            ("<|endoftext|>\na\n<|endoftext|>\n \n<|endoftext|>", &["a"]),
            ("a\n<|endoftext|> \t\nb\n", &["a", "b"]),
            ("a\n  <|endoftext|>\r\nb\n", &["a", "b"]),
            ("no separator\n", &["no separator\n"]),
            ("a <|endoftext|> b\n", &["a <|endoftext|> b\n"]),
            ("<|endoftext|>\n", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(DocumentRule::Story, text), expected, "{text:?}");
        }
    }

    #[test]
    fn articles_begin_at_headings_that_a_blank_line_follows() {
        let text = " \n = One = \n \n text \n = = Part = = \n \n x = 1 : \n = 2 km = \n so . \n \n = Two = \n \n end \n";
        assert_eq!(
            split(DocumentRule::Article, text),
            [
                " \n = One = \n \n text \n = = Part = = \n \n x = 1 : \n = 2 km = \n so . \n \n",
                " = Two = \n \n end \n"
            ]
        );
        assert_eq!(split(DocumentRule::Article, "no heading"), ["no heading"]);
        assert_eq!(split(DocumentRule::Article, "").len(), 0);
        assert_eq!(
            split(DocumentRule::Article, " = A =\n\n = B ="),
            [" = A =\n\n", " = B ="]
        );
    }

    proptest! {
        #[test]
        fn every_byte_of_a_wikitext_file_belongs_to_one_document(
            lines in prop::collection::vec("( = [ab= ]{0,4} = | |x)\n?", 0..20),
        ) {
            let text = lines.concat();
            let joined: String = split(DocumentRule::Article, &text).concat();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn stories_never_hold_a_separator_line(
            lines in prop::collection::vec("( ?<\\|endoftext\\|> ?|| |x)\r?\n?", 0..20),
        ) {
            let text = lines.concat();
            let mut last = 0;
            for story in DocumentRule::Story.documents(text.as_bytes(), false) {
                prop_assert!(story.start >= last && !story.is_empty());
                last = story.end;
                prop_assert!(text[story].lines().all(|line| line.trim() != END_OF_TEXT));
            }
        }

        #[test]
        fn a_text_that_is_cut_has_the_documents_of_the_whole(
            lines in prop::collection::vec("( ?<\\|endoftext\\|> ?|| |x)\r?\n?", 0..20),
            end in 0_usize..400,
        ) {
            let text = lines.concat();
            let whole = split(DocumentRule::Story, &text);
            let Some(cut) = DocumentRule::Story.last_cut(&text.as_bytes()[..end.min(text.len())]) else {
                return Ok(());
            };
            let mut parts = split(DocumentRule::Story, &text[..cut]);
            let rest = DocumentRule::Story.documents(&text.as_bytes()[cut..], true);
            parts.extend(rest.into_iter().map(|story| &text[cut..][story]));
            prop_assert_eq!(parts, whole);
        }
    }
}
