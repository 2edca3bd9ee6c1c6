//! The table of the models that ship: quality, size, speed and energy, each with its method in the cell.

use itera_record::{
    Column, EnergyFigure, Form, Interval, PowerMode, PowerRecord, PowerRow, Table, ValidationRow,
    Value,
};

use super::{View, quality, rows_of};
use crate::input::{Inputs, Of};

/// The platform whose energy the table shows.
pub(super) const PLATFORM: &str = "tdp:laptop";

struct Model<'i> {
    row: &'i ValidationRow,
    file_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    decode: Option<(&'i Of<PowerRecord>, &'i PowerRow)>,
    energy: Option<&'i EnergyFigure>,
}

fn columns<'i>() -> [Column<Model<'i>>; 8] {
    [
        Column::words("model", "model", |of| Value::code(of.row.model.base_name())),
        Column::words("precision", "precision", |of| {
            Value::text(&of.row.precision)
        }),
        Column::number("bits_per_byte", "bits/byte [95 %]", "", |of| {
            let text = of
                .row
                .bits_per_byte_ci95
                .map_or(Value::Number(of.row.bits_per_byte, Form::Fixed(4)), |ci| {
                    Value::Within(of.row.bits_per_byte, ci, Form::Fixed(4))
                });
            let kind = if of.row.is_official() {
                "official"
            } else {
                "selection"
            };
            Value::Text(format!("{}, {kind}", text.plain()))
        }),
        Column::number("size", "size", "", |of| {
            Value::Text(of.file_bytes.map_or_else(
                || format!("{}B weights", Form::Si.text(of.row.model.bytes as f64)),
                |bytes| format!("{}B file", Form::Si.text(bytes as f64)),
            ))
        }),
        Column::number("memory", "memory", "", |of| {
            of.memory_bytes.map_or(Value::None, |bytes| {
                Value::Text(format!("{}B peak", Form::Si.text(bytes as f64)))
            })
        }),
        Column::number("tokens_per_s", "tokens/s", "", |of| {
            of.decode.map_or(Value::None, |(record, row)| {
                let threads = super::count_of(record.item.protocol.threads as usize, "thread");
                Value::Text(format!(
                    "{}, {threads}",
                    Form::Si.text(row.tokens_per_s.median)
                ))
            })
        }),
        Column::number("us_per_token", "time/token", "", |of| {
            of.decode.map_or(Value::None, |(_, row)| {
                Value::Text(format!(
                    "{}s median",
                    Form::Si.text(1.0 / row.tokens_per_s.median)
                ))
            })
        }),
        Column::number("energy", "energy/token [low, high]", "", |of| {
            energy(of.energy)
        }),
    ]
}

/// Energy with its bounds and its method.
fn energy(figure: Option<&EnergyFigure>) -> Value {
    let Some((figure, joules)) =
        figure.and_then(|figure| Some((figure, figure.gross_joules_per_token?)))
    else {
        return Value::None;
    };
    let Interval { low, nominal, high } = joules.map(|joules| 1e6 * joules);
    let value = Value::Within(nominal, [low, high], Form::Short).plain();
    let (kind, name) = match figure.source.strip_prefix("tdp:") {
        Some(name) => ("estimated", name),
        None => ("measured", figure.source.as_str()),
    };
    Value::Text(format!("{value} µJ {kind}, {name}"))
}

/// The models that ship at every precision.
pub(super) fn view(inputs: &Inputs) -> View {
    let shipped = quality::shipped(inputs);
    let models: Vec<Model<'_>> = shipped.iter().map(|row| model(inputs, &row.item)).collect();
    let mut sources = Inputs::files(shipped.iter().copied());
    sources.extend(Inputs::files(&inputs.power));
    sources.extend(Inputs::files(&inputs.engine));
    View::new(
        "models",
        "The models",
        Table::of(&columns(), &models),
        sources,
    )
}

