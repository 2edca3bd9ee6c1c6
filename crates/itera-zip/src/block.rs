//! A piece of a text in the file: coded by the model where that is shorter, else as it is.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | form: 0 stored, 1 to 4 the [`Layout`] of a text that is coded; 128 more in the last block |
//! | 1 to 3 | bytes of the text, at most [`MOST_BYTES`] |
//! | 1 to 3 | documents, unless stored or one whole text |
//! | 1 to 3 | bytes of the code, unless stored or the last block, whose code reaches to the checksum |
//! | | the text, or its code |
//! | 4 | CRC-32 of the text from the beginning of the file to here, lowest byte first |

use std::io::Read;

use crate::{
    bytes::{read_array, read_number, read_up_to, write_number},
    codec::{Codec, Ends, Expected},
    damage::Damage,
    layout::{Divided, Layout},
};

/// The longest text of a block: enough stories to be read abreast, little enough that memory stays small.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// In the form of the last block.
const LAST: u8 = 0x80;

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// A block as it stands in the file.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) is_last: bool,
    /// Of all text up to its end.
    pub(crate) checksum: u32,
    pub(crate) content: Content,
}

/// The text of a block, packed.
#[derive(Debug)]
pub(crate) struct Content {
    /// None of a text that is stored.
    layout: Option<Layout>,
    text_bytes: usize,
    documents: usize,
    /// The text or its code.
    payload: Vec<u8>,
}

impl Content {
    /// Packs a text.
    pub(crate) fn pack(codec: &Codec, text: &[u8]) -> Self {
        let Divided { layout, documents } = Divided::new(text);
        let code = codec.encode(&documents, ends(layout));
        let shorter = code.filter(|code| code.len() < text.len());
        Self {
            layout: shorter.is_some().then_some(layout),
            text_bytes: text.len(),
            documents: documents.len(),
            payload: shorter.unwrap_or_else(|| text.to_owned()),
        }
    }

    /// The text.
    pub(crate) fn unpack(self, codec: &Codec) -> Result<Vec<u8>, Damage> {
        let Some(layout) = self.layout else {
            return Ok(self.payload);
        };
        let between = layout.bytes_between(self.documents);
        let expected = Expected {
            ends: ends(layout),
            documents: self.documents,
            bytes: self.text_bytes.checked_sub(between).ok_or(Damage::Length)?,
        };
        let text = layout.join(&codec.decode(&self.payload, expected)?);
        if text.len() == self.text_bytes {
            Ok(text)
        } else {
            Err(Damage::Length)
        }
    }
}

impl Block {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let content = &self.content;
        let last = if self.is_last { LAST } else { 0 };
        let mut bytes = vec![last | content.layout.map_or(0, form)];
        write_number(content.text_bytes, &mut bytes);
        if content.layout.is_some_and(|layout| layout != Layout::Whole) {
            write_number(content.documents, &mut bytes);
        }
        if content.layout.is_some() && !self.is_last {
            write_number(content.payload.len(), &mut bytes);
        }
        bytes.extend(&content.payload);
        bytes.extend(self.checksum.to_le_bytes());
        bytes
    }

    /// Reads a block, and of the last one also that nothing follows. Nothing is allocated but what is there.
    pub(crate) fn read(from: &mut impl Read) -> anyhow::Result<Self> {
        let [head] = read_array(from)?;
        let (is_last, form) = (head & LAST != 0, head & !LAST);
        let layout = layout(form)?;
        let text_bytes = read_number(from, MOST_BYTES)?;
        let documents = match layout {
            None | Some(Layout::Whole) => 1,
            Some(_) => read_number(from, text_bytes + 1)?,
        };
        let payload_bytes = match layout {
            None => Some(text_bytes),
            Some(_) if is_last => None,
            Some(_) => Some(read_number(from, text_bytes)?),
        };
        let mut payload = read_up_to(from, payload_bytes.unwrap_or(text_bytes) + CHECKSUM)?;
        let whole = payload_bytes.map(|bytes| bytes + CHECKSUM);
        if payload.len() < whole.unwrap_or(CHECKSUM) {
            return Err(Damage::Short.into());
        }
        if is_last && !read_up_to(from, 1)?.is_empty() {
            return Err(Damage::Long.into());
        }
        let checksum = payload.split_off(payload.len() - CHECKSUM);
        Ok(Self {
            is_last,
            checksum: u32::from_le_bytes(read_array(&mut checksum.as_slice())?),
            content: Content {
                layout,
                text_bytes,
                documents,
                payload,
            },
        })
    }
}

/// How the documents of a layout end.
const fn ends(layout: Layout) -> Ends {
    match layout {
        Layout::Whole => Ends::ByLength,
        _ => Ends::Marked,
    }
}

/// The number of a layout.
fn form(layout: Layout) -> u8 {
    match layout {
        Layout::Whole => 1,
        Layout::Separated => 2,
        Layout::Closed => 3,
        Layout::Articles => 4,
    }
}

/// The layout of a number; none for a text that is stored.
fn layout(form_found: u8) -> Result<Option<Layout>, Damage> {
    let found = Layout::ALL
        .into_iter()
        .find(|layout| form(*layout) == form_found);
    if found.is_none() && form_found != 0 {
        return Err(Damage::Code);
    }
    Ok(found)
}
