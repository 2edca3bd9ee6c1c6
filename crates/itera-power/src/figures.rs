//! From samples to energies per token with their bounds.

use itera_record::{
    CounterStatus, DominatingTerm, EnergyFigure, Interval, PowerPlatform, PowerSamples, SpeedBasis,
    Summary, UNAVAILABLE,
};

use crate::tdp::{self, LoadModel};

/// Bounds of the spread over repeats.
const LOW: f64 = 0.05;
const HIGH: f64 = 0.95;

/// Joules of a kilowatt-hour, over the tokens that carbon is said for.
const JOULES_PER_KWH: f64 = 3.6e6;
const CARBON_TOKENS: f64 = 1e6;

/// What figures are made of.
pub(crate) struct Measured<'a> {
    pub(crate) samples: &'a PowerSamples,
    pub(crate) tokens_per_sample: u64,
    pub(crate) carbon_intensity_g_per_kwh: f64,
}

impl Measured<'_> {
    fn tokens(&self) -> f64 {
        self.tokens_per_sample as f64
    }

    fn tokens_per_s(&self) -> f64 {
        self.tokens() / median(&self.samples.wall_seconds)
    }

    /// The figure for a platform.
    pub(crate) fn estimate(&self, platform: &PowerPlatform) -> EnergyFigure {
        let speed = platform.relative_speed.unwrap_or(1.0);
        let busy = self.samples.busy_threads();
        let utilisations: Vec<f64> = busy.iter().map(|b| platform.utilisation(*b)).collect();
        let per_sample = |power: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let windows = self.samples.wall_seconds.iter().zip(&utilisations);
            windows
                .map(|(wall, u)| tdp::energy_per_token(power(*u), wall / speed, self.tokens()))
                .collect()
        };
        let gross = LoadModel::ALL.map(|model| per_sample(&|u| model.power_watts(platform, u)));
        let net = LoadModel::ALL.map(|model| per_sample(&|u| model.net_power_watts(platform, u)));
        let power = LoadModel::ALL.map(|model| -> Vec<f64> {
            utilisations
                .iter()
                .map(|u| model.power_watts(platform, *u))
                .collect()
        });
        let source = format!("tdp:{}", platform.name);
        let basis = match platform.relative_speed {
            None => SpeedBasis::ThisMachine,
            Some(_) => SpeedBasis::RelativeSpeed,
        };
        let figure = EnergyFigure {
            method: format!("estimated({source})"),
            speed: basis,
            tokens_per_s: Some(self.tokens_per_s() * speed),
            power_watts: Some(across_models(&power)),
            net_joules_per_token: Some(across_models(&net)),
            dominating_term: Some(widest_of_models(&gross)),
            ..nothing(source)
        };
        self.with_gross(figure, across_models(&gross))
    }

    /// The energy by a counter that passed its checks; `failure` is the reason if it gave no samples.
    pub(crate) fn measure(&self, counter: &CounterStatus, failure: Option<&str>) -> EnergyFigure {
        let series = self
            .samples
            .counters
            .iter()
            .find(|series| series.source == counter.source);
        let Some(series) = series else {
            let reason = failure.unwrap_or("it was not read");
            return unavailable(counter.source.clone(), reason.to_owned());
        };
        let total: f64 = series.joules.iter().sum();
        if total <= 0.0 {
            let reason = "it stood still while the model ran; give a longer `--min-seconds`";
            return unavailable(counter.source.clone(), reason.to_owned());
        }
        let tokens = self.tokens() * series.joules.len() as f64;
        let wall: f64 = self.samples.wall_seconds.iter().sum();
        let gross: Vec<f64> = series
            .joules
            .iter()
            .map(|joules| joules / self.tokens())
            .collect();
        // The counter's step is an error at either end of a sample, and of the whole.
        let step = 2.0 * counter.step_joules.unwrap_or_default();
        let spread = around(total / tokens, &gross, step / tokens);
        let windows = series.joules.iter().zip(&self.samples.wall_seconds);
        let power: Vec<f64> = windows
            .clone()
            .map(|(joules, wall)| joules / wall)
            .collect();
        let net = idle_watts(counter).map(|idle| {
            // Least where the power at rest is taken to be greatest.
            let with = |idle: f64| {
                let net: Vec<f64> = windows
                    .clone()
                    .map(|(joules, wall)| (joules - idle * wall) / self.tokens())
                    .collect();
                around((total - idle * wall) / tokens, &net, step / tokens)
            };
            Interval {
                low: with(idle.high).low,
                nominal: with(idle.nominal).nominal,
                high: with(idle.low).high,
            }
        });
        let dominating = if spread.high - spread.low > 2.0 * step / self.tokens() {
            DominatingTerm::RepeatSpread
        } else {
            DominatingTerm::CounterStep
        };
        let figure = EnergyFigure {
            method: format!("measured({})", counter.source),
            tokens_per_s: Some(self.tokens_per_s()),
            power_watts: Some(around(total / wall, &power, step / wall)),
            // A machine that was busier at rest than under load tells nothing about the difference.
            net_joules_per_token: net
                .filter(|net| net.nominal > 0.0)
                .map(|net| net.map(|joules| joules.max(0.0))),
            dominating_term: Some(dominating),
            ..nothing(counter.source.clone())
        };
        self.with_gross(figure, positive(spread))
    }

    /// Fills in what follows from the gross energy.
    fn with_gross(&self, figure: EnergyFigure, gross: Interval) -> EnergyFigure {
        let carbon = self.carbon_intensity_g_per_kwh * CARBON_TOKENS / JOULES_PER_KWH;
        EnergyFigure {
            gross_joules_per_token: Some(gross),
            tokens_per_joule: Some(gross.reciprocal()),
            co2e_g_per_million_tokens: Some(gross.map(|joules| joules * carbon)),
            ..figure
        }
    }
}

