//! Numbers and pieces of a compressed file.

use std::io::Read;

use anyhow::Context as _;

use crate::damage::Damage;

/// Bytes of the longest number: 63 bits.
const MOST_BYTES: usize = 9;

/// Appends a number, seven bits a byte, the lowest first; all bytes but the last have the upper bit.
pub(crate) fn write_number(mut number: usize, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads a number of at most `most`.
pub(crate) fn read_number(from: &mut impl Read, most: usize) -> anyhow::Result<usize> {
    let mut number = 0_u64;
    for at in 0..MOST_BYTES {
        let [byte] = read_array(from)?;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            let is_shortest = byte > 0 || at == 0;
            let number = usize::try_from(number).ok();
            let number = number.filter(|number| is_shortest && *number <= most);
            return Ok(number.ok_or(Damage::Length)?);
        }
    }
    Err(Damage::Length.into())
}

/// Reads exactly so many bytes.
pub(crate) fn read_array<const N: usize>(from: &mut impl Read) -> anyhow::Result<[u8; N]> {
    let bytes = read_up_to(from, N)?;
    Ok(bytes.try_into().map_err(|_| Damage::Short)?)
}

/// Reads so many bytes, or all that are left if they are fewer.
pub(crate) fn read_up_to(from: &mut impl Read, len: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(len as u64).read_to_end(&mut bytes);
    read.context("cannot read the input")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [
            0,
            1,
            0x7f,
            0x80,
            300,
            0x3fff,
            0x4000,
            1 << 20,
            usize::MAX >> 1,
        ] {
            let mut bytes = Vec::new();
            write_number(number, &mut bytes);
            assert_eq!(read_number(&mut bytes.as_slice(), number).unwrap(), number);
            assert!(number == 0 || read_number(&mut bytes.as_slice(), number - 1).is_err());
            bytes.pop();
            assert!(read_number(&mut bytes.as_slice(), usize::MAX).is_err());
        }
        for bytes in [&[0x80, 0][..], &[0xff; 20]] {
            assert!(read_number(&mut &*bytes, usize::MAX).is_err());
        }
    }
}
