//! The table of the models that ship: quality, size, speed and energy, each with its method in the cell.

use itera_record::{
    EnergyFigure,
    Form::{Change, Fixed, Short, Si},
    PowerMode, Table, ValidationRow, Value, columns,
};

use super::{
    View, count_of,
    power::{is_platform, rows, source_name},
    quality,
};
use crate::input::{Inputs, items};

struct Model<'i> {
    row: &'i ValidationRow,
    file_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    /// Tokens per second that it writes, and on how many threads.
    speed: Option<(f64, u64)>,
    energy: Option<&'i EnergyFigure>,
}

impl Model<'_> {
    fn bits(&self) -> Value {
        let row = self.row;
        let bits = Fixed(4)
            .within(row.bits_per_byte, row.bits_per_byte_ci95)
            .plain();
        let kind = if row.is_official() {
            "official"
        } else {
            "selection"
        };
        Value::Said(row.bits_per_byte, format!("{bits}, {kind}"))
    }

    fn file(&self, words: &str) -> Option<Value> {
        self.file_bytes.map(|bytes| said(bytes as f64, words))
    }

    fn size(&self) -> Value {
        let weights = || said(self.row.model.bytes as f64, "B weights");
        self.file("B file").unwrap_or_else(weights)
    }

    fn speed(&self) -> Option<Value> {
        let (speed, threads) = self.speed?;
        Some(said(
            speed,
            &format!(", {}", count_of(threads as usize, "thread")),
        ))
    }

    fn time(&self) -> Option<Value> {
        let seconds = 1.0 / self.speed?.0;
        Some(Value::Said(
            1e6 * seconds,
            format!("{}s median", Si.text(seconds)),
        ))
    }

    /// Energy with its bounds and its method.
    fn energy(&self) -> Option<Value> {
        let figure = self.energy?;
        let joules = figure.gross_joules_per_token?.map(|joules| 1e6 * joules);
        let value = Short
            .within(joules.nominal, [joules.low, joules.high])
            .plain();
        let kind = if is_platform(&figure.source) {
            "estimated"
        } else {
            "measured"
        };
        let text = format!("{value} µJ {kind}, {}", source_name(&figure.source));
        Some(Value::Said(joules.nominal, text))
    }
}

/// A number with an SI prefix and words behind it.
fn said(value: f64, words: &str) -> Value {
    Value::Said(value, format!("{}{words}", Si.text(value)))
}

/// The models that ship at every precision.
pub(super) fn view(inputs: &Inputs) -> View {
    let columns = columns! { Model<'_>:
        text   "model"         "model"                    "" |of| Value::code(of.row.model.base_name());
        text   "precision"     "precision"                "" |of| of.row.precision_label();
        text   "text"          "text"                     "" |of| of.row.text_name();
        number "bits_per_byte" "bits/byte [95 %]"         "" |of| of.bits();
        number "bytes"         "size"                     "" |of| of.size();
        number "memory_bytes"  "memory"                   "" |of| of.memory_bytes.map(|bytes| said(bytes as f64, "B peak"));
        number "tokens_per_s"  "tokens/s"                 "" |of| of.speed();
        number "us_per_token"  "time/token"               "" |of| of.time();
        number "energy_uj"     "energy/token [low, high]" "" |of| of.energy();
    };
    let shipped = quality::leading(inputs);
    let models: Vec<Model<'_>> = shipped.iter().map(|row| model(inputs, &row.item)).collect();
    let mut sources = Inputs::files(shipped);
    sources.extend(Inputs::files(&inputs.power));
    sources.extend(Inputs::files(&inputs.engine));
    View::new(
        "models",
        "The models",
        &sources,
        Table::of(&columns, &models),
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
    let quantized = items(&inputs.quantization);
    let quantized = quantized.filter(|record| {
        let model = record.envelope.model.as_ref();
        model.is_some_and(|model| model.file_sha256 == row.model.file_sha256)
    });
    let scored = row
        .code_length
        .as_ref()
        .map(|length| length.model_file_bytes);
    let file = scored.or_else(|| quantized.map(|record| record.file_bytes).next());
    let decode = rows(inputs).find(|(_, power)| {
        power.mode == PowerMode::Decode && is_same(power.model.base_name(), &power.model.precision)
    });
    let energy = decode.and_then(|(_, row)| {
        let is_known = |figure: &&EnergyFigure| {
            figure.gross_joules_per_token.is_some() && !figure.is_projection()
        };
        row.energy.iter().find(is_known)
    });
    Model {
        row,
        file_bytes: file.or_else(|| memory?.file_bytes),
        memory_bytes: memory.and_then(|memory| memory.peak_resident_bytes),
        speed: decode.map(|(of, row)| (row.tokens_per_s.median, of.item.protocol.threads)),
        energy,
    }
}

/// A model that ships, its precisions side by side.
struct Summary<'i> {
    fp32: &'i ValidationRow,
    int8: Option<&'i ValidationRow>,
    int4: Option<Model<'i>>,
}

impl Summary<'_> {
    fn rounded(&self, row: &ValidationRow) -> Value {
        let change = Change.text(row.bits_per_byte / self.fp32.bits_per_byte - 1.0);
        let text = format!("{} ({change})", Fixed(4).text(row.bits_per_byte));
        Value::Said(row.bits_per_byte, text)
    }
}

/// One line for each model that ships.
pub(super) fn summary(inputs: &Inputs) -> View {
    let columns = columns! { Summary<'_>:
        text   "model"         "model"                    "" |of| Value::code(of.fp32.model.base_name());
        number "params"        "parameters"               "" |of| of.fp32.model.params;
        text   "text"          "text"                     "" |of| quality::text_label(of.fp32);
        number "bits_per_byte" "bits/byte [95 %]"         "" |of| Fixed(4).within(of.fp32.bits_per_byte, of.fp32.bits_per_byte_ci95);
        number "int8"          "8 bits"                   "" |of| of.int8.map(|row| of.rounded(row));
        number "int4"          "4 bits"                   "" |of| of.int4.as_ref().map(|model| of.rounded(model.row));
        number "zstd"          "zstd -19"                 "" |of| Fixed(3).of(of.fp32.baselines.zstd_bits_per_byte);
        number "ppmd_primed"   "PPMd, primed"             "" |of| Fixed(3).of(of.fp32.baselines.ppmd_primed_bits_per_byte);
        number "bytes"         "4-bit file"               "" |of| of.int4.as_ref().and_then(|model| model.file("B"));
        number "tokens_per_s"  "tokens/s, 4 bits, 1 core" "" |of| Si.of(of.int4.as_ref().and_then(|model| Some(model.speed?.0)));
    };
    let shipped = quality::leading(inputs);
    let rows = shipped
        .iter()
        .map(|row| &row.item)
        .filter(|row| row.precision == "fp32");
    let at = |row, precision| quality::at_precision(inputs, row, precision);
    let rows: Vec<Summary<'_>> = rows
        .map(|fp32| Summary {
            fp32,
            int8: at(fp32, "int8"),
            int4: at(fp32, "int4").map(|row| model(inputs, row)),
        })
        .collect();
    View::new(
        "summary",
        "The models",
        &Inputs::files(shipped),
        Table::of(&columns, &rows),
    )
}
