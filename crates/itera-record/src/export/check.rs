//! The rules of an export record.

use super::{
    ExportBench, ExportBenchRow, ExportCheck, ExportFigures, ExportFile, ExportRecord,
    ExportRoundTrip, ExportVerdict,
};
use crate::{
    Record,
    check::{self, RecordError},
    median,
};

impl Record for ExportRecord {
    const SCHEMA: &'static str = "itera.export/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        for (i, file) in self.files.iter().enumerate() {
            file.validate(&format!("files[{i}]"))?;
        }
        for (i, check) in self.checks.iter().enumerate() {
            check.validate(&format!("checks[{i}]"))?;
        }
        for (i, trip) in self.round_trips.iter().enumerate() {
            trip.validate(&format!("round_trips[{i}]"))?;
        }
        self.bench.as_ref().map_or(Ok(()), ExportBench::validate)
    }
}

impl ExportFile {
    fn validate(&self, at: &str) -> Result<(), RecordError> {
        let field = |name: &str| format!("{at}.{name}");
        self.model.validate()?;
        check::sha256(&field("file_sha256"), &self.file_sha256)?;
        graph(&field("graph"), &self.graph)?;
        let is_known = ["unrolled", "stacked"].contains(&self.layers.as_str());
        check::ensure(
            is_known,
            &field("layers"),
            &self.layers,
            "unrolled or stacked",
        )?;
        check::ensure(self.nodes > 0, &field("nodes"), self.nodes, "at least 1")?;
        let bytes = self.file_bytes as f64;
        check::close(
            &field("file_per_weight_bytes"),
            self.file_per_weight_bytes,
            bytes / self.model.bytes as f64,
        )?;
        check::close(
            &field("file_bits_per_weight"),
            self.file_bits_per_weight,
            8.0 * bytes / self.model.params as f64,
        )
    }
}

impl ExportCheck {
    fn validate(&self, at: &str) -> Result<(), RecordError> {
        check::sha256(&format!("{at}.file_sha256"), &self.file_sha256)?;
        verdict(at, self.verdict, self.reason.as_ref())?;
        compared(at, self.verdict, self.figures.as_ref())
    }
}

impl ExportFigures {
    fn validate(&self, at: &str) -> Result<(), RecordError> {
        let field = |name: &str| format!("{at}.{name}");
        check::sha256(&field("dataset_sha256"), &self.dataset_sha256)?;
        check::ensure(self.tokens > 0, &field("tokens"), self.tokens, "at least 1")?;
        let not_negative = [
            ("max_abs_difference", self.max_abs_difference),
            ("max_relative_difference", self.max_relative_difference),
            ("tolerance", self.tolerance),
            ("mean_kl_nats", self.mean_kl_nats),
            ("p999_kl_nats", self.p999_kl_nats),
            ("bits_per_byte", self.bits_per_byte),
            ("native_bits_per_byte", self.native_bits_per_byte),
            ("fp32_bits_per_byte", self.fp32_bits_per_byte),
        ];
        for (name, value) in not_negative {
            check::finite(&field(name), value)?;
            check::ensure(value >= 0.0, &field(name), value, "0 or more")?;
        }
        let share = self.top1_agreement;
        check::ensure(
            (0.0..=1.0).contains(&share),
            &field("top1_agreement"),
            share,
            "0 to 1",
        )?;
        for error in &self.state_errors {
            check::finite(&field("state_errors"), error.relative_error)?;
        }
        for shape in &self.shapes {
            check::finite(&field("shapes"), shape.max_relative_difference)?;
        }
        Ok(())
    }
}

impl ExportRoundTrip {
    fn validate(&self, at: &str) -> Result<(), RecordError> {
        graph(&format!("{at}.graph"), &self.graph)?;
        check::sha256(&format!("{at}.file_sha256"), &self.file_sha256)?;
        verdict(at, self.verdict, self.reason.as_ref())?;
        compared(at, self.verdict, self.figures.as_ref())
    }
}

impl ExportBench {
    fn validate(&self) -> Result<(), RecordError> {
        self.model.validate()?;
        check::sha256("bench.protocol.tokens_sha256", &self.protocol.tokens_sha256)?;
        let medians = self.rows.iter().map(|row| row.median_seconds);
        let slowest = medians.fold(0.0, f64::max);
        for (i, row) in self.rows.iter().enumerate() {
            row.validate(&format!("bench.rows[{i}]"), self.protocol.seq_len, slowest)?;
        }
        Ok(())
    }
}

impl ExportBenchRow {
    fn validate(&self, at: &str, tokens: u64, slowest: f64) -> Result<(), RecordError> {
        let field = |name: &str| format!("{at}.{name}");
        for &seconds in &self.sample_seconds {
            check::finite(&field("sample_seconds"), seconds)?;
            check::ensure(seconds > 0.0, &field("sample_seconds"), seconds, "above 0")?;
        }
        let samples = &self.sample_seconds;
        check::close(
            &field("median_seconds"),
            self.median_seconds,
            median(samples),
        )?;
        check::close(&field("p95_seconds"), self.p95_seconds, p95(samples))?;
        let per_second = tokens as f64 / self.median_seconds;
        check::close(&field("tokens_per_s"), self.tokens_per_s, per_second)?;
        check::close(
            &field("speed_up"),
            self.speed_up,
            slowest / self.median_seconds,
        )
    }
}

/// The value that 95 % of the values stay below or at; NaN of none.
pub fn p95(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (0.95 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

fn graph(field: &str, name: &str) -> Result<(), RecordError> {
    check::ensure(
        ["step", "sequence"].contains(&name),
        field,
        name,
        "step or sequence",
    )
}

/// A check that passed needs no reason, any other has one.
fn verdict(at: &str, verdict: ExportVerdict, reason: Option<&String>) -> Result<(), RecordError> {
    let passed = verdict == ExportVerdict::Passed;
    check::ensure(
        passed == reason.is_none(),
        &format!("{at}.reason"),
        reason.map_or("null", String::as_str),
        if passed { "null" } else { "why" },
    )
}

/// What passed was compared and is within its limit, what did not run was not compared.
fn compared(
    at: &str,
    verdict: ExportVerdict,
    figures: Option<&ExportFigures>,
) -> Result<(), RecordError> {
    let ran = verdict != ExportVerdict::Unavailable;
    check::ensure(
        ran || figures.is_none(),
        &format!("{at}.figures"),
        "something",
        "null where nothing ran",
    )?;
    check::ensure(
        figures.is_some() || verdict != ExportVerdict::Passed,
        &format!("{at}.figures"),
        "null",
        "what was compared, for what passed",
    )?;
    let Some(figures) = figures else {
        return Ok(());
    };
    figures.validate(&format!("{at}.figures"))?;
    let is_within = figures.max_relative_difference <= figures.tolerance;
    check::ensure(
        is_within || verdict != ExportVerdict::Passed,
        &format!("{at}.figures.max_relative_difference"),
        figures.max_relative_difference,
        "at most `tolerance` for what passed",
    )
}

#[cfg(test)]
mod tests {
    use super::p95;

    #[test]
    fn the_95th_percentile_is_a_value_that_occurs() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((p95(&values) - 95.0).abs() < 1e-12);
        assert!((p95(&[3.0]) - 3.0).abs() < 1e-12);
    }
}
