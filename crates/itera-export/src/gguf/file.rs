//! GGUF, version 3: metadata with types, then tensors at multiples of 32 bytes. All integers are
//! little-endian.
//!
//! Reading trusts nothing: counts and lengths are held against the bytes that are left, and every key and
//! name occurs once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};

use super::blocks::Kind;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;

/// Where tensors begin, unless the file says otherwise.
const ALIGNMENT: usize = 32;

const ALIGNMENT_KEY: &str = "general.alignment";

/// More than the format permits.
const MAX_DIMENSIONS: u32 = 4;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i32>),
    /// Read and not used: any other type.
    Other,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GgufTensor {
    pub(super) name: String,
    /// Outermost first; the file has them the other way round.
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// The content of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gguf {
    pub(super) metadata: Vec<(String, Value)>,
    pub(super) tensors: Vec<GgufTensor>,
}

impl Gguf {
    /// The bytes of the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut bytes, key);
            put_value(&mut bytes, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_text(&mut bytes, &tensor.name);
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            for &size in tensor.shape.iter().rev() {
                bytes.extend((size as u64).to_le_bytes());
            }
            bytes.extend(tensor.kind.id().to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(ALIGNMENT);
        }
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            bytes.extend(&tensor.bytes);
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that is wrong; any bytes at all are safe to pass.
    pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        ensure!(reader.take(4).ok() == Some(&MAGIC), "it is no GGUF file");
        let version = reader.u32()?;
        ensure!(
            (2..=VERSION).contains(&version),
            "it has version {version} of GGUF, expected 2 or {VERSION}"
        );
        let (tensors, entries) = (reader.u64()?, reader.u64()?);
        let mut metadata = BTreeMap::new();
        let mut keys = Vec::new();
        for _ in 0..entries {
            let key = reader.text()?;
            let value = reader
                .value()
                .with_context(|| format!("metadata `{key}`"))?;
            let is_new = metadata.insert(key.clone(), value).is_none();
            ensure!(is_new, "it has metadata `{key}` twice");
            keys.push(key);
        }
        let mut places = Vec::new();
        let mut names = BTreeSet::new();
        for _ in 0..tensors {
            let place = reader.place()?;
            let is_new = names.insert(place.0.name.clone());
            ensure!(is_new, "it has the tensor `{}` twice", place.0.name);
            places.push(place);
        }
        let alignment = match metadata.get(ALIGNMENT_KEY) {
            Some(Value::U32(alignment)) if *alignment > 0 => *alignment as usize,
            Some(_) => bail!("its `{ALIGNMENT_KEY}` is no positive integer"),
            None => ALIGNMENT,
        };
        let start = reader.at.next_multiple_of(alignment);
        let tensors = places.into_iter().map(|(mut tensor, offset, len)| {
            let begin = usize::try_from(offset)
                .ok()
                .and_then(|offset| start.checked_add(offset));
            let range = begin.and_then(|begin| Some(begin..begin.checked_add(len)?));
            let found = range.and_then(|range| bytes.get(range));
            let found = found.with_context(|| {
                format!(
                    "the tensor `{}` lies beyond its end; it is cut short",
                    tensor.name
                )
            })?;
            tensor.bytes = found.to_vec();
            Ok(tensor)
        });
        let tensors = tensors.collect::<anyhow::Result<_>>()?;
        let entries = keys
            .into_iter()
            .filter_map(|key| metadata.remove_entry(&key));
        Ok(Self {
            metadata: entries.collect(),
            tensors,
        })
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    let mut put = |id: u32, value: &[u8]| {
        bytes.extend(id.to_le_bytes());
        bytes.extend(value);
    };
    match value {
        Value::U32(value) => put(4, &value.to_le_bytes()),
        Value::F32(value) => put(6, &value.to_le_bytes()),
        Value::Bool(value) => put(7, &[u8::from(*value)]),
        Value::Text(text) => {
            put(8, &[]);
            put_text(bytes, text);
        }
        Value::Texts(texts) => {
            put(9, &8_u32.to_le_bytes());
            bytes.extend((texts.len() as u64).to_le_bytes());
            for text in texts {
                put_text(bytes, text);
            }
        }
        Value::Integers(integers) => {
            put(9, &5_u32.to_le_bytes());
            bytes.extend((integers.len() as u64).to_le_bytes());
            bytes.extend(integers.iter().flat_map(|integer| integer.to_le_bytes()));
        }
        // Only a reader makes these, and what was read is not written.
        Value::Other => {}
    }
}

/// Bytes and how many were read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> anyhow::Result<&'a [u8]> {
        let end = self.at.checked_add(len);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.context("it is cut short within its header")?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u32(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> anyhow::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> anyhow::Result<String> {
        let len = usize::try_from(self.u64()?)?;
        let text = self.take(len)?.to_vec();
        String::from_utf8(text).context("a text of its header is no UTF-8")
    }

    fn value(&mut self) -> anyhow::Result<Value> {
        let id = self.u32()?;
        Ok(match id {
            4 => Value::U32(self.u32()?),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => return self.values(),
            _ => {
                self.take(fixed_size(id)?)?;
                Value::Other
            }
        })
    }

    /// The values of an array.
    fn values(&mut self) -> anyhow::Result<Value> {
        let (id, len) = (self.u32()?, usize::try_from(self.u64()?)?);
        if id == 8 {
            // Collected one by one: the length is only what the file says.
            let texts = (0..len).map(|_| self.text());
            return Ok(Value::Texts(texts.collect::<anyhow::Result<_>>()?));
        }
        let bytes = len
            .checked_mul(fixed_size(id)?)
            .context("it is cut short")?;
        let bytes = self.take(bytes)?;
        let integers = bytes.as_chunks::<4>().0.iter();
        Ok(match id {
            4 | 5 => Value::Integers(integers.map(|x| i32::from_le_bytes(*x)).collect()),
            _ => Value::Other,
        })
    }

    /// A tensor without its bytes, where these begin, and how many they are.
    fn place(&mut self) -> anyhow::Result<(GgufTensor, u64, usize)> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        ensure!(
            (1..=MAX_DIMENSIONS).contains(&dimensions),
            "the tensor `{name}` has {dimensions} dimensions, expected 1 to {MAX_DIMENSIONS}"
        );
        let sizes = (0..dimensions).map(|_| Ok(usize::try_from(self.u64()?)?));
        let mut shape: Vec<usize> = sizes.collect::<anyhow::Result<_>>()?;
        shape.reverse();
        let (id, offset) = (self.u32()?, self.u64()?);
        let kind = Kind::of_id(id).with_context(|| {
            format!(
                "the tensor `{name}` has type {id} of GGUF, expected F32, F16, BF16, Q8_0 or Q4_0"
            )
        })?;
        let row = shape.last().copied().unwrap_or(0);
        let outer = shape.iter().rev().skip(1);
        let rows = outer.copied().try_fold(1, usize::checked_mul);
        let bytes = rows
            .zip(kind.row_bytes(row))
            .and_then(|(rows, row)| rows.checked_mul(row));
        let bytes = bytes.with_context(|| {
            let kind = kind.name();
            format!("the tensor `{name}` has shape {shape:?}, which {kind} cannot store")
        })?;
        let tensor = GgufTensor {
            name,
            shape,
            kind,
            bytes: Vec::new(),
        };
        Ok((tensor, offset, bytes))
    }
}

