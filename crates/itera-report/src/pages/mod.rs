//! Pages: templates filled with tables, pictures and facts. The wording is in `templates/`; mending it
//! takes no Rust.

mod blocks;
mod functions;

use std::{path::Path, thread::ScopedJoinHandle};

use anyhow::Context as _;
use itera_chart::ChartError;
use minijinja::{Environment, UndefinedBehavior};

pub(crate) use self::blocks::fill_pages;

use self::functions::Linker;
use crate::{
    input::Inputs,
    output::Files,
    views::{Figure, Views},
};

/// The reports and their templates.
const REPORTS: [(&str, &str); 6] = [
    (
        "final_validation.md",
        include_str!("../../templates/final_validation.md"),
    ),
    (
        "validation_report.md",
        include_str!("../../templates/validation_report.md"),
    ),
    (
        "power_validation.md",
        include_str!("../../templates/power_validation.md"),
    ),
    (
        "export_report.md",
        include_str!("../../templates/export_report.md"),
    ),
    ("ablations.md", include_str!("../../templates/ablations.md")),
    ("index.html", include_str!("../../templates/index.html")),
];
const SUMMARY: &str = include_str!("../../templates/summary.md");
const BLOCKS: &str = include_str!("../../templates/blocks.md");

/// Where tables lie, as seen from the reports of the workspace.
pub(crate) const TABLES: &str = "../results/tables";

/// All reports with their pictures and tables, by their way from the folder of the reports; `tables` is
/// that of the tables.
///
/// # Errors
/// If a template has a fault, or a picture cannot be drawn.
pub(crate) fn reports(inputs: &Inputs, views: &Views, tables: &str) -> anyhow::Result<Files> {
    let linker = Linker::from_reports(inputs, tables);
    let environment = environment(views, &linker)?;
    let mut files = pictures(&views.figures)?;
    for (name, _) in REPORTS {
        let text = environment
            .get_template(name)
            .and_then(|template| template.render(&views.facts))
            .with_context(|| format!("cannot render `{name}`"))?;
        files.insert(name.to_owned(), tidy(&text).into_bytes());
    }
    for view in &views.tables {
        let csv = view
            .table
            .csv()
            .with_context(|| format!("cannot write the table `{}`", view.name))?;
        files.insert(format!("{tables}/{}.csv", view.name), csv);
    }
    Ok(files)
}

/// The short text for the summary of a CI job: stale files, then a comparison, then the findings.
///
/// # Errors
/// If the template has a fault.
pub(crate) fn summary(
    inputs: &Inputs,
    views: &Views,
    stale: &[String],
    comparison: Option<&str>,
) -> anyhow::Result<String> {
    let environment = environment(views, &Linker::from_reports(inputs, TABLES))?;
    let facts = minijinja::Value::from_serialize(&views.facts);
    let context = minijinja::context! { stale, comparison, ..facts };
    let text = environment
        .get_template("summary.md")
        .and_then(|template| template.render(context))
        .context("cannot render the summary")?;
    Ok(tidy(&text))
}

/// Templates with everything that they may call.
fn environment<'v>(views: &'v Views, linker: &Linker) -> anyhow::Result<Environment<'v>> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    functions::add(&mut environment, views, linker);
    for (name, text) in REPORTS
        .into_iter()
        .chain([("summary.md", SUMMARY), ("blocks.md", BLOCKS)])
    {
        environment
            .add_template(name, text)
            .with_context(|| format!("the template `{name}` has a fault"))?;
    }
    Ok(environment)
}

/// The text with at most one empty line between blocks and one line end at the end.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut is_gap = true;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() && is_gap {
            continue;
        }
        is_gap = line.is_empty();
        tidy.push_str(line);
        tidy.push('\n');
    }
    format!("{}\n", tidy.trim_end())
}

/// The pictures as PNG, each drawn by a thread of its own.
fn pictures(figures: &[Figure]) -> anyhow::Result<Files> {
    std::thread::scope(|scope| {
        let drawn: Vec<_> = figures
            .iter()
            .map(|figure| (figure, scope.spawn(|| figure.picture.png())))
            .collect();
        let png =
            |(figure, drawing): (&Figure, ScopedJoinHandle<'_, Result<Vec<u8>, ChartError>>)| {
                let drawn = drawing
                    .join()
                    .map_err(|_| anyhow::anyhow!("drawing {} has panicked", figure.name))?;
                let png: Vec<u8> = drawn.with_context(|| format!("cannot draw {}", figure.name))?;
                Ok((format!("{}.png", figure.name), png))
            };
        drawn.into_iter().map(png).collect()
    })
}

/// The pages that people keep, their blocks filled.
///
/// # Errors
/// If a page cannot be read, or has a block that is unknown or does not end.
pub(crate) fn kept(inputs: &Inputs, views: &Views, workspace: &Path) -> anyhow::Result<Files> {
    fill_pages(workspace, |up, name| {
        let environment = environment(views, &Linker::from_page(inputs, up))?;
        blocks::render(&environment, &views.facts, name)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::input::load;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

    fn inputs(folder: &Path) -> Inputs {
        let models = folder.join("data/models");
        load(&folder.join("results"), &models, &folder.join("reports")).unwrap()
    }

    #[test]
    fn texts_have_single_gaps() {
        assert_eq!(tidy("\n\na \n\n\n\nb\n\n"), "a\n\nb\n");
    }

    #[test]
    fn no_text_of_a_picture_lies_on_another() {
        let inputs = inputs(Path::new(FIXTURES));
        let views = Views::new(&inputs).unwrap();
        assert!(views.figures.len() >= 7);
        for figure in &views.figures {
            assert_eq!(figure.picture.overlaps(), [""; 0], "{}", figure.name);
        }
    }

    /// Cut short, or with digits changed: whatever is still a record is rendered, and the rest is
    /// a problem. Nothing panics.
    #[test]
    fn damaged_files_are_rendered_or_listed() {
        let mut random = 1_u64;
        let mut below = |limit: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % limit
        };
        for name in [
            "validation",
            "power",
            "engine-bench",
            "training-bench",
            "web",
            "c-export",
            "zip",
        ] {
            let path = format!("results/{name}.json");
            let whole = fs::read(Path::new(FIXTURES).join(&path)).unwrap();
            let digits: Vec<usize> = (0..whole.len())
                .filter(|&i| whole[i].is_ascii_digit())
                .collect();
            for case in 0..30 {
                let dir = tempfile::tempdir().unwrap();
                let mut bytes = whole.clone();
                if case % 4 == 0 {
                    bytes.truncate(below(whole.len()));
                } else {
                    bytes[digits[below(digits.len())]] = b"0123456789eE.-"[below(14)];
                }
                fs::create_dir_all(dir.path().join("results")).unwrap();
                fs::write(dir.path().join(&path), &bytes).unwrap();
                let inputs = inputs(dir.path());
                assert!(!inputs.sources.is_empty() || !inputs.problems.is_empty());
                let views = Views::new(&inputs).unwrap();
                let linker = Linker::from_reports(&inputs, TABLES);
                let environment = environment(&views, &linker).unwrap();
                for (name, _) in REPORTS {
                    environment
                        .get_template(name)
                        .unwrap()
                        .render(&views.facts)
                        .unwrap();
                }
            }
        }
    }
}
