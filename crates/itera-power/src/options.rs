//! The command line, checked: nothing below meets a contradictory value.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use itera_cli::{Files, PrecisionArg, results_folder};
use itera_core::checkpoint::Precision;
use itera_record::{PowerMode, PowerPlatform, PowerProtocol, Record, ValidationRecord};

use crate::{
    args::{Args, ModeArg},
    calibration, emissions,
    gate::{Baseline, MAX_PROCESSES},
    platforms, workload,
};

/// Ten processes on either side show a regression among as many tests as there are rows.
const DEFAULT_PROCESSES: u64 = 10;
const DEFAULT_SAMPLES: u64 = 5;
const DEFAULT_SEQ_LEN: usize = 128;

/// Percent that the gate permits by default: more than a shared machine's noise.
const DEFAULT_MAX_REGRESSION: f64 = 10.0;

/// Grams of CO2 equivalent for a kilowatt-hour: the world in 2019, by the IEA.
const DEFAULT_CARBON_G: f64 = 475.0;

/// Seconds of a row by default, and of all rows together.
const DEFAULT_ROW_SECONDS: f64 = 1.5;
const DEFAULT_RUN_SECONDS: f64 = 32.0;

/// Beyond these a value is a typing error.
const MAX_SAMPLES: u64 = 100_000;
const MAX_SEQ_LEN: usize = 1 << 20;
const MAX_THREADS: usize = 1024;
const MAX_SECONDS: f64 = 86_400.0;
const MAX_CARBON_G: f64 = 10_000.0;
const MAX_PERCENT: f64 = 1000.0;

/// What to measure, how, and where to put the result.
#[derive(Debug)]
pub(crate) struct Options {
    /// Names or paths; none for every shipped checkpoint.
    pub(crate) checkpoints: Vec<String>,
    /// None for all.
    pub(crate) precision: Option<Precision>,
    pub(crate) modes: Vec<PowerMode>,
    pub(crate) platforms: Vec<PowerPlatform>,
    /// Whether the platforms were chosen, so that none is to be added.
    pub(crate) platforms_chosen: bool,
    /// What the record says about how it was measured; `min_seconds` is set by [`Options::plan`].
    pub(crate) protocol: PowerProtocol,
    min_seconds: Option<f64>,
    pub(crate) seq_len: usize,
    pub(crate) threads: usize,
    pub(crate) carbon_intensity_g_per_kwh: f64,
    pub(crate) validation: Option<ValidationRecord>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) emissions_csv: Option<PathBuf>,
    pub(crate) baseline: Option<Baseline>,
    pub(crate) max_regression_percent: f64,
    pub(crate) json: bool,
    /// The files that are read and written, but for the checkpoints.
    pub(crate) files: Files,
}

impl Options {
    /// Checks every argument, reads the small files, and finds out whether output can be written.
    pub(crate) fn new(args: Args) -> anyhow::Result<Self> {
        let protocol = protocol(&args)?;
        let (output, csv) = outputs(&args)?;
        let files = files(&args, output.as_deref(), csv.as_deref());
        let max_regression = args.max_regression.unwrap_or(DEFAULT_MAX_REGRESSION);
        in_range("--max-regression", max_regression, 0.0, MAX_PERCENT)?;
        let options = Self {
            precision: args.precision.and_then(PrecisionArg::only),
            modes: modes(args.mode),
            platforms: platforms::load(args.platforms.as_deref(), &args.platform)?,
            platforms_chosen: args.platforms.is_some() || !args.platform.is_empty(),
            min_seconds: args.min_seconds,
            seq_len: protocol.seq_len_tokens as usize,
            threads: protocol.threads as usize,
            carbon_intensity_g_per_kwh: protocol.carbon_intensity_g_per_kwh,
            protocol,
            validation: args
                .validation
                .as_deref()
                .map(read_validation)
                .transpose()?,
            output,
            csv,
            baseline: args.baseline.as_deref().map(Baseline::read).transpose()?,
            emissions_csv: args.emissions_csv,
            max_regression_percent: max_regression,
            json: args.json,
            checkpoints: args.checkpoint,
            files,
        };
        options.files.check()?;
        options
            .emissions_csv
            .as_deref()
            .map_or(Ok(()), emissions::check)?;
        Ok(options)
    }

