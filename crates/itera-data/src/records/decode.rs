//! Compressed files, told by their first bytes and unpacked on the way.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::HEAD;

/// A file as it is when unpacked.
pub(super) struct Decoded {
    pub(super) reader: Box<dyn BufRead + Send>,
    /// How it was packed, if it was.
    pub(super) compression: Option<&'static str>,
}

type Source<R> = Chain<Cursor<Vec<u8>>, R>;

/// Unpacks `source` if it is packed; each file may be several packed ones joined.
pub(super) fn decode(mut source: impl Read + Send + 'static) -> io::Result<Decoded> {
    let mut head = Vec::new();
    source.by_ref().take(6).read_to_end(&mut head)?;
    let is = |magic: &[u8]| head.starts_with(magic);
    let (gzip, zstd) = (is(b"\x1f\x8b"), is(b"\x28\xb5\x2f\xfd"));
    let (xz, bzip2) = (is(b"\xfd7zXZ"), is(b"BZh"));
    let source: Source<_> = Cursor::new(head).chain(source);
    Ok(if gzip {
        packed(MultiGzDecoder::new(source), "gzip data")
    } else if zstd {
        packed(ZstdDecoder::new(source)?, "zstd data")
    } else if xz {
        packed(XzReader::new(source, true), "xz data")
    } else if bzip2 {
        packed(MultiBzDecoder::new(source), "bzip2 data")
    } else {
        Decoded {
            reader: Box::new(BufReader::with_capacity(HEAD, source)),
            compression: None,
        }
    })
}

fn packed(reader: impl Read + Send + 'static, compression: &'static str) -> Decoded {
    Decoded {
        reader: Box::new(BufReader::with_capacity(HEAD, reader)),
        compression: Some(compression),
    }
}
