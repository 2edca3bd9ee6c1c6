//! How fast the native engine runs.

use itera_chart::{Block, Dots, Entry, Group, Mark, Panel, Row, Scale, Sign, series_of};
use itera_record::{
    Align, Column, EngineBenchRecord, EngineBenchRow, Form, Head, MachineLimits, MemoryCost, Table,
    Value, columns::ENGINE_SPEEDS,
};

use super::{Figure, View, rank_of_precision, rows_of};
use crate::input::{Inputs, Of};

type Found<'i> = (&'i Of<EngineBenchRecord>, &'i EngineBenchRow);

/// All rows: by workload in the order of the bench, then from wide weights to narrow ones, then by
/// threads and kernel.
pub(super) fn rows(inputs: &Inputs) -> Vec<Found<'_>> {
    let mut all: Vec<Found<'_>> = rows_of(&inputs.engine, |record| &record.rows).collect();
    let mut workloads: Vec<String> = Vec::new();
    for (_, row) in &all {
        if !workloads.contains(&row.workload) {
            workloads.push(row.workload.clone());
        }
    }
    all.sort_by_key(|(record, row)| {
        let workload = workloads.iter().position(|name| *name == row.workload);
        let kernel = (rank_of_kernel(&row.kernel), row.kernel.clone());
        (
            workload,
            record.source,
            rank_of_precision(&row.precision),
            row.threads,
            kernel,
        )
    });
    all
}

/// From narrow vectors to wide ones.
fn rank_of_kernel(kernel: &str) -> u8 {
    match kernel {
        "scalar" => 0,
        "neon" | "avx2" => 1,
        _ => 2,
    }
}

/// How a row was run: `int8 avx512, 2 threads`.
pub(crate) fn row_name(row: &EngineBenchRow) -> String {
    let threads = super::count_of(row.threads as usize, "thread");
    format!("{} {}, {threads}", row.precision, row.kernel)
}

/// The fastest of some rows. By speed and not by time: a sample of a faster kernel may have more tokens.
fn fastest<'i>(rows: impl Iterator<Item = Found<'i>>) -> Option<Found<'i>> {
    rows.max_by(|a, b| a.1.tokens_per_s.total_cmp(&b.1.tokens_per_s))
}

/// The fastest kernel of a workload on so many threads.
pub(super) fn fastest_of<'i>(
    inputs: &'i Inputs,
    workload: &str,
    threads: u64,
) -> Option<Found<'i>> {
    let rows = rows(inputs).into_iter();
    fastest(rows.filter(|(_, row)| row.workload == workload && row.threads == threads))
}

/// Names in the order of their first row.
fn names(rows: &[Found<'_>], name: fn(&EngineBenchRow) -> String) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, row) in rows {
        if !names.contains(&name(row)) {
            names.push(name(row));
        }
    }
    names
}

