//! The one container of this project's files: named tensors and texts in the safetensors format,
//! with digests. Checkpoints and interrupted runs are such files.
//!
//! A file is 8 bytes with the length of the header, little-endian; the header, which is JSON padded
//! with spaces to a multiple of 8; and the data of the tensors, without gaps. The texts lie in the
//! header's `__metadata__`. The container adds three entries of its own:
//!
//! | key | value |
//! |---|---|
//! | [`Format::key`] | version of the content |
//! | `itera.digest` | SHA-256 of all bytes after the header |
//! | `itera.digest.metadata` | SHA-256 of all other texts, as lines `key=value` in key order |
//!
//! Any safetensors library reads these files. Reading is stricter here than there:
//! every key occurs once, tensors fill the data section exactly, both digests fit. A header has at
//! most [`MAX_HEADER_BYTES`], which also bounds the number of tensors; no other claim of a file is
//! believed before it is compared with the bytes that are there. A text that may grow without bound
//! belongs into a tensor of bytes.
//!
//! No digest covers the names and shapes of tensors. So a reader takes each by its name, compares
//! its shape with the expected one, and ends with [`Container::finish`].

mod error;
mod header;
mod raw;

use alloc::{
    borrow::ToOwned, collections::BTreeMap, format, string::String, string::ToString, vec::Vec,
};
use core::{fmt::Write, ops::RangeInclusive};

use serde::de::DeserializeOwned;

use self::header::Header;
pub use self::{
    error::ContainerError,
    raw::{Dtype, RawTensor},
};
use crate::{
    digest::{sha256_hex, sha256_hex_of},
    unique,
};

/// The most bytes of a header; the largest real one, with a vocabulary of 2,048 entries, has some 200 kB.
pub const MAX_HEADER_BYTES: usize = 1 << 20;

const DIGEST_KEY: &str = "itera.digest";
const METADATA_DIGEST_KEY: &str = "itera.digest.metadata";

/// A kind of file: the text that only such files have, and its versions.
#[derive(Clone, Debug)]
pub struct Format {
    /// Key of the text that holds the version.
    pub key: &'static str,
    /// Versions that are read; the last is the one that is written.
    pub versions: RangeInclusive<u32>,
}

/// The content of a file. Tensors borrow from the bytes that they were read from.
#[derive(Clone, Debug, Default)]
pub struct Container<'a> {
    /// Texts by key, without those that the container adds.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, RawTensor<'a>>,
}

impl<'a> Container<'a> {
    /// Reads a file, in the order in which trust grows: header, version, layout, digests.
    ///
    /// # Errors
    /// The first thing that is wrong; any bytes at all are safe to pass.
    pub fn parse(bytes: &'a [u8], format: &Format) -> Result<Self, ContainerError> {
        let (header, data) = Header::split(bytes)?;
        check_version(&header.metadata, format)?;
        let tensors = header::lay_out(header.tensors, data)?;

        let mut metadata = header.metadata;
        let [described, stored] = [METADATA_DIGEST_KEY, DIGEST_KEY].map(|key| metadata.remove(key));
        let found = metadata_digest(&metadata);
        check_digest("the metadata", METADATA_DIGEST_KEY, described, found)?;
        check_digest("the tensor data", DIGEST_KEY, stored, sha256_hex(data))?;
        metadata.remove(format.key);
        Ok(Self { metadata, tensors })
    }

