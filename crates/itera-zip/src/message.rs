//! Short messages: one byte, then the text as it is or its code with an end-of-text, whichever is shorter, as printable
//! characters.
//!
//! The byte is 0 before a text as it is, else a tag of model and precision. There is no checksum: what is
//! damaged mostly ends at a wrong place, which is an error, and else is another text.

use anyhow::{bail, ensure};
use itera_core::{
    checkpoint::Precision,
    digest::sha256_hex,
    models::{load_at_precision, shipped_models},
};

use crate::{
    base91,
    codec::{Ends, Expected},
    damage::Damage,
    model::Loaded,
};

/// The longest message; a longer one is a file.
pub(crate) const MOST_BYTES: usize = 1 << 16;

/// The first byte of a text that is not coded.
const STORED: u8 = 0;

/// The message as printable characters.
pub(crate) fn encode(loaded: &Loaded, text: &[u8]) -> String {
    base91::encode(&pack(loaded, text))
}

/// The message as bytes: at most one more than the text.
pub(crate) fn pack(loaded: &Loaded, text: &[u8]) -> Vec<u8> {
    let code = loaded.codec.encode(&[text], Ends::Marked);
    match code.filter(|code| code.len() < text.len()) {
        Some(code) => [&[tag(loaded)][..], &code].concat(),
        None => [&[STORED][..], text].concat(),
    }
}

/// The text of a message as printable characters.
pub(crate) fn decode(
    checkpoint: &str,
    precision: Precision,
    message: &str,
) -> anyhow::Result<Vec<u8>> {
    let Some(bytes) = base91::decode(message) else {
        bail!("it is not what `itera-zip compress --message` wrote; copy it whole");
    };
    ensure!(
        !bytes.is_empty(),
        "there is no message; give what `itera-zip compress --message` wrote"
    );
    let loaded = Loaded::new(checkpoint, precision)?;
    if [STORED, tag(&loaded)].contains(&bytes[0]) {
        return Ok(unpack(&loaded, &bytes)?);
    }
    let names = made_with(bytes[0]);
    let remedy = match names.as_slice() {
        [] => "give the right one with `--checkpoint` and `--precision`".to_owned(),
        names => format!("give {}", names.join(" or ")),
    };
    bail!("the message was made with another model than {checkpoint} at {precision}; {remedy}")
}

/// The text of a message that was made with this model.
pub(crate) fn unpack(loaded: &Loaded, message: &[u8]) -> Result<Vec<u8>, Damage> {
    let (first, code) = message.split_first().ok_or(Damage::Short)?;
    if *first == STORED {
        return Ok(code.to_owned());
    }
    let expected = Expected {
        ends: Ends::Marked,
        documents: 1,
        bytes: MOST_BYTES,
    };
    Ok(loaded.codec.decode(code, expected)?.concat())
}

/// What tells a model from nearly all others in a byte.
fn tag(loaded: &Loaded) -> u8 {
    let header = &loaded.header;
    let key = format!("{} {}", loaded.checkpoint.file_sha256, header.precision);
    let digest = u16::from_str_radix(&sha256_hex(key.as_bytes())[..4], 16).unwrap_or_default();
    1 + (digest % 255) as u8
}

/// The options that name the models here that have this tag.
fn made_with(wanted: u8) -> Vec<String> {
    let mut found = Vec::new();
    for name in shipped_models().unwrap_or_default() {
        for precision in Precision::ALL {
            let Ok(checkpoint) = load_at_precision(&name, precision) else {
                continue;
            };
            let loaded = Loaded::of_checkpoint(checkpoint);
            if loaded.is_ok_and(|loaded| tag(&loaded) == wanted) {
                found.push(format!("`--checkpoint {name} --precision {precision}`"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::{BUILT_IN, SMALL, cases};

    proptest! {
        #![proptest_config(cases(60))]

        #[test]
        fn any_message_comes_back_and_hardly_grows(
            text in prop_oneof![prop::collection::vec(any::<u8>(), 0..100), "\\PC{0,60}".prop_map(String::into_bytes)],
            is_trained: bool,
        ) {
            let model = if is_trained { &BUILT_IN } else { &SMALL };
            let message = pack(model, &text);
            prop_assert!(message.len() <= text.len() + 1);
            prop_assert_eq!(unpack(model, &message), Ok(text));
        }

        #[test]
        fn damage_never_hangs(at in any::<prop::sample::Index>(), flip in 1_u8.., is_trained: bool) {
            let model = if is_trained { &BUILT_IN } else { &SMALL };
            let mut message = pack(model, b"Once upon a time there was a small boat.");
            let at = at.index(message.len());
            message[at] ^= flip;
            let _ = unpack(model, &message);
        }
    }

    #[test]
    fn messages_of_our_kind_are_short() {
        let model = &BUILT_IN;
        let messages = include_str!("../../../data/samples/messages.txt");
        let (mut before, mut after) = (0, 0);
        for text in messages.lines() {
            let message = pack(model, text.as_bytes());
            assert_eq!(unpack(model, &message).unwrap(), text.as_bytes());
            before += text.len();
            after += message.len();
        }
        assert!(2 * after < before, "{before} bytes became {after}");
    }
}
