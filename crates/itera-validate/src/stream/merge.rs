//! The rows of all shards, one behind the other: the file of one run over all of the input.

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{ExitStatus, Files, OutputLock, note};
use itera_core::files::write_atomic;
use itera_record::{Record as _, ScoresRecord, ScoresTotals};

use super::{
    options::{Form, OutputFile, Rows},
    output::file_digest,
};

/// A shard: its record, and the file of its rows.
struct Part {
    path: PathBuf,
    record: ScoresRecord,
}

/// The summaries of rows that `parts`, folders or files, hold; none if they are no rows.
pub(crate) fn summaries(parts: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for part in parts {
        if part.is_dir() {
            let entries = fs::read_dir(part)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .with_context(|| format!("cannot list `{}`", part.display()))?;
            let paths = entries.iter().map(fs::DirEntry::path);
            let before = found.len();
            found.extend(paths.filter(|path| is_summary(path)));
            ensure!(
                found.len() > before,
                "`{}` holds no rows with their summaries; give the folder that `score --shard` wrote to",
                part.display()
            );
        } else if is_summary(part) {
            found.push(part.clone());
        }
    }
    Ok(found)
}

fn is_summary(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(b".summary.json")
}

/// Joins the rows that the `summaries` are about.
pub(crate) fn run(summaries: &[PathBuf], output: &Path) -> anyhow::Result<ExitStatus> {
    let mut parts = summaries
        .iter()
        .map(|path| Part::read(path))
        .collect::<anyhow::Result<Vec<_>>>()?;
    parts.sort_by_key(|part| part.record.shard.map(|shard| shard.index));
    let output = OutputFile {
        form: Form::of(output)?,
        path: output.to_owned(),
    };
    check(&parts, &output)?;
    let files = parts.iter().fold(Files::default(), |files, part| {
        files.read("a part", &part.path)
    });
    files
        .write("`--output`", &output.path)
        .write("the summary", output.summary())
        .check()?;
    ensure!(
        !output.journal().exists(),
        "`{}` is an unfinished output of `score`; give another `--output`, or remove it and `{}`",
        output.partial().display(),
        output.journal().display()
    );
    let _lock = OutputLock::take(&output.path)?;
    let partial = output.partial();
    let cannot = || format!("cannot write `{}`", output.path.display());
    let mut file = File::create(&partial).with_context(cannot)?;
    let mut totals = ScoresTotals::default();
    for (index, part) in parts.iter().enumerate() {
        let header = if index == 0 {
            0
        } else {
            part.record.header_bytes
        };
        part.append(header, &mut file)?;
        totals.add(&part.record.totals);
    }
    file.sync_all().with_context(cannot)?;
    let first = &parts[0].record;
    let record = ScoresRecord {
        shard: None,
        input_sha256: None,
        totals,
        seconds: parts.iter().map(|part| part.record.seconds).sum(),
        output_sha256: Some(file_digest(&partial).with_context(cannot)?),
        ..first.clone()
    };
    let json = record.to_json().context("cannot write the summary")?;
    write_atomic(&output.summary(), json.as_bytes())?;
    fs::rename(&partial, &output.path).with_context(cannot)?;
    note(format!(
        "joined {} shards: {} documents, {} rows",
        parts.len(),
        record.totals.documents,
        record.totals.rows
    ));
    Ok(ExitStatus::Done)
}

/// Refuses parts that are not all shards of one run.
fn check(parts: &[Part], output: &OutputFile) -> anyhow::Result<()> {
    let first = &parts[0];
    let count = first.record.shard.map_or(1, |shard| shard.count);
    for (index, part) in (1..).zip(parts) {
        let (name, shard) = (part.path.display(), part.record.shard);
        let shard =
            shard.with_context(|| format!("`{name}` is no shard, but all; merge needs shards"))?;
        ensure!(
            part.record.run_sha256 == first.record.run_sha256 && shard.count == count,
            "`{name}` and `{}` were made with other options, inputs or weights; score all shards with the same ones",
            first.path.display()
        );
        ensure!(
            shard.index >= index,
            "shard {}/{count} is there twice, `{name}` is one of them; leave one out",
            shard.index
        );
        ensure!(
            shard.index == index,
            "shard {index}/{count} is missing; score it with `--shard {index}/{count}`"
        );
    }
    let found = parts.len() as u64;
    ensure!(
        found == count,
        "shard {}/{count} is missing; score it with `--shard {}/{count}`",
        found + 1,
        found + 1
    );
    let form = Form::of(&first.path)?;
    if form.rows == Rows::Parquet {
        bail!(
            "Parquet files are not joined; readers take the folder of the shards as one data set"
        );
    }
    ensure!(
        form == output.form,
        "`--output` is of another form than the shards; let it end like `{}`",
        first.path.display()
    );
    Ok(())
}

impl Part {
    fn read(summary: &Path) -> anyhow::Result<Self> {
        let json =
            fs::read(summary).with_context(|| format!("cannot read `{}`", summary.display()))?;
        let record = ScoresRecord::from_json(&json)
            .with_context(|| format!("`{}` is no summary of rows", summary.display()))?;
        let name = summary.as_os_str().to_string_lossy();
        let path = PathBuf::from(name.trim_end_matches(".summary.json"));
        let digest = file_digest(&path).with_context(|| {
            format!(
                "the rows `{}` cannot be read; score that shard anew",
                path.display()
            )
        })?;
        ensure!(
            Some(digest) == record.output_sha256,
            "`{}` is not the file that its summary is about; score that shard anew",
            path.display()
        );
        Ok(Self { path, record })
    }

    /// Copies the rows behind the header.
    fn append(&self, header: u64, to: &mut impl Write) -> anyhow::Result<()> {
        let mut copy = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(header))?;
            io::copy(&mut file, to)
        };
        copy().with_context(|| format!("cannot copy the rows of `{}`", self.path.display()))?;
        Ok(())
    }
}
