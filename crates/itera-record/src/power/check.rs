//! The rules of a power record: summaries follow from the samples, energies are positive, and
//! what is unavailable has a reason and no number.

use std::collections::BTreeSet;

use super::{
    CounterStatus, EnergyFigure, GateResult, GateVerdict, Interval, PowerPlatform, PowerProtocol,
    PowerRecord, PowerRow, SpeedBasis, UNAVAILABLE,
};
use crate::{
    Record,
    check::{self, RecordError},
};

impl Record for PowerRecord {
    const SCHEMA: &'static str = "itera.power/2";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        self.protocol.validate()?;
        unique("platforms", self.platforms.iter().map(|p| &p.name))?;
        self.platforms
            .iter()
            .try_for_each(PowerPlatform::validate)?;
        unique("counters", self.counters.iter().map(|c| &c.source))?;
        self.counters.iter().try_for_each(CounterStatus::validate)?;
        if let Some(share) = self.idle_busy_share {
            in_range("idle_busy_share", share, 0.0, 1.0)?;
        }
        unique("rows", self.rows.iter().map(PowerRow::key))?;
        for row in &self.rows {
            row.validate(&self.protocol)?;
            self.platforms
                .iter()
                .try_for_each(|platform| platform.powers(row))?;
        }
        self.gate.as_ref().map_or(Ok(()), GateResult::validate)
    }
}

impl PowerProtocol {
    fn validate(&self) -> Result<(), RecordError> {
        for (field, count) in [
            ("protocol.seq_len_tokens", self.seq_len_tokens),
            ("protocol.threads", self.threads),
            ("protocol.processes", self.processes),
            ("protocol.samples", self.samples),
        ] {
            check::ensure(count > 0, field, count, "at least 1")?;
        }
        not_negative("protocol.min_seconds", self.min_seconds)?;
        not_negative(
            "protocol.carbon_intensity_g_per_kwh",
            self.carbon_intensity_g_per_kwh,
        )
    }
}

impl PowerPlatform {
    fn validate(&self) -> Result<(), RecordError> {
        let field = |name: &str| format!("platforms[{}].{name}", self.name);
        check::ensure(self.cores > 0, &field("cores"), self.cores, "at least 1")?;
        positive(&field("tdp_watts"), self.tdp_watts)?;
        in_range(&field("idle_watts"), self.idle_watts, 0.0, self.tdp_watts)?;
        self.relative_speed
            .map_or(Ok(()), |speed| positive(&field("relative_speed"), speed))
    }
}

impl PowerPlatform {
    /// Refuses an estimated power that this platform does not draw at any load.
    fn powers(&self, row: &PowerRow) -> Result<(), RecordError> {
        let source = format!("tdp:{}", self.name);
        let Some(figure) = row.energy.iter().find(|figure| figure.source == source) else {
            return Ok(());
        };
        let Some(power) = figure.power_watts else {
            return Ok(());
        };
        let field = format!("energy[{source}].power_watts.nominal");
        let tolerance = 1e-6 * self.tdp_watts;
        let (low, high) = (self.idle_watts - tolerance, self.tdp_watts + tolerance);
        in_range(&field, power.nominal, low, high)
    }
}

impl CounterStatus {
    fn validate(&self) -> Result<(), RecordError> {
        let field = |name: &str| format!("counters[{}].{name}", self.source);
        method(&field("method"), &self.method, &self.source, "measured")?;
        let available = self.method != UNAVAILABLE;
        reason(&field("reason"), available, self.reason.as_deref())?;
        for (name, value) in [
            ("idle_watts", self.idle_watts),
            ("idle_after_watts", self.idle_after_watts),
            ("spin_watts", self.spin_watts),
            ("step_joules", self.step_joules),
        ] {
            presence(&field(name), available || value.is_none(), value.is_some())?;
            value.map_or(Ok(()), |value| not_negative(&field(name), value))?;
        }
        Ok(())
    }
}

impl PowerRow {
    fn validate(&self, protocol: &PowerProtocol) -> Result<(), RecordError> {
        self.model.validate()?;
        let passes = self.passes_per_sample;
        check::ensure(passes > 0, "passes_per_sample", passes, "at least 1")?;
        let tokens = passes
            .checked_mul(protocol.threads)
            .and_then(|passes| passes.checked_mul(protocol.seq_len_tokens));
        check::ensure(
            tokens == Some(self.tokens_per_sample),
            "tokens_per_sample",
            self.tokens_per_sample,
            "passes_per_sample * threads * seq_len_tokens",
        )?;
        if let Some(bits) = self.bits_per_byte {
            not_negative("bits_per_byte", bits)?;
        }
        self.validate_samples(protocol)?;
        self.validate_summaries(protocol)?;
        unique("energy", self.energy.iter().map(|figure| &figure.source))?;
        self.energy.iter().try_for_each(EnergyFigure::validate)?;
        self.energy
            .iter()
            .try_for_each(|figure| figure.follows(self))
    }