/// Bytes of a value of a type that has a fixed size.
fn fixed_size(id: u32) -> anyhow::Result<usize> {
    Ok(match id {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => bail!("a value of its metadata has type {id}, which GGUF does not have here"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Gguf {
        let tensor = |name: &str, shape: &[usize], kind, bytes| GgufTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            kind,
            bytes: vec![7; bytes],
        };
        Gguf {
            metadata: [
                ("general.architecture", Value::Text("x".to_owned())),
                ("n", Value::U32(5)),
                ("eps", Value::F32(1e-5)),
                ("yes", Value::Bool(true)),
                ("names", Value::Texts(vec!["a".to_owned(), "é".to_owned()])),
                ("heads", Value::Integers(vec![0, -1])),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
            tensors: vec![
                tensor("a", &[3, 2], Kind::F16, 12),
                tensor("b", &[2, 1, 32], Kind::Q8, 68),
            ],
        }
    }

    #[test]
    fn a_file_is_read_back() {
        let bytes = sample().to_bytes();
        assert!(bytes.len().is_multiple_of(ALIGNMENT));
        assert_eq!(Gguf::parse(&bytes).unwrap(), sample());
    }

    #[test]
    fn every_prefix_is_refused() {
        let bytes = sample().to_bytes();
        // The last tensor ends 28 bytes before the file does: 68 is padded to 96.
        for len in 0..bytes.len() - 28 {
            assert!(Gguf::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
        let cut = Gguf::parse(&bytes[..bytes.len() - 29]).unwrap_err();
        assert!(cut.to_string().contains("the tensor `b`"), "{cut}");
    }

    #[test]
    fn what_a_header_claims_is_not_allocated() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        put_text(&mut bytes, "key");
        for id in [4_u32, 8] {
            let mut bytes = bytes.clone();
            bytes.extend(9_u32.to_le_bytes());
            bytes.extend(id.to_le_bytes());
            bytes.extend(u64::MAX.to_le_bytes());
            assert!(Gguf::parse(&bytes).is_err());
        }
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let mut file = sample();
        file.tensors[1].name = "a".to_owned();
        let error = Gguf::parse(&file.to_bytes()).unwrap_err().to_string();
        assert!(error.contains("the tensor `a` twice"), "{error}");
    }
}
