//! JSON lines: an object a line, the text in one of its fields.

use std::{
    fmt,
    io::{BufRead, Read},
    ops::Range,
};

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};

use super::{BYTE_ORDER_MARK, LONGEST, Part, RecordError, RecordOptions};

/// The lines of a file from one byte on, as far as they begin before another.
pub(super) struct JsonLines<R> {
    name: String,
    reader: R,
    options: RecordOptions,
    /// Where the next line begins, and from where on no line is read.
    range: Range<u64>,
    /// Lines so far, where they are known from the beginning of the file.
    number: Option<u64>,
    line: Vec<u8>,
    is_over: bool,
}

impl<R: BufRead> JsonLines<R> {
    pub(super) fn new(name: String, reader: R, range: Range<u64>, options: &RecordOptions) -> Self {
        Self {
            name,
            reader,
            options: options.clone(),
            number: (range.start == 0).then_some(0),
            range,
            line: Vec::new(),
            is_over: false,
        }
    }

    /// Reads the next line; returns its first byte, `None` at the end.
    fn read(&mut self) -> Result<Option<u64>, RecordError> {
        let at = self.range.start;
        if self.is_over || at >= self.range.end {
            return Ok(None);
        }
        self.line.clear();
        let mut limited = self.reader.by_ref().take(LONGEST as u64 + 1);
        let taken = limited.read_until(b'\n', &mut self.line);
        let taken = taken.map_err(|source| {
            self.is_over = true;
            RecordError::Read {
                name: self.name.clone(),
                source,
            }
        })?;
        self.range.start += taken as u64;
        self.number = self.number.map(|number| number + 1);
        self.is_over = taken == 0;
        if self.line.len() > LONGEST {
            // The line is not read to its end, so that no other can be found.
            self.is_over = true;
            return Err(self.broken(at, format!("a line of over {LONGEST} bytes")));
        }
        Ok((taken > 0).then_some(at))
    }

    fn broken(&self, at: u64, reason: String) -> RecordError {
        let place = match self.number {
            Some(number) => format!("line {number}"),
            None => format!("the line at byte {at}"),
        };
        RecordError::Broken {
            name: self.name.clone(),
            place,
            reason,
        }
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<Part, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = match self.read() {
                Ok(Some(at)) => at,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            let line = self.line.strip_prefix(BYTE_ORDER_MARK).filter(|_| at == 0);
            let line = line.unwrap_or(&self.line).trim_ascii();
            if line.is_empty() {
                continue;
            }
            return Some(match fields(line, &self.options) {
                Ok((text, id)) => {
                    let id = id.unwrap_or_else(|| format!("{}:{at}", self.name));
                    Ok(Part::whole(id, text.into_bytes()))
                }
                Err(reason) => Err(self.broken(at, reason)),
            });
        }
    }
}

/// Text and id of an object, or what is wrong with it.
fn fields(line: &[u8], options: &RecordOptions) -> Result<(String, Option<String>), String> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let found = deserializer.deserialize_map(Fields(options));
    let found = found.and_then(|found| deserializer.end().map(|()| found));
    let found = found.map_err(|error| {
        // The line that serde counts is always the first.
        let error = error.to_string();
        let (what, column) = error.split_once(" at line 1").unwrap_or((&error, ""));
        format!(
            "no JSON object with texts: {what}{}",
            column.replace(" column", " at column")
        )
    })?;
    let text = found.text.ok_or_else(|| {
        format!(
            "no field `{}`; it has {}; name it with `--text-field`",
            options.text_field(),
            found.others.join(", ")
        )
    })?;
    match (&options.id_field, found.id) {
        (Some(field), None) => Err(format!("no field `{field}`; name it with `--id-field`")),
        (_, id) => Ok((text, id)),
    }
}

/// Takes two fields out of an object and checks the rest only.
struct Fields<'o>(&'o RecordOptions);

#[derive(Default)]
struct Found {
    text: Option<String>,
    id: Option<String>,
    /// Names of other fields.
    others: Vec<String>,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key::<String>()? {
            let is_text = key == self.0.text_field();
            let is_id = !is_text && self.0.id_field.as_ref() == Some(&key);
            if is_text && found.text.is_some() || is_id && found.id.is_some() {
                return Err(serde::de::Error::custom(format_args!(
                    "`{key}` stands twice"
                )));
            }
            if is_text {
                found.text = Some(map.next_value_seed(Text {
                    field: &key,
                    numbers: false,
                })?);
            } else if is_id {
                found.id = Some(map.next_value_seed(Text {
                    field: &key,
                    numbers: true,
                })?);
            } else {
                map.next_value::<IgnoredAny>()?;
                found.others.push(key);
            }
        }
        Ok(found)
    }
}

/// A string, or for an id also a whole number.
struct Text<'k> {
    field: &'k str,
    numbers: bool,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a text in `{}`", self.field)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<String, E> {
        if self.numbers {
            return Ok(number.to_string());
        }
        Err(E::invalid_type(
            serde::de::Unexpected::Unsigned(number),
            &self,
        ))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<String, E> {
        if self.numbers {
            return Ok(number.to_string());
        }
        Err(E::invalid_type(
            serde::de::Unexpected::Signed(number),
            &self,
        ))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        Err(E::custom(format_args!("`{}` is null", self.field)))
    }
}
