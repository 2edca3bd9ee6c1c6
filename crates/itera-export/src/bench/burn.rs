//! Burn on each of its host backends: the model in plain tensor operations, the form that
//! `itera-validate --engine burn` scores with. The fused operators of training are not Burn's.

use std::rc::Rc;

use anyhow::Context as _;
use itera_core::models::LoadedCheckpoint;
use itera_learn::{BURN_VERSION, Backend, scoring::Scorer};

use super::cases::Case;

/// The checkpoint on every backend, in fp32.
pub(super) fn all(loaded: &LoadedCheckpoint, tokens: &Rc<[u32]>) -> anyhow::Result<Vec<Case>> {
    Backend::HOST
        .iter()
        .map(|&backend| case(loaded, tokens, backend))
        .collect()
}

fn case(loaded: &LoadedCheckpoint, tokens: &Rc<[u32]>, backend: Backend) -> anyhow::Result<Case> {
    let scorer = Scorer::new(&loaded.checkpoint, backend)
        .with_context(|| format!("cannot run {} in Burn", loaded.name))?;
    let tokens = Rc::clone(tokens);
    Ok(Case {
        runtime: format!("burn-{backend}"),
        version: BURN_VERSION.to_owned(),
        precision: loaded.checkpoint.precision(),
        file_bytes: loaded.file_bytes,
        run: Box::new(move || {
            let mut state = scorer.new_state();
            std::hint::black_box(scorer.logits(&mut state, &tokens));
            Ok(())
        }),
    })
}
