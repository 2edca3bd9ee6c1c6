//! Training learns, resumes exactly, and does not depend on the number of cores.

use itera_core::{
    checkpoint::{Checkpoint, Precision, TensorData},
    config::{Preset, TensorRole},
    quant,
    tokenizer::{BytesTokenizer, Tokenizer},
};
use itera_data::TokenSet;
use itera_learn::{
    Backend, Decay, MatrixOptimizer, OptimizerConfig, RouterLoss, Schedule,
    model::LanguageModel,
    resume::ResumeError,
    trainer::{TrainConfig, Trainer},
};
use serde_json::Value;

const END_OF_TEXT: u32 = 256;

fn config(replicas: usize) -> TrainConfig {
    TrainConfig {
        batch: 4,
        length: 24,
        replicas,
        seed: 3,
        schedule: Schedule {
            peak: 1e-2,
            floor: 0.1,
            warmup: 4,
            steps: 40,
            decay: Decay::Trapezoid,
        },
        optimizer: OptimizerConfig {
            beta_1: 0.9,
            beta_2: 0.99,
            weight_decay: 0.05,
            clip_norm: 1.0,
            matrices: MatrixOptimizer::AdamW,
        },
        router: RouterLoss {
            balance: 0.01,
            z: 1e-3,
        },
        quantize: None,
        distill: None,
        average: None,
        dropout: 0.0,
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

fn trainer(replicas: usize, backend: Backend) -> Trainer {
    let model = Preset::Test.config(257);
    Trainer::new(&model, config(replicas), documents(), END_OF_TEXT, backend)
        .expect("the documents fill a segment")
}

fn bits(trainer: &Trainer) -> Vec<(String, Vec<u32>)> {
    let parameters = trainer.model().parameters().into_iter();
    parameters
        .map(|(name, (_, v))| (name, v.into_iter().map(f32::to_bits).collect()))
        .collect()
}

#[test]
fn the_loss_falls() {
    let mut trainer = trainer(2, Backend::Flex);
    let first = trainer.step().cross_entropy;
    let mut last = first;
    while !trainer.is_done() {
        last = trainer.step().cross_entropy;
    }
    assert!(first > 5.0, "an untrained model guesses among 257: {first}");
    assert!(last < 0.75 * first, "from {first} to {last}");
}

#[test]
fn a_resumed_run_is_the_same_run() {
    for backend in Backend::HOST {
        let mut whole = trainer(2, backend);
        (0..14).for_each(|_| drop(whole.step()));
        let mut first = trainer(2, backend);
        (0..7).for_each(|_| drop(first.step()));
        let saved = first.save_resume().expect("a run can be saved");
        drop(first);
        let mut second = Trainer::load_resume(&saved, documents(), END_OF_TEXT, backend, None)
            .expect("a saved run can go on");
        assert_eq!(second.step_count(), 7);
        (0..7).for_each(|_| drop(second.step()));
        assert_eq!(bits(&second), bits(&whole), "on {backend}");
    }
}

/// A run with everything that has a state of its own.
fn elaborate() -> Trainer {
    let mut config = config(2);
    config.optimizer.matrices = MatrixOptimizer::Muon;
    config.average = Some(0.9);
    config.dropout = 0.1;
    let model = Preset::Test.config(257);
    Trainer::new(&model, config, documents(), END_OF_TEXT, Backend::Flex).unwrap()
}

#[test]
fn a_resumed_run_goes_on_with_momentum_average_and_draws() {
    let mut whole = elaborate();
    (0..8).for_each(|_| drop(whole.step()));
    let mut first = elaborate();
    (0..4).for_each(|_| drop(first.step()));
    let saved = first.save_resume().unwrap();
    let mut second =
        Trainer::load_resume(&saved, documents(), END_OF_TEXT, Backend::Flex, None).unwrap();
    (0..4).for_each(|_| drop(second.step()));
    assert_eq!(bits(&second), bits(&whole));
    assert_eq!(second.result().parameters(), whole.result().parameters());
}

#[test]
fn muon_learns_and_moves_projections_only() {
    let after = |matrices| {
        let mut config = config(1);
        config.optimizer.matrices = matrices;
        let model = Preset::Test.config(257);
        let mut run =
            Trainer::new(&model, config, documents(), END_OF_TEXT, Backend::Flex).unwrap();
        run.step();
        run.model().parameters()
    };
    let (adam, muon) = (after(MatrixOptimizer::AdamW), after(MatrixOptimizer::Muon));
    for spec in Preset::Test.config(257).tensors() {
        let same = adam[&spec.name] == muon[&spec.name];
        assert_eq!(same, spec.role != TensorRole::Projection, "{}", spec.name);
    }
    let mut run = elaborate();
    let first = run.step().cross_entropy;
    let mut last = first;
    while !run.is_done() {
        last = run.step().cross_entropy;
    }
    assert!(last < 0.75 * first, "from {first} to {last}");
}

#[test]
fn a_head_of_its_own_is_read_and_learns_apart_from_the_embedding() {
    let (mut tied, mut run) = (trainer(1, Backend::Flex), trainer(1, Backend::Flex));
    run.untie_head();
    let start = run.result();
    let text: Vec<u32> = documents()
        .document(0)
        .iter()
        .map(|&id| id.into())
        .collect();
    // Another head than the embedding, and not one that knows more.
    let bits = |model: &LanguageModel| model.score(END_OF_TEXT, &text).iter().sum::<f64>();
    assert!((bits(&start) - bits(&tied.result())).abs() > 1e-3);
    assert_eq!(
        start.parameters().len(),
        tied.result().parameters().len() + 1
    );
    for _ in 0..20 {
        tied.step();
        run.step();
    }
    let end = run.result();
    assert!(bits(&end) < 0.8 * bits(&start));
    // A token that the text does not have: the head learns that it does not come, its embedding nothing.
    let row = |model: &LanguageModel, name: &str| {
        let (shape, values) = model.parameters()[name].clone();
        values[200 * shape[1]..][..shape[1]].to_vec()
    };
    assert_ne!(row(&end, "head.weight"), row(&start, "head.weight"));
    assert_eq!(
        row(&end, "embedding.weight"),
        row(&start, "embedding.weight")
    );
    assert_ne!(
        row(&tied.result(), "embedding.weight"),
        row(&start, "embedding.weight")
    );
}

#[test]
fn the_average_lies_between_the_weights_of_the_steps() {
    let mut run = elaborate();
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
    let trainer = || run_for_integers(12, None);
    let mut whole = trainer();
    (0..12).for_each(|_| drop(whole.step()));
    for stop in [0, 1, 7] {
        let mut first = trainer();
        (0..stop).for_each(|_| drop(first.step()));
        let saved = first.save_resume().unwrap();
        let mut second =
            Trainer::load_resume(&saved, documents(), END_OF_TEXT, Backend::Flex, None).unwrap();
        (stop..12).for_each(|_| drop(second.step()));
        assert_eq!(bits(&second), bits(&whole), "stopped at {stop}");
    }
}

/// A run whose only teacher is a run that has learnt for a while, and that teacher.
fn taught(weight: f32) -> (Trainer, Checkpoint) {
    let mut teacher = trainer(2, Backend::Flex);
    while !teacher.is_done() {
        teacher.step();
    }
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let teacher = teacher.model().to_checkpoint(&tokenizer, Value::Null);
    let config = TrainConfig {
        distill: Some(weight),
        seed: 8,
        ..config(2)
    };
    let model = Preset::Test.config(257);
    let mut student =
        Trainer::new(&model, config, documents(), END_OF_TEXT, Backend::Flex).unwrap();
    student.teach(&teacher).unwrap();
    (student, teacher)
}

#[test]
fn a_student_learns_from_its_teacher_alone() {
    let (mut student, _) = taught(1.0);
    let first = student.step().cross_entropy;
    let mut last = first;
    while !student.is_done() {
        last = student.step().cross_entropy;
    }
    // The text was no part of the loss.
    assert!(last < 0.8 * first, "from {first} to {last}");
}

#[test]
fn a_model_that_is_its_teacher_has_nothing_to_learn() {
    let (mut student, teacher) = taught(1.0);
    student.start_from(&teacher).unwrap();
    let norm = student.step().gradient_norm;
    let (mut plain, _) = taught(1e-6);
    plain.start_from(&teacher).unwrap();
    let from_text = plain.step().gradient_norm;
    // What is left are the router's terms.
    assert!(norm < 0.2 * from_text, "{norm} and {from_text}");
}

#[test]
fn a_resumed_run_has_its_teacher_where_it_was() {
    let (mut whole, _) = taught(0.5);
    (0..8).for_each(|_| drop(whole.step()));
    let (mut first, teacher) = taught(0.5);
    (0..4).for_each(|_| drop(first.step()));
    let saved = first.save_resume().unwrap();
    let mut second = Trainer::load_resume(
        &saved,
        documents(),
        END_OF_TEXT,
        Backend::Flex,
        Some(&teacher),
    )
    .unwrap();
    (0..4).for_each(|_| drop(second.step()));
    assert_eq!(bits(&second), bits(&whole));
}

#[test]
fn a_damaged_resume_file_is_refused() {
    let mut run = trainer(1, Backend::Flex);
    run.step();
    let saved = run.save_resume().expect("a run can be saved");
    for len in [0, 7, 100, saved.len() / 2, saved.len() - 1] {
        let result =
            Trainer::load_resume(&saved[..len], documents(), END_OF_TEXT, Backend::Flex, None);
        assert!(
            matches!(result, Err(ResumeError::Damaged(_))),
            "cut to {len} bytes"
        );
    }
}

#[test]
fn replicas_add_up_to_the_gradient_of_the_whole_batch() {
    // One replica and two see the same batch: the first update may differ by rounding only.
    let (mut one, mut two) = (trainer(1, Backend::Flex), trainer(2, Backend::Flex));
    let (a, b) = (one.step(), two.step());
    assert!((a.cross_entropy - b.cross_entropy).abs() < 1e-4);
    assert!((a.gradient_norm - b.gradient_norm).abs() < 1e-2 * a.gradient_norm);
    assert_eq!(a.expert_load, b.expert_load);
}

#[test]
fn reports_name_the_load_of_every_expert() {
    let mut trainer = trainer(2, Backend::Flex);
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
fn run_for_integers(steps: u64, start: Option<&Checkpoint>) -> Trainer {
    let mut config = config(2);
    config.schedule = Schedule {
        peak: 0.1,
        floor: 0.02,
        steps,
        decay: Decay::Cosine,
        ..config.schedule
    };
    config.quantize = Some(Precision::Int4.into());
    let sizes = Preset::Test.config(257);
    let mut trainer =
        Trainer::new(&sizes, config, documents(), END_OF_TEXT, Backend::Flex).unwrap();
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
    let mut trainer = run_for_integers(300, None);
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
    let start = trainer(2, Backend::Flex)
        .model()
        .to_checkpoint(&tokenizer, Value::Null);
    // The first step of Adam is as long as the learning rate for every weight with a gradient.
    let mut trainer = run_for_integers(1_000_000, Some(&start));
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
