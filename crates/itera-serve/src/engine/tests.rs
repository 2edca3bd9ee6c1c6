//! The engine against the model's own step, one token after the other.

use std::{sync::Arc, time::Instant};

use itera_core::{
    checkpoint::Precision,
    sampling::{Sampler, SamplingConfig, log_softmax_at},
};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::{
    client::ClientId,
    fixture::{base, random_checkpoint},
    weights::Base,
};

fn engine(workers: usize, slots: usize, waiting: usize) -> (Engine, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let engine = Engine::start(workers, slots, waiting, 10_000_000, &metrics);
    (engine.unwrap(), metrics)
}

fn request(base: &Base, prompt: &str, seed: u64, reply: Reply) -> Request {
    Request {
        client: ClientId::Network([127, 0, 0, 1].into()),
        start: Start::Fresh,
        prompt: Prompt::Text(prompt.to_owned()),
        variant: Arc::clone(base.weights.variant(Precision::Fp32)),
        sampling: SamplingConfig {
            temperature: 1.0,
            seed,
            ..SamplingConfig::default()
        },
        adjustments: Adjustments::default(),
        max_tokens: 48,
        stop: Vec::new(),
        echo: false,
        tells_start: false,
        logprobs: None,
        reply,
        received: Instant::now(),
    }
}

type Outcome = oneshot::Receiver<Result<Completion, GenerateError>>;

fn whole(base: &Base, prompt: &str, seed: u64) -> (Request, Outcome) {
    let (reply, outcome) = oneshot::channel();
    (request(base, prompt, seed, Reply::Whole(reply)), outcome)
}

fn result(outcome: Outcome) -> Completion {
    outcome.blocking_recv().unwrap().unwrap()
}

/// What the model writes, by `Model::step` alone.
fn reference(base: &Base, prompt: &str, seed: u64) -> (String, Finish, Vec<u32>) {
    let tokenizer = &base.weights.checkpoint.tokenizer;
    let model = &base.weights.variant(Precision::Fp32).model;
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let config = SamplingConfig {
        seed,
        ..SamplingConfig::default()
    };
    let mut sampler = Sampler::new(config).unwrap();
    let (mut logits, mut written) = (Vec::new(), Vec::new());
    let prompt = tokenizer.encode(prompt.as_bytes()).unwrap();
    for token in [tokenizer.end_of_text()].into_iter().chain(prompt) {
        logits = model.step(token, &mut state, &mut work).to_vec();
    }
    let mut finish = Finish::Length;
    while written.len() < 48 {
        let token = sampler.sample(&logits);
        if token == tokenizer.end_of_text() {
            finish = Finish::EndOfText;
            break;
        }
        written.push(token);
        logits = model.step(token, &mut state, &mut work).to_vec();
    }
    let mut text = text::TextBuilder::new(Vec::new());
    for token in &written {
        assert!(!text.push(tokenizer.token_bytes(*token)));
    }
    text.finish();
    (text.into_text(), finish, written)
}

#[test]
fn answers_are_the_models_own_whatever_else_is_written() {
    let base = base();
    // Fewer slots than requests, so that they join and leave at all times; prompts of one piece and
    // of several.
    let (engine, metrics) = engine(2, 5, 100);
    let long = "a long prompt ".repeat(9);
    let cases: Vec<_> = (0..24)
        .map(|seed| {
            let prompt = if seed % 3 == 0 { long.as_str() } else { "ab" };
            let (request, outcome) = whole(&base, prompt, seed);
            engine.submit(request).unwrap();
            (prompt, seed, outcome)
        })
        .collect();
    let mut tokens = 0;
    for (prompt, seed, outcome) in cases {
        let found = result(outcome);
        let (text, finish, written) = reference(&base, prompt, seed);
        assert_eq!((found.text, found.finish), (text, finish), "seed {seed}");
        assert_eq!(found.tokens, written.len());
        assert_eq!(found.prompt_tokens, prompt.len());
        tokens += written.len() as u64;
    }
    wait_until(|| engine.load().1 == 0);
    assert_eq!(metrics.tokens(), tokens);
}

