//! How quantised checkpoints were made and what that costs.

use crate::{
    input::Inputs,
    md::{Table, code},
    num::{change_percent, fixed, thousands},
};

/// One row for each record of a quantisation.
pub(crate) fn table(inputs: &Inputs) -> Table {
    let mut table = Table::new([
        "model",
        "precision",
        "method",
        ">calibration tokens",
        ">file bytes",
        ">bits/weight",
        ">bits/byte before",
        ">after",
        ">change",
        "text",
        "source",
    ]);
    for of in &inputs.quantization {
        let record = &of.item;
        let none = || "–".to_owned();
        let Some(model) = &record.envelope.model else {
            continue;
        };
        let cost = record.validation.as_ref();
        table.row([
            code(&record.source.name),
            model.precision.clone(),
            record.method.clone(),
            record
                .calibration
                .as_ref()
                .map_or_else(none, |text| thousands(text.tokens)),
            thousands(record.file_bytes),
            fixed(model.bits_per_weight, 2),
            cost.map_or_else(none, |cost| fixed(cost.bits_per_byte_before, 4)),
            cost.map_or_else(none, |cost| fixed(cost.bits_per_byte_after, 4)),
            cost.map_or_else(none, |cost| {
                change_percent(cost.bits_per_byte_before, cost.bits_per_byte_after)
            }),
            cost.map_or_else(none, |cost| cost.text.clone()),
            inputs.cite(of),
        ]);
    }
    table
}
