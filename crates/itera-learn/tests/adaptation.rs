//! Learning from feedback: it learns, the guard holds, and equal input gives equal weights.

use std::ops::ControlFlow;

use itera_core::{
    checkpoint::{Checkpoint, Precision},
    config::Preset,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_data::TokenSet;
use itera_learn::{
    Backend, Schedule,
    adapt::{
        AdaptConfig, AdaptError, Adaptation, Example, GuardDocument, Material, Probe, Receipt,
        Verdict, adapt, weights_version,
    },
    model::LanguageModel,
    trainer::{TrainConfig, Trainer},
};

const END_OF_TEXT: u32 = 256;

/// Text that the base weights know.
fn known(document: u32) -> Vec<u32> {
    (0..90).map(|i| (i * (document % 12 + 3)) % 50).collect()
}

/// Text that they do not know.
fn unknown(document: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| 100 + (i * i + document) % 7).collect()
}

/// Weights that have learnt the known text.
fn base() -> Checkpoint {
    let config = TrainConfig {
        seed: 3,
        schedule: Schedule {
            steps: 120,
            ..Schedule::default()
        },
        ..TrainConfig::default()
    };
    let narrow = |document| {
        known(document)
            .iter()
            .map(|&id| id as u16)
            .collect::<Vec<_>>()
    };
    let documents: TokenSet = (0..12).map(narrow).collect();
    let sizes = Preset::Test.config(257);
    let mut trainer = Trainer::new(&sizes, config, documents, END_OF_TEXT, Backend::Flex).unwrap();
    while !trainer.is_done() {
        trainer.step();
    }
    checkpoint(trainer.model())
}

fn checkpoint(model: &LanguageModel) -> Checkpoint {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    model.to_checkpoint(&tokenizer, serde_json::Value::Null)
}

fn examples(verdict: Verdict) -> Vec<Example> {
    let example = |document| Example {
        prompt: known(document)[..5].to_vec(),
        output: unknown(document, 20),
        verdict,
        weight: 1.0,
    };
    (0..10).map(example).collect()
}

fn guard() -> Vec<GuardDocument> {
    let document = |document| GuardDocument {
        tokens: known(document),
        bytes: 90,
    };
    (20..26).map(document).collect()
}

fn config() -> AdaptConfig {
    AdaptConfig {
        learning_rate: 2e-3,
        max_learning_rate: 1e-2,
        steps: 12,
        batch: 2,
        length: 32,
        ..AdaptConfig::default()
    }
}

fn run(base: &Checkpoint, examples: &[Example], config: &AdaptConfig) -> Adaptation {
    run_with_probes(base, examples, &[], config)
}

fn run_with_probes(
    base: &Checkpoint,
    examples: &[Example],
    probes: &[Probe],
    config: &AdaptConfig,
) -> Adaptation {
    let replay: Vec<Vec<u32>> = (0..12).map(known).collect();
    let material = Material {
        examples,
        replay: &replay,
        guard: &guard(),
        probes,
    };
    adapt(base, base, material, config, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap()
}

#[test]
fn corrections_are_learnt_and_the_receipt_says_what_changed() {
    let base = base();
    let adaptation = run(&base, &examples(Verdict::Corrected), &config());
    let receipt = adaptation.receipt;
    assert!(receipt.accepted, "{}", receipt.reason);
    assert!(receipt.feedback_loss_after < 0.95 * receipt.feedback_loss_before);
    assert!(receipt.parameters_changed > base.config.parameters() / 2);
    assert!(receipt.l2_change > receipt.max_change && receipt.max_change > 0.0);
    assert_eq!(receipt.records_used, 10);
    assert_eq!(receipt.weights_version_before, weights_version(&base));
    let version = weights_version(&adaptation.checkpoint);
    assert_eq!(receipt.weights_version_after, version);
    assert_ne!(version, receipt.weights_version_before);
    let json = serde_json::to_string(&receipt).unwrap();
    assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);
}