    /// Decides how long each of so many rows is measured.
    pub(crate) fn plan(&mut self, rows: usize) {
        let share = DEFAULT_RUN_SECONDS / rows.max(1) as f64;
        self.protocol.min_seconds = self.min_seconds.unwrap_or(DEFAULT_ROW_SECONDS.min(share));
    }
}

fn files(args: &Args, output: Option<&Path>, csv: Option<&Path>) -> Files {
    let mut files = Files::default();
    for (option, path) in [
        ("`--platforms`", &args.platforms),
        ("`--validation`", &args.validation),
        ("`--baseline`", &args.baseline),
    ] {
        if let Some(path) = path {
            files = files.read(option, path);
        }
    }
    for (option, path) in [
        ("`--output`", output),
        ("`--csv`", csv),
        ("`--emissions-csv`", args.emissions_csv.as_deref()),
    ] {
        if let Some(path) = path {
            files = files.write(option, path);
        }
    }
    files
}

/// What must be equal for two runs to compare, from the arguments.
fn protocol(args: &Args) -> anyhow::Result<PowerProtocol> {
    let processes = args.processes.unwrap_or(DEFAULT_PROCESSES);
    ensure!(
        (1..=MAX_PROCESSES).contains(&processes),
        "`--processes` is {processes}, expected 1 to {MAX_PROCESSES}"
    );
    let samples = args.samples.unwrap_or(DEFAULT_SAMPLES);
    ensure!(
        (1..=MAX_SAMPLES).contains(&samples),
        "`--samples` is {samples}, expected 1 to {MAX_SAMPLES}"
    );
    ensure!(
        processes * samples > 1,
        "`--processes` and `--samples` are 1; one sample has no spread"
    );
    let seq_len = args.seq_len.unwrap_or(DEFAULT_SEQ_LEN);
    ensure!(
        (1..=MAX_SEQ_LEN).contains(&seq_len),
        "`--seq-len` is {seq_len}, expected 1 to {MAX_SEQ_LEN}"
    );
    let threads = args.threads.unwrap_or(1);
    ensure!(
        (1..=MAX_THREADS).contains(&threads),
        "`--threads` is {threads}, expected 1 to {MAX_THREADS}"
    );
    if let Some(seconds) = args.min_seconds {
        in_range("--min-seconds", seconds, 0.0, MAX_SECONDS)?;
    }
    let carbon = args.carbon_intensity.unwrap_or(DEFAULT_CARBON_G);
    in_range("--carbon-intensity", carbon, 0.0, MAX_CARBON_G)?;
    Ok(PowerProtocol {
        seq_len_tokens: seq_len as u64,
        threads: threads as u64,
        tokens: workload::TOKENS.to_owned(),
        calibration: calibration::DESCRIPTION.to_owned(),
        processes,
        samples,
        min_seconds: 0.0,
        carbon_intensity_g_per_kwh: carbon,
    })
}

fn in_range(option: &str, value: f64, low: f64, high: f64) -> anyhow::Result<()> {
    let holds = (low..=high).contains(&value);
    ensure!(holds, "`{option}` is {value}, expected {low} to {high}");
    Ok(())
}

fn modes(argument: Option<ModeArg>) -> Vec<PowerMode> {
    match argument {
        Some(ModeArg::Prefill) => vec![PowerMode::Prefill],
        Some(ModeArg::Decode) => vec![PowerMode::Decode],
        None | Some(ModeArg::Both) => vec![PowerMode::Prefill, PowerMode::Decode],
    }
}

/// Files for record and samples: those named, or for the run that the project keeps its own.
fn outputs(args: &Args) -> anyhow::Result<(Option<PathBuf>, Option<PathBuf>)> {
    if !is_main_job(args) {
        return Ok((args.output.clone(), args.csv.clone()));
    }
    let results = results_folder()?;
    let or = |path: &Option<PathBuf>, name: &str| {
        Some(path.clone().unwrap_or_else(|| results.join(name)))
    };
    Ok((
        or(&args.output, "power.json"),
        or(&args.csv, "power-samples.csv"),
    ))
}

