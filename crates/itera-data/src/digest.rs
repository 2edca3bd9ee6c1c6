//! SHA-256 of texts. itera-core has the same for checkpoints: neither of the two crates imports the other.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// The SHA-256 of `bytes` in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The same of all that `reader` gives.
///
/// # Errors
/// The reader's.
pub fn sha256_of(reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    update(&mut hasher, reader)?;
    Ok(hex(hasher))
}

/// Takes in all that `reader` gives; how many bytes that is.
pub(crate) fn update(hasher: &mut Sha256, mut reader: impl Read) -> io::Result<u64> {
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let taken = reader.read(&mut buffer)?;
        if taken == 0 {
            return Ok(bytes);
        }
        hasher.update(&buffer[..taken]);
        bytes += taken as u64;
    }
}

/// The digest of everything that `hasher` has read.
pub(crate) fn hex(hasher: Sha256) -> String {
    let digits = hasher
        .finalize()
        .into_iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha256() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
    }
}