/// Every workload with its fastest kernel at each precision and number of threads: one line each.
fn by_workload(rows: &[Found<'_>]) -> Table {
    let mut ways: Vec<(String, u64)> = Vec::new();
    for (_, row) in rows {
        let way = (row.precision.clone(), row.threads);
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways.sort_by_key(|(precision, threads)| (*threads, rank_of_precision(precision)));
    let head = |(precision, threads): &(String, u64)| {
        let title = format!(
            "{precision}, {}",
            super::count_of(*threads as usize, "thread")
        );
        Head::new(&format!("{precision}_{threads}"), &title, Align::Right)
    };
    let heads = std::iter::once(Head::new("workload", "tokens/s", Align::Left));
    let mut table = Table::with_heads(heads.chain(ways.iter().map(head)).collect());
    for workload in names(rows, |row| row.workload.clone()) {
        let mut cells = vec![Value::Text(words(&workload))];
        cells.extend(ways.iter().map(|(precision, threads)| {
            let is_meant = |row: &EngineBenchRow| {
                row.workload == workload && row.precision == *precision && row.threads == *threads
            };
            let found = fastest(rows.iter().copied().filter(|(_, row)| is_meant(row)));
            Value::number(found.map(|(_, row)| row.tokens_per_s), Form::Si)
        }));
        table.push(cells);
    }
    table
}

/// Every workload and precision on one thread: the speed of each kernel.
fn by_kernel(rows: &[Found<'_>]) -> Table {
    let single: Vec<Found<'_>> = rows
        .iter()
        .copied()
        .filter(|(_, row)| row.threads == 1)
        .collect();
    let kernels = names(&single, |row| row.kernel.clone());
    let mut heads = vec![
        Head::new("workload", "tokens/s on one thread", Align::Left),
        Head::new("precision", "precision", Align::Left),
    ];
    heads.extend(
        kernels
            .iter()
            .map(|kernel| Head::new(kernel, kernel, Align::Right)),
    );
    heads.push(Head::new(
        "of_roofline",
        "of the roofline, fastest",
        Align::Right,
    ));
    let mut table = Table::with_heads(heads);
    let is_same = |a: &Found<'_>, b: &Found<'_>| {
        a.1.workload == b.1.workload && a.1.precision == b.1.precision
    };
    for rows in single.chunk_by(is_same) {
        let Some((_, best)) = fastest(rows.iter().copied()) else {
            continue;
        };
        let mut cells = vec![
            Value::Text(words(&best.workload)),
            Value::text(&best.precision),
        ];
        cells.extend(kernels.iter().map(|kernel| {
            let found = rows.iter().find(|(_, row)| row.kernel == *kernel);
            Value::number(found.map(|(_, row)| row.tokens_per_s), Form::Si)
        }));
        cells.push(Value::Number(
            best.tokens_per_s / best.roofline_tokens_per_s,
            Form::Percent(0),
        ));
        table.push(cells);
    }
    table
}

/// Cost of a token after so many others: a line for each precision.
fn context(record: &EngineBenchRecord) -> Table {
    let mut lengths: Vec<u64> = record
        .context
        .iter()
        .map(|cost| cost.context_tokens)
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    let head = |tokens: &u64| {
        Head::new(
            &format!("us_{tokens}"),
            &format!("after {}", Form::Whole.text(*tokens as f64)),
            Align::Right,
        )
    };
    let heads = std::iter::once(Head::new("precision", "µs/token", Align::Left));
    let mut table = Table::with_heads(heads.chain(lengths.iter().map(head)).collect());
    let mut precisions: Vec<&String> = record.context.iter().map(|cost| &cost.precision).collect();
    precisions.dedup();
    for precision in precisions {
        let at = |tokens: &u64| {
            let mut costs = record.context.iter();
            let cost =
                costs.find(|cost| cost.precision == *precision && cost.context_tokens == *tokens);
            Value::number(cost.map(|cost| 1e6 * cost.seconds_per_token), Form::Short)
        };
        table.push(
            std::iter::once(Value::text(precision))
                .chain(lengths.iter().map(at))
                .collect(),
        );
    }
    table
}

const MEMORY: [Column<MemoryCost>; 5] = [
    Column::words("precision", "precision", |cost| {
        Value::text(&cost.precision)
    }),
    Column::number("file_bytes", "file", "bytes", |cost| {
        Value::number(cost.file_bytes.map(|bytes| bytes as f64), Form::Whole)
    }),
    Column::number(
        "matrix_bytes_per_token",
        "weights read/token",
        "bytes",
        |cost| Value::count(cost.matrix_bytes_per_token),
    ),
    Column::number("state_bytes", "state/session", "bytes", |cost| {
        Value::count(cost.state_bytes)
    }),
    Column::number("peak_resident_mb", "peak of the process", "MB", |cost| {
        Value::number(
            cost.peak_resident_bytes.map(|bytes| bytes as f64 / 1e6),
            Form::Fixed(1),
        )
    }),
];

const LIMITS: [Column<MachineLimits>; 4] = [
    Column::words("kernel", "kernel", |limits| Value::text(&limits.kernel)),
    Column::number("float", "float multiply-adds", "G/s", |limits| {
        Value::Number(limits.float_multiply_adds_per_s / 1e9, Form::Short)
    }),
    Column::number("integer", "int8 multiply-adds", "G/s", |limits| {
        Value::Number(limits.integer_multiply_adds_per_s / 1e9, Form::Short)
    }),
    Column::number("read", "reading", "GB/s", |limits| {
        Value::Number(limits.read_bytes_per_s / 1e9, Form::Short)
    }),
];

/// Speeds, the cost of a token by its position, memory, and the limits of the machine.
pub(super) fn views(inputs: &Inputs) -> Vec<View> {
    let rows = rows(inputs);
    let speeds = Table::of(&ENGINE_SPEEDS, rows.iter().map(|(_, row)| *row));
    let sources = Inputs::files(&inputs.engine);
    let record = inputs.engine.first().map(|of| &of.item);
    let view =
        |name: &str, title: &str, table: Table| View::new(name, title, table, sources.clone());
    vec![
        view(
            "engine-speeds",
            "Speed of the native engine, all measurements",
            speeds,
        ),
        view("engine", "Speed of the native engine", by_workload(&rows)),
        view("kernels", "Kernels", by_kernel(&rows)),
        view(
            "context",
            "Cost of a token by its position",
            record.map(context).unwrap_or_default(),
        ),
        view(
            "memory",
            "Memory",
            Table::of(&MEMORY, record.iter().flat_map(|record| &record.memory)),
        ),
        view(
            "limits",
            "Limits of the machine",
            Table::of(&LIMITS, record.iter().flat_map(|record| &record.machine)),
        ),
    ]
}

/// A workload in words.
fn words(name: &str) -> String {
    match name.split_once('-') {
        None if name == "decode" => "decode, a token at a time".to_owned(),
        None if name == "score" => "score, many documents".to_owned(),
        Some(("prefill", tokens)) => format!("prefill, {tokens} tokens"),
        Some(("decode", batch)) => match batch.strip_prefix("batch-") {
            Some(sessions) => format!("decode, {sessions} sessions"),
            None => name.to_owned(),
        },
        _ => name.to_owned(),
    }
}

/// The model of the bench, for titles.
fn model(inputs: &Inputs) -> String {
    let model = inputs
        .engine
        .first()
        .and_then(|of| of.item.envelope.model.as_ref());
    model
        .map_or("a model", |model| model.base_name())
        .to_owned()
}

fn block(rows: &[Found<'_>], panel: Panel, marks: impl Fn(&[Found<'_>]) -> Vec<Mark>) -> Block {
    let groups = rows
        .chunk_by(|(_, a), (_, b)| a.workload == b.workload)
        .map(|workload| Group {
            label: workload
                .first()
                .map_or(String::new(), |(_, row)| words(&row.workload)),
            rows: workload
                .chunk_by(|(_, a), (_, b)| a.precision == b.precision)
                .map(|rows| Row {
                    label: rows
                        .first()
                        .map_or(String::new(), |(_, row)| row.precision.clone()),
                    cells: vec![marks(rows)],
                })
                .collect(),
        });
    Block {
        panels: vec![panel],
        groups: groups.collect(),
    }
}

/// Every workload and precision with the fastest kernel; none without rows.
pub(super) fn workload_figure(inputs: &Inputs) -> Option<Figure> {
    let rows = rows(inputs);
    let (_, best) = fastest(rows.iter().copied())?;
    let title = format!("Speed of the native engine: {}", model(inputs));
    let marks = |rows: &[Found<'_>]| {
        let of = |threads: u64| {
            fastest(
                rows.iter()
                    .copied()
                    .filter(|(_, row)| row.threads == threads),
            )
        };
        let mark = |(threads, sign): (u64, Sign)| {
            let (_, row) = of(threads)?;
            let speed = row.speed();
            let text = Form::Si.text(speed.nominal);
            Some(Mark {
                interval: Some([speed.low, speed.high]),
                tip: format!("{}, {text} tokens/s", row_name(row)),
                ..Mark::new(series_of(&row.precision), sign, speed.nominal, &text)
            })
        };
        [(1, Sign::Circle), (2, Sign::Square)]
            .into_iter()
            .filter_map(mark)
            .collect()
    };
    let panel = Panel {
        scale: Scale::linear("tokens per second, higher is better").from_zero(),
        ..Panel::default()
    };
    Some(Figure {
        name: "engine",
        alt: format!(
            "Tokens per second by workload, precision and threads; the fastest is {} with {} tokens per second.",
            words(&best.workload),
            Form::Si.text(best.tokens_per_s)
        ),
        picture: Dots {
            title,
            note: "Fastest kernel; lines from the 5th to the 95th percentile of the samples."
                .to_owned(),
            legend: vec![
                Entry::sign(5, Sign::Circle, "1 thread"),
                Entry::sign(5, Sign::Square, "2 threads"),
            ],
            blocks: vec![block(&rows, panel, marks)],
        }
        .draw(),
        sources: Inputs::files(&inputs.engine),
    })
}

/// Every kernel on one thread as a multiple of the plain one in floats; none if there is but one.
pub(super) fn kernel_figure(inputs: &Inputs) -> Option<Figure> {
    let rows: Vec<Found<'_>> = rows(inputs)
        .into_iter()
        .filter(|(_, row)| row.threads == 1)
        .collect();
    let kernels = names(&rows, |row| row.kernel.clone());
    if kernels.len() < 2 {
        return None;
    }
    let title = format!("Kernels of the native engine: {}", model(inputs));
    let unit = |workload: &str| {
        let is_unit = |row: &EngineBenchRow| {
            row.workload == workload && row.precision == "fp32" && row.kernel == kernels[0]
        };
        rows.iter()
            .find(|(_, row)| is_unit(row))
            .map(|(_, row)| row.tokens_per_s)
    };
    let signs = [Sign::Triangle, Sign::Circle, Sign::Square, Sign::Diamond];
    let sign_of = |kernel: &str| {
        kernels
            .iter()
            .position(|name| name == kernel)
            .map_or(0, |i| i % 4)
    };
    let marks = |rows: &[Found<'_>]| {
        let mark = |(_, row): &Found<'_>| {
            let sign = sign_of(&row.kernel);
            let times = row.tokens_per_s / unit(&row.workload)?;
            let text = format!("{}, {} times", row_name(row), Form::Short.text(times));
            Some(Mark::new(sign as u8, signs[sign], times, &text))
        };
        rows.iter().filter_map(mark).collect()
    };
    let panel = Panel {
        scale: Scale::log(&format!(
            "speed against {} in fp32, higher is better",
            kernels[0]
        )),
        ..Panel::default()
    };
    let legend = kernels
        .iter()
        .map(|kernel| Entry::sign(sign_of(kernel) as u8, signs[sign_of(kernel)], kernel));
    Some(Figure {
        name: "kernels",
        alt: format!(
            "Speed of the kernels {} by workload and precision, on one thread.",
            kernels.join(", ")
        ),
        picture: Dots {
            title,
            note: "One thread.".to_owned(),
            legend: legend.collect(),
            blocks: vec![block(&rows, panel, marks)],
        }
        .draw(),
        sources: Inputs::files(&inputs.engine),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_in_words() {
        assert_eq!(words("prefill-128"), "prefill, 128 tokens");
        assert_eq!(words("decode-batch-16"), "decode, 16 sessions");
        assert_eq!(words("other-x"), "other-x");
    }
}
