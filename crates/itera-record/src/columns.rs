//! The columns of the rows that several programs show: what `itera-validate` prints and what a report
//! has are the same list.

use crate::{
    Column, Divergence, EnergyFigure, EngineBenchRow, ExportBenchRow, ExportCheck, ExportFigures,
    ExportFile, Form, GateComparison, Interval, PowerRow, ServeLoad, Summary, ValidationRow, Value,
};

impl ValidationRow {
    /// The text in words: `wikitext2 test`; a text that is not the official file is a `selection`.
    pub fn text_name(&self) -> String {
        let split = if self.split == "all" { "" } else { &self.split };
        format!("{} {split}", self.dataset).trim_end().to_owned()
    }

    /// Whether the text is the official file of its data set.
    pub fn is_official(&self) -> bool {
        self.dataset_verdict.starts_with("official")
    }

    /// Whether the score is about the whole text: only then does it compare.
    pub fn is_complete(&self) -> bool {
        self.bytes_scored_fraction >= 1.0 && self.unknown_tokens == 0 && self.shard.is_none()
    }

    /// How the score stands to the baselines, and what keeps it from comparing.
    pub fn verdict(&self) -> String {
        let baselines = &self.baselines;
        let place = if baselines.worse_than_uniform {
            "WORSE THAN A UNIFORM GUESS"
        } else if self.bits_per_byte > baselines.unigram_bits_per_byte {
            "worse than token frequencies"
        } else if self.bits_per_byte > baselines.zstd_bits_per_byte {
            "worse than zstd"
        } else {
            "better than zstd"
        };
        let mut parts = vec![place.to_owned()];
        if self.bytes_scored_fraction < 1.0 {
            let share = Form::Percent(2).text(self.bytes_scored_fraction);
            parts.push(format!("only {share} of the text"));
        }
        if self.unknown_tokens > 0 {
            parts.push(format!(
                "INCOMPLETE: {} characters unknown",
                self.unknown_tokens
            ));
        }
        if let Some(shard) = self.shard {
            parts.push(format!("only shard {shard}"));
        }
        parts.join("; ")
    }

    fn divergence(&self, value: fn(&Divergence) -> Value) -> Value {
        self.divergence.as_ref().map_or(Value::None, value)
    }
}

/// Scores of texts.
pub const SCORES: [Column<ValidationRow>; 13] = [
    Column::words("text", "text", |row| Value::text(row.text_name())),
    Column::words("model", "model", |row| Value::code(row.model.base_name())),
    Column::words("precision", "precision", |row| Value::text(&row.precision)),
    Column::words("engine", "engine", |row| Value::text(&row.engine)),
    Column::number("bits_per_byte", "bits/byte", "", |row| {
        Value::Number(row.bits_per_byte, Form::Fixed(4))
    }),
    Column::number("ci95", "95 % interval", "", |row| {
        Value::bounds(row.bits_per_byte_ci95, Form::Fixed(4))
    }),
    Column::number("byte_perplexity", "perplexity/byte", "", |row| {
        Value::Number(row.byte_perplexity, Form::Fixed(3))
    }),
    Column::number("char_perplexity", "/character", "", |row| {
        Value::Number(row.char_perplexity, Form::Fixed(3))
    }),
    Column::number("word_perplexity", "/word", "", |row| {
        Value::number(row.word_perplexity, Form::Short)
    }),
    Column::number("zstd", "zstd -19", "", |row| {
        Value::Number(row.baselines.zstd_bits_per_byte, Form::Fixed(3))
    }),
    Column::number("unigram", "unigram", "", |row| {
        Value::Number(row.baselines.unigram_bits_per_byte, Form::Fixed(3))
    }),
    Column::number("uniform", "uniform", "", |row| {
        Value::Number(row.baselines.uniform_bits_per_byte, Form::Fixed(3))
    }),
    Column::words("verdict", "verdict", |row| Value::text(row.verdict())),
];

/// How texts were scored.
pub const PROTOCOLS: [Column<ValidationRow>; 13] = [
    Column::words("text", "text", |row| Value::text(row.text_name())),
    Column::words("model", "model", |row| Value::code(row.model.base_name())),
    Column::words("precision", "precision", |row| Value::text(&row.precision)),
    Column::words("engine", "engine", |row| Value::text(&row.engine)),
    Column::words("kernel", "kernel", |row| {
        row.kernel.as_ref().map_or(Value::None, Value::text)
    }),
    Column::words("protocol", "protocol", |row| {
        Value::text(row.protocol.to_string())
    }),
    Column::number("documents", "documents", "", |row| {
        Value::count(row.documents)
    }),
    Column::number("bytes", "text bytes", "", |row| Value::count(row.bytes)),
    Column::number("words", "words", "", |row| Value::count(row.words)),
    Column::number("tokens", "tokens", "", |row| Value::count(row.tokens)),
    Column::number("seconds", "time", "s", |row| {
        Value::Number(row.seconds, Form::Short)
    }),
    Column::number("tokens_per_s", "tokens/s", "", |row| {
        Value::Number(row.tokens_per_s, Form::Si)
    }),
    Column::words("sha256", "SHA-256 of the text", |row| {
        Value::code(row.dataset_sha256.get(..12).unwrap_or_default())
    }),
];