    fn validate_samples(&self, protocol: &PowerProtocol) -> Result<(), RecordError> {
        let samples = &self.samples;
        let counters = samples.counters.iter().flat_map(|counter| {
            [
                ("counters.joules", &counter.joules),
                ("counters.calibration_joules", &counter.calibration_joules),
            ]
        });
        let times = [
            ("wall_seconds", &samples.wall_seconds),
            ("cpu_seconds", &samples.cpu_seconds),
            ("calibration_seconds", &samples.calibration_seconds),
            ("calibration_cpu_seconds", &samples.calibration_cpu_seconds),
        ];
        for (name, values) in times.into_iter().chain(counters) {
            let field = format!("samples.{name}");
            count(&field, values.len(), protocol)?;
            for &value in values {
                not_negative(&field, value)?;
            }
        }
        for &value in samples
            .wall_seconds
            .iter()
            .chain(&samples.calibration_seconds)
        {
            positive("samples.wall_seconds and calibration_seconds", value)?;
        }
        Ok(())
    }

    fn validate_summaries(&self, protocol: &PowerProtocol) -> Result<(), RecordError> {
        let samples = &self.samples;
        let series =
            |values: &[f64], f: &dyn Fn(f64) -> f64| values.iter().map(|v| f(*v)).collect();
        let passes = self.passes_per_sample as f64;
        let threads = protocol.threads as f64;
        let tokens = self.tokens_per_sample as f64;
        let latency: Vec<f64> = series(&samples.wall_seconds, &|s| s / passes);
        self.latency_seconds.check("latency_seconds", &latency)?;
        let speed: Vec<f64> = series(&samples.wall_seconds, &|s| tokens / s);
        self.tokens_per_s.check("tokens_per_s", &speed)?;
        let cpu: Vec<f64> = series(&samples.cpu_seconds, &|s| s / passes / threads);
        self.cpu_seconds.check("cpu_seconds", &cpu)?;
        self.calibration_seconds
            .check("calibration_seconds", &samples.calibration_seconds)?;
        self.busy_threads
            .check("busy_threads", &samples.busy_threads())
    }
}

/// A figure is a median over samples of a product; the product of the medians differs from it by less than
/// this factor beyond the spread of the samples.
const MEDIANS: f64 = 4.0;

impl EnergyFigure {
    /// Energy is power times time: refuses a figure that no sample is near, or a speed that no sample had where
    /// nothing else is claimed.
    fn follows(&self, row: &PowerRow) -> Result<(), RecordError> {
        let (Some(gross), Some(power), Some(speed)) = (
            self.gross_joules_per_token,
            self.power_watts,
            self.tokens_per_s,
        ) else {
            return Ok(());
        };
        let field = |name: &str| format!("energy[{}].{name}", self.source);
        let relative_speed = match self.speed {
            SpeedBasis::RelativeSpeed => speed / row.tokens_per_s.median,
            SpeedBasis::Measured | SpeedBasis::ThisMachine => 1.0,
        };
        let least = relative_speed * row.tokens_per_s.min * (1.0 - 1e-9);
        let most = relative_speed * row.tokens_per_s.max * (1.0 + 1e-9);
        in_range(&field("tokens_per_s"), speed, least, most)?;
        in_range(
            &field("gross_joules_per_token.nominal"),
            gross.nominal,
            power.nominal / most / MEDIANS,
            power.nominal / least * MEDIANS,
        )
    }

    fn validate(&self) -> Result<(), RecordError> {
        let field = |name: &str| format!("energy[{}].{name}", self.source);
        let kind = if self.source.starts_with("tdp:") {
            "estimated"
        } else {
            "measured"
        };
        method(&field("method"), &self.method, &self.source, kind)?;
        let available = self.method != UNAVAILABLE;
        reason(&field("reason"), available, self.reason.as_deref())?;
        let required = [
            ("power_watts", self.power_watts),
            ("gross_joules_per_token", self.gross_joules_per_token),
            ("tokens_per_joule", self.tokens_per_joule),
            ("co2e_g_per_million_tokens", self.co2e_g_per_million_tokens),
        ];
        for (name, interval) in required {
            presence(
                &field(name),
                interval.is_some() == available,
                interval.is_some(),
            )?;
            interval.map_or(Ok(()), |interval| interval.validate(&field(name)))?;
        }
        let net = self.net_joules_per_token;
        let name = field("net_joules_per_token");
        presence(&name, available || net.is_none(), net.is_some())?;
        net.map_or(Ok(()), |net| net.validate(&name))?;
        if let Some(speed) = self.tokens_per_s {
            positive(&field("tokens_per_s"), speed)?;
        }
        let (Some(gross), Some(per_joule)) = (self.gross_joules_per_token, self.tokens_per_joule)
        else {
            return Ok(());
        };
        positive(&field("gross_joules_per_token.low"), gross.low)?;
        let (found, expected) = (per_joule.nominal, 1.0 / gross.nominal);
        let name = field("tokens_per_joule.nominal");
        let holds = (found / expected - 1.0).abs() <= 1e-9;
        check::ensure(holds, &name, found, expected)
    }
}

