//! The part of `GET /metrics` and `GET /stats` about quality in use.

use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::{
    metrics::{Wanted, prometheus::Text},
    quality::{Quality, drift::REFERENCE, sequence::Interval},
};

/// How well the model predicts what people want, and whether prompts are what they were.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct QualityBody {
    /// Of texts that people want, scored before they were learnt from; the latest version last.
    differences: Vec<DifferenceBody>,
    drift: DriftBody,
}

/// What a version changes on texts that people want, in bits per byte of a text: by its weights less those by the
/// weights of the start. Below 0 it predicts them better.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DifferenceBody {
    version: String,
    /// `corrected`, or `accepted`: the version has written the latter itself.
    kind: &'static str,
    texts: u64,
    /// Mean over the texts; null before 30 of them, as the next two.
    mean: Option<f64>,
    /// With a chance of 95 %, the mean is between these two at all times at which somebody looks.
    low: Option<f64>,
    high: Option<f64>,
}

/// Bits per byte of prompts by the weights of the start, against a reference window.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct DriftBody {
    /// Prompts that were looked at.
    prompts: u64,
    /// Of which so many are the reference window, as of 500.
    reference: usize,
    /// 0 to 1; 1 is an alarm.
    score: f64,
    alarms: u64,
}

pub(super) fn quality_body(quality: &Quality) -> QualityBody {
    let mut differences = Vec::new();
    for difference in quality.differences() {
        for kind in Wanted::ALL {
            let sequence = difference.of(kind);
            let interval = sequence.interval();
            if sequence.count() > 0 {
                differences.push(DifferenceBody {
                    version: difference.version.to_string(),
                    kind: kind.name(),
                    texts: sequence.count(),
                    mean: interval.map(|of| of.mean),
                    low: interval.map(|of| of.low),
                    high: interval.map(|of| of.high),
                });
            }
        }
    }
    let drift = quality.drift();
    QualityBody {
        differences,
        drift: DriftBody {
            prompts: drift.prompts(),
            reference: drift.reference(),
            score: drift.score(),
            alarms: drift.alarms(),
        },
    }
}

pub(super) fn quality_metrics(app: &App, text: &mut Text) {
    let name = "itera_online_difference_bits_per_byte";
    let help = "Of texts that people want: by the served version less by the weights of the start; low and high hold \
                at all times with 95 %.";
    text.head(name, "gauge", help);
    let served = &app.models.first().weights().version;
    let differences = app.quality.differences();
    let current = differences.iter().find(|of| of.version == *served);
    for kind in Wanted::ALL {
        let interval = current.and_then(|current| current.of(kind).interval());
        if let Some(Interval { mean, low, high }) = interval {
            for (bound, value) in [("mean", mean), ("low", low), ("high", high)] {
                let labels = [("kind", kind.name()), ("bound", bound)];
                text.value(name, &labels, value);
            }
        }
    }
    let drift = app.quality.drift();
    let help = "Prompts that drift was looked for in.";
    let prompts = drift.prompts() as f64;
    text.one("itera_drift_prompts_total", "counter", help, prompts);
    let help = "How full the reference window is; drift is looked for when it is 1.";
    let share = drift.reference() as f64 / REFERENCE as f64;
    text.one("itera_drift_reference_ratio", "gauge", help, share);
    let help = "How far bits per byte of prompts are from the reference window; 1 is an alarm.";
    text.one("itera_drift_score", "gauge", help, drift.score());
    let help = "Times that prompts were no longer like those of the reference window.";
    let alarms = drift.alarms() as f64;
    text.one("itera_drift_alarms_total", "counter", help, alarms);
}