fn model<'i>(inputs: &'i Inputs, row: &'i ValidationRow) -> Model<'i> {
    let is_same =
        |name: &str, precision: &str| name == row.model.base_name() && precision == row.precision;
    let memory = inputs.engine.iter().find_map(|of| {
        let name = of.item.envelope.model.as_ref()?.base_name();
        of.item
            .memory
            .iter()
            .find(|memory| is_same(name, &memory.precision))
    });
    let quantized = inputs.quantization.iter().map(|of| &of.item);
    let quantized = quantized.filter(|record| {
        let model = record.envelope.model.as_ref();
        model.is_some_and(|model| model.file_sha256 == row.model.file_sha256)
    });
    let file = quantized.map(|record| record.file_bytes).next();
    let mut powers = rows_of(&inputs.power, |record| &record.rows);
    let decode = powers.find(|(_, power)| {
        power.mode == PowerMode::Decode && is_same(power.model.base_name(), &power.model.precision)
    });
    let energy = decode.and_then(|(_, row)| {
        let measured = row
            .energy
            .iter()
            .find(|figure| figure.method.starts_with("measured"));
        measured.or_else(|| row.energy.iter().find(|figure| figure.source == PLATFORM))
    });
    Model {
        row,
        file_bytes: file.or_else(|| memory?.file_bytes),
        memory_bytes: memory.and_then(|memory| memory.peak_resident_bytes),
        decode,
        energy,
    }
}

/// A model that ships, its precisions side by side.
struct Summary<'i> {
    fp32: &'i ValidationRow,
    rounded: [Option<&'i ValidationRow>; 2],
    int4: Option<Model<'i>>,
}

fn summary_columns<'i>() -> [Column<Summary<'i>>; 9] {
    fn rounded(of: &Summary<'_>, index: usize) -> Value {
        of.rounded[index].map_or(Value::None, |row| {
            let change = Form::Change.text(row.bits_per_byte / of.fp32.bits_per_byte - 1.0);
            Value::Text(format!(
                "{} ({change})",
                Form::Fixed(4).text(row.bits_per_byte)
            ))
        })
    }
    [
        Column::words("model", "model", |of| {
            Value::code(of.fp32.model.base_name())
        }),
        Column::number("params", "parameters", "", |of| {
            Value::count(of.fp32.model.params)
        }),
        Column::words("text", "text", |of| {
            Value::Text(quality::text_label(of.fp32))
        }),
        Column::number("bits_per_byte", "bits/byte [95 %]", "", |of| {
            of.fp32
                .bits_per_byte_ci95
                .map_or(Value::Number(of.fp32.bits_per_byte, Form::Fixed(4)), |ci| {
                    Value::Within(of.fp32.bits_per_byte, ci, Form::Fixed(4))
                })
        }),
        Column::number("int8", "8 bits", "", |of| rounded(of, 0)),
        Column::number("int4", "4 bits", "", |of| rounded(of, 1)),
        Column::number("zstd", "zstd -19", "", |of| {
            Value::Number(of.fp32.baselines.zstd_bits_per_byte, Form::Fixed(3))
        }),
        Column::number("size", "4-bit file", "", |of| {
            let bytes = of.int4.as_ref().and_then(|model| model.file_bytes);
            bytes.map_or(Value::None, |bytes| {
                Value::Text(format!("{}B", Form::Si.text(bytes as f64)))
            })
        }),
        Column::number("tokens_per_s", "tokens/s, 4 bits, 1 core", "", |of| {
            let decode = of.int4.as_ref().and_then(|model| model.decode);
            Value::number(decode.map(|(_, row)| row.tokens_per_s.median), Form::Si)
        }),
    ]
}

/// One line for each model that ships.
pub(super) fn summary(inputs: &Inputs) -> View {
    let shipped = quality::shipped(inputs);
    let rows = shipped
        .iter()
        .map(|row| &row.item)
        .filter(|row| row.precision == "fp32");
    let rows: Vec<Summary<'_>> = rows
        .map(|fp32| {
            let rounded =
                ["int8", "int4"].map(|precision| quality::at_precision(inputs, fp32, precision));
            Summary {
                fp32,
                rounded,
                int4: rounded[1].map(|row| model(inputs, row)),
            }
        })
        .collect();
    let sources = Inputs::files(shipped.iter().copied());
    View::new(
        "summary",
        "The models",
        Table::of(&summary_columns(), &rows),
        sources,
    )
}