/// How far predictions are from those of a reference precision.
pub const DIVERGENCES: [Column<ValidationRow>; 9] = [
    Column::words("text", "text", |row| Value::text(row.text_name())),
    Column::words("model", "model", |row| Value::code(row.model.base_name())),
    Column::words("precision", "precision", |row| Value::text(&row.precision)),
    Column::words("reference", "against", |row| {
        row.divergence(|d| Value::text(&d.reference))
    }),
    Column::number("mean_kl_nats", "mean KL", "nats/token", |row| {
        row.divergence(|d| Value::Number(d.mean_kl_nats, Form::Short))
    }),
    Column::number("p99_kl_nats", "99 %", "", |row| {
        row.divergence(|d| Value::Number(d.p99_kl_nats, Form::Short))
    }),
    Column::number("p999_kl_nats", "99.9 %", "", |row| {
        row.divergence(|d| Value::Number(d.p999_kl_nats, Form::Short))
    }),
    Column::number("top1_agreement", "same top token", "", |row| {
        row.divergence(|d| Value::Number(d.top1_agreement, Form::Percent(2)))
    }),
    Column::words("state_errors", "state error after tokens", |row| {
        row.divergence(|d| {
            let error = |e: &crate::StateError| {
                format!("{}: {}", e.steps, Form::Short.text(e.relative_error))
            };
            let errors: Vec<String> = d.state_errors.iter().map(error).collect();
            Value::Text(errors.join(", "))
        })
    }),
];

impl EngineBenchRow {
    /// Tokens per second over the samples: the median between the 5th and the 95th percentile.
    pub fn speed(&self) -> Interval {
        let speeds: Vec<f64> = self
            .sample_seconds
            .iter()
            .map(|s| self.tokens as f64 / s)
            .collect();
        let at = |q| Summary::quantile(&speeds, q).unwrap_or(self.tokens_per_s);
        Interval {
            low: at(0.05),
            nominal: self.tokens_per_s,
            high: at(0.95),
        }
    }
}

/// Speeds of the engine.
pub const ENGINE_SPEEDS: [Column<EngineBenchRow>; 10] = [
    Column::words("workload", "workload", |row| Value::text(&row.workload)),
    Column::words("precision", "precision", |row| Value::text(&row.precision)),
    Column::words("kernel", "kernel", |row| Value::text(&row.kernel)),
    Column::number("threads", "threads", "", |row| Value::count(row.threads)),
    Column::number("median_ms", "median", "ms", |row| {
        Value::Number(1e3 * row.median_seconds, Form::Short)
    }),
    Column::number("tokens_per_s", "tokens/s [5 %, 95 %]", "", |row| {
        let Interval { low, nominal, high } = row.speed();
        Value::Within(nominal, [low, high], Form::Si)
    }),
    Column::number("text_mb_per_s", "text", "MB/s", |row| {
        Value::Number(row.bytes_per_s / 1e6, Form::Short)
    }),
    Column::number("roofline_tokens_per_s", "roofline", "tokens/s", |row| {
        Value::Number(row.roofline_tokens_per_s, Form::Si)
    }),
    Column::number("of_roofline", "of it", "", |row| {
        Value::Number(
            row.tokens_per_s / row.roofline_tokens_per_s,
            Form::Percent(0),
        )
    }),
    Column::words("bound", "bound by", |row| Value::text(&row.roofline_bound)),
];

