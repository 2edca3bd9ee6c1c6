//! What `/experiments` reads and tells.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    experiments::{ArmReport, Compared, Comparison, Interval, Report},
    metrics::Wanted,
    store::{ArmSpec, By, Experiment, rfc3339},
};

/// What to divide requests among.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "cooler", "by": "user", "arms": [
    {"name": "now"}, {"name": "cooler", "temperature": 0.6}]}))]
pub(in crate::app) struct ExperimentRequest {
    /// Its name, of which there was none before: letters, digits, `.`, `_` and `-`.
    #[schema(min_length = 1, max_length = 64)]
    pub(super) id: String,
    /// Who stays with an arm: `user` and `key` of a request, or nobody, with `request` [default: `user`]. A request
    /// without a user, or a key, is divided by itself.
    pub(super) by: Option<By>,
    /// Two to eight. The others are compared with the first.
    pub(super) arms: Vec<ArmRequest>,
}

/// A way to answer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::app) struct ArmRequest {
    #[schema(min_length = 1, max_length = 64)]
    pub(super) name: String,
    /// Its share is this over the sum of all [default: 1].
    #[schema(minimum = 1, maximum = 10_000)]
    pub(super) weight: Option<u32>,
    /// A name of a model, without a precision [default: the first].
    pub(super) model: Option<String>,
    /// A version of the first model, or its first 8 characters or more [default: the one that is served now].
    pub(super) version: Option<String>,
    /// fp32, int8 or int4 [default: the model's].
    pub(super) precision: Option<String>,
    /// For requests that give none, as the next two.
    #[schema(minimum = 0.0, maximum = 2.0)]
    pub(super) temperature: Option<f64>,
    #[schema(minimum = 1, maximum = 65_536)]
    pub(super) top_k: Option<u32>,
    #[schema(exclusive_minimum = 0.0, maximum = 1.0)]
    pub(super) top_p: Option<f64>,
}

/// An experiment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app) struct ExperimentBody {
    id: String,
    /// `comparison`, or `canary` of one that the server has begun with what it has learnt.
    kind: &'static str,
    running: bool,
    started_at: String,
    ended_at: Option<String>,
    /// Why it has ended.
    message: Option<String>,
    by: By,
    arms: Vec<ArmBody>,
}

/// An arm.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app) struct ArmBody {
    name: String,
    weight: u32,
    model: String,
    version: String,
    /// Null for that of the request.
    precision: Option<String>,
    temperature: Option<f64>,
    top_k: Option<u32>,
    top_p: Option<f64>,
}

/// The latest experiments, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app) struct ExperimentsResponse {
    pub(super) experiments: Vec<ExperimentBody>,
}

/// An experiment with what all servers have seen of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app) struct ReportResponse {
    #[serde(flatten)]
    experiment: ExperimentBody,
    results: Vec<ArmResults>,
    sample_ratio: SampleRatio,
    /// Every arm but the first with the first.
    comparisons: Vec<ComparisonBody>,
}

/// What has come of an arm.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ArmResults {
    arm: String,
    /// Users, keys or requests that it has answered.
    units: f64,
    answers: f64,
    /// Rated answers over answers: only they tell anything about quality.
    rated_share: Option<f64>,
    /// Negative answers over rated ones, with Wilson's interval of 95 % for answers that do not depend on each other.
    negative_share: Option<IntervalBody>,
    /// Texts that people accept or give as corrections, all scored by every arm.
    accepted: TextsBody,
    corrected: TextsBody,
    /// Of the latest 2,000 answers.
    latency_ms: Option<TimesBody>,
}

/// Texts scored by an arm.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct TextsBody {
    texts: f64,
    bits_per_byte: Option<f64>,
}

/// Durations of answers.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct TimesBody {
    p50: f64,
    p99: f64,
}

/// An estimate with its limits.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct IntervalBody {
    estimate: f64,
    low: f64,
    high: f64,
}

