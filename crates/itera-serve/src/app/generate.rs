//! What the two generating endpoints share: checking, running and logging a request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use itera_core::sampling::SamplingConfig;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::{App, online};
use crate::{
    client::Client,
    engine::{Adjustments, Completion, Finish, GenerateError, Prompt, Reply, Request, Start},
    experiments::Assigned,
    limits::Work,
    problem::Problem,
    store::{Answer, now_ms},
    weights::Variant,
};

/// Most stop texts, and the longest in bytes.
const MAX_STOPS: usize = 4;
const MAX_STOP_BYTES: usize = 64;

/// A text or several.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(super) enum Texts {
    /// One.
    One(String),
    /// As many as the field permits.
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn into_list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// How to write, checked.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What the prompt follows.
    pub(super) start: Start,
    pub(super) variant: Arc<Variant>,
    pub(super) sampling: SamplingConfig,
    pub(super) adjustments: Adjustments,
    pub(super) max_tokens: usize,
    pub(super) stop: Vec<String>,
    pub(super) echo: bool,
    /// Whether the client has written the end-of-text that every text starts with, and so expects it in an echo.
    pub(super) tells_start: bool,
    pub(super) logprobs: Option<usize>,
    pub(super) log: Log,
    /// The arm of an experiment that this is written by.
    pub(super) arm: Option<Assigned>,
}

/// Whether and how an answer is stored.
#[derive(Clone, Debug)]
pub(super) struct Log {
    is_wanted: bool,
    /// For whom it was written.
    user: Option<String>,
}

/// Longest name of a user in bytes.
const MAX_USER_BYTES: usize = 256;

impl Log {
    /// For answers that are not stored.
    pub(super) const fn none() -> Self {
        Self {
            is_wanted: false,
            user: None,
        }
    }

    pub(super) fn new(store: Option<bool>, user: Option<String>) -> Result<Self, Problem> {
        if user
            .as_ref()
            .is_some_and(|user| user.len() > MAX_USER_BYTES)
        {
            let message = format!("`user` has more than {MAX_USER_BYTES} bytes");
            return Err(Problem::field("user", message));
        }
        Ok(Self {
            is_wanted: store.unwrap_or(true),
            user,
        })
    }
}

impl Plan {
    /// What it asks for at most, with a choice for each prompt of so many bytes.
    pub(super) fn work(&self, prompts: impl IntoIterator<Item = usize>) -> Work {
        let mut work = Work::default();
        for prompt in prompts {
            work.choices += 1;
            work.tokens += prompt + self.max_tokens;
            if self.logprobs.is_some() {
                work.told += self.max_tokens + if self.echo { prompt } else { 0 };
            }
        }
        work
    }

    /// The request that carries it out for a prompt.
    pub(super) fn request(
        &self,
        client: &Client,
        prompt: Prompt,
        received: Instant,
        reply: Reply,
    ) -> Request {
        Request {
            client: client.id(),
            start: self.start.clone(),
            prompt,
            variant: Arc::clone(&self.variant),
            sampling: self.sampling,
            adjustments: self.adjustments.clone(),
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            echo: self.echo,
            tells_start: self.tells_start,
            logprobs: self.logprobs,
            reply,
            received,
        }
    }

    /// What is needed to write the answer again, as JSON.
    fn parameters(&self) -> String {
        let adjustments = &self.adjustments;
        json!({
            "max_length": self.max_tokens,
            "temperature": self.sampling.temperature,
            "top_k": self.sampling.top_k,
            "top_p": self.sampling.top_p,
            "seed": self.sampling.seed,
            "stop": self.stop,
            "repetition_penalty": adjustments.repetition_penalty,
            "presence_penalty": adjustments.presence_penalty,
            "frequency_penalty": adjustments.frequency_penalty,
            "logit_bias": adjustments.bias,
            "min_p": adjustments.min_p,
            "min_tokens": adjustments.min_tokens,
            "ignore_eos": adjustments.ignores_end,
        })
        .to_string()
    }
}

/// Checks a number against its range.
pub(super) fn in_range<T: PartialOrd + std::fmt::Display>(
    param: &'static str,
    value: T,
    low: &T,
    high: &T,
) -> Result<T, Problem> {
    if value >= *low && value <= *high {
        return Ok(value);
    }
    let message = format!("`{param}` is {value}, expected {low} to {high}");
    Err(Problem::field(param, message))
}

/// Checks a top-k.
pub(super) fn top_k(value: Option<u32>) -> Result<Option<usize>, Problem> {
    value
        .map(|k| in_range("top_k", k, &1, &65_536).map(|k| k as usize))
        .transpose()
}

/// Checks a top-p.
pub(super) fn top_p(value: Option<f64>) -> Result<Option<f32>, Problem> {
    match value {
        None => Ok(None),
        // Not a 0 by rounding either.
        Some(p) if p > 0.0 && p <= 1.0 => Ok(Some((p as f32).max(f32::MIN_POSITIVE))),
        Some(p) => Err(Problem::field(
            "top_p",
            format!("`top_p` is {p}, expected a number above 0 and at most 1"),
        )),
    }
}