impl Interval {
    fn validate(&self, field: &str) -> Result<(), RecordError> {
        not_negative(&format!("{field}.low"), self.low)?;
        not_negative(&format!("{field}.nominal"), self.nominal)?;
        not_negative(&format!("{field}.high"), self.high)?;
        let ordered = self.low <= self.nominal && self.nominal <= self.high;
        let found = format!("{} / {} / {}", self.low, self.nominal, self.high);
        check::ensure(ordered, field, found, "low <= nominal <= high")
    }
}

impl GateResult {
    fn validate(&self) -> Result<(), RecordError> {
        check::sha256("gate.baseline_sha256", &self.baseline_sha256)?;
        not_negative("gate.max_regression_percent", self.max_regression_percent)?;
        in_range("gate.alpha", self.alpha, 0.0, 1.0)?;
        for comparison in &self.comparisons {
            let field = format!("gate.{}", comparison.metric);
            let processes = [&comparison.old_processes, &comparison.new_processes];
            for &value in processes.into_iter().flatten() {
                check::finite(&field, value)?;
            }
            for value in [comparison.old, comparison.new, comparison.change_percent] {
                value.map_or(Ok(()), |value| check::finite(&field, value))?;
            }
            comparison
                .p_value
                .map_or(Ok(()), |p| in_range(&field, p, 0.0, 1.0))?;
        }
        let regressed =
            |comparison: &super::GateComparison| comparison.verdict == GateVerdict::Regression;
        let expected = !self.comparisons.iter().any(regressed);
        check::ensure(
            self.passed == expected,
            "gate.passed",
            self.passed,
            expected,
        )
    }
}

fn positive(field: &str, value: f64) -> Result<(), RecordError> {
    check::finite(field, value)?;
    check::ensure(value > 0.0, field, value, "above 0")
}

fn not_negative(field: &str, value: f64) -> Result<(), RecordError> {
    check::finite(field, value)?;
    check::ensure(value >= 0.0, field, value, "at least 0")
}

fn in_range(field: &str, value: f64, low: f64, high: f64) -> Result<(), RecordError> {
    check::finite(field, value)?;
    let holds = (low..=high).contains(&value);
    check::ensure(holds, field, value, format!("{low} to {high}"))
}

/// One value for each sample.
fn count(field: &str, len: usize, protocol: &PowerProtocol) -> Result<(), RecordError> {
    let (processes, samples) = (protocol.processes, protocol.samples);
    check::ensure(
        Some(len as u64) == processes.checked_mul(samples),
        field,
        format!("a list of {len}"),
        format!("one value for each of {samples} samples of {processes} processes"),
    )
}

/// `measured(SOURCE)` or `estimated(SOURCE)`, as `kind` says, or `unavailable`.
fn method(field: &str, found: &str, source: &str, kind: &str) -> Result<(), RecordError> {
    let expected = format!("{kind}({source})");
    check::ensure(
        found == expected || found == UNAVAILABLE,
        field,
        format!("`{found}`"),
        format!("`{expected}` or `{UNAVAILABLE}`"),
    )
}

/// A reason for what is unavailable, and only for that.
fn reason(field: &str, available: bool, reason: Option<&str>) -> Result<(), RecordError> {
    let given = reason.is_some_and(|reason| !reason.is_empty());
    let expected = if available { "null" } else { "a reason" };
    check::ensure(given != available, field, format!("{reason:?}"), expected)
}

/// A number for what is available, and only for that.
fn presence(field: &str, holds: bool, is_given: bool) -> Result<(), RecordError> {
    let (found, expected) = if is_given {
        ("a number", "null, since it is unavailable")
    } else {
        ("null", "a number")
    };
    check::ensure(holds, field, found, expected)
}

/// Refuses a name that occurs twice.
fn unique<T: Ord + std::fmt::Debug>(
    field: &str,
    names: impl Iterator<Item = T>,
) -> Result<(), RecordError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let found = format!("{name:?} twice");
        check::ensure(seen.insert(name), field, found, "each once")?;
    }
    Ok(())
}
