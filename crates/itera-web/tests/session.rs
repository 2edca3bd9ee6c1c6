//! A session gives what itera-core gives, to the last bit, and refuses in words what it cannot do.

use std::error::Error;

use itera_core::{
    checkpoint::Checkpoint,
    model::Model,
    sampling::{Sampler, SamplingConfig},
};
use itera_web::{Session, WebError};

const INT4: &[u8] = include_bytes!("../../../data/models/nano-tinystories.int4.safetensors");
const INT8: &[u8] = include_bytes!("../../../data/models/nano-tinystories.int8.safetensors");

const TEXT: &str = "Once upon a time there was a café at the sea.";

type Done = Result<(), Box<dyn Error>>;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_text_is_written_as_itera_core_writes_it() -> Done {
    let config = SamplingConfig {
        temperature: 0.8,
        top_k: Some(40),
        top_p: Some(0.9),
        seed: 7,
    };
    for file in [INT4, INT8] {
        let checkpoint = Checkpoint::from_bytes(file)?;
        let model = Model::from_checkpoint(&checkpoint)?;
        let (mut state, mut work) = (model.new_state(), model.new_workspace());
        let mut sampler = Sampler::new(config)?;
        let mut token = checkpoint.tokenizer.end_of_text();

        let mut session = Session::load(file)?;
        session.sample_by(config)?;
        for _ in 0..100 {
            let logits = model.step(token, &mut state, &mut work);
            assert_eq!(bits(session.logits()), bits(logits));
            token = sampler.sample(logits);
            assert_eq!(session.draw(), token);
            let nats = model.nats(token, logits);
            assert_eq!(session.nats(token)?.to_bits(), nats.to_bits());
            session.read(&[token])?;
        }
    }
    Ok(())
}

#[test]
fn scores_are_those_of_itera_core() -> Done {
    let checkpoint = Checkpoint::from_bytes(INT8)?;
    let model = Model::from_checkpoint(&checkpoint)?;
    let tokens = checkpoint.tokenizer.encode(TEXT.as_bytes())?;
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let context = checkpoint.tokenizer.end_of_text();
    let expected = model.score(&mut state, &mut work, context, &tokens);

    let mut session = Session::load(INT8)?;
    let before = bits(session.logits());
    let scores = session.score(TEXT.as_bytes())?;
    let nats: Vec<f64> = scores.iter().map(|score| score.nats).collect();
    assert_eq!(nats, expected);
    assert_eq!(bits(session.logits()), before, "scoring reads nothing");

    // Each token lies where its offset says.
    let mut rebuilt = Vec::new();
    for score in &scores {
        assert_eq!(score.offset, rebuilt.len());
        rebuilt.extend(session.detokenize(&[score.id])?);
    }
    assert_eq!(rebuilt, TEXT.as_bytes());
    assert_eq!(session.tokenize(TEXT.as_bytes())?, tokens);
    assert!(session.score(b"")?.is_empty());
    Ok(())
}

#[test]
fn a_saved_state_goes_on_where_it_was() -> Done {
    let mut session = Session::load(INT4)?;
    let tokens = session.tokenize(TEXT.as_bytes())?;
    session.read(&tokens)?;
    let (saved, logits) = (session.save(), bits(session.logits()));
    session.reset();
    assert_ne!(bits(session.logits()), logits);
    session.restore(&saved)?;
    assert_eq!(bits(session.logits()), logits);
    session.read(&tokens)?;

    let mut other = Session::load(INT4)?;
    other.read(&tokens)?;
    other.read(&tokens)?;
    assert_eq!(bits(session.logits()), bits(other.logits()));
    Ok(())
}

#[test]
fn a_state_of_another_model_or_a_damaged_one_is_refused() -> Done {
    let mut session = Session::load(INT4)?;
    let (saved, logits) = (session.save(), bits(session.logits()));
    let foreign = Session::load(INT8)?.save();
    let mut not_finite = saved.clone();
    let end = not_finite.len() - 4;
    not_finite[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    let longer = [&saved[..], &[0; 4]].concat();
    for bytes in [
        &foreign,
        &saved[..end],
        &saved[..=end],
        &longer,
        &not_finite,
        b"",
    ] {
        assert!(matches!(session.restore(bytes), Err(WebError::State)));
        assert_eq!(bits(session.logits()), logits);
    }
    Ok(())
}

#[test]
fn what_cannot_be_done_is_refused_in_words() -> Done {
    let message = |error: WebError| error.to_text();
    for damaged in [&b""[..], b"{}", &INT4[..INT4.len() - 1], TEXT.as_bytes()] {
        let text = Session::load(damaged).map_err(message).unwrap_err();
        assert!(text.starts_with("the bytes are no checkpoint: "), "{text}");
    }
    let mut session = Session::load(INT4)?;
    let outside = "the token 1792 is outside the vocabulary of 1792".to_owned();
    let read = session.read(&[1, 1792]).map_err(message);
    assert_eq!(read, Err(outside.clone()));
    let text = session.detokenize(&[1792]).map_err(message);
    assert_eq!(text, Err(outside.clone()));
    assert_eq!(session.nats(1792).map_err(message), Err(outside));
    let cold = SamplingConfig {
        temperature: -1.0,
        ..SamplingConfig::default()
    };
    let text = session.sample_by(cold).map_err(message).unwrap_err();
    assert!(text.starts_with("temperature is -1"), "{text}");
    Ok(())
}

#[test]
fn a_page_is_told_about_its_model() -> Done {
    let about = Session::load(INT4)?.about();
    let about: serde_json::Value = serde_json::from_str(&about)?;
    assert_eq!(about["precision"], "int4");
    assert_eq!(about["vocabSize"], 1792);
    assert_eq!(about["tokenizer"], "bpe");
    assert_eq!(about["sha256"].as_str().map(str::len), Some(64));
    Ok(())
}
