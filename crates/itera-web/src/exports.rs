//! The functions that JavaScript calls.
//!
//! What a function reads lies in one buffer, the input, and what it writes in another, the output. A call takes three
//! steps: [`itera_input`] makes room, JavaScript copies bytes there, the function is called. Most functions return 0 if
//! they are done, and 1 if something was refused; the output then has the reason as text. Numbers are little-endian.

#![expect(
    unsafe_code,
    reason = "names for JavaScript, which no other library of a program has, since they have a prefix"
)]

use std::cell::RefCell;

use itera_core::sampling::SamplingConfig;

use crate::{Session, WebError};

/// What lives as long as the instance of the module.
struct Instance {
    input: Vec<u8>,
    output: Vec<u8>,
    session: Option<Session>,
}

thread_local! {
    static INSTANCE: RefCell<Instance> = const {
        RefCell::new(Instance {
            input: Vec::new(),
            output: Vec::new(),
            session: None,
        })
    };
}

impl Instance {
    /// Puts the result of a call into the output, and says whether it was refused.
    fn answer(&mut self, result: Result<Vec<u8>, WebError>) -> u32 {
        let is_refused = result.is_err();
        self.output = result.unwrap_or_else(|error| error.to_text().into_bytes());
        is_refused.into()
    }
}

/// Calls a function with the session and the input; its result is the output.
fn call(run: impl FnOnce(&mut Session, &[u8]) -> Result<Vec<u8>, WebError>) -> u32 {
    INSTANCE.with_borrow_mut(|instance| {
        let session = instance.session.as_mut().ok_or(WebError::NoModel);
        let result = session.and_then(|session| run(session, &instance.input));
        instance.answer(result)
    })
}

/// Tokens of four bytes each.
fn tokens(bytes: &[u8]) -> Result<Vec<u32>, WebError> {
    match bytes.as_chunks::<4>() {
        (tokens, []) => Ok(tokens.iter().map(|id| u32::from_le_bytes(*id)).collect()),
        _ => Err(WebError::NotTokens(bytes.len())),
    }
}

/// Makes room for `len` bytes of input, and says where; null if there is not so much memory.
#[unsafe(no_mangle)]
pub extern "C" fn itera_input(len: usize) -> *mut u8 {
    INSTANCE.with_borrow_mut(|instance| {
        instance.input = Vec::new();
        if instance.input.try_reserve_exact(len).is_err() {
            return std::ptr::null_mut();
        }
        instance.input.resize(len, 0);
        instance.input.as_mut_ptr()
    })
}

/// Where the output is, until the next call.
#[unsafe(no_mangle)]
pub extern "C" fn itera_output() -> *const u8 {
    INSTANCE.with_borrow(|instance| instance.output.as_ptr())
}

/// Bytes of the output.
#[unsafe(no_mangle)]
pub extern "C" fn itera_output_len() -> usize {
    INSTANCE.with_borrow(|instance| instance.output.len())
}

/// A checkpoint file becomes the model of this instance. Output: facts about it, JSON.
#[unsafe(no_mangle)]
pub extern "C" fn itera_load() -> u32 {
    INSTANCE.with_borrow_mut(|instance| {
        // Beside the new model they would only take room.
        let file = std::mem::take(&mut instance.input);
        instance.session = None;
        let result = Session::load(&file).map(|session| {
            let session = instance.session.insert(session);
            session.about().into_bytes()
        });
        instance.answer(result)
    })
}

/// A text in UTF-8 becomes tokens of four bytes each.
#[unsafe(no_mangle)]
pub extern "C" fn itera_tokenize() -> u32 {
    call(|session, text| {
        let tokens = session.tokenize(text)?;
        Ok(tokens.into_iter().flat_map(u32::to_le_bytes).collect())
    })
}

/// Tokens of four bytes each become the bytes of a text.
#[unsafe(no_mangle)]
pub extern "C" fn itera_detokenize() -> u32 {
    call(|session, input| session.detokenize(&tokens(input)?))
}

/// Scores a text in UTF-8 from a fresh state. Output: for each token its negative log-likelihood in nats (f64), then
/// for each its id and where it begins in bytes (two u32).
#[unsafe(no_mangle)]
pub extern "C" fn itera_score() -> u32 {
    call(|session, text| {
        let scores = session.score(text)?;
        let mut output = Vec::with_capacity(16 * scores.len());
        for score in &scores {
            output.extend(score.nats.to_le_bytes());
        }
        for score in &scores {
            output.extend(score.id.to_le_bytes());
            output.extend((score.offset as u32).to_le_bytes());
        }
        Ok(output)
    })
}

/// Forgets what was read.
#[unsafe(no_mangle)]
pub extern "C" fn itera_reset() -> u32 {
    call(|session, _| {
        session.reset();
        Ok(Vec::new())
    })
}

/// Reads tokens of four bytes each.
#[unsafe(no_mangle)]
pub extern "C" fn itera_read() -> u32 {
    call(|session, input| {
        session.read(&tokens(input)?)?;
        Ok(Vec::new())
    })
}

/// Reads one token. The input is not used, so that a text is written without a copy.
#[unsafe(no_mangle)]
pub extern "C" fn itera_read_one(token: u32) -> u32 {
    call(|session, _| {
        session.read(&[token])?;
        Ok(Vec::new())
    })
}

