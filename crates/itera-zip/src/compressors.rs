//! What other programs make of a text.

use std::io::{self, Write as _};

use bzip2::write::BzEncoder;
use lzma_rust2::{XzOptions, XzWriter};
use ppmd_rust::Ppmd7Encoder;

/// The level that is customary for archives.
const ZSTD_LEVEL: i32 = 19;

/// The highest of xz and bzip2.
const HIGHEST_LEVEL: u32 = 9;

/// `PPMd` variant H as 7-Zip has it: contexts of up to 8 bytes.
const PPMD_ORDER: u32 = 8;

/// Memory of `PPMd` for each byte of a text, which never fills it.
const PPMD_MEMORY_PER_BYTE: usize = 64;

/// Bytes by each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Others {
    pub(crate) zstd: u64,
    pub(crate) xz: u64,
    pub(crate) bzip2: u64,
    pub(crate) ppmd: u64,
}

impl Others {
    /// Compresses a text.
    pub(crate) fn compress(text: &[u8]) -> io::Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::compress(text, ZSTD_LEVEL)?.len() as u64,
            xz: xz(text)?.len() as u64,
            bzip2: bzip2(text)?.len() as u64,
            ppmd: ppmd(text)?.len() as u64,
        })
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.zstd += other.zstd;
        self.xz += other.xz;
        self.bzip2 += other.bzip2;
        self.ppmd += other.ppmd;
    }
}

fn xz(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(HIGHEST_LEVEL))?;
    writer.write_all(text)?;
    writer.finish()
}

fn bzip2(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = BzEncoder::new(Vec::new(), bzip2::Compression::new(HIGHEST_LEVEL));
    writer.write_all(text)?;
    writer.finish()
}

fn ppmd(text: &[u8]) -> io::Result<Vec<u8>> {
    let memory = (text.len() * PPMD_MEMORY_PER_BYTE).clamp(1 << 20, 1 << 28) as u32;
    let writer = Ppmd7Encoder::new(Vec::new(), PPMD_ORDER, memory);
    let mut writer = writer.map_err(io::Error::other)?;
    writer.write_all(text)?;
    writer.finish(false)
}