/// Checks stop texts.
pub(super) fn stops(stop: Option<Texts>) -> Result<Vec<String>, Problem> {
    let stops = stop.map(Texts::into_list).unwrap_or_default();
    if stops.len() > MAX_STOPS {
        let message = format!(
            "`stop` has {} texts, expected at most {MAX_STOPS}",
            stops.len()
        );
        return Err(Problem::field("stop", message));
    }
    let fits = |stop: &String| (1..=MAX_STOP_BYTES).contains(&stop.len());
    if !stops.iter().all(fits) {
        let message = format!("a text of `stop` has no byte or more than {MAX_STOP_BYTES}");
        return Err(Problem::field("stop", message));
    }
    Ok(stops)
}

/// Checks a prompt.
pub(super) fn prompt_text(app: &App, param: &'static str, text: String) -> Result<String, Problem> {
    let most = app.settings.args.limits.max_prompt_bytes;
    if text.len() > most {
        let message = format!(
            "`{param}` has {} bytes, expected at most {most}",
            text.len()
        );
        return Err(Problem::field(param, message));
    }
    Ok(text)
}

/// A seed that JavaScript can hold too.
pub(super) fn draw_seed() -> u64 {
    u64::from(rand::random::<u32>())
}

/// Runs a request to its end. Dropping this future frees its slot within one token.
pub(super) async fn run(
    app: &App,
    client: &Client,
    plan: &Plan,
    prompt: Prompt,
) -> Result<Completion, Problem> {
    online::watch(app, plan, &prompt);
    let (reply, outcome) = oneshot::channel();
    let request = plan.request(client, prompt, Instant::now(), Reply::Whole(reply));
    app.engine
        .submit(request)
        .map_err(|_full| Problem::busy())?;
    let mut unfinished = Unfinished(plan.arm.as_ref());
    let outcome = outcome
        .await
        .map_err(|_| Problem::internal("the generating thread failed"))?;
    // Whatever has come is no fault of the arm.
    unfinished.0 = None;
    outcome.map_err(|error| problem(&error))
}

/// Counts a failure of an arm when it is dropped: nothing was written, or nobody waits for it any longer.
struct Unfinished<'a>(Option<&'a Assigned>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(assigned) = self.0 {
            assigned.arm().tally.count_failure();
        }
    }
}

/// What a client is told when nothing was written.
pub(super) fn problem(error: &GenerateError) -> Problem {
    match error {
        GenerateError::Prompt(error) => Problem::field("prompt", error.to_string()),
        GenerateError::Sampling(error) => Problem::field("sampling", error.to_string()),
        GenerateError::Displaced => Problem::busy(),
    }
}

/// What is stored of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// The text without the prompt.
    pub(super) output: String,
    /// Whether the model ended it.
    pub(super) is_ended: bool,
    pub(super) tokens: usize,
    pub(super) total: Duration,
}

/// Counts an answer and stores it for feedback under an id, which comes back, if it is stored.
pub(super) fn log(
    app: &Arc<App>,
    id: String,
    plan: &Plan,
    prompt: String,
    completion: &Completion,
) -> Option<String> {
    let (first_token, total) = (completion.first_token, completion.total);
    let prompt_tokens = completion.prompt_tokens;
    app.metrics
        .generated(prompt_tokens, completion.tokens, first_token, total);
    let written = Written {
        // An echo is not what was written.
        output: completion.text[completion.echoed..].to_owned(),
        is_ended: completion.finish == Finish::EndOfText,
        tokens: completion.tokens,
        total,
    };
    if let Some(assigned) = &plan.arm {
        assigned.arm().tally.count_answer(total);
        tracing::debug!(arm = assigned.name(), answer = id, "written by an arm");
    }
    store(app, id, plan, prompt, written)
}

/// Stores an answer for feedback under an id, which comes back. None if it is not to be stored, if it is not of the
/// model that learns, or if so much waits for the database that it is not.
pub(super) fn store(
    app: &App,
    id: String,
    plan: &Plan,
    prompt: String,
    written: Written,
) -> Option<String> {
    // Of other models only what an experiment compares.
    let is_first = plan.variant.name == app.models.first().base.name;
    let is_wanted = plan.log.is_wanted && (is_first || plan.arm.is_some());
    let store = app.store.as_ref().filter(|_| is_wanted)?;
    let answer = Answer {
        id: id.clone(),
        created_ms: now_ms(),
        output: written.output,
        prompt,
        ended: written.is_ended,
        tokens: written.tokens,
        variant: plan.variant.precision.to_string(),
        version: plan.variant.version.to_string(),
        parameters: plan.parameters(),
        latency_us: written.total.as_micros() as i64,
        user: plan.log.user.as_deref().map(|user| store.user_digest(user)),
        arm: plan.arm.as_ref().map(Assigned::stored),
    };
    store.log(answer).then_some(id)
}
