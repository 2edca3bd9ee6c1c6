//! The columns of the rows that several programs show: what a program prints, its CSV and a report are one
//! list.

use crate::{
    Column, ContextCost, Divergence, EnergyFigure, EngineBenchRecord, EngineBenchRow,
    ExportBenchRow, ExportCheck, ExportFigures, ExportFile, ExportRoundTrip, ExportVerdict,
    Form::{self, Change, Fixed, Percent, Short, Si, Times, Whole},
    GateComparison, Head, Interval, MachineLimits, MemoryCost, PowerRow, ScoringProtocol,
    ServeLoad, StateError, Summary, Table, ValidationRow, Value, columns,
    table::Align,
};

/// The name of a text whose name is another in older files.
pub fn name_of_text(sha256: &str) -> Option<&'static str> {
    (sha256 == TINYSTORIES_DEV).then_some("tinystories-dev")
}

/// SHA-256 of the selection from TinyStories by which settings are chosen; in older files it has the
/// name of the split that it lay under.
const TINYSTORIES_DEV: &str = "ace5ae488323262f7c09f03c1b83bd07482960bdc0d36c3da85180a9cc06f592";

/// A text in words: `wikitext2 test`; no split where the text has `all` or the name is that of one text.
pub fn text_name(dataset: &str, split: &str) -> String {
    match (dataset, split) {
        (_, "all") | ("tinystories-head" | "tinystories-dev", _) => dataset.to_owned(),
        _ => format!("{dataset} {split}"),
    }
}

impl ValidationRow {
    /// The text in words: `wikitext2 test`.
    pub fn text_name(&self) -> String {
        if let Some(name) = name_of_text(&self.dataset_sha256) {
            return name.to_owned();
        }
        text_name(&self.dataset, &self.split)
    }

    /// Whether the text is the official file of its data set.
    pub fn is_official(&self) -> bool {
        self.dataset_verdict.starts_with("official")
    }

    /// The precision; bits per weight where many weights have more than its name says.
    pub fn precision_label(&self) -> String {
        if self.precision == self.model.precision {
            self.model.precision_label()
        } else {
            self.precision.clone()
        }
    }

