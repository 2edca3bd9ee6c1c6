//! Pages that people keep and whose figures come from the results: blocks between the lines
//! `<!-- NAME:begin -->` and `<!-- NAME:end -->` are replaced, all else stays. The template `blocks.md`
//! has a block of each name.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use minijinja::{Environment, ErrorKind};

use super::tidy;
use crate::output::Files;

/// Folders whose Markdown may have blocks, and the way from each to the workspace.
const FOLDERS: [(&str, &str); 4] = [
    ("", ""),
    ("docs", "../"),
    ("data/models", "../../"),
    ("web/package", "../../"),
];

/// The content of a block; none if its name is unknown.
///
/// # Errors
/// If the template has a fault.
pub(super) fn render(
    environment: &Environment<'_>,
    facts: &serde_json::Value,
    name: &str,
) -> anyhow::Result<Option<String>> {
    let template = environment.get_template("blocks.md")?;
    let mut captured = template
        .render_captured(facts)
        .context("the template `blocks.md` has a fault")?;
    let text = match captured.with_state_mut(|state| state.render_block(name)) {
        Err(error) if error.kind() == ErrorKind::UnknownBlock => return Ok(None),
        rendered => rendered.with_context(|| format!("cannot render the block `{name}`"))?,
    };
    let text = tidy(&text);
    Ok(Some(if text.trim().is_empty() {
        "Not measured.\n".to_owned()
    } else {
        text
    }))
}

/// The pages with blocks, filled by `content`, by their path in the workspace.
///
/// # Errors
/// If a page cannot be read, or has a block that is unknown or does not end.
pub(crate) fn fill_pages(
    workspace: &Path,
    content: impl Fn(&str, &str) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for (folder, up) in FOLDERS {
        for entry in fs::read_dir(workspace.join(folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.extension().is_none_or(|kind| kind != "md") {
                continue;
            }
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            if !text.contains(":begin -->") {
                continue;
            }
            let filled = fill(&text, |name| content(up, name))
                .with_context(|| format!("cannot fill `{}`", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            files.insert(name, filled.into_bytes());
        }
    }
    Ok(files)
}

/// The text with other contents of its blocks, by their names.
fn fill(
    text: &str,
    content: impl Fn(&str) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        filled += line;
        filled.push('\n');
        let Some(name) = marked(line, ":begin") else {
            continue;
        };
        let Some(content) = content(name)? else {
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

    fn filled(text: &str) -> anyhow::Result<String> {
        fill(text, |name| {
            Ok((name == "known").then(|| "new\n".to_owned()))
        })
    }

    #[test]
    fn blocks_are_replaced_and_all_else_stays() {
        let text = "one\n<!-- known:begin -->\nold\nold\n<!-- known:end -->\n\ntwo\n";
        let new = filled(text).unwrap();
        assert_eq!(
            new,
            "one\n<!-- known:begin -->\nnew\n<!-- known:end -->\n\ntwo\n"
        );
        assert_eq!(filled(&new).unwrap(), new);
    }

    #[test]
    fn blocks_that_are_unknown_or_do_not_end_are_refused() {
        for text in [
            "<!-- unknown:begin -->\n<!-- unknown:end -->\n",
            "<!-- known:begin -->\nold\n",
            "<!-- known:begin -->\n<!-- unknown:end -->\n",
        ] {
            assert!(filled(text).is_err(), "{text}");
        }
    }
}