    /// The bytes of the file, the same for the same content on any machine: tensors are sorted by
    /// dtype, the widest first, then by name, and texts by key.
    ///
    /// # Errors
    /// The shape of a tensor does not fit its bytes, or the header is longer than [`Self::parse`] reads.
    pub fn to_bytes(&self, format: &Format) -> Result<Vec<u8>, ContainerError> {
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort_by_key(|(name, tensor)| (core::cmp::Reverse(tensor.dtype), *name));
        let data = || tensors.iter().map(|(_, tensor)| &*tensor.bytes);

        let mut metadata = self.metadata.clone();
        metadata.insert(format.key.to_owned(), format.versions.end().to_string());
        let digests = [metadata_digest(&metadata), sha256_hex_of(data())];
        let keys = [METADATA_DIGEST_KEY, DIGEST_KEY].map(str::to_owned);
        metadata.extend(keys.into_iter().zip(digests));

        let header = header::text(&metadata, &tensors)?;
        let len = data().map(<[u8]>::len).sum::<usize>();
        let mut bytes = Vec::with_capacity(size_of::<u64>() + header.len() + len);
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        data().for_each(|data| bytes.extend_from_slice(data));
        Ok(bytes)
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// It is not there.
    pub fn text(&self, key: &'static str) -> Result<&str, ContainerError> {
        text(&self.metadata, key)
    }

    /// A text that is JSON.
    ///
    /// # Errors
    /// It is not there, or it cannot be read.
    pub fn json<T: DeserializeOwned>(&self, key: &'static str) -> Result<T, ContainerError> {
        unique::from_str(self.text(key)?)
            .map_err(|source| ContainerError::MetadataJson { key, source })
    }

    /// Takes a tensor out.
    ///
    /// # Errors
    /// There is no tensor of this name.
    pub fn take(&mut self, name: &str) -> Result<RawTensor<'a>, ContainerError> {
        self.tensors
            .remove(name)
            .ok_or_else(|| ContainerError::MissingTensor(name.to_owned()))
    }

    /// Takes a tensor of floats out, row-major. The shape is checked; whether the values are finite is not.
    ///
    /// # Errors
    /// The tensor is missing, or has another dtype or shape.
    pub fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ContainerError> {
        let tensor = self.take(name)?;
        tensor.check_dtype(name, Dtype::F32)?;
        if tensor.shape != shape {
            return Err(ContainerError::shape(name, shape, &tensor.shape));
        }
        Ok(tensor.to_f32())
    }

    /// Checks that every tensor was taken.
    ///
    /// # Errors
    /// One was not.
    pub fn finish(self) -> Result<(), ContainerError> {
        match self.tensors.into_keys().next() {
            Some(tensor) => Err(ContainerError::UnexpectedTensor(tensor)),
            None => Ok(()),
        }
    }
}

fn text<'a>(
    metadata: &'a BTreeMap<String, String>,
    key: &'static str,
) -> Result<&'a str, ContainerError> {
    metadata
        .get(key)
        .map(String::as_str)
        .ok_or(ContainerError::MissingMetadata(key))
}

fn check_version(
    metadata: &BTreeMap<String, String>,
    format: &Format,
) -> Result<(), ContainerError> {
    let text = text(metadata, format.key)?;
    if text
        .parse()
        .is_ok_and(|found| format.versions.contains(&found))
    {
        return Ok(());
    }
    let expected = format!(
        "a version up to {}: update itera, or make the file again with this version",
        format.versions.end()
    );
    let found = text.chars().take(40).collect::<String>();
    let part = format!("`{}`", format.key);
    Err(ContainerError::mismatch(
        part,
        expected,
        &format!("{found:?}"),
    ))
}

fn check_digest(
    what: &'static str,
    key: &'static str,
    expected: Option<String>,
    found: String,
) -> Result<(), ContainerError> {
    let expected = expected.ok_or(ContainerError::MissingMetadata(key))?;
    if expected == found {
        return Ok(());
    }
    let expected = expected.chars().take(found.len() + 1).collect();
    Err(ContainerError::Digest {
        what,
        key,
        expected,
        found,
    })
}

/// SHA-256 over lines `key=value` in key order.
fn metadata_digest(metadata: &BTreeMap<String, String>) -> String {
    let mut lines = String::new();
    for (key, value) in metadata {
        let _ = writeln!(lines, "{key}={value}");
    }
    sha256_hex(lines.as_bytes())
}
