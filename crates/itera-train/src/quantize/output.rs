//! The table and the record of a quantisation.

use std::fmt::Write as _;

use itera_cli::{Align, Table, envelope, model_info};
use itera_core::{digest::sha256_hex, kernels::Kernel, quant::TensorReport};
use itera_record::{CalibrationText, QuantizationRecord, QuantizedTensor};

use super::{Made, Quantised};
use crate::TOOL;

/// A row for each tensor, then the whole.
pub(super) fn table(quantised: &Quantised) -> String {
    let mut columns = vec![
        ("tensor", Align::Left),
        ("stored", Align::Left),
        ("group", Align::Right),
        ("bits", Align::Right),
        ("mean square error", Align::Right),
        ("relative", Align::Right),
        ("bytes", Align::Right),
    ];
    if quantised.cost.is_some() {
        columns.push(("alone, bits/byte", Align::Right));
    }
    let mut table = Table::new(&columns);
    for tensor in &quantised.made.tensors {
        let mut cells = vec![
            tensor.name.clone(),
            tensor.precision.to_string(),
            tensor
                .group
                .map_or_else(|| "-".to_owned(), |group| group.to_string()),
            format!("{:.2}", tensor.bits_per_weight),
            format!("{:.3e}", tensor.mean_square_error),
            format!("{:.3e}", tensor.relative_error),
            tensor.bytes.to_string(),
        ];
        if let Some(cost) = &quantised.cost {
            let alone = cost.alone.get(&tensor.name);
            cells.push(alone.map_or_else(|| "-".to_owned(), |bits| format!("{bits:+.5}")));
        }
        table.row(cells);
    }
    format!("{table}\n{}", summary(quantised))
}

fn summary(quantised: &Quantised) -> String {
    let Made {
        checkpoint, bytes, ..
    } = &quantised.made;
    let mut text = format!(
        "file {} bytes (was {}), weights {} bytes, {:.3} bits per weight\n",
        bytes.len(),
        quantised.of.file_bytes,
        checkpoint.weight_bytes(),
        checkpoint.bits_per_weight(),
    );
    if let Some(cost) = &quantised.cost {
        let cost = &cost.whole;
        let (before, after) = (cost.bits_per_byte_before, cost.bits_per_byte_after);
        let _ = writeln!(
            text,
            "bits/byte on {} documents ({} bytes) of {}: {before:.5} before, {after:.5} after, \
             {:+.3} %",
            cost.documents,
            cost.bytes,
            cost.text,
            100.0 * (after / before - 1.0)
        );
    }
    text
}

/// Everything in the table, and where it comes from.
pub(super) fn record(quantised: &Quantised) -> QuantizationRecord {
    let Quantised {
        source, of, made, ..
    } = quantised;
    let name = quantised
        .path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    let model = model_info(&name, &sha256_hex(&made.bytes), &made.checkpoint);
    let row = |tensor: &TensorReport| QuantizedTensor {
        name: tensor.name.clone(),
        params: tensor.len as u64,
        precision: tensor.precision.to_string(),
        group: tensor.group.map(|group| group as u64),
        bits_per_weight: tensor.bits_per_weight,
        mean_square_error: tensor.mean_square_error,
        relative_error: tensor.relative_error,
        bytes: tensor.bytes as u64,
        bits_per_byte_cost: quantised
            .cost
            .as_ref()
            .and_then(|cost| cost.alone.get(&tensor.name).copied()),
    };
    QuantizationRecord {
        envelope: envelope::<QuantizationRecord>(TOOL, Some(model)),
        source: model_info(&of.name, &of.file_sha256, &of.checkpoint),
        tuned_sha256: (of.file_sha256 != source.file_sha256).then(|| source.file_sha256.clone()),
        method: quantised.method.to_string(),
        kernel: Kernel::best().name().to_owned(),
        calibration: quantised
            .calibration
            .as_ref()
            .map(|calibration| CalibrationText {
                source: calibration.source.clone(),
                tokens: calibration.tokens() as u64,
            }),
        file_bytes: made.bytes.len() as u64,
        validation: quantised.cost.as_ref().map(|cost| cost.whole.clone()),
        tensors: made.tensors.iter().map(row).collect(),
    }
}
