//! The baseline is a causal model of documents, learns, and has the parameters that it may have.

use burn::tensor::Device;
use itera_core::config::{MICRO_PARAMETER_BUDGET, Preset};
use itera_data::TokenSet;
use itera_learn::{
    Backend,
    baseline::{self, Transformer, TransformerConfig},
    model::Tokens,
    scoring,
    trainer::{TrainConfig, Trainer},
};

const END_OF_TEXT: u32 = 49;

fn small(context: usize) -> TransformerConfig {
    TransformerConfig {
        vocab_size: 50,
        d_model: 16,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        d_ff: 24,
        context,
        norm_eps: 1e-5,
    }
}

/// A model whose attention matters: fresh ones hardly look around.
fn model(context: usize) -> Transformer {
    let mut trainer = trainer(context, 1, Backend::Flex);
    (0..10).for_each(|_| drop(trainer.step()));
    trainer.result()
}

fn config(replicas: usize) -> TrainConfig {
    TrainConfig {
        replicas,
        seed: 3,
        ..TrainConfig::default()
    }
}

fn documents() -> TokenSet {
    (0..12)
        .map(|d| {
            (0..30 + d)
                .map(|i| ((i * (d % 3 + 1)) % 40) as u16)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn trainer(context: usize, replicas: usize, backend: Backend) -> Trainer<Transformer> {
    run(context, config(replicas), backend)
}

fn run(context: usize, config: TrainConfig, backend: Backend) -> Trainer<Transformer> {
    let model = small(context);
    baseline::trainer(&model, config, documents(), END_OF_TEXT, backend).unwrap()
}

/// Logits of a batch of sequences by row.
fn logits(model: &Transformer, inputs: &[Vec<u32>], resets: &[usize]) -> Vec<Vec<f32>> {
    let length = inputs[0].len();
    let tokens = Tokens {
        batch: inputs.len(),
        length,
        inputs: inputs.concat(),
        resets: (0..inputs.len() * length)
            .map(|t| resets.contains(&(t % length)))
            .collect(),
    };
    let values: Vec<f32> = model.forward(&tokens).into_data().try_into_vec().unwrap();
    values
        .chunks(model.config().vocab_size)
        .map(<[f32]>::to_vec)
        .collect()
}

fn text(len: usize) -> Vec<u32> {
    (0..len).map(|i| (i * i % 41) as u32).collect()
}

#[test]
fn a_later_token_leaves_earlier_logits_as_they_are() {
    let model = model(64);
    let mut other = text(40);
    other[25] = 48;
    let (before, after) = (
        logits(&model, &[text(40)], &[]),
        logits(&model, &[other], &[]),
    );
    assert_eq!(before[..25], after[..25]);
    for t in 25..40 {
        assert_ne!(before[t], after[t], "row {t} saw the token");
    }
}

#[test]
fn tokens_before_a_reset_have_no_influence() {
    let model = model(64);
    let mut other = text(40);
    other[..25].reverse();
    let before = logits(&model, &[text(40)], &[25]);
    let after = logits(&model, &[other], &[25]);
    assert_ne!(before[24], after[24]);
    assert_eq!(before[25..], after[25..]);
}

#[test]
fn positions_are_relative() {
    let model = model(64);
    let whole = logits(&model, &[text(40)], &[25]);
    let alone = logits(&model, &[text(40)[25..].to_vec()], &[]);
    for (whole, alone) in whole[25..].iter().flatten().zip(alone.iter().flatten()) {
        assert!((whole - alone).abs() < 1e-4, "{whole} and {alone}");
    }
}

#[test]
fn sequences_of_a_batch_do_not_meet() {
    let model = model(64);
    let (a, mut b) = (text(20), text(20));
    b.reverse();
    let both = logits(&model, &[a.clone(), b.clone()], &[]);
    let apart = [logits(&model, &[a], &[]), logits(&model, &[b], &[])].concat();
    for (both, apart) in both.iter().flatten().zip(apart.iter().flatten()) {
        assert!((both - apart).abs() < 1e-4, "{both} and {apart}");
    }
}

#[test]
fn parameters_are_as_many_as_counted_and_no_more_than_ours() {
    for config in [
        small(32),
        TransformerConfig::micro(512),
        TransformerConfig::micro(257),
    ] {
        let model = Transformer::new(&config, 1, &Device::flex());
        let parameters = model.parameters();
        let sum: usize = parameters.values().map(|(_, values)| values.len()).sum();
        assert_eq!(sum, config.parameters());
    }
    for vocab_size in [257, 512] {
        let ours = Preset::Micro.config(vocab_size).parameters();
        let baseline = TransformerConfig::micro(vocab_size).parameters();
        assert!(
            baseline <= ours && ours - baseline < 1000,
            "{baseline} of {ours}"
        );
        assert!(baseline <= MICRO_PARAMETER_BUDGET);
    }
    assert_eq!(TransformerConfig::micro(512).parameters(), 286_912);
}

/// Likelihood of every token of `text` from one pass over all of it.
fn whole(model: &Transformer, text: &[u32]) -> Vec<f64> {
    let inputs = std::iter::once(END_OF_TEXT).chain(text.iter().copied());
    let rows = logits(model, &[inputs.take(text.len()).collect()], &[]);
    let nll = |(row, target): (&Vec<f32>, &u32)| {
        let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        sum.ln() - f64::from(row[*target as usize])
    };
    rows.iter().zip(text).map(nll).collect()
}

#[test]
fn short_documents_are_scored_whole_and_long_ones_in_windows() {
    let (model, text) = (model(32), text(75));
    for len in [1, 20, 32] {
        let score = model.score(END_OF_TEXT, &text[..len]);
        assert_eq!(score.len(), len);
        for (score, whole) in score.iter().zip(whole(&model, &text[..len])) {
            assert!((score - whole).abs() < 1e-4, "{score} and {whole}");
        }
    }
    let score = model.score(END_OF_TEXT, &text);
    assert_eq!(score.len(), 75);
    // The last window holds the last 32 inputs and scores what the one before left.
    let rows = logits(&model, &[text[42..74].to_vec()], &[]);
    let last = rows.last().unwrap();
    let sum: f64 = last.iter().map(|logit| f64::from(*logit).exp()).sum();
    let expected = sum.ln() - f64::from(last[text[74] as usize]);
    assert!((score[74] - expected).abs() < 1e-4);
    assert!(model.score(END_OF_TEXT, &[]).is_empty());
}

#[test]
fn bits_per_byte_are_nats_over_bytes() {
    let (model, text) = (model(32), text(20));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let documents = [(&text[..], 30), (&text[5..], 12)];
    let nats: f64 = documents
        .iter()
        .flat_map(|(tokens, _)| model.score(END_OF_TEXT, tokens))
        .sum();
    let score = |tokens: &[u32]| model.score(END_OF_TEXT, tokens);
    let bits = scoring::bits_per_byte(score, documents, &stop).unwrap();
    assert!((bits - nats / 2_f64.ln() / 42.0).abs() < 1e-9);
    assert_eq!(
        scoring::bits_per_byte(score, [(&[0_u32][..], 0); 0], &stop),
        None
    );
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(scoring::bits_per_byte(score, documents, &stop), None);
}

#[test]
fn the_loss_falls_and_equal_runs_give_equal_weights() {
    for &backend in Backend::HOST {
        let whole = || {
            let mut run = trainer(24, 1, backend);
            let mut losses = Vec::new();
            while !run.is_done() {
                losses.push(run.step().cross_entropy);
            }
            (losses, run.result().parameters())
        };
        let (losses, weights) = whole();
        assert!(losses[0] > 3.5, "an untrained model guesses among 50");
        // Known, but for the last bits, in which processors differ.
        assert!(
            (losses[11] - 3.333).abs() < 2e-3,
            "on {backend}: {losses:?}"
        );
        assert!(losses[39] < 0.5 * losses[0], "on {backend}: {losses:?}");
        assert!(whole().1 == weights, "on {backend}");
    }
}

#[test]
fn dropout_and_average_are_those_of_the_loop() {
    let step = |change: fn(&mut TrainConfig)| {
        let mut config = config(1);
        change(&mut config);
        let mut run = run(24, config, Backend::Flex);
        let reports: Vec<_> = (0..3).map(|_| run.step()).collect();
        (reports, run.model().parameters(), run.result().parameters())
    };
    let plain = step(|_| {});
    let dropped = step(|config| config.dropout = 0.2);
    assert_ne!(plain.0, dropped.0);
    let averaged = step(|config| config.average = Some(0.9));
    assert_eq!(plain.0, averaged.0);
    assert_eq!((&plain.1, &plain.1), (&plain.2, &averaged.1));
    assert_ne!(averaged.1, averaged.2);
}

#[test]
fn replicas_add_up_to_the_gradient_of_the_whole_batch() {
    let (mut one, mut two) = (trainer(24, 1, Backend::Flex), trainer(24, 2, Backend::Flex));
    let (a, b) = (one.step(), two.step());
    assert!((a.cross_entropy - b.cross_entropy).abs() < 1e-4);
    assert!((a.gradient_norm - b.gradient_norm).abs() < 1e-2 * a.gradient_norm);
}
