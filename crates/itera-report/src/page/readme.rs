//! The blocks of `README.md`: the figures that the project is judged by.

use itera_record::{EngineBenchRow, ServeLoad, ValidationRow};

use super::{Block, Cited};
use crate::{
    input::{Inputs, Of, machine},
    md::{Doc, Table, code},
    num::{change_percent, fixed, interval, thousands, times},
    view::{
        base_name, count_of, enumerate, export,
        quality::{is_large, text_name},
        serve::load,
    },
};

pub(super) const BLOCKS: [(&str, Block); 6] = [
    ("scores", scores),
    ("compression", compression),
    ("engine", engine),
    ("speed", speed),
    ("runtimes", runtimes),
    ("server", server),
];

/// The file that `itera-validate` without options writes.
const SCORES: &str = "results/validation.json";

const NONE: &str = "–";

/// Rows of the models that ship, by the native engine.
fn shipped(inputs: &Inputs) -> impl Iterator<Item = &Of<ValidationRow>> {
    let rows = inputs.validation.iter();
    rows.filter(|row| inputs.source(row).label == SCORES && row.item.engine == "native")
}

/// The row of the same model on the same text at another precision.
fn at_precision<'i>(
    inputs: &'i Inputs,
    row: &ValidationRow,
    precision: &str,
) -> Option<&'i ValidationRow> {
    let mut rows = shipped(inputs).map(|row| &row.item);
    rows.find(|other| {
        other.precision == precision
            && base_name(&other.model) == base_name(&row.model)
            && other.dataset_sha256 == row.dataset_sha256
            && other.protocol == row.protocol
    })
}

/// How well the models predict, at each precision and against what needs no model.
fn scores(cited: &Cited<'_>, doc: &mut Doc) {
    let inputs = cited.inputs;
    let mut table = Table::new([
        "model",
        ">parameters (active per token)",
        "text",
        ">bits/byte [95 %]",
        ">int8",
        ">int4",
        ">byte ppl",
        ">word ppl",
        ">unigram",
        ">zstd -19",
        ">uniform",
    ]);
    for of in shipped(inputs).filter(|of| of.item.precision == "fp32") {
        let row = &of.item;
        let rounded = |precision| {
            at_precision(inputs, row, precision).map_or(NONE.to_owned(), |other| {
                let change = change_percent(row.bits_per_byte, other.bits_per_byte);
                format!("{} ({change})", fixed(other.bits_per_byte, 4))
            })
        };
        let bounds = row.bits_per_byte_ci95.map(|bounds| interval(bounds, 3));
        table.row([
            code(&row.model.name),
            format!(
                "{} ({})",
                thousands(row.model.params),
                thousands(row.model.active_params)
            ),
            format!(
                "{}, {} documents, {} bytes",
                text_name(row),
                thousands(row.documents),
                thousands(row.bytes)
            ),
            format!(
                "**{}** {}",
                fixed(row.bits_per_byte, 4),
                bounds.unwrap_or_default()
            ),
            rounded("int8"),
            rounded("int4"),
            fixed(row.byte_perplexity, 3),
            row.word_perplexity
                .map_or(NONE.to_owned(), |word| fixed(word, 1)),
            fixed(row.baselines.unigram_bits_per_byte, 3),
            fixed(row.baselines.zstd_bits_per_byte, 3),
            fixed(row.baselines.uniform_bits_per_byte, 3),
        ]);
    }
    if !table.is_empty() {
        doc.table(&table);
    }
}

/// What weights at 4 bits are of those of a larger model in floats, and what that costs.
fn compression(cited: &Cited<'_>, doc: &mut Doc) {
    let inputs = cited.inputs;
    let large = inputs.validation.iter();
    let large = large.filter(|of| of.item.precision == "fp32" && is_large(&of.item));
    let Some(teacher) = large.max_by_key(|of| of.item.model.params) else {
        return;
    };
    let row = &teacher.item;
    let smaller = shipped(inputs).map(|of| &of.item).filter(|other| {
        other.precision == "int4"
            && other.dataset_sha256 == row.dataset_sha256
            && other.protocol == row.protocol
    });
    let smaller: Vec<String> = smaller
        .map(|other| {
            format!(
                "those of {} are {} smaller at +{} bits/byte",
                code(base_name(&other.model)),
                times(row.model.bytes as f64, other.model.bytes as f64),
                fixed(other.bits_per_byte - row.bits_per_byte, 4)
            )
        })
        .collect();
    if !smaller.is_empty() {
        doc.paragraph(&format!(
            "Weights at 4 bits against those of {} in floats ({} parameters, {} MB, {} bits/byte): {} ({}).",
            code(&row.model.name),
            thousands(row.model.params),
            fixed(row.model.bytes as f64 / 1e6, 2),
            fixed(row.bits_per_byte, 4),
            enumerate(&smaller),
            cited.cite(teacher)
        ));
    }
}

