//! The model as a workload: the only file that runs the engine.

use std::{hint::black_box, thread};

use anyhow::Context as _;
use itera_core::{
    checkpoint::Checkpoint,
    model::{Model, State, Workspace},
    sampling::{Sampler, SamplingConfig},
};
use itera_record::PowerMode;

use crate::measure::Workload;

/// Where the tokens of a pass come from, as records say it.
pub(crate) const TOKENS: &str = "drawn from the model at temperature 1, seed 0, after end-of-text";

/// How much more of the processor a pass takes in the build that shows that the gate works, as a share.
#[cfg(feature = "slow-demo")]
pub(crate) fn slowed_by() -> f64 {
    let percent = std::env::var("ITERA_SLOW_PERCENT").ok();
    let percent: Option<f64> = percent.and_then(|percent| percent.parse().ok());
    percent.unwrap_or_default() / 100.0
}

/// Passes of a model over a text: one state and one workspace for each thread.
pub(crate) struct ModelWorkload<'m> {
    model: &'m Model,
    tokens: &'m [u32],
    mode: PowerMode,
    sessions: Vec<Session>,
    #[cfg(feature = "slow-demo")]
    slowed_by: f64,
}

struct Session {
    state: State,
    work: Workspace,
}

impl<'m> ModelWorkload<'m> {
    pub(crate) fn new(
        model: &'m Model,
        tokens: &'m [u32],
        mode: PowerMode,
        threads: usize,
    ) -> Self {
        let session = |_| Session {
            state: model.new_state(),
            work: model.new_workspace(),
        };
        Self {
            model,
            tokens,
            mode,
            sessions: (0..threads).map(session).collect(),
            #[cfg(feature = "slow-demo")]
            slowed_by: slowed_by(),
        }
    }
}

impl Workload for ModelWorkload<'_> {
    /// One thread works here. More are started anew for each call, which takes some 50 us a thread.
    fn run(&mut self, passes: u64) {
        let (model, tokens, mode) = (self.model, self.tokens, self.mode);
        #[cfg(feature = "slow-demo")]
        let slowed_by = self.slowed_by;
        let many = |session: &mut Session| {
            for _ in 0..passes {
                #[cfg(feature = "slow-demo")]
                let started = cpu_time::ThreadTime::now();
                pass(model, tokens, mode, session);
                #[cfg(feature = "slow-demo")]
                {
                    let enough = started.elapsed().mul_f64(1.0 + slowed_by);
                    while started.elapsed() < enough {
                        std::hint::spin_loop();
                    }
                }
            }
        };
        let Some((first, rest)) = self.sessions.split_first_mut() else {
            return;
        };
        thread::scope(|scope| {
            for session in rest {
                scope.spawn(|| many(session));
            }
            many(first);
        });
    }
}

/// Reads or writes the tokens once, from a fresh state. Written tokens are given, not chosen: the choice
/// is the sampler's time, not the model's.
fn pass(model: &Model, tokens: &[u32], mode: PowerMode, session: &mut Session) {
    let Session { state, work } = session;
    state.reset();
    match mode {
        PowerMode::Prefill => {
            black_box(model.prefill(tokens, state, work));
        }
        PowerMode::Decode => {
            for &token in tokens {
                black_box(model.step(token, state, work));
            }
        }
    }
}

/// End-of-text and `len - 1` tokens that the model itself continues it with: text of its own kind, which
/// needs no data set, and of which every precision gets the same.
pub(crate) fn draw(checkpoint: &Checkpoint, len: usize) -> anyhow::Result<Vec<u32>> {
    let model = Model::from_checkpoint(checkpoint)?;
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let config = SamplingConfig {
        temperature: 1.0,
        top_k: None,
        top_p: None,
        seed: 0,
    };
    let mut sampler = Sampler::new(config).context("cannot draw the tokens")?;
    let mut tokens = vec![checkpoint.tokenizer.end_of_text()];
    while let (Some(&last), true) = (tokens.last(), tokens.len() < len) {
        tokens.push(sampler.sample(model.step(last, &mut state, &mut work)));
    }
    Ok(tokens)
}