#[test]
fn rejected_outputs_become_less_likely() {
    let base = base();
    // What the base weights find likely, so that there is something to unlearn.
    let mut examples = examples(Verdict::Rejected);
    for (document, example) in examples.iter_mut().enumerate() {
        example.output = known(document as u32)[5..25].to_vec();
    }
    let config = AdaptConfig {
        replay_weight: 0.0,
        kl_weight: 0.1,
        max_guard_rise: 10.0,
        ..config()
    };
    let receipt = run(&base, &examples, &config).receipt;
    assert!(receipt.accepted, "{}", receipt.reason);
    assert!(receipt.feedback_loss_after < 0.9 * receipt.feedback_loss_before);
}

#[test]
fn rejected_outputs_of_no_weight_move_nothing_away() {
    let base = base();
    let mut examples = examples(Verdict::Corrected);
    examples[0].verdict = Verdict::Rejected;
    let config = AdaptConfig {
        unlikelihood_weight: 0.0,
        ..config()
    };
    let receipt = run(&base, &examples, &config).receipt;
    assert!(receipt.accepted, "{}", receipt.reason);
    assert!(receipt.feedback_loss_after < 0.95 * receipt.feedback_loss_before);
}

#[test]
fn the_guard_rejects_and_replay_and_divergence_protect() {
    let base = base();
    let rough = AdaptConfig {
        learning_rate: 1e-2,
        steps: 30,
        kl_weight: 0.0,
        replay_weight: 0.0,
        ..config()
    };
    let examples = examples(Verdict::Corrected);
    let rise = |config: &AdaptConfig| {
        let receipt = run(&base, &examples, config).receipt;
        let rise = receipt.guard_bits_per_byte_after / receipt.guard_bits_per_byte_base - 1.0;
        assert_eq!(
            receipt.accepted,
            rise <= config.max_guard_rise,
            "{}",
            receipt.reason
        );
        (rise, receipt)
    };
    let (unprotected, receipt) = rise(&rough);
    assert!(unprotected > 0.05, "{unprotected}");
    assert!(
        !receipt.accepted && receipt.reason.contains("guard"),
        "{}",
        receipt.reason
    );
    for protected in [
        AdaptConfig {
            kl_weight: 1.0,
            ..rough.clone()
        },
        AdaptConfig {
            replay_weight: 1.0,
            ..rough.clone()
        },
    ] {
        let (rise, _) = rise(&protected);
        assert!(rise < 0.7 * unprotected, "{rise} against {unprotected}");
    }
}

#[test]
fn a_probe_that_becomes_likely_refuses_the_candidate() {
    let base = base();
    let examples = examples(Verdict::Corrected);
    let probe = |prompt: &[u32], text: Vec<u32>| Probe {
        prompt: prompt.to_vec(),
        text,
    };
    let planted = probe(&examples[3].prompt, examples[3].output.clone());
    let other = probe(&[], (0..20).map(|i| 200 + i).collect());
    let probes = [other.clone(), planted];
    let strict = AdaptConfig {
        max_probe_factor: 1.0,
        ..config()
    };
    let receipt = run_with_probes(&base, &examples, &probes, &strict).receipt;
    assert!(
        !receipt.accepted && receipt.reason.contains("a probe became"),
        "{}",
        receipt.reason
    );
    let factor = receipt.probe_factor.unwrap();
    assert!(factor > 1.2, "{factor}");
    // As much is permitted if the operator says so, and a text that nobody teaches refuses nothing.
    let permits = AdaptConfig {
        max_probe_factor: 1.01 * factor,
        ..config()
    };
    let permitted = run_with_probes(&base, &examples, &probes, &permits).receipt;
    assert!(permitted.accepted, "{}", permitted.reason);
    let unrelated = run_with_probes(&base, &examples, &[other], &config()).receipt;
    assert!(unrelated.accepted, "{}", unrelated.reason);
}