/// Chooses how tokens are drawn: 2^32 - 1 for `top_k` and NaN for `top_p` exclude none.
#[unsafe(no_mangle)]
pub extern "C" fn itera_sample_by(temperature: f32, top_k: u32, top_p: f32, seed: u64) -> u32 {
    call(|session, _| {
        session.sample_by(SamplingConfig {
            temperature,
            top_k: (top_k != u32::MAX).then_some(top_k as usize),
            top_p: (!top_p.is_nan()).then_some(top_p),
            seed,
        })?;
        Ok(Vec::new())
    })
}

/// The next token, which is not read yet; -1 and the reason in the output without a model.
#[unsafe(no_mangle)]
pub extern "C" fn itera_draw() -> i32 {
    let mut token = -1;
    call(|session, _| {
        token = session.draw() as i32;
        Ok(Vec::new())
    });
    token
}

/// Negative log-likelihood of a next token in nats; NaN if there is none such, with the reason in the output.
#[unsafe(no_mangle)]
pub extern "C" fn itera_nats(token: u32) -> f64 {
    let mut nats = f64::NAN;
    call(|session, _| {
        nats = session.nats(token)?;
        Ok(Vec::new())
    });
    nats
}

/// Output: the logits of the next token, f32 for each of the vocabulary.
#[unsafe(no_mangle)]
pub extern "C" fn itera_logits() -> u32 {
    call(|session, _| {
        let logits = session.logits().iter();
        Ok(logits.flat_map(|logit| logit.to_le_bytes()).collect())
    })
}

/// Output: what was read, as bytes for [`itera_restore`].
#[unsafe(no_mangle)]
pub extern "C" fn itera_save() -> u32 {
    call(|session, _| Ok(session.save()))
}

/// Takes over what [`itera_save`] gave.
#[unsafe(no_mangle)]
pub extern "C" fn itera_restore() -> u32 {
    call(|session, saved| {
        session.restore(saved)?;
        Ok(Vec::new())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../../data/models/nano-tinystories.int4.safetensors");

    /// Puts bytes where JavaScript would copy them.
    fn input(bytes: &[u8]) {
        assert!(!itera_input(bytes.len()).is_null());
        INSTANCE.with_borrow_mut(|instance| instance.input.copy_from_slice(bytes));
    }

    fn output() -> Vec<u8> {
        let output = INSTANCE.with_borrow(|instance| instance.output.clone());
        assert_eq!(output.len(), itera_output_len());
        output
    }

    fn said() -> String {
        String::from_utf8(output()).unwrap()
    }

    #[test]
    fn the_functions_are_those_of_a_session() {
        input(MODEL);
        assert_eq!(itera_load(), 0);
        let mut session = Session::load(MODEL).unwrap();
        assert_eq!(said(), session.about());

        input(b"Once upon a time");
        assert_eq!(itera_score(), 0);
        let score = session.score(b"Once upon a time").unwrap()[1];
        let scores = output();
        let places = scores.len() / 2;
        assert_eq!(scores[8..16], score.nats.to_le_bytes());
        assert_eq!(scores[places + 8..places + 12], score.id.to_le_bytes());
        let offset = score.offset as u32;
        assert_eq!(scores[places + 12..places + 16], offset.to_le_bytes());

        input(b"Once upon a time");
        assert_eq!(itera_tokenize(), 0);
        let tokens = output();
        input(&tokens);
        assert_eq!(itera_detokenize(), 0);
        assert_eq!(said(), "Once upon a time");
        input(&tokens);
        assert_eq!(itera_read(), 0);
        assert_eq!(itera_sample_by(0.8, 40, f32::NAN, 7), 0);
        let token = itera_draw();
        assert!(token >= 0 && itera_nats(token as u32) > 0.0);
        assert_eq!(itera_read_one(token as u32), 0);
        assert_eq!(itera_logits(), 0);
        let logits = output();
        assert_eq!(itera_save(), 0);
        let saved = output();
        assert_eq!(itera_reset(), 0);
        input(&saved);
        assert_eq!(itera_restore(), 0);
        assert_eq!(itera_logits(), 0);
        assert_eq!(output(), logits);
    }

    #[test]
    fn what_is_refused_is_said() {
        let no_model = "no model is loaded; load a checkpoint first";
        for function in [itera_tokenize, itera_score, itera_reset, itera_save] {
            assert_eq!((function(), said().as_str()), (1, no_model));
        }
        assert_eq!((itera_draw(), said().as_str()), (-1, no_model));
        assert!(itera_nats(0).is_nan());
        input(b"not a checkpoint");
        assert_eq!(itera_load(), 1);
        assert!(said().starts_with("the bytes are no checkpoint: "));
        input(MODEL);
        assert_eq!(itera_load(), 0);
        input(b"123");
        assert_eq!(itera_detokenize(), 1);
        assert_eq!(
            said(),
            "3 bytes are no list of tokens, which have four bytes each"
        );
        assert_eq!(itera_sample_by(1.0, 0, f32::NAN, 0), 1);
        assert!(said().starts_with("top-k is 0"));
        assert_eq!(itera_read_one(u32::MAX), 1);
        assert!(itera_input(usize::MAX).is_null());
    }
}
