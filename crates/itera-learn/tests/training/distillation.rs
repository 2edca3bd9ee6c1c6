//! Learning from teachers' predictions beside the text.

use super::*;

/// A teacher that has learnt for a while.
fn teacher() -> Checkpoint {
    let mut teacher = trainer(2);
    while !teacher.is_done() {
        teacher.step();
    }
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    teacher.model().to_checkpoint(&tokenizer, Value::Null)
}

fn predictions(teachers: &[&Checkpoint], documents: &TokenSet) -> Predictions {
    let models = teachers
        .iter()
        .map(|teacher| Model::from_checkpoint(teacher));
    let models: Vec<Model> = models.collect::<Result<_, _>>().unwrap();
    teacher::predict(&models, documents, END_OF_TEXT, |_| ())
}

/// A run with a teacher.
fn taught(form: Form, weight: f32, predictions: &Arc<Predictions>) -> Trainer {
    let config = TrainConfig {
        distill: Some(weight),
        seed: 8,
        ..config(2)
    };
    let mut student = run(Form::Fused(Backend::Flex), config);
    student.teach(Arc::clone(predictions));
    match form {
        Form::Fused(_) => student,
        Form::Plain => student.in_plain_operations(),
    }
}

#[test]
fn predictions_are_those_of_the_model_for_each_document_by_itself() {
    let teacher = teacher();
    let model = Model::from_checkpoint(&teacher).unwrap();
    // One is longer than what is read together.
    let long: Vec<u16> = (0..700).map(|i| (i * 5) % 50).collect();
    let documents: TokenSet = [&long[..], &[], &[7, 8]].into_iter().collect();
    let predictions = predictions(&[&teacher], &documents);
    for (index, document) in documents.iter().enumerate() {
        let tokens = document.iter().map(|&id| u32::from(id));
        let targets: Vec<u32> = tokens.chain([END_OF_TEXT]).collect();
        let (mut state, mut work) = (model.new_state(), model.new_workspace());
        let nats = model.score(&mut state, &mut work, END_OF_TEXT, &targets);
        for (at, (target, nats)) in targets.iter().zip(nats).enumerate() {
            let likely = predictions.likely(documents.position(index) + at);
            // The most probable; the others were drawn.
            let likely: Vec<(u32, f32)> = likely.take(8).collect();
            let kept = likely.iter().find(|(token, _)| token == target);
            let (p, least) = ((-nats).exp() as f32, likely[7].1);
            let fits = kept.map_or(p < least + 1e-3, |(_, kept)| (kept - p).abs() < 1e-3);
            assert!(fits, "document {index}, {at}: {p} and {likely:?}");
        }
    }
}

#[test]
fn two_equal_teachers_are_as_one() {
    let (teacher, documents) = (teacher(), documents());
    let [one, two] =
        [&[&teacher][..], &[&teacher, &teacher]].map(|teachers| predictions(teachers, &documents));
    assert_eq!(one, two);
}

#[test]
fn several_teachers_predict_the_mean_of_their_probabilities() {
    let tokenizer = Tokenizer::Bytes(BytesTokenizer::new());
    let (one, other) = (
        teacher(),
        trainer(2).model().to_checkpoint(&tokenizer, Value::Null),
    );
    let documents = documents();
    let [a, b, both] =
        [&[&one][..], &[&other], &[&one, &other]].map(|t| predictions(t, &documents));
    let probability = |of: &Predictions, token| {
        let mut likely = of.likely(40);
        likely.find(|&(t, _)| t == token).map_or(0.0, |(_, p)| p)
    };
    let (token, p) = both.likely(40).next().unwrap();
    let mean = f32::midpoint(probability(&a, token), probability(&b, token));
    // The untrained one may not keep the token, among 257 that it takes to be alike.
    assert!((mean - p).abs() < 0.01, "{mean} and {p}");
}

#[test]
fn a_student_comes_near_its_teacher() {
    let predictions = Arc::new(predictions(&[&teacher()], &documents()));
    for form in FAST_FORMS {
        let (first, last) = losses(taught(form, 1.0, &predictions));
        // The text was not part of the loss.
        assert!(last < 0.8 * first, "{form:?}: from {first} to {last}");
    }
}

#[test]
fn both_forms_learn_alike_from_a_teacher() {
    let predictions = Arc::new(predictions(&[&teacher()], &documents()));
    let [mut fused, mut plain] = FAST_FORMS.map(|form| taught(form, 0.5, &predictions));
    for _ in 0..8 {
        let (fused, plain) = (fused.step(), plain.step());
        let difference = fused.cross_entropy - plain.cross_entropy;
        assert!(difference.abs() < 1e-3, "{fused:?} and {plain:?}");
    }
}

#[test]
fn a_model_that_is_its_teacher_has_nothing_to_learn() {
    let teacher = teacher();
    let predictions = Arc::new(predictions(&[&teacher], &documents()));
    for form in FAST_FORMS {
        let norm = |weight| {
            let mut student = taught(form, weight, &predictions);
            student.start_from(&teacher).unwrap();
            student.step().gradient_norm
        };
        // What is left with a teacher are the router's terms, and lanes that begin within a document.
        let (from_teacher, from_text) = (norm(1.0), norm(1e-6));
        assert!(
            from_teacher < 0.2 * from_text,
            "{form:?}: {from_teacher} and {from_text}"
        );
    }
}

#[test]
fn a_resumed_run_with_a_teacher_is_the_same_run() {
    let predictions = Arc::new(predictions(&[&teacher()], &documents()));
    for form in FAST_FORMS {
        let make = || taught(form, 0.5, &predictions);
        let mut whole = make();
        advance(&mut whole, 8);
        assert_eq!(bits(&resumed(make, 4, 4)), bits(&whole), "{form:?}");
    }
}