/// Whether units are divided as the weights say (chi-square).
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct SampleRatio {
    /// How probable a division is that is as far from the weights; null while nothing is divided.
    p: Option<f64>,
    /// False below 0.001: something but chance decides who is counted, and no verdict is given.
    holds: bool,
}

/// An arm against the first.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ComparisonBody {
    arm: String,
    control: String,
    negative_share: ComparedBody,
    /// Of texts that were accepted. An arm likes best what it has written itself, so trust corrections.
    accepted_bits_per_byte: ComparedBody,
    corrected_bits_per_byte: ComparedBody,
}

/// How an arm differs from the first in a figure that is to be low.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ComparedBody {
    /// `better` or `worse`, which for 95 % of experiments are right at every time of looking together; `undecided`;
    /// `too_few` units for an interval, 50 of each arm; `withheld`, as the division is not what the weights say.
    verdict: &'static str,
    /// The figure of the arm less that of the first, with limits that hold at every time of looking.
    difference: Option<IntervalBody>,
}

impl From<Interval> for IntervalBody {
    fn from(interval: Interval) -> Self {
        Self {
            estimate: interval.estimate,
            low: interval.low,
            high: interval.high,
        }
    }
}

impl From<Compared> for ComparedBody {
    fn from(compared: Compared) -> Self {
        Self {
            verdict: compared.verdict(),
            difference: compared.interval().map(IntervalBody::from),
        }
    }
}

impl From<Experiment> for ExperimentBody {
    fn from(experiment: Experiment) -> Self {
        let arms = experiment.definition.arms.into_iter();
        Self {
            id: experiment.id,
            kind: experiment.kind.name(),
            running: experiment.ended_ms.is_none(),
            started_at: rfc3339(experiment.started_ms),
            ended_at: experiment.ended_ms.map(rfc3339),
            message: experiment.message,
            by: experiment.definition.by,
            arms: arms.map(ArmBody::from).collect(),
        }
    }
}

impl From<ArmSpec> for ArmBody {
    fn from(arm: ArmSpec) -> Self {
        Self {
            name: arm.name,
            weight: arm.weight,
            model: arm.model,
            version: arm.version,
            precision: arm.precision.map(|precision| precision.to_string()),
            temperature: arm.sampling.temperature,
            top_k: arm.sampling.top_k,
            top_p: arm.sampling.top_p,
        }
    }
}

impl From<ArmReport> for ArmResults {
    fn from(arm: ArmReport) -> Self {
        let texts = |kind: Wanted| {
            let (texts, bits_per_byte) = arm.texts[kind as usize];
            TextsBody {
                texts,
                bits_per_byte,
            }
        };
        Self {
            units: arm.units,
            answers: arm.answers,
            rated_share: (arm.answers > 0.0).then(|| arm.rated / arm.answers),
            negative_share: arm.negative_share.map(IntervalBody::from),
            accepted: texts(Wanted::Accepted),
            corrected: texts(Wanted::Corrected),
            latency_ms: arm.latency_ms.map(|[p50, p99]| TimesBody { p50, p99 }),
            arm: arm.name,
        }
    }
}

impl From<Comparison> for ComparisonBody {
    fn from(comparison: Comparison) -> Self {
        let [accepted, corrected] = comparison.bits_per_byte.map(ComparedBody::from);
        Self {
            arm: comparison.arm,
            control: comparison.control,
            negative_share: comparison.negative_share.into(),
            accepted_bits_per_byte: accepted,
            corrected_bits_per_byte: corrected,
        }
    }
}

impl ReportResponse {
    pub(super) fn new(experiment: Experiment, report: Report) -> Self {
        let comparisons = report.comparisons.into_iter();
        Self {
            sample_ratio: SampleRatio {
                p: report.sample_ratio_p,
                holds: report.holds,
            },
            experiment: experiment.into(),
            results: report.arms.into_iter().map(ArmResults::from).collect(),
            comparisons: comparisons.map(ComparisonBody::from).collect(),
        }
    }
}
