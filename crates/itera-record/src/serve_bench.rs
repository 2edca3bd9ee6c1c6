//! The record of `scripts/serve-bench.py`: how fast the server answers, and what it needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Envelope, Record,
    check::{self, RecordError},
};

/// The server under load on loopback. `model` is the checkpoint as it was served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeBenchRecord {
    /// Schema, time, tool, host and model.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// What was measured by whom.
    #[serde(flatten)]
    pub measured: ServeMeasurement,
    /// The bars of the project, and whether they hold.
    pub bars: Vec<ServeBar>,
}

/// What the load generator and the server told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeMeasurement {
    /// How it was measured.
    pub protocol: ServeProtocol,
    /// Loads: `full`, `half`, `idle` (one connection, one token) and `adapting`.
    pub loads: Vec<ServeLoad>,
    /// The largest resident memory of the server while it answered, before it learnt.
    pub serving_peak_bytes: u64,
    /// The largest resident memory of the server, learning included.
    pub peak_bytes: u64,
    /// The adaptation during the load `adapting`; null in a build that does not learn.
    pub adaptation: Option<ServeAdaptation>,
    /// How fast texts are scored; null in records of before.
    #[serde(default)]
    pub score: Option<ServeScore>,
    /// How soon a long text is gone on with; null in records of before.
    #[serde(default)]
    pub context: Option<ServeContext>,
}

/// `POST /v1/score` and `itera-validate score` in turns, on the same stories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeScore {
    /// Bytes of text of a turn.
    pub bytes: u64,
    /// Median of the turns: bytes per second of the server.
    pub server_bytes_per_s: f64,
    /// Median of the turns: bytes per second of the program, its start included.
    pub program_bytes_per_s: f64,
}

/// The first token after a long prompt, as a client with one connection sees it: medians in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeContext {
    /// Bytes of the prompt.
    pub bytes: u64,
    /// Of a text that the server has not seen.
    pub unknown_ms: f64,
    /// Of a text that the server has read before.
    pub known_ms: f64,
    /// Of a session that holds the text.
    pub session_ms: f64,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeProtocol {
    /// Name and version of the load generator.
    pub generator: String,
    /// Command line of the server.
    pub server: Vec<String>,
    /// Body of a request.
    pub request: serde_json::Value,
    /// Share of the cores that other programs used before the measurement, 0 to 1; null if unknown.
    pub busy_share_before: Option<f64>,
}

/// One load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeLoad {
    /// `full`, `half`, `idle` or `adapting`.
    pub name: String,
    /// Connections, each with one request at a time.
    pub connections: u64,
    /// Pause of a connection between two requests, in milliseconds.
    pub pause_ms: f64,
    /// Length of the measurement.
    pub seconds: f64,
    /// Requests that were answered with 200.
    pub requests: u64,
    /// Requests that were not.
    pub errors: u64,
    /// Tokens that the server wrote for them.
    pub tokens: u64,
    /// `requests / seconds`.
    pub requests_per_s: f64,
    /// `tokens / requests`.
    pub tokens_per_request: f64,
    /// Mean latency as the client sees it.
    pub mean_ms: f64,
    /// Its median.
    pub p50_ms: f64,
    /// Its 95th percentile.
    pub p95_ms: f64,
    /// Its 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// An adaptation under load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeAdaptation {
    /// Records that it learnt from.
    pub records: u64,
    /// Updates of the weights.
    pub steps: u64,
    /// Wall time.
    pub seconds: f64,
    /// Whether its weights were taken.
    pub accepted: bool,
}

/// A figure with its bar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServeBar {
    /// What it is about, with its unit.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// `at least` or `at most`.
    pub relation: String,
    /// What is asked for.
    pub bar: f64,
    /// Whether it holds.
    pub holds: bool,
}

impl ServeBar {
    /// A figure that is to be at least `bar`.
    pub fn at_least(name: &str, value: f64, bar: f64) -> Self {
        Self::new(name, value, "at least", bar, value >= bar)
    }

    /// A figure that is to be at most `bar`.
    pub fn at_most(name: &str, value: f64, bar: f64) -> Self {
        Self::new(name, value, "at most", bar, value <= bar)
    }

    fn new(name: &str, value: f64, relation: &str, bar: f64, holds: bool) -> Self {
        Self {
            name: name.to_owned(),
            value,
            relation: relation.to_owned(),
            bar,
            holds,
        }
    }
}

impl Record for ServeBenchRecord {
    const SCHEMA: &'static str = "itera.serve-bench/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        for (i, load) in self.measured.loads.iter().enumerate() {
            let field = |name: &str| format!("loads[{i}].{name}");
            check::ensure(
                load.seconds > 0.0,
                &field("seconds"),
                load.seconds,
                "above 0",
            )?;
            let rate = load.requests as f64 / load.seconds;
            check::close(&field("requests_per_s"), load.requests_per_s, rate)?;
            let tokens = load.tokens as f64 / load.requests.max(1) as f64;
            check::close(
                &field("tokens_per_request"),
                load.tokens_per_request,
                tokens,
            )?;
            check::finite(&field("p99_ms"), load.p99_ms)?;
            let ordered = load.p50_ms <= load.p95_ms && load.p95_ms <= load.p99_ms;
            check::ensure(
                ordered,
                &field("p99_ms"),
                load.p99_ms,
                "at least p95 and p50",
            )?;
        }
        for (i, bar) in self.bars.iter().enumerate() {
            check::finite(&format!("bars[{i}].value"), bar.value)?;
            let holds = match bar.relation.as_str() {
                "at least" => bar.value >= bar.bar,
                "at most" => bar.value <= bar.bar,
                other => {
                    let known = "`at least` or `at most`";
                    return check::ensure(false, &format!("bars[{i}].relation"), other, known);
                }
            };
            check::ensure(
                bar.holds == holds,
                &format!("bars[{i}].holds"),
                bar.holds,
                holds,
            )?;
        }
        Ok(())
    }
}