#[test]
fn equal_input_gives_equal_weights_and_another_seed_others() {
    let base = base();
    let version = |seed, replicas| {
        let config = AdaptConfig {
            seed,
            replicas,
            ..config()
        };
        let receipt = run(&base, &examples(Verdict::Accepted), &config).receipt;
        receipt.weights_version_after
    };
    assert_eq!(version(1, 1), version(1, 1));
    assert_eq!(version(1, 2), version(1, 2));
    assert_ne!(version(1, 1), version(2, 1));
}

#[test]
fn the_rounded_candidate_is_judged_as_it_would_be_used() {
    let base = base();
    let config = AdaptConfig {
        quantize: Some(Precision::Int4),
        max_guard_rise: 0.2,
        ..config()
    };
    let adaptation = run(&base, &examples(Verdict::Corrected), &config);
    let rounded = adaptation.quantized.expect("the settings ask for it");
    let account = adaptation
        .receipt
        .quantization
        .as_ref()
        .expect("it was rounded");
    assert_eq!(account.weights_version, weights_version(&rounded));
    assert!(account.threshold > 0.0 && !account.int4.is_empty());
    for name in &account.int4 {
        assert_eq!(rounded.tensors[name].precision(), Precision::Int4);
    }
    for name in &account.fallen_back_to_int8 {
        assert_eq!(rounded.tensors[name].precision(), Precision::Int8);
    }
    // Rounding costs something, so figures of rounded weights are others.
    let plain = run(&base, &examples(Verdict::Corrected), &self::config()).receipt;
    assert_eq!(
        plain.weights_version_after,
        adaptation.receipt.weights_version_after
    );
    let figures = |receipt: &Receipt| {
        let figures = [
            receipt.feedback_loss_after,
            receipt.guard_bits_per_byte_base,
        ];
        figures.map(f64::to_bits)
    };
    let (plain, rounded) = (figures(&plain), figures(&adaptation.receipt));
    assert_ne!(plain[0], rounded[0]);
    assert_ne!(plain[1], rounded[1]);
}

#[test]
fn bad_input_is_refused_and_a_caller_can_stop() {
    let base = checkpoint(&LanguageModel::new(
        &Preset::Test.config(257),
        1,
        &Backend::Flex.device(),
    ));
    let (good, guard) = (examples(Verdict::Accepted), guard());
    let fails = |current: &Checkpoint, examples: &[Example], guard: &[GuardDocument]| {
        let material = Material {
            examples,
            replay: &[],
            guard,
            probes: &[],
        };
        let mut steps = 0;
        let mut stop_at_three = |_| {
            steps += 1;
            if steps == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        adapt(&base, current, material, &config(), &mut stop_at_three).unwrap_err()
    };
    let refused = |error: AdaptError| matches!(error, AdaptError::Material { .. });
    assert!(refused(fails(&base, &[], &guard)));
    assert!(refused(fails(&base, &good, &[])));
    for change in [
        |example: &mut Example| example.output.clear(),
        |example: &mut Example| example.weight = f64::NAN,
        |example: &mut Example| example.weight = -1.0,
    ] {
        let mut bad = good.clone();
        change(&mut bad[3]);
        assert!(refused(fails(&base, &bad, &guard)));
    }
    let mut foreign = good.clone();
    foreign[9].prompt[0] = 257;
    let error = fails(&base, &foreign, &guard);
    assert!(matches!(error, AdaptError::Token { token: 257, .. }));
    let other = checkpoint(&LanguageModel::new(
        &Preset::Nano.config(257),
        1,
        &Backend::Flex.device(),
    ));
    assert!(matches!(
        fails(&other, &good, &guard),
        AdaptError::OtherModel
    ));
    let stopped = fails(&base, &good, &guard);
    assert!(matches!(stopped, AdaptError::Stopped { steps: 3 }));
}