/// Time, memory and size of a model at work.
pub const LATENCIES: [Column<PowerRow>; 13] = [
    Column::words("model", "model", |row| Value::code(row.model.base_name())),
    Column::words("precision", "precision", |row| {
        Value::text(&row.model.precision)
    }),
    Column::words("mode", "mode", |row| Value::text(row.mode.name())),
    Column::words("kernel", "kernel", |row| Value::text(&row.kernel)),
    Column::number("tokens_per_s", "tokens/s", "", |row| {
        Value::Number(row.tokens_per_s.median, Form::Si)
    }),
    Column::number("median_ms", "median", "ms/pass", |row| {
        Value::Number(1e3 * row.latency_seconds.median, Form::Short)
    }),
    Column::number("mean_ms", "mean", "ms", |row| {
        Value::Number(1e3 * row.latency_seconds.mean, Form::Short)
    }),
    Column::number("sd_ms", "sd", "ms", |row| {
        Value::Number(1e3 * row.latency_seconds.sd, Form::Short)
    }),
    Column::number("p95_ms", "p95", "ms", |row| {
        Value::Number(1e3 * row.latency_seconds.p95, Form::Short)
    }),
    Column::number("utilisation", "CPU use", "", |row| {
        Value::Number(row.utilisation.median, Form::Percent(1))
    }),
    Column::number("peak_resident_bytes", "peak", "MB", |row| {
        Value::number(
            row.peak_resident_bytes.map(|bytes| bytes as f64 / 1e6),
            Form::Fixed(1),
        )
    }),
    Column::number(
        "multiply_adds_per_token",
        "multiply-adds/token",
        "",
        |row| Value::count(row.multiply_adds_per_token),
    ),
    Column::number("model_bytes", "weights", "bytes", |row| {
        Value::count(row.model.bytes)
    }),
];

/// The energy of a row by one source.
#[derive(Debug)]
pub struct EnergyRow<'r> {
    /// The row.
    pub row: &'r PowerRow,
    /// The figure.
    pub figure: &'r EnergyFigure,
}

fn scaled(interval: Option<Interval>, scale: f64) -> Value {
    let within = |Interval { low, nominal, high }: Interval| {
        Value::Within(scale * nominal, [scale * low, scale * high], Form::Short)
    };
    interval.map_or(Value::None, within)
}

/// Energies by every source.
pub fn energies<'r>() -> [Column<EnergyRow<'r>>; 10] {
    [
        Column::words("model", "model", |of| Value::code(of.row.model.base_name())),
        Column::words("precision", "precision", |of| {
            Value::text(&of.row.model.precision)
        }),
        Column::words("mode", "mode", |of| Value::text(of.row.mode.name())),
        Column::words("method", "method", |of| Value::text(&of.figure.method)),
        Column::number("power_w", "power", "W", |of| {
            scaled(of.figure.power_watts, 1.0)
        }),
        Column::number("gross_uj", "energy/token", "µJ", |of| {
            scaled(of.figure.gross_joules_per_token, 1e6)
        }),
        Column::number("net_uj", "net of idle", "µJ", |of| {
            scaled(of.figure.net_joules_per_token, 1e6)
        }),
        Column::number("tokens_per_joule", "tokens/J", "", |of| {
            scaled(of.figure.tokens_per_joule, 1.0)
        }),
        Column::words("dominating_term", "widest uncertainty", |of| {
            of.figure
                .dominating_term
                .map_or(Value::None, |term| Value::text(term.to_string()))
        }),
        Column::number("co2e_mg", "CO2e/million tokens", "mg", |of| {
            scaled(of.figure.co2e_g_per_million_tokens, 1e3)
        }),
    ]
}

/// Comparisons of the gate.
pub const GATE: [Column<GateComparison>; 9] = [
    Column::words("model", "model", |row| Value::code(&row.model)),
    Column::words("precision", "precision", |row| Value::text(&row.precision)),
    Column::words("mode", "mode", |row| {
        row.mode
            .map_or(Value::None, |mode| Value::text(mode.name()))
    }),
    Column::words("metric", "metric", |row| Value::text(&row.metric)),
    Column::number("old", "old", "", |row| Value::number(row.old, Form::Short)),
    Column::number("new", "new", "", |row| Value::number(row.new, Form::Short)),
    Column::number("change", "change", "", |row| {
        Value::number(
            row.change_percent.map(|percent| percent / 100.0),
            Form::Change,
        )
    }),
    Column::number("p", "p", "", |row| Value::number(row.p_value, Form::Short)),
    Column::words("verdict", "verdict", |row| {
        Value::text(row.verdict.to_string())
    }),
];

/// Exported files.
pub const EXPORT_FILES: [Column<ExportFile>; 8] = [
    Column::words("file", "file", |file| Value::code(&file.file)),
    Column::words("graph", "graph", |file| Value::text(&file.graph)),
    Column::words("layers", "layers", |file| Value::text(&file.layers)),
    Column::number("opset", "opset", "", |file| Value::count(file.opset)),
    Column::number("nodes", "nodes", "", |file| Value::count(file.nodes)),
    Column::number("bytes", "bytes", "", |file| Value::count(file.file_bytes)),
    Column::number("per_weights", "of the weights", "", |file| {
        Value::Number(
            file.file_bytes as f64 / file.model.bytes as f64,
            Form::Times,
        )
    }),
    Column::number("bits_per_weight", "bits/weight", "", |file| {
        Value::Number(file.file_bits_per_weight, Form::Fixed(2))
    }),
];

