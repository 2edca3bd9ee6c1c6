//! Whether a candidate may be used.

use itera_core::checkpoint::{Checkpoint, Precision};

use super::{
    AdaptConfig, AdaptError, Adaptation, Material, Quantization, Receipt,
    judge::Judge,
    receipt::{Change, between, weights_version},
    round::{self, Rounded},
};

/// Where training has gone too far for the guard, these shares of the way are tried. Weights between
/// two that were trained one from the other keep most of the abilities of each (Wortsman et al.
/// 2022), and the loss of the base text grows faster than the gain falls.
const BACKTRACKING: [f64; 2] = [0.5, 0.25];

/// The scores that a candidate is compared with.
pub(super) struct Trial<'a> {
    current: &'a Checkpoint,
    material: Material<'a>,
    config: &'a AdaptConfig,
    version_before: String,
    feedback_loss_before: f64,
    guard_base: f64,
    guard_before: f64,
    /// Nats of a token of each probe by the base weights.
    probes_base: Vec<f64>,
}

impl<'a> Trial<'a> {
    /// Judges the current weights. If the candidate is to be rounded, so are they: the weights that
    /// would answer are compared.
    pub(super) fn new(
        base: &Checkpoint,
        current: &'a Checkpoint,
        material: Material<'a>,
        config: &'a AdaptConfig,
    ) -> Result<Self, AdaptError> {
        let judge = |checkpoint: &Checkpoint| match config.quantize {
            Some(to) if checkpoint.precision() == Precision::Fp32 => {
                Judge::new(&round::round(checkpoint, to)?.checkpoint)
            }
            _ => Judge::new(checkpoint),
        };
        let judge_current = judge(current)?;
        let guard_before = judge_current.bits_per_byte(material.guard);
        let version_before = weights_version(current);
        let other_base = if weights_version(base) == version_before {
            None
        } else {
            Some(judge(base)?)
        };
        let judge_base = other_base.as_ref().unwrap_or(&judge_current);
        let guard_base = judge_base.bits_per_byte(material.guard);
        let probes_base = judge_base.probes(material.probes);
        let feedback_loss_before =
            judge_current.feedback_loss(material.examples, config.unlikelihood_weight);
        for (what, value) in [
            ("a feedback loss", feedback_loss_before),
            ("guard bits per byte", guard_before + guard_base),
        ] {
            if !value.is_finite() {
                return Err(AdaptError::NotFinite { what, value });
            }
        }
        Ok(Self {
            current,
            material,
            config,
            version_before,
            feedback_loss_before,
            guard_base,
            guard_before,
            probes_base,
        })
    }

    /// The first acceptable candidate on the way back from where training ended; if there is none, the
    /// account of the whole way. `None` stands for training whose weights did not stay finite.
    pub(super) fn judge(&self, end: Option<&Checkpoint>) -> Result<Adaptation, AdaptError> {
        let Some(end) = end else {
            return Ok(self.nothing());
        };
        let whole = self.account(end.clone(), 1.0)?;
        if whole.receipt.accepted {
            return Ok(whole);
        }
        for share in BACKTRACKING {
            let part = self.account(between(self.current, end, share), share)?;
            if part.receipt.accepted {
                return Ok(part);
            }
        }
        Ok(whole)
    }

    /// The account of one candidate.
    fn account(&self, checkpoint: Checkpoint, share: f64) -> Result<Adaptation, AdaptError> {
        let rounded = self.config.quantize.map(|to| round::round(&checkpoint, to));
        let rounded = rounded.transpose()?;
        let served = rounded.as_ref().map_or(&checkpoint, |r| &r.checkpoint);
        let judge = Judge::new(served)?;
        let (examples, unlikelihood) = (self.material.examples, self.config.unlikelihood_weight);
        let feedback_loss_after = judge.feedback_loss(examples, unlikelihood);
        let guard_bits_per_byte_after = judge.bits_per_byte(self.material.guard);
        let probe_factor = self.probe_factor(&judge);
        let scores = [
            feedback_loss_after,
            guard_bits_per_byte_after,
            probe_factor.unwrap_or(0.0),
        ];
        if !scores.iter().all(|score| score.is_finite()) {
            return Ok(self.nothing());
        }
        let change = Change::of(self.current, &checkpoint);
        let mut receipt = Receipt {
            share,
            parameters_changed: change.parameters,
            l2_change: change.l2,
            max_change: change.max,
            feedback_loss_after,
            guard_bits_per_byte_after,
            probe_factor,
            weights_version_after: weights_version(&checkpoint),
            quantization: rounded.as_ref().map(quantization),
            ..self.receipt()
        };
        (receipt.accepted, receipt.reason) = verdict(&receipt, self.config);
        Ok(Adaptation {
            checkpoint,
            quantized: rounded.map(|rounded| rounded.checkpoint),
            receipt,
        })
    }

