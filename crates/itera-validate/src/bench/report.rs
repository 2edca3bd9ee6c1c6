//! The record as text.

use itera_cli::Table;
use itera_record::{
    EngineBenchRecord,
    columns::{ENGINE_SPEEDS, LIMITS, MEMORY},
};

/// Speeds, then memory and the cost by context, then what the machine can do.
pub(super) fn text(record: &EngineBenchRecord) -> String {
    let tables = [
        Table::of(ENGINE_SPEEDS, &record.rows),
        Table::of(MEMORY, &record.memory),
        record.context_table(),
        Table::of(LIMITS, &record.machine),
    ];
    let tables = tables.iter().filter(|table| !table.is_empty());
    tables
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
