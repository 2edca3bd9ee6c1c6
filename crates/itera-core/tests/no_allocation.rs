//! Once model, state and workspace exist, reading tokens takes no memory.

use allocation_counter::measure;
use itera_core::{
    checkpoint::Precision,
    model::{Model, Sequence},
    models::load_at_precision,
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
                |_, _| (),
            );
            model.score_batch(&mut sequences, &mut work, |_, _| ());
        });
        assert_eq!(allocated.count_total, 0, "{precision}: {allocated:?}");
    }
}
