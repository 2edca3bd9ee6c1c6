//! Texts that must not become likely, by which what was learnt is judged before it is served.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use itera_core::checkpoint::Checkpoint;

use crate::weights::{Base, Variant, Weights};

/// Most bytes of a file of them: they are judged with every candidate.
const PROBE_BYTES: usize = 64 << 10;

/// The largest factor by which a token of one, the geometric mean over the text, may become more likely: that which
/// adaptations begin with, too.
pub(crate) const MOST: f64 = 2.0;

/// What comes before a text, and the text, as tokens.
type Probe = [Vec<u32>; 2];

/// Reads a file of probes, a line each: the text, or what it follows, a tab and the text.
///
/// # Errors
/// The file cannot be read, or has none.
pub(crate) fn read(checkpoint: &Checkpoint, file: &Path) -> anyhow::Result<Vec<Probe>> {
    let shown = file.display();
    let lines = fs::read_to_string(file)
        .with_context(|| format!("cannot read `{shown}` of `--adapt-probes` as UTF-8"))?;
    ensure!(
        lines.len() <= PROBE_BYTES,
        "`{shown}` of `--adapt-probes` has {} bytes, expected at most {PROBE_BYTES}",
        lines.len()
    );
    let mut probes = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let (prompt, text) = line.split_once('\t').unwrap_or(("", line));
        ensure!(
            !text.is_empty(),
            "`{shown}`, line {number}, has a prompt and no text behind its tab"
        );
        let tokens = |text: &str| {
            let tokens = checkpoint.tokenizer.encode(text.as_bytes());
            tokens.with_context(|| format!("cannot use `{shown}`, line {number}"))
        };
        probes.push([tokens(prompt)?, tokens(text)?]);
    }
    ensure!(
        !probes.is_empty(),
        "`{shown}` of `--adapt-probes` has no text; give one a line"
    );
    Ok(probes)
}

/// The factor by which a token of a probe has become more likely than by the weights of the start, at the precision that
/// is served, if that is more than it may be for any of them.
pub(crate) fn risen(probes: &[Probe], base: &Base, weights: &Weights) -> Option<f64> {
    let [before, after] = [&base.weights, weights].map(|weights| weights.variant(base.default));
    let factor = |[prompt, text]: &Probe| {
        let all = [&prompt[..], text].concat();
        let nats = |variant: &Variant| -> f64 { variant.nats(&all)[prompt.len()..].iter().sum() };
        ((nats(before) - nats(after)) / text.len() as f64).exp()
    };
    // NaN, which exceeds no bound, is refused too.
    probes
        .iter()
        .map(factor)
        .find(|factor| factor.is_nan() || *factor > MOST)
}

#[cfg(all(test, feature = "adapt"))]
mod tests {
    use super::*;

    #[test]
    fn an_import_permits_as_much_as_an_adaptation() {
        let settings = itera_learn::adapt::AdaptConfig::default();
        assert!((settings.max_probe_factor - MOST).abs() < 1e-12);
    }
}