/// Whether nothing is said about what to measure or how: the run whose result the project keeps. With
/// a baseline the run is a question, and its answer must not replace what it is compared with.
fn is_main_job(args: &Args) -> bool {
    let Args {
        checkpoint,
        precision,
        platform,
        platforms,
        processes,
        samples,
        seq_len,
        mode,
        threads,
        min_seconds,
        carbon_intensity,
        validation,
        emissions_csv,
        baseline,
        max_regression,
        // Where the result goes.
        output: _,
        csv: _,
        json: _,
        worker,
    } = args;
    let files = [platforms, validation, emissions_csv, baseline];
    let numbers = [min_seconds, carbon_intensity, max_regression];
    checkpoint.is_empty()
        && precision.is_none()
        && platform.is_empty()
        && (processes, samples, seq_len, threads) == (&None, &None, &None, &None)
        && mode.is_none()
        && files.into_iter().all(Option::is_none)
        && numbers.into_iter().all(Option::is_none)
        && !worker
}

fn read_validation(path: &Path) -> anyhow::Result<ValidationRecord> {
    let json = fs::read(path).with_context(|| {
        format!(
            "cannot read `{}`; give a result of itera-validate",
            path.display()
        )
    })?;
    ValidationRecord::from_json(&json).with_context(|| {
        format!(
            "`{}` is not what `itera-validate --output` writes",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn options(line: &str) -> anyhow::Result<Options> {
        let words = ["itera-power"].into_iter().chain(line.split_whitespace());
        Options::new(Args::try_parse_from(words)?)
    }

    #[test]
    fn the_defaults_are_those_of_the_documents() {
        let options = options("").unwrap();
        let protocol = &options.protocol;
        assert_eq!(
            (
                protocol.processes,
                protocol.samples,
                protocol.seq_len_tokens,
                protocol.threads
            ),
            (10, 5, 128, 1)
        );
        assert_eq!(options.modes, [PowerMode::Prefill, PowerMode::Decode]);
        assert_eq!(options.precision, None);
        let names: Vec<_> = options.platforms.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["desktop", "laptop", "embedded"]);
        assert!(options.output.unwrap().ends_with("results/power.json"));
        assert!(options.csv.unwrap().ends_with("results/power-samples.csv"));
    }

    #[test]
    fn many_rows_share_the_time_of_a_run() {
        let seconds = |line: &str, rows| {
            let mut options = options(line).unwrap();
            options.plan(rows);
            options.protocol.min_seconds
        };
        assert!((seconds("", 6) - 1.5).abs() < 1e-12);
        assert!((seconds("", 64) - 0.5).abs() < 1e-12);
        assert!((seconds("--min-seconds 60", 64) - 60.0).abs() < 1e-12);
    }

    #[test]
    fn only_the_main_job_has_default_outputs() {
        for line in [
            "--samples 5",
            "--mode both",
            "--precision all",
            "--platform laptop",
            "--carbon-intensity 30",
            "--emissions-csv emissions.csv",
        ] {
            let options = options(line).unwrap();
            assert_eq!((options.output, options.csv), (None, None), "{line}");
        }
        assert!(options("--json").unwrap().output.is_some());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (line, message) in [
            ("--samples 0", "`--samples` is 0, expected 1 to 100000"),
            ("--processes 0", "`--processes` is 0, expected 1 to 200"),
            ("--samples 1 --processes 1", "one sample has no spread"),
            ("--seq-len 0", "`--seq-len` is 0, expected 1 to"),
            ("--threads 0", "`--threads` is 0, expected 1 to 1024"),
            ("--min-seconds -1", "unexpected argument '-1'"),
            (
                "--min-seconds=-1",
                "`--min-seconds` is -1, expected 0 to 86400",
            ),
            ("--min-seconds NaN", "`--min-seconds` is NaN"),
            ("--carbon-intensity=-5", "`--carbon-intensity` is -5"),
            ("--carbon-intensity inf", "`--carbon-intensity` is inf"),
            ("--max-regression 5", "--baseline <FILE|PROGRAM>"),
            ("--platform phone", "no platform is called `phone`"),
            (
                "--output x.json --csv x.json",
                "`--output` and `--csv` are the same file",
            ),
        ] {
            let error = format!("{:#}", options(line).unwrap_err());
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