/// Speed and memory of the native engine on one core.
fn engine(cited: &Cited<'_>, doc: &mut Doc) {
    for of in &cited.inputs.engine {
        let record = &of.item;
        let mut table = Table::new([
            "precision",
            ">file, bytes",
            ">decode",
            ">decode, AVX2",
            ">prefill of 128, ms",
            ">scoring",
            ">µs a token at first, at last",
            ">process that only decodes, MB",
        ]);
        for memory in &record.memory {
            let row = |workload: &str, kernel: Option<&str>| {
                let rows = record.rows.iter().filter(|row| {
                    row.workload == workload
                        && row.precision == memory.precision
                        && row.threads == 1
                        && kernel.is_none_or(|kernel| row.kernel == kernel)
                });
                rows.max_by(|a, b| a.tokens_per_s.total_cmp(&b.tokens_per_s))
            };
            let rate = |row: Option<&EngineBenchRow>| {
                row.map_or(NONE.to_owned(), |row| {
                    thousands(row.tokens_per_s.round() as u64)
                })
            };
            let costs = record.context.iter();
            let costs: Vec<f64> = costs
                .filter(|cost| cost.precision == memory.precision)
                .map(|cost| 1e6 * cost.seconds_per_token)
                .collect();
            table.row([
                memory.precision.clone(),
                memory.file_bytes.map_or(NONE.to_owned(), thousands),
                rate(row("decode", None)),
                rate(row("decode", Some("avx2"))),
                row("prefill-128", None)
                    .map_or(NONE.to_owned(), |row| fixed(128e3 / row.tokens_per_s, 2)),
                rate(row("score", None)),
                match costs[..] {
                    [first, .., last] => format!("{}, {}", fixed(first, 2), fixed(last, 2)),
                    _ => NONE.to_owned(),
                },
                memory
                    .peak_resident_bytes
                    .map_or(NONE.to_owned(), |bytes| fixed(bytes as f64 / 1e6, 1)),
            ]);
        }
        let model = record.envelope.model.as_ref();
        let contexts = record.context.iter().map(|cost| cost.context_tokens);
        let (first, last) = (contexts.clone().min(), contexts.max());
        doc.paragraph(&format!(
            "{}, on one core ({}); tokens per second, median. The cost of a token is that after {} tokens and \
             after {}; a session is {} bytes of state ({}).",
            code(model.map_or("a model", |model| base_name(model))),
            machine(&record.envelope.host),
            thousands(first.unwrap_or(0)),
            thousands(last.unwrap_or(0)),
            thousands(record.memory.first().map_or(0, |memory| memory.state_bytes)),
            cited.cite(of)
        ));
        doc.table(&table);
    }
}

/// Speeds of the server and of training.
fn speed(cited: &Cited<'_>, doc: &mut Doc) {
    let serve = cited.inputs.serve_bench.iter().filter_map(|of| {
        let full = load(&of.item.measured.loads, "full")?;
        Some(format!(
            "`itera-serve` on {} cores: **{} completions/s** of {} tokens over {} connections ({}).",
            of.item.envelope.host.cores,
            thousands(full.requests_per_s.round() as u64),
            fixed(full.tokens_per_request, 0),
            full.connections,
            cited.cite(of)
        ))
    });
    let training = cited.inputs.training_bench.iter().filter_map(|of| {
        let bench = &of.item;
        let rate = |median: f64| thousands(median.round() as u64);
        let best = bench.rows.iter();
        let best = best.max_by(|a, b| a.tokens_per_s_median.total_cmp(&b.tokens_per_s_median))?;
        let single = bench.rows.iter().find(|row| row.replicas == 1)?;
        Some(format!(
            "Training {} on {} cores: **{} tokens/s** at batch {}, length {} and {}, {} at batch {} with one ({}).",
            code(&bench.preset),
            bench.cores,
            rate(best.tokens_per_s_median),
            best.batch,
            bench.length,
            count_of(best.replicas as usize, "replica"),
            rate(single.tokens_per_s_median),
            single.batch,
            cited.cite(of)
        ))
    });
    doc.bullets(serve.chain(training));
}

