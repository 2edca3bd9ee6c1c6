//! The round trip: the step graph of a small model, which became Burn code when this program was built,
//! against the native engine. The code holds the sizes of its model, so it is that graph and no other.

use itera_cli::warn;
use itera_record::{ExportRoundTrip, ExportVerdict};

use super::{
    fixture,
    runtimes::{Outcome, verdict},
};
use crate::{args::VerifyArgs, file::OnnxFile};

/// Reads the text in the imported graph. Without Burn in this build there is none.
pub(super) fn check(args: &VerifyArgs) -> anyhow::Result<ExportRoundTrip> {
    let file = OnnxFile::from_bytes(fixture::graph(&fixture::load()?)?)?;
    let (importer, outcome) = outcome(args, &file)?;
    let (verdict, reason, figures) = verdict(outcome);
    if let (ExportVerdict::Failed, Some(reason)) = (verdict, &reason) {
        warn(format!("the round trip through Burn failed: {reason}"));
    }
    Ok(ExportRoundTrip {
        model: file.name,
        graph: file.kind.to_string(),
        file_sha256: file.sha256,
        importer,
        verdict,
        reason,
        figures,
    })
}

#[cfg(feature = "burn")]
fn outcome(args: &VerifyArgs, file: &OnnxFile) -> anyhow::Result<(String, Outcome)> {
    use super::{reference::Reference, runtimes::measure, text::Text};
    use crate::runtime::imported;

    let loaded = fixture::load()?;
    let text = Text::load(args, &loaded)?;
    let reference = Reference::new(loaded, &fixture::load()?, text)?;
    let outcome = measure(imported::open(file), file, &reference, &[(1, 33)]);
    Ok((imported::IMPORTER.to_owned(), outcome))
}

#[cfg(not(feature = "burn"))]
fn outcome(args: &VerifyArgs, _: &OnnxFile) -> anyhow::Result<(String, Outcome)> {
    anyhow::ensure!(
        args.runtime != crate::args::RuntimeArg::Burn,
        "this build has no Burn; leave out `--runtime burn`, or build with `cargo build --release \
         -p itera-export --features burn`"
    );
    let reason = "not in this build; build with `--features burn`".to_owned();
    Ok(("burn-onnx none".to_owned(), Outcome::Lacks(reason)))
}
