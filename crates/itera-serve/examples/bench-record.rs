//! Makes the record results/serve-bench.json of what a load generator measured; a part of scripts/serve-bench.py.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, ensure};
use clap::Parser;
use itera_cli::{Align, ExitStatus, Table, envelope, main_with, model_info, note, parse, print};
use itera_core::{checkpoint::Precision, files::write_atomic, models};
use itera_record::{Record as _, ServeBar, ServeBenchRecord, ServeMeasurement};

/// Name of the program in records.
const TOOL: &str = "itera-serve";

/// The parts of a record of the bench.
#[derive(Debug, Parser)]
struct Args {
    /// JSON that scripts/serve-bench.py collected.
    #[arg(long, value_name = "FILE")]
    measured: PathBuf,
    /// Checkpoint by name or path.
    #[arg(long, value_name = "NAME|PATH", default_value = "micro-tinystories")]
    checkpoint: String,
    /// Precision that was served.
    #[arg(long)]
    precision: Precision,
    /// File for the record.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

fn main() -> ExitCode {
    main_with(|| run(&parse()))
}

/// Makes the record; status 1 if a bar does not hold.
fn run(args: &Args) -> anyhow::Result<ExitStatus> {
    let path = args.measured.display();
    let json = fs::read(&args.measured).with_context(|| format!("cannot read `{path}`"))?;
    let measured: ServeMeasurement = serde_json::from_slice(&json)
        .with_context(|| format!("`{path}` is not what scripts/serve-bench.py collects"))?;
    ensure!(!measured.loads.is_empty(), "`{path}` has no load");
    let loaded = models::load_at_precision(&args.checkpoint, args.precision)?;
    let info = model_info(&loaded.name, &loaded.file_sha256, &loaded.checkpoint);
    let record = ServeBenchRecord {
        envelope: envelope::<ServeBenchRecord>(TOOL, Some(info)),
        bars: bars(&measured),
        measured,
    };
    write_atomic(&args.output, record.to_json()?.as_bytes())?;
    note(format!("wrote {}", args.output.display()));
    print(table(&record))?;
    Ok(if record.bars.iter().all(|bar| bar.holds) {
        ExitStatus::Done
    } else {
        ExitStatus::CheckFailed
    })
}

/// What the project asks of the server, as far as it was measured.
fn bars(measured: &ServeMeasurement) -> Vec<ServeBar> {
    let load = |name: &str| measured.loads.iter().find(|load| load.name == name);
    let mut bars = Vec::new();
    if let Some(full) = load("full") {
        let (rate, tokens) = (full.requests_per_s, full.tokens_per_request);
        bars.push(ServeBar::at_least("full: requests/s", rate, 2000.0));
        bars.push(ServeBar::at_least("full: tokens/request", tokens, 32.0));
    }
    if let Some(half) = load("half") {
        bars.push(ServeBar::at_most("half: p99 ms", half.p99_ms, 50.0));
    }
    if let Some(idle) = load("idle") {
        bars.push(ServeBar::at_most(
            "idle: first token, p99 ms",
            idle.p99_ms,
            5.0,
        ));
    }
    let megabytes = measured.serving_peak_bytes as f64 / 1e6;
    bars.push(ServeBar::at_most("serving: resident MB", megabytes, 60.0));
    if let Some(adapting) = load("adapting") {
        bars.push(ServeBar::at_most(
            "adapting: p99 ms",
            adapting.p99_ms,
            100.0,
        ));
    }
    if let Some(adaptation) = &measured.adaptation {
        bars.push(ServeBar::at_most(
            "adapting: seconds",
            adaptation.seconds,
            20.0,
        ));
    }
    if let Some(score) = &measured.score {
        let share = score.server_bytes_per_s / score.program_bytes_per_s;
        bars.push(ServeBar::at_least(
            "score: share of the program's speed",
            share,
            0.8,
        ));
    }
    if let Some(context) = &measured.context {
        let name = "session: first token, ms";
        bars.push(ServeBar::at_most(name, context.session_ms, 1.0));
    }
    let errors: u64 = measured.loads.iter().map(|load| load.errors).sum();
    bars.push(ServeBar::at_most("all: errors", errors as f64, 0.0));
    bars
}

fn table(record: &ServeBenchRecord) -> String {
    let mut loads = Table::new(&[
        ("load", Align::Left),
        ("connections", Align::Right),
        ("requests/s", Align::Right),
        ("tokens/s", Align::Right),
        ("p50 ms", Align::Right),
        ("p95 ms", Align::Right),
        ("p99 ms", Align::Right),
    ]);
    for load in &record.measured.loads {
        loads.row([
            load.name.clone(),
            load.connections.to_string(),
            format!("{:.0}", load.requests_per_s),
            format!("{:.0}", load.tokens as f64 / load.seconds),
            format!("{:.2}", load.p50_ms),
            format!("{:.2}", load.p95_ms),
            format!("{:.2}", load.p99_ms),
        ]);
    }
    let mut bars = Table::new(&[
        ("figure", Align::Left),
        ("measured", Align::Right),
        ("asked for", Align::Left),
        ("holds", Align::Left),
    ]);
    for bar in &record.bars {
        bars.row([
            bar.name.clone(),
            format!("{:.2}", bar.value),
            format!("{} {}", bar.relation, bar.bar),
            if bar.holds { "yes" } else { "no" }.to_owned(),
        ]);
    }
    format!("{loads}\n{bars}")
}