    /// Bytes of the text as zstd compresses it.
    pub fn zstd_bytes(&self) -> Option<u64> {
        let bits = self.baselines.zstd_bits_per_byte?;
        Some((bits * self.bytes as f64 / 8.0).round() as u64)
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
        } else {
            match baselines.zstd_bits_per_byte {
                Some(zstd) if self.bits_per_byte > zstd => "worse than zstd",
                Some(_) => "better than zstd, model not counted",
                None => "better than token frequencies",
            }
        };
        let mut parts = vec![place.to_owned()];
        if self.bytes_scored_fraction < 1.0 {
            let share = Percent(2).text(self.bytes_scored_fraction);
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

    fn divergence<T: Into<Value>>(&self, value: fn(&Divergence) -> T) -> Value {
        self.divergence.as_ref().map(value).into()
    }
}

/// The cell of a perplexity, which may be beyond all measure.
fn perplexity(value: f64, usual: Form) -> Value {
    let form = if value < 1e6 { usual } else { Si };
    form.of(value)
}

/// Scores of texts.
pub const SCORES: &[Column<ValidationRow>] = &columns! { ValidationRow:
    text   "text"            "text"            "" |row| row.text_name();
    text   "model"           "model"           "" |row| Value::code(row.model.base_name());
    text   "precision"       "precision"       "" |row| row.precision_label();
    text   "engine"          "engine"          "" |row| &row.engine;
    number "bits_per_byte"   "bits/byte"       "" |row| Fixed(4).of(row.bits_per_byte);
    number "ci95"            "95 % interval"   "" |row| Fixed(4).bounds(row.bits_per_byte_ci95);
    number "byte_perplexity" "perplexity/byte" "" |row| perplexity(row.byte_perplexity, Fixed(3));
    number "char_perplexity" "/character"      "" |row| perplexity(row.char_perplexity, Fixed(3));
    number "word_perplexity" "/word"           "" |row| row.word_perplexity.map(|value| perplexity(value, Short));
    text   "verdict"         "verdict"         "" |row| row.verdict();
};

/// What no model reaches on the same bytes, and what the model costs that does.
pub const BASELINES: &[Column<ValidationRow>] = &columns! { ValidationRow:
    text   "text"        "text"                  ""      |row| row.text_name();
    text   "model"       "model"                 ""      |row| Value::code(row.model.base_name());
    text   "precision"   "precision"             ""      |row| row.precision_label();
    number "zstd"        "zstd -19"              ""      |row| Fixed(3).of(row.baselines.zstd_bits_per_byte);
    number "ppmd"        "PPMd"                  ""      |row| Fixed(3).of(row.baselines.ppmd_bits_per_byte);
    number "ppmd_primed" "PPMd primed"           ""      |row| Fixed(3).of(row.baselines.ppmd_primed_bits_per_byte);
    number "unigram"     "unigram"               ""      |row| Fixed(3).of(row.baselines.unigram_bits_per_byte);
    number "uniform"     "uniform"               ""      |row| Fixed(3).of(row.baselines.uniform_bits_per_byte);
    number "text_bytes"  "text by this model"    "bytes" |row| row.code_length.map(|code| code.text_bytes);
    number "model_bytes" "model file"            "bytes" |row| row.code_length.map(|code| code.model_file_bytes);
    number "total_bytes" "both"                  "bytes" |row| row.code_length.map(|code| code.total_bytes);
    number "zstd_bytes"  "text by zstd"          "bytes" |row| row.zstd_bytes();
};

/// Every field of a score that is not about single documents, by its name in the record.
pub const SCORE_FIELDS: &[Column<ValidationRow>] = &columns! { ValidationRow:
    text   "model"                   "model"                   "" |row| &row.model.name;
    text   "model_file_sha256"       "model_file_sha256"       "" |row| &row.model.file_sha256;
    number "model_params"            "model_params"            "" |row| row.model.params;
    text   "dataset"                 "dataset"                 "" |row| &row.dataset;
    text   "split"                   "split"                   "" |row| &row.split;
    text   "dataset_sha256"          "dataset_sha256"          "" |row| &row.dataset_sha256;
    text   "dataset_verdict"         "dataset_verdict"         "" |row| &row.dataset_verdict;
    number "documents"               "documents"               "" |row| row.documents;
    number "bytes"                   "bytes"                   "" |row| row.bytes;
    number "chars"                   "chars"                   "" |row| row.chars;
    number "words"                   "words"                   "" |row| row.words;
    number "tokens"                  "tokens"                  "" |row| row.tokens;
    number "unknown_tokens"          "unknown_tokens"          "" |row| row.unknown_tokens;
    number "nll_nats"                "nll_nats"                "" |row| Short.of(row.nll_nats);
    number "bits_per_byte"           "bits_per_byte"           "" |row| Short.of(row.bits_per_byte);
    number "bits_per_byte_ci95_low"  "bits_per_byte_ci95_low"  "" |row| Short.of(row.bits_per_byte_ci95.map(|[low, _]| low));
    number "bits_per_byte_ci95_high" "bits_per_byte_ci95_high" "" |row| Short.of(row.bits_per_byte_ci95.map(|[_, high]| high));
    number "byte_perplexity"         "byte_perplexity"         "" |row| Short.of(row.byte_perplexity);
    number "char_perplexity"         "char_perplexity"         "" |row| Short.of(row.char_perplexity);
    number "word_perplexity"         "word_perplexity"         "" |row| Short.of(row.word_perplexity);
    number "token_perplexity"        "token_perplexity"        "" |row| Short.of(row.token_perplexity);
    number "uniform_bits_per_byte"   "uniform_bits_per_byte"   "" |row| Short.of(row.baselines.uniform_bits_per_byte);
    number "unigram_bits_per_byte"   "unigram_bits_per_byte"   "" |row| Short.of(row.baselines.unigram_bits_per_byte);
    number "zstd_bits_per_byte"      "zstd_bits_per_byte"      "" |row| Short.of(row.baselines.zstd_bits_per_byte);
    number "ppmd_bits_per_byte"      "ppmd_bits_per_byte"      "" |row| Short.of(row.baselines.ppmd_bits_per_byte);
    number "ppmd_primed_bits_per_byte" "ppmd_primed_bits_per_byte" "" |row| Short.of(row.baselines.ppmd_primed_bits_per_byte);
    number "model_file_bytes"        "model_file_bytes"        "" |row| row.code_length.map(|code| code.model_file_bytes);
    number "coded_text_bytes"        "coded_text_bytes"        "" |row| row.code_length.map(|code| code.text_bytes);
    number "coded_total_bytes"       "coded_total_bytes"       "" |row| row.code_length.map(|code| code.total_bytes);
    text   "worse_than_uniform"      "worse_than_uniform"      "" |row| row.baselines.worse_than_uniform.to_string();
    text   "precision"               "precision"               "" |row| &row.precision;
    text   "engine"                  "engine"                  "" |row| &row.engine;
    text   "kernel"                  "kernel"                  "" |row| row.kernel.as_ref();
    text   "protocol"                "protocol"                "" |row| row.protocol.to_string();
    text   "shard"                   "shard"                   "" |row| row.shard.map(|shard| shard.to_string());
    number "seconds"                 "seconds"                 "" |row| Short.of(row.seconds);
    number "tokens_per_s"            "tokens_per_s"            "" |row| Short.of(row.tokens_per_s);
    number "bytes_scored_fraction"   "bytes_scored_fraction"   "" |row| Short.of(row.bytes_scored_fraction);
};

/// How texts were scored.
pub const PROTOCOLS: &[Column<ValidationRow>] = &columns! { ValidationRow:
    text   "text"         "text"                "" |row| row.text_name();
    text   "model"        "model"               "" |row| Value::code(row.model.base_name());
    text   "precision"    "precision"           "" |row| row.precision_label();
    text   "engine"       "engine"              "" |row| &row.engine;
    text   "kernel"       "kernel"              "" |row| row.kernel.as_ref();
    text   "protocol"     "protocol"            "" |row| row.protocol.to_string();
    number "documents"    "documents"           "" |row| row.documents;
    number "bytes"        "text bytes"          "" |row| row.bytes;
    number "words"        "words"               "" |row| row.words;
    number "tokens"       "tokens"              "" |row| row.tokens;
    number "seconds"      "time"               "s" |row| Short.of(row.seconds);
    number "tokens_per_s" "tokens/s"            "" |row| Si.of(row.tokens_per_s);
    text   "sha256"       "SHA-256 of the text" "" |row| Value::code(row.dataset_sha256.get(..12).unwrap_or_default());
};

/// How far predictions are from those of a reference precision.
pub const DIVERGENCES: &[Column<ValidationRow>] = &columns! { ValidationRow:
    text   "text"           "text"                               "" |row| row.text_name();
    text   "model"          "model"                              "" |row| Value::code(row.model.base_name());
    text   "precision"      "precision"                          "" |row| row.precision_label();
    text   "reference"      "against"                            "" |row| row.divergence(|d| d.reference.clone());
    number "mean_kl_nats"   "mean KL"                  "nats/token" |row| row.divergence(|d| Si.of(d.mean_kl_nats));
    number "p99_kl_nats"    "99 %"                               "" |row| row.divergence(|d| Si.of(d.p99_kl_nats));
    number "p999_kl_nats"   "99.9 %"                             "" |row| row.divergence(|d| Si.of(d.p999_kl_nats));
    number "top1_agreement" "same top token"                     "" |row| row.divergence(|d| Percent(2).of(d.top1_agreement));
    text   "state_errors"   "relative state error after tokens"  "" |row| row.divergence(|d| state_errors(&d.state_errors));
};

/// What learning from the text while it is read has gained over the model alone.
pub const GAINS: &[Column<ValidationRow>] = &columns! { ValidationRow:
    text   "text"    "text"              "" |row| row.text_name();
    text   "model"   "model"             "" |row| Value::code(row.model.base_name());
    text   "learns"  "what learns"       "" |row| what_learns(&row.protocol);
    number "static"  "static"   "bits/byte" |row| Fixed(4).of(row.static_score.as_ref().map(|score| score.static_bits_per_byte));
    number "learning" "learning" "bits/byte" |row| Fixed(4).of(row.bits_per_byte);
    number "gain"    "gain"              "" |row| Percent(2).of(row.static_score.as_ref().map(|score| score.gain));
};

fn what_learns(protocol: &ScoringProtocol) -> String {
    let weights = protocol.adaptation.as_ref().map(|adaptation| {
        if adaptation.per_document {
            "weights, per document"
        } else {
            "weights"
        }
    });
    let mix = protocol.mix.as_ref().map(|_| "n-grams");
    let both: Vec<&str> = weights.into_iter().chain(mix).collect();
    both.join("; ")
}

fn state_errors(errors: &[StateError]) -> String {
    let text = |error: &StateError| format!("{}: {}", error.steps, Si.text(error.relative_error));
    errors.iter().map(text).collect::<Vec<_>>().join(", ")
}

impl EngineBenchRow {
    /// Tokens per second over the samples: the median between the 5th and the 95th percentile.
    pub fn speed(&self) -> Interval {
        speed(&self.sample_seconds, self.tokens, self.tokens_per_s)
    }
}

fn speed(seconds: &[f64], tokens: u64, median: f64) -> Interval {
    let speeds: Vec<f64> = seconds.iter().map(|s| tokens as f64 / s).collect();
    let at = |q| Summary::quantile(&speeds, q).unwrap_or(median);
    Interval {
        low: at(0.05),
        nominal: median,
        high: at(0.95),
    }
}

/// Speeds of the engine.
pub const ENGINE_SPEEDS: &[Column<EngineBenchRow>] = &columns! { EngineBenchRow:
    text   "workload"              "workload"                 "" |row| &row.workload;
    text   "precision"             "precision"                "" |row| &row.precision;
    text   "kernel"                "kernel"                   "" |row| &row.kernel;
    number "threads"               "threads"                  "" |row| row.threads;
    number "median_ms"             "median"                 "ms" |row| Short.of(1e3 * row.median_seconds);
    number "tokens_per_s"          "tokens/s [5 %, 95 %]"     "" |row| within(row.speed(), 1.0, Si);
    number "text_mb_per_s"         "text"                 "MB/s" |row| Short.of(row.bytes_per_s / 1e6);
    number "roofline_tokens_per_s" "roofline"         "tokens/s" |row| Si.of(row.roofline_tokens_per_s);
    number "of_roofline"           "of it"                    "" |row| Percent(0).of(row.tokens_per_s / row.roofline_tokens_per_s);
    text   "bound"                 "bound by"                 "" |row| &row.roofline_bound;
};

/// Memory that precisions take.
pub const MEMORY: &[Column<MemoryCost>] = &columns! { MemoryCost:
    text   "precision"              "precision"               "" |cost| &cost.precision;
    number "file_bytes"             "file"               "bytes" |cost| cost.file_bytes;
    number "matrix_bytes_per_token" "weights read/token" "bytes" |cost| cost.matrix_bytes_per_token;
    number "state_bytes"            "state/session"      "bytes" |cost| cost.state_bytes;
    number "peak_resident_mb"       "peak of the process"   "MB" |cost| Fixed(1).of(cost.peak_resident_bytes.map(|bytes| bytes as f64 / 1e6));
};

/// Limits of a machine.
pub const LIMITS: &[Column<MachineLimits>] = &columns! { MachineLimits:
    text   "kernel"  "kernel"                "" |limits| &limits.kernel;
    number "float"   "float multiply-adds" "G/s" |limits| Short.of(limits.float_multiply_adds_per_s / 1e9);
    number "integer" "int8 multiply-adds"  "G/s" |limits| Short.of(limits.integer_multiply_adds_per_s / 1e9);
    number "read"    "reading"            "GB/s" |limits| Short.of(limits.read_bytes_per_s / 1e9);
};

impl EngineBenchRecord {
    /// The cost of a token after so many others: a line for each precision.
    pub fn context_table(&self) -> Table {
        let mut lengths: Vec<u64> = self
            .context
            .iter()
            .map(|cost| cost.context_tokens)
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        let heads = lengths.iter().map(|tokens| {
            let title = format!("after {}", Whole.text(*tokens as f64));
            Head::new(&format!("us_{tokens}"), &title, Align::Right)
        });
        let first = Head::new("precision", "µs/token", Align::Left);
        let mut table = Table::with_heads(std::iter::once(first).chain(heads).collect());
        let mut precisions: Vec<&String> =
            self.context.iter().map(|cost| &cost.precision).collect();
        precisions.dedup();
        for precision in precisions {
            let at = |tokens: &u64| {
                let is_meant = |cost: &&ContextCost| {
                    cost.precision == *precision && cost.context_tokens == *tokens
                };
                let cost = self.context.iter().find(is_meant);
                Short.of(cost.map(|cost| 1e6 * cost.seconds_per_token))
            };
            table.push(
                std::iter::once(precision.into())
                    .chain(lengths.iter().map(at))
                    .collect(),
            );
        }
        table
    }
}

/// Time, memory and size of a model at work.
pub const LATENCIES: &[Column<PowerRow>] = &columns! { PowerRow:
    text   "model"                   "model"                      "" |row| Value::code(row.model.base_name());
    text   "precision"               "precision"                  "" |row| &row.model.precision;
    text   "mode"                    "mode"                       "" |row| row.mode.name();
    text   "kernel"                  "kernel"                     "" |row| &row.kernel;
    number "tokens_per_s"            "tokens/s"                   "" |row| Si.of(row.tokens_per_s.median);
    number "median_ms"               "median"              "ms/pass" |row| Short.of(1e3 * row.latency_seconds.median);
    number "mean_ms"                 "mean"                     "ms" |row| Short.of(1e3 * row.latency_seconds.mean);
    number "sd_ms"                   "sd"                       "ms" |row| Short.of(1e3 * row.latency_seconds.sd);
    number "min_ms"                  "min"                      "ms" |row| Short.of(1e3 * row.latency_seconds.min);
    number "p95_ms"                  "p95"                      "ms" |row| Short.of(1e3 * row.latency_seconds.p95);
    number "max_ms"                  "max"                      "ms" |row| Short.of(1e3 * row.latency_seconds.max);
    number "cpu_ms"                  "CPU time"                 "ms" |row| Short.of(1e3 * row.cpu_seconds.median);
    number "busy_threads"            "busy threads"               "" |row| Fixed(2).of(row.busy_threads.median);
    number "peak_resident_bytes"     "peak"                     "MB" |row| Fixed(1).of(row.peak_resident_bytes.map(|bytes| bytes as f64 / 1e6));
    number "multiply_adds_per_token" "multiply-adds/token"        "" |row| row.multiply_adds_per_token;
    number "model_bytes"             "weights"               "bytes" |row| row.model.bytes;
};

/// The energy of a row by one source.
#[derive(Debug)]
pub struct EnergyRow<'r> {
    /// The row.
    pub row: &'r PowerRow,
    /// The figure.
    pub figure: &'r EnergyFigure,
}

