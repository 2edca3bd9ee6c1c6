//! The learning rate as a pure function of the step.

use serde::{Deserialize, Serialize};

use crate::setting::{SettingError, ensure};

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Half a cosine down to the floor.
    Cosine,
    /// Constant, then linear to the floor over the last part ("trapezoid").
    Trapezoid,
}

/// Learning rate over a run of `steps` steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Highest rate.
    pub peak: f64,
    /// Rate at the last step, as a share of the peak.
    pub floor: f64,
    /// Steps of the linear warm-up.
    pub warmup: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Shape after the warm-up.
    pub decay: Decay,
}

/// Share of the steps in which a trapezoid falls.
const TRAPEZOID_FALL: f64 = 0.3;

impl Default for Schedule {
    fn default() -> Self {
        Self {
            peak: 1e-2,
            floor: 0.1,
            warmup: 4,
            steps: 40,
            decay: Decay::Trapezoid,
        }
    }
}

impl Schedule {
    /// Checks every field.
    pub(crate) fn validate(&self) -> Result<(), SettingError> {
        let Self {
            peak,
            floor,
            warmup,
            steps,
            ..
        } = *self;
        let rises = peak > 0.0 && peak <= 1.0;
        ensure(rises, "schedule.peak", peak, "above 0, at most 1")?;
        let falls = (0.0..=1.0).contains(&floor);
        ensure(falls, "schedule.floor", floor, "0 to 1")?;
        let most = format!("at most the {steps} steps of the run");
        ensure(warmup <= steps, "schedule.warmup", warmup, most)
    }

    /// Learning rate of `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        // 1. Linear warm-up.
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        // 2. After the end: the floor.
        if step >= self.steps {
            return self.peak * self.floor;
        }
        // 3. In between: down from the peak.
        let span = (self.steps - self.warmup).max(1) as f64;
        let progress = (step - self.warmup) as f64 / span;
        let height = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Decay::Trapezoid => ((1.0 - progress) / TRAPEZOID_FALL).min(1.0),
        };
        self.peak * (self.floor + (1.0 - self.floor) * height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSINE: Schedule = Schedule {
        peak: 1.0,
        floor: 0.1,
        warmup: 10,
        steps: 110,
        decay: Decay::Cosine,
    };

    #[test]
    fn warm_up_is_linear_and_reaches_the_peak() {
        assert!((COSINE.rate(0) - 0.1).abs() < 1e-12);
        assert!((COSINE.rate(9) - 1.0).abs() < 1e-12);
        assert!((COSINE.rate(10) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn cosine_passes_the_middle_and_ends_at_the_floor() {
        assert!((COSINE.rate(60) - 0.55).abs() < 1e-12);
        assert!((COSINE.rate(110) - 0.1).abs() < 1e-12);
        assert!((COSINE.rate(1000) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn trapezoid_holds_the_peak_and_then_falls() {
        let schedule = Schedule {
            decay: Decay::Trapezoid,
            ..COSINE
        };
        assert!((schedule.rate(70) - 1.0).abs() < 1e-12);
        assert!((schedule.rate(95) - 0.55).abs() < 1e-9);
    }
}
