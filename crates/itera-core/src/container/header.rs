//! The header as JSON, both ways.
//!
//! The safetensors library keeps the last of two equal keys and does not name the tensor at fault.
//! This reader refuses duplicates and names the tensor in every error.

use alloc::{borrow::ToOwned, collections::BTreeMap, format, string::String, vec::Vec};
use core::fmt::{self, Display, Write};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};

use super::{ContainerError, Dtype, MAX_HEADER_BYTES, RawTensor};
use crate::unique;

const METADATA: &str = "__metadata__";

/// The data section starts at a multiple of this many bytes.
const ALIGNMENT: usize = 8;

/// The most axes that a tensor may have; tensors of a model have up to three.
const MAX_RANK: usize = 8;

/// The content of a header.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// `__metadata__`.
    pub(super) metadata: BTreeMap<String, String>,
    /// Every tensor by name.
    pub(super) tensors: BTreeMap<String, Entry>,
}

/// One tensor of a header. The dtype stays text until the format version is known.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl Header {
    /// Splits a file into its header, parsed, and its data section.
    pub(super) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), ContainerError> {
        let Some((length, rest)) = bytes.split_first_chunk() else {
            let expected = "at least 8 bytes: it is not a safetensors file";
            return Err(ContainerError::mismatch(
                "the length of the file",
                expected,
                &bytes.len(),
            ));
        };
        let declared = u64::from_le_bytes(*length);
        let (text, data) = usize::try_from(declared)
            .ok()
            .and_then(|length| rest.split_at_checked(length))
            .ok_or(ContainerError::HeaderLength {
                declared,
                available: rest.len(),
            })?;
        check_size(text.len())?;
        let text = str::from_utf8(text).map_err(ContainerError::HeaderText)?;
        let header = unique::from_str(text).map_err(ContainerError::Header)?;
        Ok((header, data))
    }
}

/// The text of a header, with the tensors in the order of their data.
pub(super) fn text(
    metadata: &BTreeMap<String, String>,
    tensors: &[(&String, &RawTensor<'_>)],
) -> Result<String, ContainerError> {
    let mut text = format!("{{\"{METADATA}\":{}", json(metadata)?);
    let mut begin = 0;
    for (name, tensor) in tensors {
        let end = begin + tensor.bytes.len();
        let entry = Entry {
            dtype: tensor.dtype.name().to_owned(),
            shape: tensor.shape.clone(),
            data_offsets: (begin, end),
        };
        entry.check(name)?;
        let _ = write!(text, ",{}:{}", json(name)?, json(&entry)?);
        begin = end;
    }
    text.push('}');
    let padding = text.len().next_multiple_of(ALIGNMENT) - text.len();
    text.extend(core::iter::repeat_n(' ', padding));
    check_size(text.len())?;
    Ok(text)
}

/// The tensors of a header over the data that they must fill exactly.
pub(super) fn lay_out(
    entries: BTreeMap<String, Entry>,
    data: &[u8],
) -> Result<BTreeMap<String, RawTensor<'_>>, ContainerError> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let expected = entries.last().map_or(0, |(_, entry)| entry.data_offsets.1);
    let length = || {
        let expected = format!("{expected}: the file is cut off or has bytes added");
        ContainerError::mismatch("the length of the data", expected, &data.len())
    };
    let mut tensors = BTreeMap::new();
    let mut filled = 0;
    for (name, entry) in entries {
        let (begin, end) = entry.data_offsets;
        if begin != filled {
            let part = format!("the start of tensor {name:?}");
            let expected = format!("{filled}: tensors neither overlap nor leave holes");
            return Err(ContainerError::mismatch(part, expected, &begin));
        }
        let dtype = entry.check(&name)?;
        let bytes = data.get(begin..end).ok_or_else(length)?.into();
        let shape = entry.shape;
        tensors.insert(
            name,
            RawTensor {
                dtype,
                shape,
                bytes,
            },
        );
        filled = end;
    }
    if filled == data.len() {
        Ok(tensors)
    } else {
        Err(length())
    }
}

impl Entry {
    /// The dtype, if the tensor has as many bytes as dtype and shape say.
    fn check(&self, name: &str) -> Result<Dtype, ContainerError> {
        let mismatch = |part, expected, found: &dyn Display| {
            ContainerError::mismatch(format!("the {part} of tensor {name:?}"), expected, found)
        };
        let dtype = Dtype::named(&self.dtype).ok_or_else(|| {
            mismatch(
                "dtype",
                "F32, F16, I8 or U8".to_owned(),
                &format!("{:?}", self.dtype),
            )
        })?;
        let rank = self.shape.len();
        if rank > MAX_RANK {
            return Err(mismatch(
                "number of axes",
                format!("at most {MAX_RANK}"),
                &rank,
            ));
        }
        let (begin, end) = self.data_offsets;
        let expected = dtype
            .bytes_of(&self.shape)
            .and_then(|bytes| begin.checked_add(bytes));
        match expected {
            Some(expected) if end == expected => Ok(dtype),
            Some(expected) => Err(mismatch("end", format!("{expected} by its shape"), &end)),
            None => Err(mismatch(
                "end",
                "an impossible number by its shape".to_owned(),
                &end,
            )),
        }
    }
}

fn json(value: &impl Serialize) -> Result<String, ContainerError> {
    serde_json::to_string(value).map_err(ContainerError::Header)
}

fn check_size(found: usize) -> Result<(), ContainerError> {
    if found > MAX_HEADER_BYTES {
        let expected = format!(
            "at most {MAX_HEADER_BYTES}: it holds too many tensors, or a text (such as the tokenizer) is \
             too long"
        );
        return Err(ContainerError::mismatch(
            "the length of the header",
            expected,
            &found,
        ));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = entries.next_key::<String>()? {
            if name == METADATA {
                header.metadata = entries.next_value()?;
            } else {
                header.tensors.insert(name, entries.next_value()?);
            }
        }
        Ok(header)
    }
}
