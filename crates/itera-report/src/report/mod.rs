//! The reports: Markdown and pictures as a pure function of what was read.

mod ablation;
mod export;
mod final_report;
mod headlines;
mod limits;
mod power;
mod prototype;
mod sources;
mod status;
mod summary;
mod validation;

use std::thread;

use anyhow::anyhow;

pub(crate) use self::{sources::missing, summary::summary};

use crate::{
    chart::raster,
    input::{Inputs, Prototype},
    md::Doc,
    output::Files,
    view::{Figure, count_of, engine_figure, power_figure, quality_figure, size, training},
};

/// Where the list of bad files is.
const FINAL: &str = "final_validation.md";
const VALIDATION: &str = "validation_report.md";
const POWER: &str = "power_validation.md";
const EXPORT: &str = "export_report.md";
const ABLATIONS: &str = "ablations.md";

/// What every report is made from.
struct Context<'i> {
    inputs: &'i Inputs,
    prototype: Prototype,
    /// Scores, sizes and training.
    quality: Vec<Figure>,
    /// Speeds of the engine.
    runtime: Vec<Figure>,
    /// Speeds of other runtimes.
    export: Option<Figure>,
    /// Energy, one for each platform and counter.
    power: Vec<Figure>,
}

/// All reports and their pictures, by file name.
///
/// # Errors
/// If a picture cannot be encoded.
pub(crate) fn render(inputs: &Inputs) -> anyhow::Result<Files> {
    let context = context(inputs)?;
    let mut files = pictures(context.figures())?;
    for (name, doc) in [
        (FINAL, final_report::doc(&context)),
        (VALIDATION, validation::doc(&context)),
        (POWER, power::doc(&context)),
        (EXPORT, export::doc(&context)),
        (ABLATIONS, ablation::doc(&context)),
    ] {
        files.insert(name.to_owned(), doc.finish().into_bytes());
    }
    Ok(files)
}

/// The pictures as shapes, and the figures of the prototype.
fn context(inputs: &Inputs) -> anyhow::Result<Context<'_>> {
    let quality = [
        quality_figure::bits_figure(inputs),
        quality_figure::perplexity_figure(inputs),
        size::figure(inputs),
        training::figure(inputs),
    ];
    let runtime = [
        engine_figure::runtime_figure(inputs),
        engine_figure::kernel_figure(inputs),
    ];
    let export = crate::view::export::figure(inputs);
    Ok(Context {
        inputs,
        prototype: Prototype::read()?,
        quality: quality.into_iter().flatten().collect(),
        runtime: runtime.into_iter().flatten().collect(),
        export,
        power: power_figure::figures(inputs),
    })
}

impl Context<'_> {
    fn figures(&self) -> impl Iterator<Item = &Figure> {
        let speeds = self.runtime.iter().chain(&self.export);
        self.quality.iter().chain(speeds).chain(&self.power)
    }
}

/// The pictures as PNG, each drawn by a thread of its own.
fn pictures<'f>(figures: impl Iterator<Item = &'f Figure>) -> anyhow::Result<Files> {
    thread::scope(|scope| {
        let drawn: Vec<_> = figures
            .map(|figure| (figure, scope.spawn(|| raster::png(&figure.canvas))))
            .collect();
        let mut files = Files::new();
        for (figure, drawing) in drawn {
            let png = drawing
                .join()
                .map_err(|_| anyhow!("drawing {} has panicked", figure.file))??;
            files.insert(figure.file.clone(), png);
        }
        Ok(files)
    })
}

/// A picture with its numbers beneath it.
fn figure(doc: &mut Doc, level: usize, figure: &Figure) {
    doc.heading(level, &figure.title);
    doc.image(&figure.file, &figure.alt);
    doc.table(&figure.table);
    doc.paragraph(&format!("From {}.", figure.sources));
}

/// Says in a report that files could not be used, and where they are listed.
fn hint_at_problems(doc: &mut Doc, inputs: &Inputs) {
    if !inputs.problems.is_empty() {
        doc.paragraph(&format!(
            "**{} could not be used, wholly or in part; see [the final report]({FINAL}#{}).**",
            files_in_words(inputs.problems.len()),
            sources::PROBLEMS_ANCHOR
        ));
    }
}

fn files_in_words(count: usize) -> String {
    count_of(count, "file")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::input::load;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

    fn inputs(folder: &Path) -> Inputs {
        let models = folder.join("data/models");
        load(&folder.join("results"), &models, &folder.join("reports")).unwrap()
    }

    #[test]
    fn no_text_of_a_picture_lies_on_another() {
        let inputs = inputs(Path::new(FIXTURES));
        let context = context(&inputs).unwrap();
        assert!(context.figures().count() >= 8);
        for figure in context.figures() {
            assert_eq!(figure.canvas.overlaps(), [""; 0], "{}", figure.file);
        }
    }

    /// Cut short, or with digits changed: whatever is still a record is rendered, and the rest is
    /// a problem. Nothing panics, and no picture grows beyond reason.
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
            "code",
        ] {
            let path = format!("results/{name}.json");
            let whole = fs::read(Path::new(FIXTURES).join(&path)).unwrap();
            let digits: Vec<usize> = (0..whole.len())
                .filter(|&i| whole[i].is_ascii_digit())
                .collect();
            for case in 0..40 {
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
                let context = context(&inputs).unwrap();
                assert!(!final_report::doc(&context).finish().is_empty());
                for figure in context.figures() {
                    assert!(figure.canvas.height < 20_000.0, "{name} {case}");
                }
            }
        }
    }
}