impl<'r> EnergyRow<'r> {
    /// Every energy of some rows that could be had.
    pub fn all(rows: impl IntoIterator<Item = &'r PowerRow>) -> Vec<Self> {
        let figures = rows.into_iter().flat_map(|row| {
            let figures = row
                .energy
                .iter()
                .filter(|figure| figure.gross_joules_per_token.is_some());
            figures.map(move |figure| Self { row, figure })
        });
        figures.collect()
    }
}

/// The cell of a number with bounds, in a unit.
fn within(of: impl Into<Option<Interval>>, scale: f64, form: Form) -> Value {
    let scaled = of
        .into()
        .map(|interval| interval.map(|value| scale * value));
    scaled
        .map(|of| form.within(of.nominal, [of.low, of.high]))
        .into()
}

/// Energies by every source.
pub fn energies<'r>() -> [Column<EnergyRow<'r>>; 10] {
    columns! { EnergyRow<'_>:
        text   "model"            "model"                     "" |of| Value::code(of.row.model.base_name());
        text   "precision"        "precision"                 "" |of| &of.row.model.precision;
        text   "mode"             "mode"                      "" |of| of.row.mode.name();
        text   "method"           "method"                    "" |of| &of.figure.method;
        number "power_w"          "power"                    "W" |of| within(of.figure.power_watts, 1.0, Short);
        number "gross_uj"         "energy/token"            "µJ" |of| within(of.figure.gross_joules_per_token, 1e6, Short);
        number "net_uj"           "net of idle"             "µJ" |of| within(of.figure.net_joules_per_token, 1e6, Short);
        number "tokens_per_joule" "tokens/J"                  "" |of| within(of.figure.tokens_per_joule, 1.0, Short);
        text   "dominating_term"  "widest uncertainty"        "" |of| of.figure.dominating_term.map(|term| term.to_string());
        number "co2e_mg"          "CO2e/million tokens"     "mg" |of| within(of.figure.co2e_g_per_million_tokens, 1e3, Short);
    }
}

