//! The safetensors header, read strictly.
//!
//! The safetensors crate keeps the last of two equal keys and reports a wrong size without saying
//! whose. This reader refuses duplicates, names the tensor in every error, and compares what the
//! header claims with the bytes that are there before anything is allocated for a tensor.

use std::{collections::BTreeMap, fmt};

use safetensors::Dtype;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::CheckpointError;

/// Bytes of the field that holds the length of the header.
const LENGTH_BYTES: usize = 8;

/// The most axes that a tensor may have; those of a model have up to three.
const MAX_RANK: usize = 8;

/// What the header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// `__metadata__`.
    pub(super) metadata: BTreeMap<String, String>,
    /// Every tensor by name.
    pub(super) tensors: BTreeMap<String, Entry>,
}

/// What the header says about one tensor. The dtype stays text until the format version is known.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl Header {
    /// Splits a file into its header, parsed, and its data section.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), CheckpointError> {
        let (length, rest) = bytes
            .split_first_chunk::<LENGTH_BYTES>()
            .ok_or(CheckpointError::TooShort { found: bytes.len() })?;
        let declared = u64::from_le_bytes(*length);
        let (text, data) = usize::try_from(declared)
            .ok()
            .and_then(|length| rest.split_at_checked(length))
            .ok_or(CheckpointError::HeaderLength {
                declared,
                available: rest.len(),
            })?;
        let text = str::from_utf8(text).map_err(CheckpointError::HeaderText)?;
        let header = serde_json::from_str(text).map_err(CheckpointError::Header)?;
        Ok((header, data))
    }

    /// Checks that the tensors fill exactly `data_len` bytes, each as large as its shape says.
    pub(super) fn check_layout(&self, data_len: usize) -> Result<(), CheckpointError> {
        let mut by_offset: Vec<_> = self.tensors.iter().collect();
        by_offset.sort_by_key(|(_, entry)| entry.data_offsets);
        let mut filled = 0;
        for (name, entry) in by_offset {
            let (begin, end) = entry.data_offsets;
            if begin != filled {
                return Err(CheckpointError::Offset {
                    tensor: name.clone(),
                    expected: filled,
                    found: begin,
                });
            }
            let expected = entry.expected_bytes(name)?;
            if end.checked_sub(begin) != expected || expected.is_none() {
                return Err(CheckpointError::Extent {
                    tensor: name.clone(),
                    begin,
                    end,
                    expected,
                });
            }
            filled = end;
        }
        if filled != data_len {
            return Err(CheckpointError::DataLength {
                expected: filled,
                found: data_len,
            });
        }
        Ok(())
    }
}

impl Entry {
    /// Bytes by shape and dtype; `None` where the product overflows.
    fn expected_bytes(&self, name: &str) -> Result<Option<usize>, CheckpointError> {
        let dtype = match self.dtype.as_str() {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "I8" => Dtype::I8,
            "U8" => Dtype::U8,
            found => {
                return Err(CheckpointError::Dtype {
                    tensor: name.to_owned(),
                    expected: "F32, F16, I8 or U8",
                    found: found.to_owned(),
                });
            }
        };
        if self.shape.len() > MAX_RANK {
            return Err(CheckpointError::Rank {
                tensor: name.to_owned(),
                found: self.shape.len(),
                limit: MAX_RANK,
            });
        }
        Ok(self
            .shape
            .iter()
            .try_fold(dtype.bitsize() / 8, |bytes, &size| bytes.checked_mul(size)))
    }
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

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut metadata = None;
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let first = if name == "__metadata__" {
                metadata.replace(map.next_value::<UniqueMap>()?.0).is_none()
            } else {
                let entry: Entry = map.next_value()?;
                tensors.insert(name.clone(), entry).is_none()
            };
            if !first {
                return Err(A::Error::custom(format_args!("key {name:?} appears twice")));
            }
        }
        Ok(Header {
            metadata: metadata.unwrap_or_default(),
            tensors,
        })
    }
}

/// A map of texts without duplicate keys.
struct UniqueMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueMapVisitor)
    }
}

struct UniqueMapVisitor;

impl<'de> Visitor<'de> for UniqueMapVisitor {
    type Value = UniqueMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some((key, text)) = map.next_entry::<String, String>()? {
            if texts.insert(key.clone(), text).is_some() {
                return Err(A::Error::custom(format_args!("key {key:?} appears twice")));
            }
        }
        Ok(UniqueMap(texts))
    }
}
