//! Bytes as printable characters: basE91 (Henke 2000), 13 or 14 bits in two characters.

/// The characters, in the order of their values.
const ALPHABET: &[u8; BASE as usize] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&()*+,./:;<=>?@[]^_`{|}~\"";

const BASE: u32 = 91;

/// Of 13 bits, those values that have room for one bit more in two characters: 91 * 91 - 2^13 - 1.
const WIDE: u32 = 88;

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut push = |value: u32| text.push(char::from(ALPHABET[value as usize]));
    let (mut bits, mut len) = (0_u32, 0);
    for &byte in bytes {
        bits |= u32::from(byte) << len;
        len += 8;
        if len > 13 {
            let width = width(bits);
            let value = bits & ((1 << width) - 1);
            bits >>= width;
            len -= width;
            push(value % BASE);
            push(value / BASE);
        }
    }
    if len > 0 {
        push(bits % BASE);
        if len > 7 || bits >= BASE {
            push(bits / BASE);
        }
    }
    text
}

/// The bytes of characters, white space aside; `None` if [`encode`] does not give these.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let value = |character: &u8| {
        let value = ALPHABET.iter().position(|known| known == character);
        value.map(|value| value as u32)
    };
    let values: Vec<u32> = text.iter().map(value).collect::<Option<_>>()?;
    let mut bytes = Vec::new();
    let (mut bits, mut len) = (0_u32, 0);
    for pair in values.chunks(2) {
        let value = pair[0] + pair.get(1).unwrap_or(&0) * BASE;
        bits |= value << len;
        // One character alone has what is left of a byte.
        len += if pair.len() == 2 {
            width(value)
        } else {
            8 - len
        };
        while len >= 8 {
            bytes.push(bits as u8);
            bits >>= 8;
            len -= 8;
        }
    }
    (encode(&bytes).as_bytes() == text).then_some(bytes)
}

/// Bits that two characters hold.
const fn width(bits: u32) -> u32 {
    if bits & 0x1fff > WIDE { 13 } else { 14 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_are_those_of_the_original_program() {
        assert_eq!(encode(b"test"), "fPNKd");
        assert_eq!(encode(b"Hello World!"), ">OwJh>Io0Tv!8PE");
        assert_eq!(encode(b""), "");
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            let text = encode(&bytes);
            prop_assert!(text.len() <= (bytes.len() * 16).div_ceil(13) + 1);
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in "[A-Z~\" é'-]{0,40}") {
            if let Some(bytes) = decode(&text) {
                let characters: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                prop_assert_eq!(encode(&bytes), characters);
            }
        }
    }
}