    /// The factor of the probe that has risen most.
    fn probe_factor(&self, judge: &Judge) -> Option<f64> {
        let after = judge.probes(self.material.probes);
        let pairs = self.probes_base.iter().zip(after);
        let factors = pairs.map(|(base, after)| (base - after).exp());
        factors.max_by(f64::total_cmp)
    }

    /// The current weights, where those of the candidate are not finite.
    fn nothing(&self) -> Adaptation {
        let reason = "the weights or their scores did not stay finite; give a lower learning rate";
        Adaptation {
            checkpoint: self.current.to_fp32(),
            quantized: None,
            receipt: Receipt {
                reason: reason.to_owned(),
                ..self.receipt()
            },
        }
    }

    /// The receipt of an adaptation that changed nothing.
    fn receipt(&self) -> Receipt {
        Receipt {
            records_used: self.material.examples.len(),
            steps: self.config.steps,
            learning_rate: self.config.learning_rate,
            share: 1.0,
            parameters_changed: 0,
            l2_change: 0.0,
            max_change: 0.0,
            feedback_loss_before: self.feedback_loss_before,
            feedback_loss_after: self.feedback_loss_before,
            guard_bits_per_byte_base: self.guard_base,
            guard_bits_per_byte_before: self.guard_before,
            guard_bits_per_byte_after: self.guard_before,
            probe_factor: None,
            accepted: false,
            reason: String::new(),
            weights_version_before: self.version_before.clone(),
            weights_version_after: self.version_before.clone(),
            seconds: 0.0,
            quantization: None,
        }
    }
}

fn quantization(rounded: &Rounded) -> Quantization {
    Quantization {
        threshold: rounded.threshold,
        int4: rounded.int4.clone(),
        fallen_back_to_int8: rounded.fallen_back.clone(),
        weights_version: weights_version(&rounded.checkpoint),
    }
}

/// Whether the figures of a receipt allow its candidate, and why.
fn verdict(receipt: &Receipt, config: &AdaptConfig) -> (bool, String) {
    let (before, after) = (receipt.feedback_loss_before, receipt.feedback_loss_after);
    let (base, guard) = (
        receipt.guard_bits_per_byte_base,
        receipt.guard_bits_per_byte_after,
    );
    let rise = guard / base - 1.0;
    let change = format!(
        "guard {base:.4} to {guard:.4} bits/byte ({:+.2} %, at most {:+.2} % is allowed), feedback \
         loss {before:.4} to {after:.4} nats/token",
        100.0 * rise,
        100.0 * config.max_guard_rise
    );
    if receipt.parameters_changed == 0 {
        return (false, format!("no parameter has changed: {change}"));
    }
    if rise > config.max_guard_rise {
        return (false, format!("the guard got worse: {change}"));
    }
    if let Some(factor) = receipt.probe_factor
        && factor > config.max_probe_factor
    {
        let most = config.max_probe_factor;
        let why = format!(
            "a probe became {factor:.2} times as likely a token, at most {most} times is allowed"
        );
        return (false, format!("{why}: {change}"));
    }
    if after >= before {
        return (false, format!("the feedback was not learnt: {change}"));
    }
    (true, change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            records_used: 1,
            steps: 1,
            learning_rate: 1e-4,
            share: 1.0,
            parameters_changed: 5,
            l2_change: 1.0,
            max_change: 1.0,
            feedback_loss_before: 2.0,
            feedback_loss_after: 1.5,
            guard_bits_per_byte_base: 1.0,
            guard_bits_per_byte_before: 1.0,
            guard_bits_per_byte_after: 1.009,
            probe_factor: Some(1.9),
            accepted: false,
            reason: String::new(),
            weights_version_before: String::new(),
            weights_version_after: String::new(),
            seconds: 0.0,
            quantization: None,
        }
    }

    type Break = fn(&mut Receipt);

    #[test]
    fn each_condition_alone_decides() {
        let config = AdaptConfig::default();
        let judge = |receipt: Receipt| verdict(&receipt, &config);
        let (accepted, reason) = judge(receipt());
        assert!(accepted, "{reason}");
        let cases: [(&str, Break); 5] = [
            ("guard got worse", |r| r.guard_bits_per_byte_after = 1.011),
            ("guard got worse", |r| r.guard_bits_per_byte_base = 0.99),
            ("a probe", |r| r.probe_factor = Some(2.1)),
            ("not learnt", |r| r.feedback_loss_after = 2.0),
            ("no parameter", |r| r.parameters_changed = 0),
        ];
        for (word, change) in cases {
            let mut receipt = receipt();
            change(&mut receipt);
            let (accepted, reason) = judge(receipt);
            assert!(!accepted && reason.contains(word), "{word}: {reason}");
        }
    }
}
