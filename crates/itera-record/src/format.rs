//! Indented JSON that keeps lists of numbers on one line.
//!
//! A validation record carries two numbers for every document. One number a line would make files
//! of tens of thousands of lines that nobody can look at, so objects are indented, and lists are
//! not.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::RecordError;

const INDENT: &[u8] = b"  ";

/// Writes `value` with a final line end.
pub(crate) fn to_string(value: &impl Serialize) -> Result<String, RecordError> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(
        &mut json,
        Indented::default(),
    ))?;
    json.push(b'\n');
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// Objects indented, arrays inline.
#[derive(Default)]
struct Indented {
    depth: usize,
    has_value: bool,
}

impl Indented {
    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(INDENT))
    }
}

impl Formatter for Indented {
    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.line(writer)?;
        }
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if !first {
            w.write_all(b",")?;
        }
        self.line(w)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::to_string;

    #[test]
    fn objects_are_indented_and_lists_are_not() {
        let value = json!({"a": [1, 2.5, []], "b": {}, "c": [{"d": null}, {"d": "x"}]});
        let expected = "{\n  \"a\": [1, 2.5, []],\n  \"b\": {},\n  \"c\": [{\n    \"d\": null\n  \
                        }, {\n    \"d\": \"x\"\n  }]\n}\n";
        assert_eq!(to_string(&value).unwrap(), expected);
    }
}
