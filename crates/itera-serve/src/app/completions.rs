//! `POST /v1/completions`, as OpenAI's clients expect it.

mod request;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use self::request::{CompletionRequest, Input, Prompts, Work, inputs};
use super::{
    App,
    chat::Form,
    generate::{self, Plan, log},
    stream::{self, StreamEvent},
};
use crate::{
    body::Pieces,
    client::Client,
    engine::{Completion, Logprobs},
    experiments::Assigned,
    problem::{Body, Problem},
    store::{now_ms, random_id},
};

/// What the id of a completion begins with; the rest is good for feedback.
pub(super) const ID_PREFIX: &str = "cmpl-";

/// The answer, or a piece of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CompletionResponse {
    pub(super) id: String,
    /// `text_completion`.
    pub(super) object: &'static str,
    /// Seconds since 1970.
    pub(super) created: i64,
    /// The name of the model.
    pub(super) model: String,
    /// Precision of the weights; not one of OpenAI's.
    pub(super) precision: &'static str,
    /// The weights that wrote it, shortened.
    pub(super) system_fingerprint: String,
    pub(super) choices: Vec<Choice>,
    /// Null in all chunks of a stream but the last of those that were asked to have it.
    pub(super) usage: Option<Usage>,
    /// `EXPERIMENT/ARM`, if it is part of an experiment; not one of OpenAI's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arm: Option<String>,
}

/// One answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) logprobs: Option<LogprobsBody>,
    /// `stop` or `length`; null while more follows.
    pub(super) finish_reason: Option<&'static str>,
    /// What to name in `POST /feedback`; null while more follows.
    pub(super) feedback_id: Option<String>,
    /// Gives this text again from these weights.
    pub(super) seed: u64,
}

/// Natural logarithms of the probabilities of tokens. The end-of-text that ends an answer is among them, though it
/// is no part of the text; one that a prompt was given with has no probability.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LogprobsBody {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<BTreeMap<String, f64>>>,
    /// Characters of the answer before each token.
    text_offset: Vec<usize>,
}

/// Tokens read and written.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(super) struct Usage {
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    pub(super) total_tokens: usize,
    prompt_tokens_details: PromptTokens,
    /// Until all answers had their first token; not one of OpenAI's, nor are the next three.
    prompt_ms: f64,
    /// From the first token of an answer to its end; of several the longest.
    decode_ms: f64,
    /// Time of a core for all answers.
    cpu_ms: f64,
    /// The same times `--watts-per-core`; null without that.
    energy_j: Option<f64>,
}

/// How prompts were read.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
struct PromptTokens {
    /// Tokens that the server has read before, for this client.
    cached_tokens: usize,
}

impl Usage {
    pub(super) fn add(&mut self, completion: &Completion, watts_per_core: Option<f64>) {
        self.prompt_tokens += completion.prompt_tokens;
        self.completion_tokens += completion.tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
        self.prompt_tokens_details.cached_tokens += completion.cached_tokens;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let decode = completion.total.saturating_sub(completion.first_token);
        self.prompt_ms = self.prompt_ms.max(ms(completion.first_token));
        self.decode_ms = self.decode_ms.max(ms(decode));
        self.cpu_ms += ms(completion.worked);
        self.energy_j = watts_per_core.map(|watts| watts * self.cpu_ms / 1e3);
    }
}

impl From<Logprobs> for LogprobsBody {
    fn from(logprobs: Logprobs) -> Self {
        let tops = logprobs.top_logprobs.into_iter();
        Self {
            tokens: logprobs.tokens,
            token_logprobs: logprobs.token_logprobs,
            top_logprobs: tops.map(|top| Some(top?.into_iter().collect())).collect(),
            text_offset: logprobs.text_offset,
        }
    }
}

/// Continue texts, for clients of the OpenAI interface.
#[utoipa::path(
    post,
    path = "/v1/completions",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The answers; with `stream` as events of the same form that end in `[DONE]`",
            content((CompletionResponse = "application/json"), (StreamEvent = "text/event-stream"))),
    )
)]
pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<CompletionRequest>,
) -> Result<Response, Problem> {
    answer(app, client, request, Form::Text).await
}

/// The answers to a request, in a form.
pub(super) async fn answer(
    app: Arc<App>,
    client: Client,
    request: CompletionRequest,
    form: Form,
) -> Result<Response, Problem> {
    let streams = request.stream.unwrap_or(false);
    let work = Work::new(&app, &client, request, form)?;
    let prompts = work.prompts.iter().map(Input::len);
    let charge = app.limits.admit(&client, work.plan.work(prompts))?;
    if streams {
        return stream::respond(app, &client, work, charge);
    }
    let runs = work.prompts.iter().map(|input| {
        let (plan, app, client) = (input.plan(&work.plan), &app, &client);
        async move { generate::run(app, client, &plan, input.prompt()).await }
    });
    let completions = futures_util::future::try_join_all(runs).await?;
    let mut response = head(&work.plan);
    let mut usage = Usage::default();
    for (index, (mut completion, input)) in completions.into_iter().zip(&work.prompts).enumerate() {
        usage.add(&completion, app.settings.args.engine.watts_per_core);
        work.keep(&mut completion);
        let plan = input.plan(&work.plan);
        let id = answer_id(&response, index);
        let feedback_id = log(&app, id, &plan, input.text.clone(), &completion);
        response.choices.push(Choice {
            index,
            finish_reason: Some(completion.finish.name()),
            text: completion.text,
            logprobs: completion.logprobs.map(LogprobsBody::from),
            feedback_id,
            seed: input.seed,
        });
    }
    response.usage = Some(usage);
    let json = form.whole(response).map_err(Problem::internal)?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Pieces::of(json.into(), charge)).into_response())
}

/// A response without choices.
pub(super) fn head(plan: &Plan) -> CompletionResponse {
    let variant = &plan.variant;
    CompletionResponse {
        id: format!("{ID_PREFIX}{}", random_id()),
        object: "text_completion",
        created: now_ms() / 1000,
        model: variant.name.to_string(),
        precision: variant.precision.name(),
        system_fingerprint: fingerprint(&variant.version),
        choices: Vec::new(),
        usage: None,
        arm: plan.arm.as_ref().map(Assigned::name),
    }
}

/// The id of an answer for feedback: of the first that of the response, which a client knows.
pub(super) fn answer_id(response: &CompletionResponse, index: usize) -> String {
    let own = response.id.strip_prefix(ID_PREFIX).filter(|_| index == 0);
    own.map_or_else(random_id, str::to_owned)
}

fn fingerprint(version: &str) -> String {
    format!("itera-{}", version.get(..16).unwrap_or(version))
}
