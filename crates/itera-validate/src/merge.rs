//! Joining shards: the result of one run over all documents, to the last bit.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{ExitStatus, Files, print};
use itera_record::{
    Baselines, Documents, Envelope, PartSource, Record as _, ScoringProtocol, ValidationRow,
};

use crate::{output, read_record, row};

/// A row, the file it comes from, and what that file says about itself.
struct Part<'a> {
    path: &'a Path,
    row: ValidationRow,
    envelope: Envelope,
}

/// Joins `parts` and writes the result to `output`.
pub(crate) fn run(parts: &[PathBuf], output: &Path) -> anyhow::Result<ExitStatus> {
    let files = parts
        .iter()
        .fold(Files::default(), |files, part| files.read("a part", part));
    files.write("`--output`", output).check()?;
    let mut protocol: Option<ScoringProtocol> = None;
    let mut groups: Vec<Vec<Part>> = Vec::new();
    for path in parts {
        let record = read_record(path)?;
        let expected = protocol.get_or_insert_with(|| record.protocol.clone());
        ensure!(
            record.protocol == *expected,
            "`{}` follows the protocol `{}`, the parts before it `{expected}`; score all shards \
             with the same options",
            path.display(),
            record.protocol
        );
        for row in record.rows {
            let group = groups
                .iter_mut()
                .find(|group| belong_together(&group[0].row, &row));
            let part = Part {
                path,
                row,
                envelope: record.envelope.clone(),
            };
            match group {
                Some(group) => group.push(part),
                None => groups.push(vec![part]),
            }
        }
    }
    let protocol = protocol
        .filter(|_| !groups.is_empty())
        .context("the parts have no rows")?;
    let rows = groups
        .into_iter()
        .map(join)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let record = row::record(protocol, rows);
    output::write(
        output,
        record
            .to_json()
            .context("cannot join the parts")?
            .as_bytes(),
    )?;
    print(output::table(&record.rows))?;
    Ok(ExitStatus::Done)
}

/// Whether two rows are about the same model on the same text, wherever its file lay.
fn belong_together(a: &ValidationRow, b: &ValidationRow) -> bool {
    let key = |row: &ValidationRow| {
        (
            row.model.file_sha256.clone(),
            row.dataset_sha256.clone(),
            row.engine.clone(),
            row.precision.clone(),
        )
    };
    key(a) == key(b)
}

/// The row of all documents from the rows of all shards.
fn join(mut parts: Vec<Part>) -> anyhow::Result<ValidationRow> {
    check_complete(&parts)?;
    parts.sort_by_key(|part| part.row.shard.map(|shard| shard.index));
    let rows = || parts.iter().map(|part| &part.row);
    let mut documents: Vec<(u64, u64, f64)> =
        rows().flat_map(|row| values(&row.per_document)).collect();
    documents.sort_by_key(|&(index, ..)| index);
    let first = &parts[0].row;
    for Part { path, row, .. } in &parts {
        // Integers have the same bits on every kernel.
        let is_exact = row.precision.starts_with("int");
        ensure!(
            is_exact || row.kernel == first.kernel,
            "`{}` was scored by another kernel than the other parts, whose last bits differ; score all \
             shards with the same `--kernel`, or at int8 or int4",
            path.display()
        );
        let baselines = |row: &ValidationRow| Baselines {
            worse_than_uniform: false,
            ..row.baselines.clone()
        };
        ensure!(
            baselines(row) == baselines(first),
            "the baselines in `{}` are not those of the other parts, which come from another \
             version of this tool, other options or another training text; score all shards alike",
            path.display()
        );
    }
    let source = |part: &Part| {
        Some(PartSource {
            shard: part.row.shard?,
            created_at: part.envelope.created_at.clone(),
            tool: part.envelope.tool.clone(),
            host: part.envelope.host.clone(),
        })
    };
    let mut kernels: Vec<&str> = rows().filter_map(|row| row.kernel.as_deref()).collect();
    kernels.sort_unstable();
    kernels.dedup();
    row::derive(ValidationRow {
        kernel: (!kernels.is_empty()).then(|| kernels.join(", ")),
        documents: documents.len() as u64,
        bytes: rows().map(|row| row.bytes).sum(),
        chars: rows().map(|row| row.chars).sum(),
        words: rows().map(|row| row.words).sum(),
        tokens: rows().map(|row| row.tokens).sum(),
        unknown_tokens: rows().map(|row| row.unknown_tokens).sum(),
        seconds: rows().map(|row| row.seconds).sum(),
        shard: None,
        parts: parts.iter().filter_map(source).collect(),
        // That of a part is not that of the whole, and quantiles do not join.
        divergence: None,
        per_document: Documents {
            document_indices: documents.iter().map(|document| document.0).collect(),
            document_bytes: documents.iter().map(|document| document.1).collect(),
            document_nll_nats: documents.iter().map(|document| document.2).collect(),
        },
        ..first.clone()
    })
}

/// Position, bytes and likelihood of every document.
fn values(documents: &Documents) -> impl Iterator<Item = (u64, u64, f64)> {
    let Documents {
        document_indices,
        document_bytes,
        document_nll_nats,
    } = documents;
    let values = document_indices
        .iter()
        .zip(document_bytes)
        .zip(document_nll_nats);
    values.map(|((&index, &bytes), &nll_nats)| (index, bytes, nll_nats))
}

/// Refuses parts that are not every shard exactly once.
fn check_complete(parts: &[Part]) -> anyhow::Result<()> {
    let what = |row: &ValidationRow| format!("{} on {}", row.model.name, row.text_name());
    let mut found = Vec::new();
    for Part { path, row, .. } in parts {
        let (path, what) = (path.display(), what(row));
        let Some(shard) = row.shard else {
            bail!("`{path}` has {what} without shards; give results written with `--shard`");
        };
        ensure!(
            !found.contains(&shard),
            "`{path}` has shard {shard} of {what}, which is already there; give each shard once"
        );
        found.push(shard);
        let (count, expected) = (shard.count, found[0].count);
        ensure!(
            count == expected,
            "`{path}` has a shard of {count} of {what}, the parts before it of {expected}; give \
             the shards of one division"
        );
        let inside = row
            .per_document
            .document_indices
            .iter()
            .all(|i| i % count == shard.index - 1);
        ensure!(
            inside,
            "`{path}` has documents of {what} that are not in its shard {shard}"
        );
    }
    let row = &parts[0].row;
    let count = found[0].count;
    for index in 1..=count {
        ensure!(
            found.iter().any(|shard| shard.index == index),
            "shard {index}/{count} of {} is missing; score it with `--shard {index}/{count}`",
            what(row)
        );
    }
    Ok(())
}