#[test]
fn a_prompt_that_was_read_before_gives_the_same_answer_without_being_read_again() {
    let base = base();
    let (engine, _) = engine(1, 2, 10);
    let text = "one long text after the other ".repeat(40);
    let ask = |prompt: &str, seed, client: u8| {
        let (mut request, outcome) = whole(&base, prompt, seed);
        request.client = ClientId::Network([127, 0, 0, client].into());
        engine.submit(request).unwrap();
        let found = result(outcome);
        let (text, finish, _) = reference(&base, prompt, seed);
        assert_eq!(
            (found.text, found.finish),
            (text, finish),
            "{seed} {client}"
        );
        found.cached_tokens
    };
    let len = text.len();
    assert_eq!(ask(&text, 1, 1), 0);
    assert_eq!(ask(&text, 2, 1), len);
    assert_eq!(ask(&format!("{text}and on"), 3, 1), len);
    // Two strides of 512 with the end-of-text, which is none of the client's.
    assert_eq!(ask(&text[..1100], 4, 1), 1023);
    assert_eq!(ask(&format!("{}{}", &text[..600], "else"), 5, 1), 511);
    // Nobody learns from the time of an answer what others have asked.
    assert_eq!(ask(&text, 2, 2), 0);
    // Short prompts are read as fast as they are found.
    assert_eq!(ask("ab", 1, 1), 0);
    assert_eq!(ask("ab", 1, 1), 0);
}

#[test]
fn a_running_answer_keeps_its_weights() {
    let base = base();
    let (engine, _) = engine(1, 4, 10);
    let (sender, mut events) = mpsc::channel(1024);
    let mut long = request(&base, "ab", 3, Reply::Stream(sender));
    long.max_tokens = 512;
    long.sampling.temperature = 0.0;
    engine.submit(long).unwrap();
    assert!(matches!(
        events.blocking_recv(),
        Some(Event::Delta { .. } | Event::End(_))
    ));
    let other = base.adapted(random_checkpoint(2), None).unwrap();
    let (mut request, outcome) = whole(&base, "ab", 3);
    request.variant = Arc::clone(other.variant(Precision::Fp32));
    engine.submit(request).unwrap();
    assert_eq!(result(outcome).variant.version, other.version);
    let end = std::iter::from_fn(|| events.blocking_recv()).last();
    let Some(Event::End(Ok(end))) = end else {
        panic!("no end: {end:?}");
    };
    assert_eq!(end.variant.version, base.weights.version);
}

#[test]
fn a_client_that_goes_is_noticed_before_the_next_token() {
    let base = base();
    let (sender, events) = mpsc::channel(1024);
    let request = request(&base, "a", 1, Reply::Stream(sender));
    let (_, mut writing, _) = generation::begin(request).unwrap();
    let logits = vec![0.0; base.weights.checkpoint.config.vocab_size];
    writing.accept(None, &logits);
    assert!(!writing.is_over());
    drop(events);
    assert!(writing.is_over());
}

#[test]
fn slots_of_clients_that_went_are_free_for_others() {
    let base = base();
    let (engine, metrics) = engine(1, 1, 200);
    for seed in 0..100 {
        let (mut request, outcome) = whole(&base, "ab", seed);
        request.max_tokens = 512;
        drop(outcome);
        engine.submit(request).unwrap();
    }
    let (request, outcome) = whole(&base, "ab", 7);
    engine.submit(request).unwrap();
    let mine = result(outcome).tokens as u64;
    wait_until(|| engine.load().1 == 0);
    // Of each of the hundred at most one token is written: usually none.
    assert!(metrics.tokens() <= mine + 100, "{}", metrics.tokens());
}

#[test]
fn the_queue_is_bounded() {
    let base = base();
    let (engine, _) = engine(0, 1, 2);
    let outcomes: Vec<_> = (0..2)
        .map(|seed| {
            let (request, outcome) = whole(&base, "ab", seed);
            engine.submit(request).unwrap();
            outcome
        })
        .collect();
    let (request, _) = whole(&base, "ab", 9);
    assert_eq!(engine.submit(request), Err(Full));
    assert_eq!(engine.load(), (2, 0, 0));
    drop(outcomes);
}

