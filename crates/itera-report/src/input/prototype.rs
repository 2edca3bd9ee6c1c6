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
    pub(crate) figures: Vec<PrototypeFigure>,
    pub(crate) claims: Vec<PrototypeClaim>,
}

/// A figure, and which one here is its like.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct PrototypeFigure {
    pub(crate) what: String,
    /// The quantity, and the text, workload, platform or precision.
    pub(crate) here: (String, String),
    pub(crate) value: f64,
    #[serde(default)]
    pub(crate) unit: String,
    /// What a uniform guess has.
    pub(crate) chance: Option<f64>,
    /// Whether the two compare.
    pub(crate) note: String,
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
        let kinds = ["perplexity", "speed", "seconds", "joules", "bytes"];
        let is_known = |figure: &PrototypeFigure| kinds.contains(&figure.here.0.as_str());
        assert!(prototype.figures.iter().all(is_known));
        assert!(prototype.claims.iter().all(|claim| claim.denominator > 0.0));
    }
}