/// The cell of a number that may be a count, which is compared exactly.
fn exact(value: Option<f64>) -> Value {
    let form = |value: f64| match value {
        _ if value.fract() == 0.0 => Whole,
        _ if value.abs() >= 0.01 => Fixed(4),
        _ => Si,
    };
    value.map(|value| form(value).of(value)).into()
}

/// Comparisons of the gate.
pub const GATE: &[Column<GateComparison>] = &columns! { GateComparison:
    text   "model"     "model"     "" |row| Value::code(&row.model);
    text   "precision" "precision" "" |row| &row.precision;
    text   "mode"      "mode"      "" |row| row.mode.map(crate::PowerMode::name);
    text   "metric"    "metric"    "" |row| &row.metric;
    number "old"       "old"       "" |row| exact(row.old);
    number "new"       "new"       "" |row| exact(row.new);
    number "change"    "change"    "" |row| Change.of(row.change_percent.map(|percent| percent / 100.0));
    number "p"         "p"         "" |row| Short.of(row.p_value);
    text   "verdict"   "verdict"   "" |row| row.verdict.to_string();
};

/// Exported files.
pub const EXPORT_FILES: &[Column<ExportFile>] = &columns! { ExportFile:
    text   "file"            "file"           "" |file| Value::code(&file.file);
    text   "graph"           "graph"          "" |file| &file.graph;
    text   "layers"          "layers"         "" |file| &file.layers;
    number "opset"           "opset"          "" |file| file.opset;
    number "nodes"           "nodes"          "" |file| file.nodes;
    number "bytes"           "bytes"          "" |file| file.file_bytes;
    number "per_weights"     "of the weights" "" |file| Times.of(file.file_bytes as f64 / file.model.bytes as f64);
    number "bits_per_weight" "bits/weight"    "" |file| Fixed(2).of(file.file_bits_per_weight);
};