/// Every runtime, the fastest first.
fn runtimes(cited: &Cited<'_>, doc: &mut Doc) {
    for (of, bench) in export::benches(cited.inputs) {
        let mut table = Table::new([
            "runtime",
            "precision",
            ">median ms",
            ">tokens/s",
            ">against the slowest",
        ]);
        let mut rows: Vec<_> = bench.rows.iter().collect();
        rows.sort_by(|a, b| a.median_seconds.total_cmp(&b.median_seconds));
        for row in rows {
            table.row([
                format!("{} {}", row.runtime, row.version),
                row.precision.clone(),
                fixed(1e3 * row.median_seconds, 3),
                thousands(row.tokens_per_s.round() as u64),
                format!("{}×", fixed(row.speed_up, 1)),
            ]);
        }
        let apart: Vec<String> = bench
            .rows
            .iter()
            .filter(|row| !row.is_interleaved)
            .map(|row| row.runtime.clone())
            .collect();
        doc.table(&table);
        doc.paragraph(&format!(
            "{} tokens of {}, {}, medians of {} samples taken in turns{} ({}).",
            thousands(bench.protocol.seq_len),
            code(base_name(&bench.model)),
            count_of(bench.protocol.threads as usize, "thread"),
            bench.protocol.samples,
            if apart.is_empty() {
                String::new()
            } else {
                format!(", those of {} apart", enumerate(&apart))
            },
            cited.cite(of)
        ));
    }
}

/// What the server answers, and what it learns.
fn server(cited: &Cited<'_>, doc: &mut Doc) {
    for of in &cited.inputs.serve_bench {
        let measured = &of.item.measured;
        let load = |name: &str| load(&measured.loads, name);
        let (Some(idle), Some(half), Some(full)) = (load("idle"), load("half"), load("full"))
        else {
            continue;
        };
        let rate = |load: &ServeLoad| thousands(load.requests_per_s.round() as u64);
        let mut parts = vec![
            format!(
                "**{} answers/s** from {} connections (p99 {} ms)",
                rate(full),
                full.connections,
                fixed(full.p99_ms, 1)
            ),
            format!("p99 {} ms at {}/s", fixed(half.p99_ms, 1), rate(half)),
            format!(
                "the first token after {} ms when idle (p99 {})",
                fixed(idle.p50_ms, 1),
                fixed(idle.p99_ms, 1)
            ),
            format!(
                "{} MB resident",
                fixed(measured.serving_peak_bytes as f64 / 1e6, 0)
            ),
        ];
        if let (Some(adaptation), Some(adapting)) = (&measured.adaptation, load("adapting")) {
            parts.push(format!(
                "{} s to learn from {} records while p99 at {}/s is {} ms",
                fixed(adaptation.seconds, 1),
                adaptation.records,
                rate(adapting),
                fixed(adapting.p99_ms, 1)
            ));
        }
        let model = of.item.envelope.model.as_ref();
        doc.paragraph(&format!(
            "Measured on {} cores, {}, answers of {} tokens: {} ({}).",
            of.item.envelope.host.cores,
            model.map_or("a model".to_owned(), |model| {
                format!("{} at {}", code(base_name(model)), model.precision)
            }),
            fixed(full.tokens_per_request, 0),
            enumerate(&parts),
            cited.cite(of)
        ));
    }
    for of in &cited.inputs.simulation {
        let record = &of.item;
        let gains = record.runs.iter().map(|run| run.improvement_percent);
        let most = gains.fold(record.least_improvement_percent, f64::max);
        let lost = record.largest_base_loss_percent;
        doc.paragraph(&format!(
            "Fed with {} corrections from {}, each scored before it was learnt from, it predicted that text \
             **{} to {} % better**, and its own text {} % {} at {}, over {} ({}).",
            thousands(record.protocol.records),
            record.protocol.domain,
            fixed(record.least_improvement_percent, 1),
            fixed(most, 1),
            fixed(lost.abs(), 2),
            if lost > 0.0 { "worse" } else { "better" },
            if lost > 0.0 { "most" } else { "least" },
            count_of(record.runs.len(), "order"),
            cited.cite(of)
        ));
    }
}