/// The figure of a counter that gives none.
pub(crate) fn unavailable(source: String, reason: String) -> EnergyFigure {
    EnergyFigure {
        reason: Some(reason),
        ..nothing(source)
    }
}

/// Power at rest, between what was found before and after the measurement; none if it was not found.
fn idle_watts(counter: &CounterStatus) -> Option<Interval> {
    let before = counter.idle_watts?;
    let after = counter.idle_after_watts.unwrap_or(before);
    Some(Interval {
        low: before.min(after),
        nominal: f64::midpoint(before, after),
        high: before.max(after),
    })
}

/// A figure without a number.
fn nothing(source: String) -> EnergyFigure {
    EnergyFigure {
        source,
        method: UNAVAILABLE.to_owned(),
        reason: None,
        speed: SpeedBasis::Measured,
        tokens_per_s: None,
        power_watts: None,
        gross_joules_per_token: None,
        net_joules_per_token: None,
        tokens_per_joule: None,
        dominating_term: None,
        co2e_g_per_million_tokens: None,
    }
}

/// The middle of the first model, between the least and the greatest that any model and nearly any
/// repeat gives.
fn across_models(models: &[Vec<f64>; 4]) -> Interval {
    let bound = |q| models.iter().map(move |values| quantile(values, q));
    Interval {
        low: bound(LOW).fold(f64::INFINITY, f64::min),
        nominal: median(&models[0]),
        high: bound(HIGH).fold(f64::NEG_INFINITY, f64::max),
    }
}

/// Which of the other models and the spread moves the first model's energy most.
fn widest_of_models([linear, machine, process, full]: &[Vec<f64>; 4]) -> DominatingTerm {
    let nominal = median(linear);
    let away = |model: &[f64]| (median(model) - nominal).abs();
    let spread = quantile(linear, HIGH) - quantile(linear, LOW);
    let terms = [
        (DominatingTerm::CubicLoadModel, away(machine)),
        (DominatingTerm::ProcessShare, away(process)),
        (DominatingTerm::FullTdp, away(full)),
        (DominatingTerm::RepeatSpread, spread),
    ];
    let widest = terms.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    widest.map_or(DominatingTerm::RepeatSpread, |(term, _)| term)
}