fn figure<T: Into<Value>>(
    figures: Option<&ExportFigures>,
    value: fn(&ExportFigures) -> T,
) -> Value {
    figures.map(value).into()
}

/// A verdict in words, with its reason.
fn verdict(verdict: ExportVerdict, reason: Option<&String>) -> String {
    let word = verdict.word();
    reason.map_or(word.to_owned(), |reason| format!("{word}: {reason}"))
}

/// What came of each file in each runtime.
pub const EXPORT_CHECKS: &[Column<ExportCheck>] = &columns! { ExportCheck:
    text   "file"                 "file"                               "" |check| Value::code(&check.file);
    text   "runtime"              "runtime"                            "" |check| format!("{} {}", check.runtime, check.version);
    text   "verdict"              "verdict"                            "" |check| verdict(check.verdict, check.reason.as_ref());
    number "max_difference"       "largest difference"                 "" |check| figure(check.figures.as_ref(), |f| Si.of(f.max_abs_difference));
    number "relative"             "relative"                           "" |check| figure(check.figures.as_ref(), |f| Si.of(f.max_relative_difference));
    number "mean_kl_nats"         "mean KL to fp32"                "nats" |check| figure(check.figures.as_ref(), |f| Si.of(f.mean_kl_nats));
    number "top1_agreement"       "same top token"                     "" |check| figure(check.figures.as_ref(), |f| Percent(2).of(f.top1_agreement));
    number "bits_per_byte"        "bits/byte"                          "" |check| figure(check.figures.as_ref(), |f| Fixed(4).of(f.bits_per_byte));
    number "native_bits_per_byte" "native"                             "" |check| figure(check.figures.as_ref(), |f| Fixed(4).of(f.native_bits_per_byte));
    number "fp32_bits_per_byte"   "native fp32"                        "" |check| figure(check.figures.as_ref(), |f| Fixed(4).of(f.fp32_bits_per_byte));
    number "tokens"               "tokens"                             "" |check| figure(check.figures.as_ref(), |f| f.tokens);
    text   "state_errors"         "relative state error after tokens"  "" |check| figure(check.figures.as_ref(), |f| state_errors(&f.state_errors));
};

