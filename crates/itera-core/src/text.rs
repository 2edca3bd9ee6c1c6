//! Text that arrives in pieces of bytes.

/// Bytes at the end that begin a UTF-8 character which more bytes may complete.
pub fn unfinished(bytes: &[u8]) -> usize {
    // A character has at most four bytes, so only the last three can begin an unfinished one.
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let starts = (0..tail.len()).map(|at| &tail[at..]);
    let is_begun = |end: &&[u8]| {
        let error = core::str::from_utf8(end).err();
        error.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    starts
        .filter(|end| end[0] >= 0xc2)
        .find(is_begun)
        .map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_character_is_unfinished() {
        for (bytes, expected) in [
            (&b""[..], 0),
            (b"abc", 0),
            ("a\u{1f600}".as_bytes(), 0),
            (b"a\xe2\x82", 2),
            (b"\xf0\x9f\x98", 3),
            (b"\xff", 0),
            (b"\xe2\x82a", 0),
            (b"\x82\x82\x82", 0),
            (b"\xff\xc3", 1),
        ] {
            assert_eq!(unfinished(bytes), expected, "{bytes:?}");
        }
    }
}
