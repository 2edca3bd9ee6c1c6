//! Training learns, resumes exactly, and does not depend on the number of cores.

mod distillation;

use std::sync::Arc;

use itera_core::{
    checkpoint::{Checkpoint, Precision, TensorData},
    config::{ModelConfig, Preset, TensorRole},
    model::Model,
    quant,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_data::TokenSet;
use itera_learn::{
    Backend, Decay, MatrixOptimizer, Predictions, Schedule,
    resume::{Resume, ResumeError},
    teacher,
    trainer::{TrainConfig, Trainer},
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::Value;

const END_OF_TEXT: u32 = 256;

/// The forms of the loop: fused operators on the backends of the host, and the plain tensor operations
/// that run on a card.
#[derive(Clone, Copy, Debug)]
enum Form {
    Fused(Backend),
    Plain,
}

const FORMS: &[Form] = &[
    Form::Fused(Backend::Flex),
    #[cfg(feature = "ndarray")]
    Form::Fused(Backend::NdArray),
    Form::Plain,
];

/// What is fast enough for the longer runs.
const FAST_FORMS: [Form; 2] = [Form::Fused(Backend::Flex), Form::Plain];

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
            (0..90 + d)
                .map(|i| ((i * (d + 3)) % 50) as u16)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A run at its start.
fn run(form: Form, config: TrainConfig) -> Trainer {
    let backend = match form {
        Form::Fused(backend) => backend,
        Form::Plain => Backend::Flex,
    };
    let model = Preset::Test.config(257);
    let run = Trainer::new(&model, config, documents(), END_OF_TEXT, backend)
        .expect("the documents fill a segment");
    match form {
        Form::Fused(_) => run,
        Form::Plain => run.in_plain_operations(),
    }
}

fn trainer(replicas: usize) -> Trainer {
    run(Form::Fused(Backend::Flex), config(replicas))
}

fn advance(run: &mut Trainer, steps: u64) {
    (0..steps).for_each(|_| drop(run.step()));
}

/// The first and the last cross-entropy of a whole run.
fn losses(mut run: Trainer) -> (f32, f32) {
    let first = run.step().cross_entropy;
    let mut last = first;
    while !run.is_done() {
        last = run.step().cross_entropy;
    }
    (first, last)
}

/// A run that is saved after so many steps, and taken on by so many others.
fn resumed(make: impl Fn() -> Trainer, before: u64, after: u64) -> Trainer {
    let mut first = make();
    advance(&mut first, before);
    let saved = first.save_resume(&()).expect("a run can be saved");
    drop(first);
    let mut second = make();
    let saved = Resume::<()>::read(&saved).expect("a saved run is undamaged");
    second.restore(saved).expect("a saved run can go on");
    assert_eq!(second.step_count(), before);
    advance(&mut second, after);
    second
}

fn bits(trainer: &Trainer) -> Vec<(String, Vec<u32>)> {
    let parameters = trainer.model().parameters().into_iter();
    parameters
        .map(|(name, (_, v))| (name, v.into_iter().map(f32::to_bits).collect()))
        .collect()
}

#[test]
fn the_loss_falls() {
    for &form in FORMS {
        let (first, last) = losses(run(form, config(2)));
        assert!(first > 5.0, "an untrained model guesses among 257: {first}");
        assert!(last < 0.75 * first, "{form:?}: from {first} to {last}");
    }
}

/// Processors differ in the last bits of a product, and a whole run in what they add up to.
#[test]
fn the_losses_of_a_run_are_known() {
    let int4 = TrainConfig {
        quantize: Some(Precision::Int4.into()),
        ..config(2)
    };
    for (name, config, expected) in [
        ("plain", config(2), [5.582, 4.729]),
        ("elaborate", elaborate(), [5.592, 5.113]),
        ("int4", int4, [5.582, 5.569]),
    ] {
        let mut run = run(Form::Fused(Backend::Flex), config);
        let losses: Vec<f32> = (0..12).map(|_| run.step().cross_entropy).collect();
        for (found, expected) in [losses[0], losses[11]].into_iter().zip(expected) {
            assert!((found - expected).abs() < 2e-3, "{name}: {losses:?}");
        }
    }
}

#[test]
fn both_forms_learn_alike() {
    let [mut fused, mut plain] = FAST_FORMS.map(|form| run(form, elaborate()));
    for _ in 0..8 {
        let (fused, plain) = (fused.step(), plain.step());
        let difference = fused.cross_entropy - plain.cross_entropy;
        assert!(difference.abs() < 1e-3, "{fused:?} and {plain:?}");
        assert_eq!(fused.expert_load, plain.expert_load);
    }
}

#[test]
fn a_resumed_run_is_the_same_run() {
    for &form in FORMS {
        let make = || run(form, config(2));
        let mut whole = make();
        advance(&mut whole, 14);
        let resumed = resumed(make, 7, 7);
        assert_eq!(bits(&resumed), bits(&whole), "{form:?}");
    }
}

/// Settings of a run with everything that has a state of its own.
fn elaborate() -> TrainConfig {
    let mut config = config(2);
    config.optimizer.matrices = MatrixOptimizer::Muon;
    config.average = Some(0.9);
    config.dropout = 0.1;
    config
}

#[test]
fn a_resumed_run_goes_on_with_momentum_average_and_draws() {
    for form in FAST_FORMS {
        let make = || run(form, elaborate());
        let mut whole = make();
        advance(&mut whole, 8);
        let resumed = resumed(make, 4, 4);
        assert_eq!(bits(&resumed), bits(&whole), "{form:?}");
        assert_eq!(resumed.result().parameters(), whole.result().parameters());
    }
}

#[test]
fn muon_learns_and_moves_projections_only() {
    let after = |matrices| {
        let mut config = config(1);
        config.optimizer.matrices = matrices;
        let mut run = run(Form::Fused(Backend::Flex), config);
        run.step();
        run.model().parameters()
    };
    let (adam, muon) = (after(MatrixOptimizer::AdamW), after(MatrixOptimizer::Muon));
    for spec in Preset::Test.config(257).tensors() {
        let same = adam[&spec.name] == muon[&spec.name];
        assert_eq!(same, spec.role != TensorRole::Projection, "{}", spec.name);
    }
    for form in FAST_FORMS {
        let (first, last) = losses(run(form, elaborate()));
        assert!(last < 0.75 * first, "{form:?}: from {first} to {last}");
    }
}

#[test]
fn the_average_lies_between_the_weights_of_the_steps() {
    let mut run = run(Form::Fused(Backend::Flex), elaborate());
    let mut norm = Vec::new();
    for _ in 0..3 {
        run.step();
        norm.push(run.model().parameters()["final_norm.weight"].1.clone());
    }
    let average = &run.result().parameters()["final_norm.weight"].1;
    for (i, average) in average.iter().enumerate() {
        let values = norm.iter().map(|values| values[i]);
        let (low, high) = (
            values.clone().fold(f32::INFINITY, f32::min),
            values.fold(f32::NEG_INFINITY, f32::max),
        );
        assert!((low..=high).contains(average), "{low} {average} {high}");
    }
    assert_ne!(&norm[2], average);
}

#[test]
fn a_resumed_run_for_integers_is_the_same_run() {
    for form in FAST_FORMS {
        let make = || run_for_integers(form, 12, None);
        let mut whole = make();
        advance(&mut whole, 12);
        for stop in [0, 1, 7] {
            let resumed = resumed(make, stop, 12 - stop);
            assert_eq!(bits(&resumed), bits(&whole), "{form:?} stopped at {stop}");
        }
    }
}

/// A file with one of every kind of tensor, of a run so small that it is read quickly.
fn small_run() -> Trainer {
    let mut config = TrainConfig {
        batch: 1,
        length: 4,
        average: Some(0.9),
        quantize: Some(Precision::Int8.into()),
        ..config(1)
    };
    (config.schedule.warmup, config.schedule.steps) = (1, 3);
    let sizes = ModelConfig {
        n_layers: 1,
        ..Preset::Test.config(40)
    };
    let documents: TokenSet = (0..3).map(|d| vec![d, 7, 9, 11]).collect();
    let mut run = Trainer::new(&sizes, config, documents, 39, Backend::Flex).unwrap();
    run.step();
    run
}

/// Reads a file into a run.
fn resume(bytes: &[u8], run: &mut Trainer) -> Result<String, ResumeError> {
    run.restore(Resume::<String>::read(bytes)?)
}

#[test]
fn a_changed_resume_file_is_refused_whichever_bits_are_changed() {
    let mut run = small_run();
    let saved = run.save_resume(&"settings").unwrap();
    assert_eq!(resume(&saved, &mut run).unwrap(), "settings");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut random = |below: usize| rng.next_u32() as usize % below;
    for flip in 0..2_000 {
        let mut changed = saved.clone();
        // The header is a small part of the file and the most delicate: it gets half of the flips.
        let range = if flip % 2 == 0 { saved.len() } else { 4_000 };
        let (at, bit) = (random(range), random(8));
        changed[at] ^= 1 << bit;
        let result = resume(&changed, &mut run);
        assert!(result.is_err(), "bit {bit} of byte {at}");
    }
    for _ in 0..2_000 {
        let result = resume(&saved[..random(saved.len())], &mut run);
        assert!(result.is_err());
    }
    resume(&saved, &mut run).unwrap();
}

#[test]
fn a_resume_file_of_an_earlier_version_is_refused_with_one_message() {
    let old = b"{\"format\":\"itera.resume/1\",\"settings\":{}}\n\x08\0\0\0";
    let error = resume(old, &mut trainer(1)).unwrap_err();
    assert!(matches!(error, ResumeError::Old), "{error}");
}

#[test]
fn a_resume_file_of_another_run_is_refused() {
    let saved = small_run().save_resume(&"settings").unwrap();
    let error = resume(&saved, &mut trainer(1)).unwrap_err();
    let whole = trainer(1).save_resume(&"settings").unwrap();
    assert!(matches!(error, ResumeError::Container(_)), "{error}");
    let error = resume(&whole, &mut run_for_integers(FAST_FORMS[0], 4, None)).unwrap_err();
    assert!(matches!(error, ResumeError::Container(_)), "{error}");
}

#[test]
fn replicas_add_up_to_the_gradient_of_the_whole_batch() {
    // One replica and two see the same batch: the first update may differ by rounding only.
    let (mut one, mut two) = (trainer(1), trainer(2));
    let (a, b) = (one.step(), two.step());
    assert!((a.cross_entropy - b.cross_entropy).abs() < 1e-4);
    assert!((a.gradient_norm - b.gradient_norm).abs() < 1e-2 * a.gradient_norm);
    assert_eq!(a.expert_load, b.expert_load);
}

#[test]
fn reports_name_the_load_of_every_expert() {
    let mut trainer = trainer(2);
    let report = trainer.step();
    assert_eq!(report.expert_load.len(), 2);
    for load in &report.expert_load {
        assert_eq!(load.len(), 4);
        assert!((load.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    assert!(
        (0.9..2.0).contains(&report.balance),
        "balanced is 1: {}",
        report.balance
    );
}

/// A run for integers, from random weights or from those of `start`.
fn run_for_integers(form: Form, steps: u64, start: Option<&Checkpoint>) -> Trainer {
    let mut config = config(2);
    config.schedule = Schedule {
        peak: 0.1,
        floor: 0.02,
        steps,
        decay: Decay::Cosine,
        ..config.schedule
    };
    config.quantize = Some(Precision::Int4.into());
    let mut trainer = run(form, config);
    if let Some(start) = start {
        trainer.start_from(start).unwrap();
    }
    trainer
}

/// Mean distance of a weight of the embedding from the nearest integer times its scale, in integers. It
/// is a quarter for weights that are anywhere.
fn distance(trainer: &Trainer) -> f64 {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let result = trainer.result().to_checkpoint(&tokenizer, Value::Null);
    let options = quant::Options::data_free(Precision::Int4);
    let (file, _) = quant::quantize(&result, &options).unwrap();
    let name = "embedding.weight";
    let TensorData::Int4 { scales, group, .. } = &file.tensors[name].data else {
        panic!("{name} is not int4");
    };
    let (_, weights) = &trainer.model().parameters()[name];
    let distances = weights.iter().enumerate().map(|(at, weight)| {
        let integer = f64::from(*weight / scales[at / group].to_f32());
        (integer - integer.round()).abs()
    });
    distances.sum::<f64>() / weights.len() as f64
}

#[test]
fn a_run_for_integers_draws_weights_to_integers_and_its_file_holds_the_very_result() {
    let mut trainer = run_for_integers(Form::Fused(Backend::Flex), 300, None);
    let mut left = Vec::new();
    while !trainer.is_done() {
        trainer.step();
        if [20, 300].contains(&trainer.step_count()) {
            left.push(distance(&trainer));
        }
    }
    assert!(left[0] > 0.15, "the pull begins softly: {left:?}");
    // This text is so short that its gradient, always the same, holds some weights to the end.
    assert!(left[1] < 0.5 * left[0], "and grows: {left:?}");

    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let result = trainer.result().to_checkpoint(&tokenizer, Value::Null);
    let options = quant::Options::data_free(Precision::Int4);
    let (file, _) = quant::quantize(&result, &options).unwrap();
    for (name, tensor) in &file.tensors {
        if matches!(tensor.precision(), Precision::Int4 | Precision::Int8) {
            assert_eq!(tensor.to_f32(), result.tensors[name].to_f32(), "{name}");
        }
    }
}

#[test]
fn steps_of_a_run_for_integers_are_measured_in_integers() {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let start = trainer(2).model().to_checkpoint(&tokenizer, Value::Null);
    // The first step of Adam is as long as the learning rate for every weight with a gradient.
    let mut trainer = run_for_integers(Form::Fused(Backend::Flex), 1_000_000, Some(&start));
    let report = trainer.step();
    let options = quant::Options::data_free(Precision::Int4);
    let (file, _) = quant::quantize(&start, &options).unwrap();
    let parameters = trainer.model().parameters();
    for name in ["embedding.weight", "layers.0.mixer.in_proj.weight"] {
        let TensorData::Int4 { scales, group, .. } = &file.tensors[name].data else {
            panic!("{name} is not int4");
        };
        let before = start.tensors[name].to_f32();
        let steps = before.iter().zip(&parameters[name].1).enumerate();
        let mut steps: Vec<f64> = steps
            .map(|(at, (before, after))| {
                f64::from((after - before) / scales[at / group].to_f32()).abs()
            })
            .collect();
        steps.sort_by(f64::total_cmp);
        let (median, rate) = (steps[steps.len() / 2], report.learning_rate);
        assert!(
            (0.5 * rate..1.2 * rate).contains(&median),
            "{name}: {median}, {rate}"
        );
    }
}
