//! Versions of the weights, listed, out of a database and into it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};
use itera_cli::{Align, ExitStatus, Table, note, print};
use itera_core::{checkpoint::Precision, files::write_atomic, models};
use itera_record::{Record as _, RetrainingRecord};

use super::{open, open_existing};
use crate::{
    args::VersionsCommand,
    probes,
    store::{Imported, Store, StoredVersion, VersionRow, rfc3339},
    weights::{Base, Weights, weights_version},
};

/// Digits of a version in messages.
const SHORT: usize = 12;

/// Digits that a version may be named by.
const LEAST: usize = 6;

pub(crate) async fn run(command: VersionsCommand) -> anyhow::Result<ExitStatus> {
    match command {
        VersionsCommand::List { database } => {
            let store = open_existing(&database.database).await?;
            print(list(&versions(&store).await?, &store.active().await?))?;
        }
        VersionsCommand::Export {
            database,
            version,
            output,
        } => {
            let store = open_existing(&database.database).await?;
            export(&store, &version, &output).await?;
        }
        VersionsCommand::Import {
            database,
            checkpoint,
            record,
            adapt_probes,
            canary,
            input,
        } => {
            let base = Base::load(&checkpoint[0], None)?;
            let read = |file: PathBuf| probes::read(&base.weights.checkpoint, &file);
            let probes = adapt_probes.map_or(Ok(Vec::new()), read)?;
            let (version, receipt, weights) = candidate(&base, &input, record.as_deref())?;
            if let Some(factor) = probes::risen(&probes, &base, &weights) {
                note(format!(
                    "refused: a probe became {factor:.2} times as likely a token, at most {} times is allowed",
                    probes::MOST
                ));
                return Ok(ExitStatus::CheckFailed);
            }
            open_existing(&database.database).await?;
            let store = open(&database.database).await?.0;
            import(&store, &base, version, receipt.as_deref(), canary).await?;
        }
    }
    Ok(ExitStatus::Done)
}

/// All versions, newest first.
async fn versions(store: &Store) -> anyhow::Result<Vec<VersionRow>> {
    let versions = store.versions().await?;
    ensure!(
        !versions.is_empty(),
        "no server has used this database yet, so it has no versions"
    );
    Ok(versions)
}

fn list(versions: &[VersionRow], active: &str) -> String {
    let mut table =
        Table::new(&["version", "created", "parent", "served"].map(|name| (name, Align::Left)));
    for row in versions {
        let parent = row.parent.as_deref().unwrap_or("none");
        let is_served = if row.version == active { "yes" } else { "no" };
        table.row([
            short(&row.version).to_owned(),
            rfc3339(row.created_ms),
            short(parent).to_owned(),
            is_served.to_owned(),
        ]);
    }
    table.to_string()
}

/// Writes the floats of a version, named by `active` or its first digits.
async fn export(store: &Store, name: &str, output: &Path) -> anyhow::Result<()> {
    let all = versions(store).await?;
    let version = match name {
        "active" => store.active().await?,
        digits => find(&all, digits)?,
    };
    let stored = store.version(&version).await?;
    let Some(bytes) = stored.and_then(|stored| stored.checkpoint) else {
        bail!(
            "{} is the checkpoint that the servers are started with; its weights are not in the database",
            short(&version)
        );
    };
    write_atomic(output, &bytes)?;
    note(format!(
        "wrote {}, version {}",
        output.display(),
        short(&version)
    ));
    Ok(())
}

fn find(versions: &[VersionRow], digits: &str) -> anyhow::Result<String> {
    ensure!(
        digits.len() >= LEAST,
        "`{digits}` is too short for a version; give at least {LEAST} of its digits, or `active`"
    );
    let mut found = versions
        .iter()
        .filter(|row| row.version.starts_with(digits));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row.version.clone()),
        (None, _) => bail!("there is no version `{digits}`; see `itera-serve versions list`"),
        (Some(_), Some(_)) => bail!("several versions begin with `{digits}`; give more digits"),
    }
}

/// A version to import, the record of its retraining, both checked before a database is touched, and its weights as they
/// would be served. Its integers are those of the file beside it, as `itera-train quantize` makes one, else rounded from
/// the floats.
fn candidate(
    base: &Base,
    input: &Path,
    record: Option<&Path>,
) -> anyhow::Result<(StoredVersion, Option<String>, Arc<Weights>)> {
    let name = input
        .to_str()
        .context("the name of the file is not UTF-8")?;
    let loaded = models::load_checkpoint(name)?;
    let stored = loaded.checkpoint.precision();
    ensure!(
        stored == Precision::Fp32,
        "`{name}` is stored as {stored}, expected floats, which servers learn from"
    );
    let receipt = record
        .map(|path| receipt(path, &loaded.file_sha256))
        .transpose()?;
    let floats = loaded.checkpoint;
    let rounded = models::load_at_precision(name, base.default)?.checkpoint;
    let version = StoredVersion {
        version: weights_version(&floats),
        parent: None,
        checkpoint: Some(floats.to_bytes()?),
        quantized: Some(rounded.to_bytes()?),
    };
    // Nothing is stored that could not be served.
    let weights = base.adapted(floats, Some(&rounded))?;
    Ok((version, receipt, weights))
}

/// The record of a retraining, if it is about this file and its gate let it through.
fn receipt(path: &Path, candidate_sha256: &str) -> anyhow::Result<String> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{name}`"))?;
    let record = RetrainingRecord::from_json(text.as_bytes())
        .with_context(|| format!("cannot use `{name}`"))?;
    let about = record.envelope.model.as_ref();
    ensure!(
        about.is_some_and(|model| model.file_sha256 == candidate_sha256),
        "`{name}` is the record of another checkpoint"
    );
    ensure!(
        record.passed,
        "by `{name}`, the gate has refused this checkpoint"
    );
    Ok(text)
}

async fn import(
    store: &Store,
    base: &Base,
    version: StoredVersion,
    receipt: Option<&str>,
    as_canary: bool,
) -> anyhow::Result<()> {
    store.bind(&base.name, &base.weights.version).await?;
    let name = short(&version.version).to_owned();
    note(
        match store.import_version(version, receipt, as_canary).await? {
            Imported::Served(former) => {
                format!("{name} is served from now on, before it {}", short(&former))
            }
            Imported::Canary => {
                format!("{name} is a canary from now on, beginning with 5 % of the traffic")
            }
            Imported::Already => format!("{name} is served already"),
            Imported::Running(other) => bail!(
                "the experiment `{other}` runs, beside which no canary begins; stop it (POST /experiments/{other}/stop) or \
             wait for its end, then import again"
            ),
        },
    );
    Ok(())
}

fn short(version: &str) -> &str {
    version.get(..SHORT).unwrap_or(version)
}
