//! The command `import`: weights of this form that were trained elsewhere become a checkpoint.

use std::path::Path;

use anyhow::Context as _;
use itera_cli::{ExitStatus, Files, note};
use itera_core::{
    digest::sha256_hex,
    files::{read_limited, write_atomic},
};
use serde_json::json;

use crate::{args::ImportArgs, gguf, hf};

/// More than any file of this form has.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a folder or a file and writes the checkpoint.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<ExitStatus> {
    let source = &args.source;
    let context = || format!("cannot import `{}`", source.display());
    let is_folder = source.is_dir();
    let (foreign, weights) = if is_folder {
        (hf::read(source), source.join(hf::WEIGHTS))
    } else {
        let bytes = read_file(source)?;
        (gguf::read(&bytes), source.clone())
    };
    Files::default()
        .read("the source", &weights)
        .write("`--output`", &args.output)
        .check()?;
    let training = json!({
        "imported_from": if is_folder { "transformers" } else { "gguf" },
        "source_sha256": sha256_hex(&read_file(&weights)?),
    });
    let checkpoint = foreign.and_then(|foreign| foreign.into_checkpoint(training));
    let checkpoint = checkpoint.with_context(context)?;
    write_atomic(&args.output, &checkpoint.to_bytes()?)?;
    note(format!(
        "wrote {}: {} parameters, {}",
        args.output.display(),
        checkpoint.config.parameters(),
        checkpoint.precision()
    ));
    Ok(ExitStatus::Done)
}

/// A whole file, of a bounded size.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(read_limited(path, MAX_BYTES)?)
}