/// A mean with the spread of its samples, or with `error` where that is wider.
fn around(mean: f64, samples: &[f64], error: f64) -> Interval {
    Interval {
        low: quantile(samples, LOW).min(mean - error),
        nominal: mean,
        high: quantile(samples, HIGH).max(mean + error),
    }
}

/// Keeps the lower bound of an energy above 0: a sample too short for its counter says nothing of it.
fn positive(interval: Interval) -> Interval {
    let least = interval.nominal * 1e-3;
    Interval {
        low: interval.low.max(least),
        ..interval
    }
}

/// The middle value; 0 for none, which no caller has.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// 0 for no sample, which no caller has.
fn quantile(values: &[f64], q: f64) -> f64 {
    Summary::quantile(values, q).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use itera_record::CounterSamples;

    use super::*;

    fn laptop() -> PowerPlatform {
        PowerPlatform {
            name: "laptop".into(),
            description: String::new(),
            cores: 2,
            tdp_watts: 15.0,
            idle_watts: 3.0,
            relative_speed: None,
            source: String::new(),
            date: String::new(),
        }
    }

    /// Three equal samples of 10 ms and 100 tokens, one of two cores busy.
    fn samples() -> PowerSamples {
        PowerSamples {
            wall_seconds: vec![0.01; 3],
            cpu_seconds: vec![0.01; 3],
            calibration_seconds: vec![0.001; 3],
            calibration_cpu_seconds: vec![0.001; 3],
            counters: vec![CounterSamples {
                source: "rapl:package-0".into(),
                joules: vec![0.08; 3],
                calibration_joules: vec![0.008; 3],
            }],
        }
    }

    fn measured(samples: &PowerSamples) -> Measured<'_> {
        Measured {
            samples,
            tokens_per_sample: 100,
            carbon_intensity_g_per_kwh: 475.0,
        }
    }

    fn counter(idle_watts: f64, step_joules: f64) -> CounterStatus {
        CounterStatus {
            source: "rapl:package-0".into(),
            method: String::new(),
            reason: None,
            idle_watts: Some(idle_watts),
            idle_after_watts: Some(idle_watts),
            spin_watts: None,
            step_joules: Some(step_joules),
        }
    }

    fn near(interval: Option<Interval>, [low, nominal, high]: [f64; 3]) {
        let found = interval.unwrap();
        for (found, expected) in [
            (found.low, low),
            (found.nominal, nominal),
            (found.high, high),
        ] {
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{found} instead of {expected}"
            );
        }
    }

    #[test]
    fn an_estimate_is_what_a_hand_computes() {
        let samples = samples();
        let figure = measured(&samples).estimate(&laptop());
        assert_eq!(figure.method, "estimated(tdp:laptop)");
        assert_eq!(figure.speed, SpeedBasis::ThisMachine);
        // Utilisation 0.5: 3.1875 W cubic, 9 W linear, 15 W TDP; 0.1 ms a token.
        near(figure.power_watts, [3.1875, 9.0, 15.0]);
        near(figure.gross_joules_per_token, [3.1875e-4, 9e-4, 15e-4]);
        near(
            figure.tokens_per_joule,
            [1e4 / 15.0, 1e4 / 9.0, 1e4 / 3.1875],
        );
        // 1.6875 W above the cubic rest, 6 W above idle, 7.5 W of the process, 12 W below TDP.
        near(figure.net_joules_per_token, [1.6875e-4, 6e-4, 12e-4]);
        // 900 J for a million tokens are 0.25 Wh.
        near(
            figure
                .co2e_g_per_million_tokens
                .map(|i| i.map(|g| g / 475.0)),
            [3.1875e2 / 3.6e6, 2.5e-4, 1.5e3 / 3.6e6],
        );
        assert_eq!(figure.dominating_term, Some(DominatingTerm::FullTdp));
        assert!((figure.tokens_per_s.unwrap() - 10_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_relative_speed_divides_the_time_and_is_said() {
        let samples = samples();
        let platform = PowerPlatform {
            relative_speed: Some(0.5),
            ..laptop()
        };
        let figure = measured(&samples).estimate(&platform);
        assert_eq!(figure.speed, SpeedBasis::RelativeSpeed);
        near(figure.gross_joules_per_token, [6.375e-4, 18e-4, 30e-4]);
        assert!((figure.tokens_per_s.unwrap() - 5000.0).abs() < 1e-6);
    }

    #[test]
    fn the_cores_are_those_of_the_platform() {
        let samples = samples();
        let platform = PowerPlatform {
            cores: 8,
            ..laptop()
        };
        // One of eight cores: 3 + 12 / 8 W; 1.5 + 13.5 / 512 W of a machine, 15 / 8 W of a process.
        let figure = measured(&samples).estimate(&platform);
        near(figure.power_watts, [1.5 + 13.5 / 512.0, 4.5, 15.0]);
        let alone = PowerPlatform {
            cores: 1,
            ..laptop()
        };
        let figure = measured(&samples).estimate(&alone);
        near(figure.power_watts, [15.0, 15.0, 15.0]);
    }

    #[test]
    fn the_dominating_term_is_the_widest() {
        let mut samples = samples();
        samples.cpu_seconds = vec![0.018; 3];
        // 0.9 of the cores: linear 13.8, cubic 11.34, without rest 13.5, TDP 15.
        let term = |samples: &PowerSamples| measured(samples).estimate(&laptop()).dominating_term;
        assert_eq!(term(&samples), Some(DominatingTerm::CubicLoadModel));
        samples.wall_seconds = vec![0.01, 0.02, 0.04];
        samples.cpu_seconds = vec![0.02, 0.04, 0.08];
        assert_eq!(term(&samples), Some(DominatingTerm::RepeatSpread));
    }

    #[test]
    fn a_measurement_is_gross_and_net_of_rest() {
        let samples = samples();
        let figure = measured(&samples).measure(&counter(2.0, 0.0), None);
        assert_eq!(figure.method, "measured(rapl:package-0)");
        // 80 mJ in 10 ms: 8 W, 2 of them at rest.
        near(figure.power_watts, [8.0, 8.0, 8.0]);
        near(figure.gross_joules_per_token, [8e-4, 8e-4, 8e-4]);
        near(figure.net_joules_per_token, [6e-4, 6e-4, 6e-4]);
    }

    #[test]
    fn the_step_of_a_coarse_counter_widens_the_interval_and_dominates() {
        let samples = samples();
        let figure = measured(&samples).measure(&counter(2.0, 0.003), None);
        // Twice 3 mJ on 240 mJ.
        near(
            figure.gross_joules_per_token,
            [8e-4 * 0.975, 8e-4, 8e-4 * 1.025],
        );
        assert_eq!(figure.dominating_term, Some(DominatingTerm::CounterStep));
    }

    #[test]
    fn more_power_at_rest_than_under_load_leaves_no_net_energy() {
        let samples = samples();
        let figure = measured(&samples).measure(&counter(9.0, 0.0), None);
        assert!(figure.gross_joules_per_token.is_some());
        assert_eq!(figure.net_joules_per_token, None);
    }

    #[test]
    fn a_counter_that_stands_still_is_unavailable_and_not_zero() {
        let mut samples = samples();
        samples.counters[0].joules = vec![0.0; 3];
        let figure = measured(&samples).measure(&counter(2.0, 0.001), None);
        assert_eq!(figure.method, UNAVAILABLE);
        assert_eq!(figure.gross_joules_per_token, None);
        assert!(
            figure
                .reason
                .unwrap()
                .contains("it stood still while the model ran")
        );
    }

    #[test]
    fn the_error_of_the_power_at_rest_is_in_the_net_energy() {
        let samples = samples();
        let status = CounterStatus {
            idle_after_watts: Some(4.0),
            ..counter(2.0, 0.0)
        };
        // 8 W, of which 2 to 4 at rest.
        let figure = measured(&samples).measure(&status, None);
        near(figure.net_joules_per_token, [4e-4, 5e-4, 6e-4]);
        near(figure.gross_joules_per_token, [8e-4, 8e-4, 8e-4]);
    }
}
