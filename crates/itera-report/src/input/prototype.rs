//! The figures that the prototype published, compiled in from `data/prototype.json`.

use anyhow::Context as _;
use serde::Deserialize;

/// The file, as it is committed.
const JSON: &str = include_str!("../../data/prototype.json");

/// Published figures of the prototype.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Prototype {
    pub(crate) origin: String,
    pub(crate) parameters: u64,
    pub(crate) int8_megabytes: f64,
    /// Tokens of one timed inference.
    pub(crate) tokens_per_sample: u64,
    pub(crate) tokens_per_s_two_cores: f64,
    pub(crate) onnx_runtime_ms: f64,
    pub(crate) torchscript_ms: f64,
    pub(crate) validation: Vec<PrototypeScore>,
    pub(crate) power: Vec<PrototypePower>,
    pub(crate) claims: Vec<PrototypeClaim>,
}

/// A score of the prototype's character model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct PrototypeScore {
    pub(crate) dataset: String,
    pub(crate) char_perplexity: f64,
    /// Characters of its vocabulary, which is the perplexity of a uniform guess.
    pub(crate) characters: u64,
    pub(crate) tokens: u64,
}

/// An estimate of the prototype from nominal power.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct PrototypePower {
    pub(crate) platform: String,
    pub(crate) tdp_watts: f64,
    pub(crate) millijoules_per_token: f64,
    pub(crate) latency_ms: f64,
    pub(crate) tokens_per_joule: f64,
}

/// A ratio that the prototype's report states, and the two figures that it is of.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct PrototypeClaim {
    pub(crate) of: String,
    pub(crate) numerator: f64,
    pub(crate) denominator: f64,
    pub(crate) published: Vec<f64>,
}

impl Prototype {
    /// # Errors
    /// Never in practice: a test reads the same text.
    pub(crate) fn read() -> anyhow::Result<Self> {
        serde_json::from_str(JSON).context("the figures of the prototype, compiled in, are broken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_can_be_read() {
        let prototype = Prototype::read().unwrap();
        assert_eq!(prototype.power.len(), 3);
        assert!(prototype.claims.iter().all(|claim| claim.denominator > 0.0));
    }
}
