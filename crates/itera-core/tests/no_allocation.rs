//! Once model, state and workspace exist, reading tokens takes no memory, nor does drawing them.

use allocation_counter::measure;
use itera_core::{
    checkpoint::Precision,
    model::{Model, Scorer, Sequence},
    models::load_at_precision,
    sampling::{Sampler, SamplingConfig},
};

#[test]
fn reading_tokens_allocates_nothing() {
    for precision in Precision::ALL {
        let loaded = load_at_precision("micro-tinystories", precision).expect("a shipped model");
        let model = Model::from_checkpoint(&loaded.checkpoint).expect("a sound model");
        let (mut state, mut work) = (model.new_state(), model.new_workspace());
        let prompt: Vec<u32> = (0..100).map(|i| i * 37 % 512).collect();
        let mut states = vec![model.new_state(); 8];
        let mut sequences: Vec<_> = states
            .iter_mut()
            .map(|state| Sequence::predicting(&prompt, 256, state))
            .collect();

        let allocated = measure(|| {
            model.step(5, &mut state, &mut work);
            model.prefill(&prompt, &mut state, &mut work);
            model.forward_batch(
                &mut [Sequence::new(&prompt, &mut state)],
                &mut work,
                &mut |_, _| (),
            );
            model.score_batch(&mut sequences, &mut work, |_, _| ());
        });
        assert_eq!(allocated.count_total, 0, "{precision}: {allocated:?}");
    }
}

#[test]
fn drawing_allocates_nothing_after_the_first_draw() {
    let vocab_size: u32 = 1920;
    let logits = |seed: u32| -> Vec<f32> {
        let logit = |id| (id * 7919 % 1009 * seed) as f32 / 60.0;
        (0..vocab_size).map(logit).collect()
    };
    for top_k in [None, Some(40), Some(1_000_000)] {
        for top_p in [None, Some(0.9)] {
            let config = SamplingConfig {
                top_k,
                top_p,
                ..SamplingConfig::default()
            };
            let mut sampler = Sampler::new(config).expect("a sound config");
            // NaN is no candidate, so that later draws have more of them than the first.
            let mut first = logits(1);
            first[100..].fill(f32::NAN);
            sampler.sample(&first);
            let later = [1, 2, 3].map(logits);
            let allocated = measure(|| {
                for logits in &later {
                    sampler.sample(logits);
                }
            });
            assert_eq!(allocated.count_total, 0, "{config:?}: {allocated:?}");
        }
    }
}

#[test]
fn many_documents_share_few_states() {
    let loaded = load_at_precision("micro-tinystories", Precision::Int8).expect("a shipped model");
    let model = Model::from_checkpoint(&loaded.checkpoint).expect("a sound model");
    let document: &[u32] = &[7];
    let documents = vec![document; 2048];
    let mut scorer = model.scorer(256);
    let first = measure(|| drop(scorer.documents(&documents)));
    let states = Scorer::GROUP * model.new_state().bytes();
    let rest = 200_000;
    assert!(first.bytes_max < (states + rest) as u64, "{first:?}");
    let again = measure(|| drop(scorer.documents(&documents)));
    assert!(again.bytes_total < rest as u64, "{again:?}");
}