/// Graphs that were read back into a framework.
pub const ROUND_TRIPS: &[Column<ExportRoundTrip>] = &columns! { ExportRoundTrip:
    text   "model"      "model"              "" |trip| &trip.model;
    text   "graph"      "graph"              "" |trip| &trip.graph;
    text   "importer"   "read back by"       "" |trip| &trip.importer;
    text   "verdict"    "verdict"            "" |trip| verdict(trip.verdict, trip.reason.as_ref());
    number "difference" "largest difference" "" |trip| figure(trip.figures.as_ref(), |f| Si.of(f.max_abs_difference));
    number "relative"   "relative"           "" |trip| figure(trip.figures.as_ref(), |f| Si.of(f.max_relative_difference));
    number "tokens"     "tokens"             "" |trip| figure(trip.figures.as_ref(), |f| f.tokens);
};

impl ExportBenchRow {
    /// Tokens per second over the samples of so many tokens: the median between the 5th and the 95th
    /// percentile.
    pub fn speed(&self, tokens: u64) -> Interval {
        speed(&self.sample_seconds, tokens, self.tokens_per_s)
    }
}

/// Speeds of runtimes.
pub const RUNTIMES: &[Column<ExportBenchRow>] = &columns! { ExportBenchRow:
    text   "runtime"      "runtime"             "" |row| format!("{} {}", row.runtime, row.version);
    text   "precision"    "precision"           "" |row| &row.precision;
    number "median_ms"    "median"            "ms" |row| Short.of(1e3 * row.median_seconds);
    number "p95_ms"       "p95"               "ms" |row| Short.of(1e3 * row.p95_seconds);
    number "tokens_per_s" "tokens/s"            "" |row| Si.of(row.tokens_per_s);
    number "speed_up"     "against the slowest" "" |row| Times.of(row.speed_up);
    number "file_bytes"   "file"           "bytes" |row| row.file_bytes;
    text   "measured"     "measured"            "" |row| if row.is_interleaved { "in turns" } else { "separately" };
};

/// Loads of a server.
pub const LOADS: &[Column<ServeLoad>] = &columns! { ServeLoad:
    text   "load"               "load"           "" |load| &load.name;
    number "connections"        "connections"    "" |load| load.connections;
    number "requests_per_s"     "requests/s"     "" |load| Whole.of(load.requests_per_s);
    number "tokens_per_request" "tokens/request" "" |load| Short.of(load.tokens_per_request);
    number "mean_ms"            "mean"         "ms" |load| Fixed(2).of(load.mean_ms);
    number "p50_ms"             "p50"          "ms" |load| Fixed(2).of(load.p50_ms);
    number "p95_ms"             "p95"          "ms" |load| Fixed(2).of(load.p95_ms);
    number "p99_ms"             "p99"          "ms" |load| Fixed(2).of(load.p99_ms);
    number "errors"             "errors"         "" |load| load.errors;
};
