//! The first bytes of a compressed file: which model it takes to restore it.
//!
//! | bytes | what |
//! |---|---|
//! | 3 | magic, the last byte is the version |
//! | 1 | precision and number of the model's name among [`SHIPPED`] |
//! | | if it is none of them: length of the name, and the name |
//! | 3 | the digest of the model's file, its beginning |

use std::io::Read;

use anyhow::{bail, ensure};
use itera_core::{checkpoint::Precision, models::LoadedCheckpoint};

use crate::{
    bytes::{read_array, read_up_to},
    damage::Damage,
};

/// What every compressed file begins with, but for the version.
const MAGIC: [u8; 2] = [0xce, b'z'];

/// The version that is written and read.
const VERSION: u8 = 2;

/// Names that take no space. Files refer to them by number, so that a new one is added behind the others.
const SHIPPED: [&str; 4] = [
    "micro-tinystories",
    "micro-tinystories-char",
    "nano-tinystories",
    "micro-wikitext2",
];

/// In place of a number of [`SHIPPED`].
const OTHER_NAME: u8 = 0x0f;

/// Numbers of the precisions.
const INT8: u8 = 1;
const INT4: u8 = 2;

/// Bytes of the digest.
const DIGEST: usize = 3;

/// Which model it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) model: String,
    pub(crate) precision: Precision,
    pub(crate) digest: [u8; DIGEST],
}

impl Header {
    pub(crate) fn new(loaded: &LoadedCheckpoint) -> Self {
        let precision = loaded.checkpoint.precision();
        let ending = format!(".{precision}");
        let name = loaded.name.strip_suffix(&ending).unwrap_or(&loaded.name);
        Self {
            model: name.to_owned(),
            precision,
            digest: digest(loaded),
        }
    }

    /// Whether this is the model.
    pub(crate) fn is_of(&self, loaded: &LoadedCheckpoint) -> bool {
        self.digest == digest(loaded) && self.precision == loaded.checkpoint.precision()
    }

    pub(crate) fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let shipped = SHIPPED.iter().position(|name| *name == self.model);
        let name = shipped.map_or(OTHER_NAME, |number| number as u8);
        let precision = match self.precision {
            Precision::Int8 => INT8,
            Precision::Int4 => INT4,
            other => bail!("weights at {other} predict otherwise on other processors"),
        };
        let mut bytes = [&MAGIC[..], &[VERSION, (precision << 4) | name]].concat();
        if shipped.is_none() {
            let len = u8::try_from(self.model.len())
                .ok()
                .filter(|_| is_name(&self.model));
            let Some(len) = len else {
                bail!(
                    "the name of the checkpoint, {:?}, cannot stand in a compressed file; rename it to at most 255 \
                     letters, digits, dots, hyphens and underscores",
                    self.model
                );
            };
            bytes.push(len);
            bytes.extend(self.model.as_bytes());
        }
        bytes.extend(self.digest);
        Ok(bytes)
    }

    pub(crate) fn read(from: &mut impl Read) -> anyhow::Result<Self> {
        let start = read_up_to(from, MAGIC.len() + 1)?;
        let version = start.strip_prefix(&MAGIC);
        ensure!(
            version.is_some(),
            "it is no file that `itera-zip compress` wrote"
        );
        match version {
            Some([VERSION]) => {}
            Some([version]) => bail!(
                "it is of version {version}, and this program reads version {VERSION}; use a newer program"
            ),
            _ => bail!(Damage::Short),
        }
        let [head] = read_array(from)?;
        let precision = match head >> 4 {
            INT8 => Precision::Int8,
            INT4 => Precision::Int4,
            _ => bail!(Damage::Code),
        };
        let model = match SHIPPED.get(usize::from(head & 0x0f)) {
            Some(name) => (*name).to_owned(),
            None => read_name(from)?,
        };
        let digest = read_array(from)?;
        Ok(Self {
            model,
            precision,
            digest,
        })
    }
}

fn read_name(from: &mut impl Read) -> anyhow::Result<String> {
    let [len] = read_array(from)?;
    let name = read_up_to(from, len.into())?;
    ensure!(name.len() == usize::from(len), Damage::Short);
    let name = String::from_utf8(name).ok().filter(|name| is_name(name));
    Ok(name.ok_or(Damage::Code)?)
}

/// Whether a name is one of a file without any folder.
fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(is_allowed)
}

/// The beginning of the digest of the model's file.
fn digest(loaded: &LoadedCheckpoint) -> [u8; DIGEST] {
    let mut digest = [0; DIGEST];
    for (byte, digits) in digest
        .iter_mut()
        .zip(loaded.file_sha256.as_bytes().chunks(2))
    {
        let digits = str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_those_of_shipped_models_are_short() {
        for (model, bytes) in [("micro-wikitext2", 7), ("my.model_2", 18)] {
            for precision in [Precision::Int8, Precision::Int4] {
                let header = Header {
                    model: model.to_owned(),
                    precision,
                    digest: [1, 2, 3],
                };
                let written = header.to_bytes().unwrap();
                assert_eq!(written.len(), bytes);
                assert_eq!(Header::read(&mut written.as_slice()).unwrap(), header);
                for len in 0..written.len() {
                    assert!(Header::read(&mut &written[..len]).is_err());
                }
            }
        }
    }

    #[test]
    fn names_lead_to_no_other_folder() {
        for name in ["", "../x", "/etc/passwd", "a b"] {
            let len = name.len() as u8;
            let bytes = [
                &[MAGIC[0], MAGIC[1], VERSION, 0x2f, len][..],
                name.as_bytes(),
                &[0; 3],
            ]
            .concat();
            assert!(Header::read(&mut bytes.as_slice()).is_err(), "{name}");
        }
    }
}
