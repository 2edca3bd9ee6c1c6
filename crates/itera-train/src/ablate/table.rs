//! Ablations as a table.

use std::fmt::Write as _;

use itera_cli::{Align, Table};
use itera_record::{AblationRecord, AblationRun, AblationStudy};

use super::plan::{StudyPlan, Variant};

/// One run in a line.
pub(super) fn line(study: &StudyPlan, variant: &Variant, run: &AblationRun) -> String {
    let bits = run.valid_bits_per_byte.map_or_else(
        || "the loss became NaN".to_owned(),
        |bits| format!("{bits:.4} bits/byte"),
    );
    format!(
        "{} | {}: {} | seed {}: {bits}, {:.0} s",
        study.name, variant.axis, variant.name, run.seed, run.seconds
    )
}

/// All studies.
pub(super) fn text(record: &AblationRecord) -> String {
    record.studies.iter().map(study).collect()
}

fn study(study: &AblationStudy) -> String {
    let mut table = Table::new(&[
        ("axis", Align::Left),
        ("variant", Align::Left),
        ("parameters", Align::Right),
        ("seeds", Align::Right),
        ("bits/byte", Align::Right),
        ("against base", Align::Right),
    ]);
    let base = study.variants.first();
    for variant in study.variants.iter().filter(|v| !v.runs.is_empty()) {
        let bits = variant.bits();
        // Of the seeds that both have: others would count as a difference of the variant.
        let differences = base.map_or_else(Vec::new, |base| variant.against(base));
        let against = if differences.is_empty() {
            "-".to_owned()
        } else {
            let mean = differences.iter().sum::<f64>() / differences.len() as f64;
            format!("{mean:+.4}")
        };
        table.row([
            variant.axis.clone(),
            variant.name.clone(),
            variant.params.to_string(),
            variant.runs.len().to_string(),
            bits.map_or_else(
                || "-".to_owned(),
                |(mean, deviation)| match deviation {
                    Some(deviation) => format!("{mean:.4} ± {deviation:.4}"),
                    None => format!("{mean:.4}"),
                },
            ),
            against,
        ]);
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}, {} bytes read\n{table}",
        study.name, study.text_bytes
    );
    text
}