#[test]
fn probabilities_are_those_of_the_model() {
    let base = base();
    let (engine, _) = engine(1, 2, 10);
    let (mut request, outcome) = whole(&base, "abc", 5);
    request.logprobs = Some(3);
    request.echo = true;
    request.max_tokens = 4;
    engine.submit(request).unwrap();
    let found = result(outcome);
    let (_, _, written) = reference(&base, "abc", 5);
    let model = &base.weights.variant(Precision::Fp32).model;
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let tokenizer = &base.weights.checkpoint.tokenizer;
    let mut all = tokenizer.encode(b"abc").unwrap();
    all.extend(&written[..found.tokens]);
    let logprobs = found.logprobs.unwrap();
    assert_eq!(logprobs.tokens.len(), all.len());
    let mut context = tokenizer.end_of_text();
    for (index, &token) in all.iter().enumerate() {
        let logits = model.step(context, &mut state, &mut work);
        let expected = log_softmax_at(logits, token as usize);
        let difference = logprobs.token_logprobs[index].unwrap() - expected;
        assert!(difference.abs() < 1e-5, "token {index}: {difference}");
        let top = logprobs.top_logprobs[index].as_ref().unwrap();
        let best = log_softmax_at(logits, itera_core::sampling::argmax(logits) as usize);
        assert_eq!(top.len(), 3);
        assert!((top[0].1 - best).abs() < 1e-5 && top[0].1 >= top[1].1 && top[1].1 >= top[2].1);
        context = token;
    }
    assert_eq!(&logprobs.text_offset[..4], [0, 1, 2, 3]);
    assert!(found.text.starts_with("abc"));
}

#[test]
fn an_echo_is_as_long_as_its_text_and_offsets_count_characters() {
    let base = base();
    let (engine, _) = engine(1, 2, 10);
    // A byte that begins no character is three as text; the second character is two tokens.
    let prompt = vec![0xff, 0xc3, 0xa9, 97];
    let ask = |echo: bool| {
        let (mut request, outcome) = whole(&base, "", 5);
        request.prompt = Prompt::Tokens(prompt.clone());
        (request.logprobs, request.echo, request.max_tokens) = (Some(0), echo, 6);
        engine.submit(request).unwrap();
        result(outcome)
    };
    let (plain, echoed) = (ask(false), ask(true));
    assert_eq!(plain.echoed, 0);
    assert_eq!(&echoed.text[..echoed.echoed], "\u{fffd}éa");
    assert_eq!(echoed.text[echoed.echoed..], plain.text);
    let offsets = echoed.logprobs.unwrap().text_offset;
    assert_eq!(&offsets[..5], [0, 1, 2, 2, 3]);
}

#[test]
fn a_prompt_can_be_scored_without_writing() {
    let base = base();
    let (engine, _) = engine(1, 2, 10);
    let (mut request, outcome) = whole(&base, "abc", 5);
    (request.logprobs, request.echo, request.max_tokens) = (Some(0), true, 0);
    engine.submit(request).unwrap();
    let found = result(outcome);
    assert_eq!((found.text.as_str(), found.tokens), ("abc", 0));
    assert_eq!(found.logprobs.unwrap().token_logprobs.len(), 3);
}

#[test]
fn streams_bring_the_same_text() {
    let base = base();
    let (engine, _) = engine(1, 2, 10);
    let (sender, mut events) = mpsc::channel(1024);
    engine
        .submit(request(&base, "ab", 11, Reply::Stream(sender)))
        .unwrap();
    let (mut text, mut end) = (String::new(), None);
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Delta { text: piece, .. } => text += &piece,
            Event::End(outcome) => end = Some(outcome.unwrap()),
        }
    }
    let end = end.unwrap();
    let (expected, finish, _) = reference(&base, "ab", 11);
    assert_eq!(
        (text, end.text, end.finish),
        (expected.clone(), expected, finish)
    );
}

#[test]
fn a_client_that_does_not_read_gets_the_rest_in_few_pieces() {
    let base = base();
    let (engine, _) = engine(1, 2, 10);
    let (sender, mut events) = mpsc::channel(MIN_EVENTS + 1);
    let mut ask = request(&base, "ab", 11, Reply::Stream(sender));
    ask.logprobs = Some(2);
    engine.submit(ask).unwrap();
    wait_until(|| engine.load() == (0, 0, 2));
    // Now it reads again: nothing is missing.
    let (mut text, mut tokens, mut pieces) = (String::new(), 0, 0);
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Delta {
                text: piece,
                logprobs,
                ..
            } => {
                text += &piece;
                tokens += logprobs.unwrap().tokens.len();
                pieces += 1;
            }
            Event::End(end) => assert!(end.unwrap().logprobs.is_none()),
        }
    }
    let (expected, _, written) = reference(&base, "ab", 11);
    assert_eq!((text, tokens), (expected, written.len()));
    assert!(pieces <= MIN_EVENTS, "{pieces}");
}

/// Gives the threads a moment.
fn wait_until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed().as_secs() < 20, "it never came");
        thread::yield_now();
    }
}
