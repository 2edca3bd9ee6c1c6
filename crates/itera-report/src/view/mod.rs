//! Views of the results: which rows a table or a picture shows, and in which words.

pub(crate) mod ablation;
pub(crate) mod code;
pub(crate) mod engine;
pub(crate) mod engine_figure;
pub(crate) mod export;
pub(crate) mod power;
pub(crate) mod power_figure;
pub(crate) mod quality;
pub(crate) mod quality_figure;
pub(crate) mod quantization;
pub(crate) mod serve;
pub(crate) mod size;
pub(crate) mod training;

use itera_record::ModelInfo;

use crate::{chart::canvas::Canvas, md::Table};

/// A picture, the words that stand for it, and its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// File name in the folder of the reports.
    pub(crate) file: String,
    pub(crate) title: String,
    /// What can be seen, for those who cannot see it.
    pub(crate) alt: String,
    pub(crate) canvas: Canvas,
    /// Every number of the picture.
    pub(crate) table: Table,
    /// Links to the files that the numbers come from.
    pub(crate) sources: String,
}

/// A model and its precision, which is often part of the file's name already.
pub(crate) fn model_name(model: &ModelInfo) -> String {
    format!("{} {}", base_name(model), model.precision)
}

/// A model without its precision, so that its precisions stand together.
pub(crate) fn base_name(model: &ModelInfo) -> &str {
    let name = model.name.strip_suffix(&model.precision);
    let name = name.and_then(|name| name.strip_suffix(['.', '-', '_']));
    name.unwrap_or(&model.name)
}

/// A number of things: `1 run`, `2 runs`.
pub(crate) fn count_of(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// Where a precision stands in a list: from the widest weights to the narrowest.
pub(crate) fn rank_of_precision(precision: &str) -> u8 {
    match precision {
        "fp32" => 0,
        "int8" => 1,
        "int4" => 2,
        _ => 3,
    }
}

/// Items in words: `a`, `a and b`, `a, b and c`.
pub(crate) fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_enumerated() {
        let all = |n: usize| enumerate(&["a", "b", "c"].map(str::to_owned)[..n]);
        assert_eq!(
            [all(0), all(1), all(2), all(3)],
            ["", "a", "a and b", "a, b and c"]
        );
    }
}
