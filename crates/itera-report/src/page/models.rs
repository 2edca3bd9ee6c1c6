//! The blocks of `data/models/README.md`: the models and the runs that made them.

use itera_record::TrainingRecord;

use super::{Block, Cited};
use crate::{
    input::Training,
    md::{Doc, Table, code, link},
    num::{fixed, thousands},
};

pub(super) const BLOCKS: [(&str, Block); 2] = [("models", models), ("runs", runs)];

/// Every checkpoint that was scored, with the files of the run that made it.
fn models(cited: &Cited<'_>, doc: &mut Doc) {
    let mut table = Table::new(["file", "data", "tokenizer", ">parameters", "run"]);
    for run in &cited.inputs.training {
        let record = &run.item.record;
        let Some(model) = &record.envelope.model else {
            continue;
        };
        // What a model was on its way, and runs for integers, end with files that are not kept.
        let scored = &mut cited.inputs.validation.iter();
        if !scored.any(|row| row.item.model.file_sha256 == model.file_sha256) {
            continue;
        }
        let label = &cited.inputs.source(run).label;
        let beside = |extension: &str| {
            let path = label.replace(".training.json", extension);
            let name = path
                .rsplit_once('/')
                .map_or(path.as_str(), |(_, name)| name);
            link(name, &format!("{}{path}", cited.up))
        };
        let texts = record.data.iter().filter(|source| source.split != "valid");
        let texts: Vec<String> = texts
            .map(|source| format!("{} {}, {}", source.dataset, source.split, source.verdict))
            .collect();
        table.row([
            beside(".safetensors"),
            texts.join("; "),
            record.tokenizer.clone(),
            thousands(model.params),
            [".training.json", ".metrics.csv", ".curve.png"]
                .map(beside)
                .join(", "),
        ]);
    }
    if !table.is_empty() {
        doc.table(&table);
    }
}

/// Every run with its command.
fn runs(cited: &Cited<'_>, doc: &mut Doc) {
    for run in &cited.inputs.training {
        let Training { name, record, .. } = &run.item;
        let valid = record.valid_bits_per_byte.map_or_else(
            || "not measured".to_owned(),
            |bits| format!("{} bits/byte", fixed(bits, 4)),
        );
        let rounded = if is_for_integers(record) {
            ", rounded,"
        } else {
            ""
        };
        doc.bullets([format!(
            "{}: {} steps, {} tokens, {} minutes beside other work; validation{rounded} {valid}\n  \
             ```sh\n  {}\n  ```",
            code(name),
            thousands(record.steps),
            thousands(record.tokens),
            fixed(record.seconds / 60.0, 0),
            record.command.join(" ")
        )]);
    }
}

fn is_for_integers(record: &TrainingRecord) -> bool {
    record.command.iter().any(|word| word == "--quantize")
}
