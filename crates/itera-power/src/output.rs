//! The result for people and for programs.

mod csv;
mod table;

use std::path::Path;

use anyhow::Context as _;
use itera_cli::{note, print, warn};
use itera_core::files::write_atomic;
use itera_record::{PowerRecord, Record as _};

use crate::{emissions, options::Options};

/// Writes the files that the options name and prints the result.
pub(crate) fn deliver(record: &PowerRecord, options: &Options) -> anyhow::Result<()> {
    let json = record.to_json().context("cannot write the result")?;
    if let Some(path) = &options.output {
        write(path, json.as_bytes())?;
    }
    if let Some(path) = &options.csv {
        write(path, &csv::samples(record)?)?;
    }
    if options.json {
        record.notes.iter().for_each(warn);
        print(json)?;
    } else {
        print(table::report(record))?;
    }
    if let Some(path) = &options.emissions_csv {
        emissions::append(path, record, options.platforms_chosen)?;
        note(format!("appended a row to {}", path.display()));
    }
    Ok(())
}

/// Writes a file whole or not at all, and says so.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomic(path, bytes)?;
    note(format!("wrote {}", path.display()));
    Ok(())
}
