//! How many steps fit into a number of minutes.
//!
//! The learning rate depends on the number of steps, so that number is fixed before the first one:
//! from the speed of some trial steps, which belong to a run that is then thrown away. It is saved
//! with the run and stands in the command of its record; a machine that becomes slower takes longer
//! than asked for, and the result stays the same.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use itera_cli::note;
use itera_core::config::ModelConfig;
use itera_learn::trainer::Trainer;

use super::{config::RunConfig, data::Data};

/// Steps before the clock starts: the first ones take memory and fill caches.
const UNTIMED_STEPS: u32 = 2;

/// Most timed steps of the trial.
const MAX_TIMED_STEPS: u32 = 32;

/// Longest time of the timed steps.
const MAX_TRIAL: Duration = Duration::from_secs(10);

/// Largest share of the budget for the timed steps.
const MAX_TRIAL_SHARE: f64 = 0.05;

/// Steps of the trial's schedule; it never comes near its end.
const TRIAL_SCHEDULE: u64 = 1 << 40;

/// Steps that take the minutes of the budget, the reading by teachers and the trial included; at least one.
pub(crate) fn steps(
    config: &RunConfig,
    model: &ModelConfig,
    data: &Data,
    quiet: bool,
) -> anyhow::Result<u64> {
    let started = Instant::now();
    let minutes = config.budget.minutes.unwrap_or_default();
    let train = config.train_config(TRIAL_SCHEDULE)?;
    let end_of_text = data.tokenizer.end_of_text();
    let mut trainer = Trainer::new(
        model,
        train,
        Arc::clone(&data.train),
        end_of_text,
        config.backend,
    )
    .with_context(|| format!("cannot train on {}", data.texts.name()))?;
    if let Some(predictions) = data.predictions(quiet)? {
        trainer.teach(predictions);
    }
    for _ in 0..UNTIMED_STEPS {
        trainer.step();
    }
    let budget = 60.0 * minutes;
    let limit = MAX_TRIAL.as_secs_f64().min(MAX_TRIAL_SHARE * budget);
    let (timed, mut count) = (Instant::now(), 0);
    while count < MAX_TIMED_STEPS && (count == 0 || timed.elapsed().as_secs_f64() < limit) {
        trainer.step();
        count += 1;
    }
    let seconds_per_step = timed.elapsed().as_secs_f64() / f64::from(count);
    let steps = steps_in(budget - started.elapsed().as_secs_f64(), seconds_per_step);
    if !quiet {
        note(format!(
            "{count} trial steps took {:.1} ms each: {minutes} minutes are {steps} steps",
            1e3 * seconds_per_step
        ));
    }
    Ok(steps)
}

fn steps_in(seconds: f64, seconds_per_step: f64) -> u64 {
    ((seconds / seconds_per_step) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_is_used_up_still_gives_a_step() {
        assert_eq!(steps_in(10.0, 0.25), 40);
        assert_eq!(steps_in(0.1, 0.25), 1);
        assert_eq!(steps_in(-3.0, 0.25), 1);
    }
}