fn figure(check: &ExportCheck, value: fn(&ExportFigures) -> Value) -> Value {
    check.figures.as_ref().map_or(Value::None, value)
}

/// What came of each file in each runtime.
pub const EXPORT_CHECKS: [Column<ExportCheck>; 12] = [
    Column::words("file", "file", |check| Value::code(&check.file)),
    Column::words("runtime", "runtime", |check| {
        Value::text(format!("{} {}", check.runtime, check.version))
    }),
    Column::words("verdict", "verdict", |check| {
        let word = check.verdict.word();
        Value::text(
            check
                .reason
                .as_ref()
                .map_or(word.to_owned(), |reason| format!("{word}: {reason}")),
        )
    }),
    Column::number("max_difference", "largest difference", "", |check| {
        figure(check, |f| Value::Number(f.max_abs_difference, Form::Si))
    }),
    Column::number("relative", "relative", "", |check| {
        figure(check, |f| {
            Value::Number(f.max_relative_difference, Form::Si)
        })
    }),
    Column::number("mean_kl_nats", "mean KL to fp32", "nats", |check| {
        figure(check, |f| Value::Number(f.mean_kl_nats, Form::Si))
    }),
    Column::number("top1_agreement", "same top token", "", |check| {
        figure(check, |f| Value::Number(f.top1_agreement, Form::Percent(2)))
    }),
    Column::number("bits_per_byte", "bits/byte", "", |check| {
        figure(check, |f| Value::Number(f.bits_per_byte, Form::Fixed(4)))
    }),
    Column::number("native_bits_per_byte", "native", "", |check| {
        figure(check, |f| {
            Value::Number(f.native_bits_per_byte, Form::Fixed(4))
        })
    }),
    Column::number("fp32_bits_per_byte", "native fp32", "", |check| {
        figure(check, |f| {
            Value::Number(f.fp32_bits_per_byte, Form::Fixed(4))
        })
    }),
    Column::number("tokens", "tokens", "", |check| {
        figure(check, |f| Value::count(f.tokens))
    }),
    Column::words("state_errors", "state error after tokens", |check| {
        figure(check, |f| {
            let error =
                |e: &crate::StateError| format!("{}: {}", e.steps, Form::Si.text(e.relative_error));
            let errors: Vec<String> = f.state_errors.iter().map(error).collect();
            Value::Text(errors.join(", "))
        })
    }),
];

/// Speeds of runtimes.
pub const RUNTIMES: [Column<ExportBenchRow>; 8] = [
    Column::words("runtime", "runtime", |row| {
        Value::text(format!("{} {}", row.runtime, row.version))
    }),
    Column::words("precision", "precision", |row| Value::text(&row.precision)),
    Column::number("median_ms", "median", "ms", |row| {
        Value::Number(1e3 * row.median_seconds, Form::Short)
    }),
    Column::number("p95_ms", "p95", "ms", |row| {
        Value::Number(1e3 * row.p95_seconds, Form::Short)
    }),
    Column::number("tokens_per_s", "tokens/s", "", |row| {
        Value::Number(row.tokens_per_s, Form::Si)
    }),
    Column::number("speed_up", "against the slowest", "", |row| {
        Value::Number(row.speed_up, Form::Times)
    }),
    Column::number("file_bytes", "file", "bytes", |row| {
        Value::count(row.file_bytes)
    }),
    Column::words("measured", "measured", |row| {
        Value::text(if row.is_interleaved {
            "in turns"
        } else {
            "separately"
        })
    }),
];

/// Loads of a server.
pub const LOADS: [Column<ServeLoad>; 9] = [
    Column::words("load", "load", |load| Value::text(&load.name)),
    Column::number("connections", "connections", "", |load| {
        Value::count(load.connections)
    }),
    Column::number("requests_per_s", "requests/s", "", |load| {
        Value::Number(load.requests_per_s, Form::Whole)
    }),
    Column::number("tokens_per_request", "tokens/request", "", |load| {
        Value::Number(load.tokens_per_request, Form::Short)
    }),
    Column::number("mean_ms", "mean", "ms", |load| {
        Value::Number(load.mean_ms, Form::Fixed(2))
    }),
    Column::number("p50_ms", "p50", "ms", |load| {
        Value::Number(load.p50_ms, Form::Fixed(2))
    }),
    Column::number("p95_ms", "p95", "ms", |load| {
        Value::Number(load.p95_ms, Form::Fixed(2))
    }),
    Column::number("p99_ms", "p99", "ms", |load| {
        Value::Number(load.p99_ms, Form::Fixed(2))
    }),
    Column::number("errors", "errors", "", |load| Value::count(load.errors)),
];
