//! Rows as Parquet: made of the JSON lines of a run when all are there.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::Type,
};
use serde_json::{Map, Value};

use super::options::{Options, Subject};

/// Bytes of the JSON lines that become a group of rows; in memory they are several times as long.
const GROUP: usize = 8 << 20;

type Row = Map<String, Value>;

/// Writes the JSON lines of `rows` to the file `to`.
pub(super) fn write(rows: &Path, to: &Path, options: &Options) -> anyhow::Result<()> {
    let columns = columns(options);
    let fields = columns.iter().map(|column| column.field().map(Arc::new));
    let schema = Type::group_type_builder("rows")
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let file = File::create(to)?;
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
    let (mut group, mut bytes) = (Vec::new(), 0);
    for line in BufReader::new(File::open(rows)?).split(b'\n') {
        let line = line?;
        bytes += line.len();
        group.push(serde_json::from_slice::<Row>(&line)?);
        if bytes >= GROUP {
            write_group(&mut writer, &columns, &mut group)?;
            bytes = 0;
        }
    }
    write_group(&mut writer, &columns, &mut group)?;
    let file = writer.into_inner()?;
    Ok(file.sync_all()?)
}

fn write_group(
    writer: &mut SerializedFileWriter<File>,
    columns: &[Column],
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    if !rows.is_empty() {
        let mut group = writer.next_row_group()?;
        columns
            .iter()
            .try_for_each(|column| column.write(&mut group, rows))?;
        group.close()?;
        rows.clear();
    }
    Ok(())
}

/// A column by the name of its field.
struct Column {
    name: &'static str,
    kind: Kind,
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Count,
    Number,
    /// A number that may be missing.
    Optional,
}

fn columns(options: &Options) -> Vec<Column> {
    use Kind::{Count, Number, Optional, Text};

    let of_token = [
        ("id", Text),
        ("token", Count),
        ("offset", Count),
        ("bytes", Count),
        ("nll_nats", Number),
        ("rank", Count),
    ];
    let of_document = [
        ("id", Text),
        ("bytes", Count),
        ("chars", Count),
        ("words", Count),
        ("unicode_words", Count),
        ("tokens", Count),
        ("unknown_tokens", Count),
        ("nll_nats", Number),
        ("bits_per_byte", Optional),
    ];
    let against = [
        ("against_nll_nats", Optional),
        ("against_bits_per_byte", Optional),
        ("difference_bits_per_byte", Optional),
    ];
    let mut columns = if options.subject == Subject::Tokens {
        of_token.to_vec()
    } else {
        of_document.to_vec()
    };
    if options.against.is_some() {
        columns.extend(against);
    }
    if options.subject == Subject::DocumentsWithText {
        columns.push(("text", Text));
    }
    let column = |(name, kind)| Column { name, kind };
    columns.into_iter().map(column).collect()
}

impl Column {
    fn field(&self) -> parquet::errors::Result<Type> {
        let physical = match self.kind {
            Kind::Text => Physical::BYTE_ARRAY,
            Kind::Count => Physical::INT64,
            Kind::Number | Kind::Optional => Physical::DOUBLE,
        };
        let repetition = if self.kind == Kind::Optional {
            Repetition::OPTIONAL
        } else {
            Repetition::REQUIRED
        };
        Type::primitive_type_builder(self.name, physical)
            .with_repetition(repetition)
            .with_logical_type((self.kind == Kind::Text).then_some(LogicalType::String))
            .build()
    }

    fn write(
        &self,
        group: &mut SerializedRowGroupWriter<'_, File>,
        rows: &[Row],
    ) -> anyhow::Result<()> {
        let value = |row: &Row| row.get(self.name).cloned().unwrap_or_default();
        let values: Vec<Value> = rows.iter().map(value).collect();
        let mut column = group.next_column()?.context("a column is missing")?;
        match self.kind {
            Kind::Text => {
                let texts = values
                    .iter()
                    .map(|value| value.as_str().unwrap_or_default());
                let texts: Vec<ByteArray> = texts.map(ByteArray::from).collect();
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&texts, None, None)?;
            }
            Kind::Count => {
                let counts: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
                column
                    .typed::<Int64Type>()
                    .write_batch(&counts, None, None)?;
            }
            Kind::Number | Kind::Optional => {
                let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
                let levels: Vec<i16> = values
                    .iter()
                    .map(|value| i16::from(value.is_number()))
                    .collect();
                let levels = (self.kind == Kind::Optional).then_some(&levels[..]);
                column
                    .typed::<DoubleType>()
                    .write_batch(&numbers, levels, None)?;
            }
        }
        column.close()?;
        Ok(())
    }
}
