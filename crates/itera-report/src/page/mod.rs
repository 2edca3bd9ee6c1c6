//! Pages that people keep and whose figures come from the results: blocks between the lines
//! `<!-- NAME:begin -->` and `<!-- NAME:end -->` are replaced, all else stays.

mod models;
mod readme;

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context as _, bail};

use crate::{
    input::{Inputs, Of},
    md::{self, Doc},
    output::Files,
};

/// A page of the workspace.
struct Page {
    path: &'static str,
    /// The way from its folder to the workspace.
    up: &'static str,
    blocks: &'static [(&'static str, Block)],
}

/// What stands in a block. An empty one says that nothing was measured.
type Block = fn(&Cited<'_>, &mut Doc);

const PAGES: [Page; 2] = [
    Page {
        path: "README.md",
        up: "",
        blocks: &readme::BLOCKS,
    },
    Page {
        path: "data/models/README.md",
        up: "../../",
        blocks: &models::BLOCKS,
    },
];

/// The results, with links to them from a page.
struct Cited<'i> {
    inputs: &'i Inputs,
    up: &'static str,
}

impl Cited<'_> {
    /// A link to the file that something comes from.
    fn cite<T>(&self, of: &Of<T>) -> String {
        let label = &self.inputs.source(of).label;
        md::link(label, &format!("{}{label}", self.up))
    }
}

/// The pages that are there, their blocks filled, by their path in the workspace.
///
/// # Errors
/// If a page cannot be read, or has a block that is unknown or does not end.
pub(crate) fn render(inputs: &Inputs, workspace: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for page in &PAGES {
        let path = workspace.join(page.path);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read.with_context(|| format!("cannot read `{}`", path.display()))?,
        };
        let cited = Cited {
            inputs,
            up: page.up,
        };
        let filled = fill(&text, |name| {
            let (_, block) = page.blocks.iter().find(|(known, _)| *known == name)?;
            let mut doc = Doc::default();
            block(&cited, &mut doc);
            let content = doc.finish();
            Some(if content.is_empty() {
                "Not measured.\n".to_owned()
            } else {
                content
            })
        });
        let filled = filled.with_context(|| format!("cannot fill `{}`", path.display()))?;
        files.insert(page.path.to_owned(), filled.into_bytes());
    }
    Ok(files)
}

/// The text with other contents of its blocks, by their names.
fn fill(text: &str, content: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        filled += line;
        filled.push('\n');
        let Some(name) = marked(line, ":begin") else {
            continue;
        };
        let Some(content) = content(name) else {
            bail!("no result fills a block `{name}`; take away the line `{line}`");
        };
        filled += &content;
        let Some(end) = lines.find(|line| marked(line, ":end") == Some(name)) else {
            bail!("the block `{name}` does not end; add the line `<!-- {name}:end -->`");
        };
        filled += end;
        filled.push('\n');
    }
    Ok(filled)
}

/// The name of the block that a line begins or ends.
fn marked<'l>(line: &'l str, which: &str) -> Option<&'l str> {
    let line = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    line.strip_suffix(which)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str) -> Option<String> {
        (name == "known").then(|| "new\n".to_owned())
    }

    #[test]
    fn blocks_are_replaced_and_all_else_stays() {
        let text = "one\n<!-- known:begin -->\nold\nold\n<!-- known:end -->\n\ntwo\n";
        let filled = fill(text, content).unwrap();
        assert_eq!(
            filled,
            "one\n<!-- known:begin -->\nnew\n<!-- known:end -->\n\ntwo\n"
        );
        assert_eq!(fill(&filled, content).unwrap(), filled);
    }

    #[test]
    fn blocks_that_are_unknown_or_do_not_end_are_refused() {
        for text in [
            "<!-- unknown:begin -->\n<!-- unknown:end -->\n",
            "<!-- known:begin -->\nold\n",
            "<!-- known:begin -->\n<!-- unknown:end -->\n",
        ] {
            assert!(fill(text, content).is_err(), "{text}");
        }
    }
}
