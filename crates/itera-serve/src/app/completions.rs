//! `POST /v1/completions` and `GET /v1/models`, as OpenAI's clients expect them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use itera_core::{sampling::SamplingConfig, tokenizer::END_OF_TEXT};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    chat::Form,
    generate::{self, Log, Plan, Texts, draw_seed, in_range, log, prompt_text},
    sessions::Lease,
    stream,
};
use crate::{
    body::Pieces,
    client::Client,
    engine::{Adjustments, Completion, Logprobs, MAX_TOP, Prompt, Start},
    problem::{Body, Problem},
    store::{now_ms, random_id},
};

/// What the id of a completion begins with; the rest is good for feedback.
pub(super) const ID_PREFIX: &str = "cmpl-";

/// OpenAI's default.
const DEFAULT_TOKENS: u64 = 16;

/// Most answers to one prompt, and to all prompts of a request.
const MAX_OF_PROMPT: u64 = 16;
const MAX_CHOICES: usize = 64;

/// What to write. Fields that are not listed are ignored, as clients send more.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct CompletionRequest {
    /// A name of `GET /v1/models` [default: the first].
    model: Option<String>,
    /// The text to continue, as text or as tokens; a list gives an answer for each. Each starts with
    /// end-of-text, whether that is written or not.
    prompt: Prompts,
    /// Most tokens to write [default: 16]; at most those of `--max-tokens`.
    #[schema(minimum = 0)]
    max_tokens: Option<u64>,
    /// 0 (always the likeliest token) to 2 [default: 1].
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    /// Draw from the likeliest tokens that together have this probability.
    #[schema(exclusive_minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
    /// Draw from this many of the likeliest tokens only; not one of OpenAI's.
    #[schema(minimum = 1, maximum = 65_536)]
    top_k: Option<u32>,
    /// Answers for each prompt [default: 1].
    #[schema(minimum = 1, maximum = 16)]
    n: Option<u64>,
    /// Send the text as it is written, as server-sent events.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Tell the probability of each token, and of so many alternatives.
    #[schema(minimum = 0, maximum = 5)]
    logprobs: Option<u64>,
    /// Begin the answer with the prompt; with `logprobs` its tokens are scored too.
    echo: Option<bool>,
    /// At most four texts that end the answer and are not part of it.
    stop: Option<Texts>,
    /// The same seed gives the same text from the same weights [default: a drawn one].
    seed: Option<u64>,
    /// Whether the answers are stored, so that feedback can name them [default: true].
    store: Option<bool>,
    /// Whoever the text is for, as the caller names people; stored as a digest, by which it can be deleted.
    #[schema(max_length = 256)]
    user: Option<String>,
    /// Taken off the logit of a token that was written.
    #[schema(minimum = -2.0, maximum = 2.0)]
    presence_penalty: Option<f64>,
    /// The same for each time that it was written.
    #[schema(minimum = -2.0, maximum = 2.0)]
    frequency_penalty: Option<f64>,
    /// Above 1, tokens of the prompt and the answer come less often; not one of OpenAI's, nor are the next three.
    #[schema(minimum = 0.01, maximum = 100.0)]
    repetition_penalty: Option<f64>,
    /// Only tokens with this share of the probability of the likeliest one.
    #[schema(minimum = 0.0, maximum = 1.0)]
    min_p: Option<f64>,
    /// The text does not end before so many tokens.
    #[schema(minimum = 0)]
    min_tokens: Option<u64>,
    /// The text does not end by itself.
    ignore_eos: Option<bool>,
    /// Only `n`, or left out.
    best_of: Option<u64>,
    /// Ids of tokens, and what is added to their logits: -100 to 100 for at most 300.
    logit_bias: Option<BTreeMap<String, f64>>,
    /// Only empty, or left out.
    suffix: Option<String>,
    /// The id of a session: the prompt follows its text, to which prompt and answer are then added. Takes one prompt and
    /// gives one answer, which is not stored; penalties count the tokens of this request.
    session: Option<String>,
}

/// Options of a stream.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// End with a chunk that has `usage` and no choice.
    #[serde(default)]
    include_usage: bool,
}

/// One prompt or several.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a text, a list of texts, a list of tokens, or a list of such lists"
)]
pub(super) enum Prompts {
    /// A text.
    Text(String),
    /// Tokens.
    Tokens(Vec<u32>),
    /// Texts.
    Texts(Vec<String>),
    /// Lists of tokens.
    TokenLists(Vec<Vec<u32>>),
}

/// The answer, or a piece of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CompletionResponse {
    pub(super) id: String,
    /// `text_completion`.
    pub(super) object: &'static str,
    /// Seconds since 1970.
    pub(super) created: i64,
    pub(super) model: String,
    /// The weights that wrote it, shortened.
    pub(super) system_fingerprint: String,
    pub(super) choices: Vec<Choice>,
    /// Null in all chunks of a stream but the last of those that were asked to have it.
    pub(super) usage: Option<Usage>,
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

/// A checked request.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) form: Form,
    /// The name that the client used.
    pub(super) model: String,
    pub(super) plan: Plan,
    /// A prompt for each choice, in the order of their indices.
    pub(super) prompts: Vec<Input>,
    pub(super) include_usage: bool,
    /// The session that this goes on with.
    lease: Option<Lease>,
}

impl Work {
    /// Where the text stands now, if it is one of a session.
    pub(super) fn keep(&self, completion: &Completion) {
        if let (Some(lease), Some(session)) = (&self.lease, &completion.session) {
            lease.moves_to((**session).clone());
        }
    }
}

/// A prompt with its text, without the end-of-text that starts it.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) text: String,
    tokens: Option<Vec<u32>>,
    /// Whether that was written.
    has_start: bool,
    pub(super) seed: u64,
}

impl Input {
    /// How its answer is to be written.
    pub(super) fn plan(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        plan.sampling.seed = self.seed;
        plan.tells_start = self.has_start;
        plan
    }

    /// What the prompt counts: bytes, or tokens where it is given as such.
    pub(super) fn len(&self) -> usize {
        self.tokens.as_ref().map_or(self.text.len(), Vec::len)
    }

    pub(super) fn prompt(&self) -> Prompt {
        match &self.tokens {
            Some(tokens) => Prompt::Tokens(tokens.clone()),
            None => Prompt::Text(self.text.clone()),
        }
    }
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
            content((CompletionResponse = "application/json"), (String = "text/event-stream"))),
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
    let work = check(&app, &client, request, form)?;
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
    let mut response = head(&app, &work.model);
    let mut usage = Usage::default();
    for (index, (completion, input)) in completions.into_iter().zip(&work.prompts).enumerate() {
        usage.add(&completion, app.settings.args.engine.watts_per_core);
        work.keep(&completion);
        response.system_fingerprint = fingerprint(&completion.weights_version);
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
pub(super) fn head(app: &App, model: &str) -> CompletionResponse {
    CompletionResponse {
        id: format!("{ID_PREFIX}{}", random_id()),
        object: "text_completion",
        created: now_ms() / 1000,
        model: model.to_owned(),
        system_fingerprint: fingerprint(&app.engine.weights().version),
        choices: Vec::new(),
        usage: None,
    }
}

/// The id of an answer for feedback: of the first that of the response, which a client knows.
pub(super) fn answer_id(response: &CompletionResponse, index: usize) -> String {
    let own = response.id.strip_prefix(ID_PREFIX).filter(|_| index == 0);
    own.map_or_else(random_id, str::to_owned)
}

pub(super) fn fingerprint(version: &str) -> String {
    format!("itera-{}", version.get(..16).unwrap_or(version))
}

/// Checks every field.
fn check(
    app: &App,
    client: &Client,
    request: CompletionRequest,
    form: Form,
) -> Result<Work, Problem> {
    refuse_unsupported(&request)?;
    let precision = app
        .precision(request.model.as_deref())
        .ok_or_else(|| no_model(app))?;
    let echo = request.echo.unwrap_or(false);
    let max_tokens = request.max_tokens.unwrap_or(DEFAULT_TOKENS);
    let least = u64::from(!echo);
    let most = app.settings.args.limits.max_tokens;
    let max_tokens = in_range("max_tokens", max_tokens, &least, &most)?;
    let temperature = request.temperature.unwrap_or(1.0);
    let temperature = in_range("temperature", temperature, &0.0, &2.0)?;
    let logprobs = request
        .logprobs
        .map(|top| in_range("logprobs", top, &0, &(MAX_TOP as u64)))
        .transpose()?;
    let adjustments = adjustments(app, &request, max_tokens)?;
    let seed = request.seed.unwrap_or_else(draw_seed);
    let n = request.n.unwrap_or(1);
    let n = in_range("n", n, &1, &MAX_OF_PROMPT)?;
    let prompts = inputs(app, request.prompt, n, seed)?;
    let stop = generate::stops(request.stop)?;
    let log = Log::new(request.store, request.user)?;
    let top_k = generate::top_k(request.top_k)?;
    let top_p = generate::top_p(request.top_p)?;
    // The last check, since nobody else goes on with the session from here on.
    let (start, lease, log) = match &request.session {
        None => (Start::Fresh, None, log),
        Some(id) => {
            if echo || prompts.len() != 1 {
                let message = "a session takes one prompt and gives one answer, without `echo`";
                return Err(Problem::field("session", message));
            }
            let (session, lease) = app.sessions.lease(&client.id(), id)?;
            if request.model.is_some() && session.precision != precision {
                let message = format!(
                    "the session has the precision {}; leave `model` out",
                    session.precision
                );
                return Err(Problem::field("model", message));
            }
            (Start::Session(Box::new(session)), Some(lease), Log::none())
        }
    };
    Ok(Work {
        prompts,
        form,
        lease,
        model: request.model.unwrap_or_else(|| app.base.name.clone()),
        include_usage: request.stream_options.unwrap_or_default().include_usage,
        plan: Plan {
            start,
            precision,
            sampling: SamplingConfig {
                temperature: temperature as f32,
                top_k,
                top_p,
                seed,
            },
            adjustments,
            max_tokens: max_tokens as usize,
            stop,
            echo,
            tells_start: false,
            logprobs: logprobs.map(|top| top as usize),
            log,
        },
    })
}

/// Most biases of a request.
const MAX_BIASES: usize = 300;

/// Checks what is to be done to the logits.
fn adjustments(
    app: &App,
    request: &CompletionRequest,
    max_tokens: u64,
) -> Result<Adjustments, Problem> {
    let number = |param, value: Option<f64>, usual: f64, low, high| {
        in_range(param, value.unwrap_or(usual), &low, &high).map(|value| value as f32)
    };
    let min_tokens = request.min_tokens.unwrap_or(0);
    Ok(Adjustments {
        repetition_penalty: number(
            "repetition_penalty",
            request.repetition_penalty,
            1.0,
            0.01,
            100.0,
        )?,
        presence_penalty: number("presence_penalty", request.presence_penalty, 0.0, -2.0, 2.0)?,
        frequency_penalty: number(
            "frequency_penalty",
            request.frequency_penalty,
            0.0,
            -2.0,
            2.0,
        )?,
        min_p: number("min_p", request.min_p, 0.0, 0.0, 1.0)?,
        bias: biases(app, request.logit_bias.as_ref())?,
        min_tokens: in_range("min_tokens", min_tokens, &0, &max_tokens)? as usize,
        ignores_end: request.ignore_eos.unwrap_or(false),
    })
}

fn biases(app: &App, asked: Option<&BTreeMap<String, f64>>) -> Result<Vec<(u32, f32)>, Problem> {
    let asked = asked.into_iter().flatten();
    let known = app.base.weights.checkpoint.tokenizer.vocab_size() as u32;
    let bias = |(token, &bias): (&String, &f64)| {
        let id = token.parse::<u32>().ok().filter(|id| *id < known);
        let id = id.ok_or_else(|| {
            let message =
                format!("`logit_bias` names the token `{token}`, expected ids below {known}");
            Problem::field("logit_bias", message)
        })?;
        Ok((id, in_range("logit_bias", bias, &-100.0, &100.0)? as f32))
    };
    let biases: Vec<_> = asked.map(bias).collect::<Result<_, Problem>>()?;
    if biases.len() > MAX_BIASES {
        let message = format!(
            "`logit_bias` has {} tokens, expected at most {MAX_BIASES}",
            biases.len()
        );
        return Err(Problem::field("logit_bias", message));
    }
    Ok(biases)
}

/// A prompt for each choice; each choice has a seed of its own.
pub(super) fn inputs(
    app: &App,
    prompts: Prompts,
    n: u64,
    seed: u64,
) -> Result<Vec<Input>, Problem> {
    let input = |text, tokens, has_start| Input {
        text,
        tokens,
        has_start,
        seed,
    };
    let text = |text: String| -> Result<_, Problem> {
        let (text, has_start) = match text.strip_prefix(END_OF_TEXT) {
            Some(rest) => (rest.to_owned(), true),
            None => (text, false),
        };
        Ok(input(prompt_text(app, "prompt", text)?, None, has_start))
    };
    let end_of_text = app.engine.weights().checkpoint.tokenizer.end_of_text();
    if matches!(&prompts, Prompts::Tokens(none) if none.is_empty()) {
        return Err(Problem::field(
            "prompt",
            "`prompt` is an empty list; give a text, or an empty text to begin one",
        ));
    }
    let tokens = |mut tokens: Vec<u32>| -> Result<_, Problem> {
        let has_start = tokens.first() == Some(&end_of_text);
        tokens.drain(..usize::from(has_start));
        let text = prompt_of_tokens(app, &tokens)?;
        Ok(input(text, Some(tokens), has_start))
    };
    let prompts = match prompts {
        Prompts::Text(one) => vec![text(one)?],
        Prompts::Tokens(one) => vec![tokens(one)?],
        Prompts::Texts(many) => many.into_iter().map(text).collect::<Result<_, _>>()?,
        Prompts::TokenLists(many) => many.into_iter().map(tokens).collect::<Result<_, _>>()?,
    };
    let choices = prompts.len() * n as usize;
    if !(1..=MAX_CHOICES).contains(&choices) {
        let message =
            format!("`prompt` and `n` ask for {choices} answers, expected 1 to {MAX_CHOICES}");
        return Err(Problem::field("prompt", message));
    }
    let each = prompts
        .into_iter()
        .flat_map(|prompt| (0..n).map(move |_| prompt.clone()));
    let inputs = each.zip(0..).map(|(input, index)| Input {
        seed: seed.wrapping_add(index),
        ..input
    });
    Ok(inputs.collect())
}

/// The text of a prompt of tokens.
fn prompt_of_tokens(app: &App, tokens: &[u32]) -> Result<String, Problem> {
    let weights = app.engine.weights();
    let tokenizer = &weights.checkpoint.tokenizer;
    let known = tokenizer.vocab_size();
    if let Some(token) = tokens.iter().find(|token| **token as usize >= known) {
        let message = format!("`prompt` has the token {token}, expected below {known}");
        return Err(Problem::field("prompt", message));
    }
    let text = tokenizer.decode(tokens);
    prompt_text(app, "prompt", String::from_utf8_lossy(&text).into_owned())
}

/// Says so where something is asked for that is not done, and does not pretend.
fn refuse_unsupported(request: &CompletionRequest) -> Result<(), Problem> {
    let n = request.n.unwrap_or(1);
    let checks = [
        (
            "best_of",
            request.best_of.is_none_or(|best_of| best_of == n),
        ),
        (
            "suffix",
            request.suffix.as_ref().is_none_or(String::is_empty),
        ),
    ];
    match checks.into_iter().find(|(_, holds)| !holds) {
        None => Ok(()),
        Some((param, _)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "unsupported_parameter",
            format!("`{param}` is not supported; leave it out"),
        )),
    }
}

/// The models that requests may name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ModelsResponse {
    /// `list`.
    object: &'static str,
    data: Vec<ModelBody>,
}

/// A model at a precision.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ModelBody {
    id: String,
    /// `model`.
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    precision: String,
    weights_version: String,
}

/// The models that requests may name, the default first.
#[utoipa::path(
    get,
    path = "/v1/models",
    responses((status = 200, description = "The models", body = ModelsResponse))
)]
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<ModelsResponse> {
    let name = &app.base.name;
    let precisions = app.base.precisions.iter();
    let each = precisions.map(|p| model_body(&app, format!("{name}.{p}"), p.to_string()));
    let default = model_body(&app, name.clone(), app.base.default.to_string());
    Json(ModelsResponse {
        object: "list",
        data: [default].into_iter().chain(each).collect(),
    })
}

/// One model, by a name of the list.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    params(("id" = String, Path, description = "Its name")),
    responses((status = 200, description = "The model", body = ModelBody))
)]
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ModelBody>, Problem> {
    let precision = app
        .precision(Some(&id))
        .ok_or_else(|| no_model(&app))?
        .to_string();
    Ok(Json(model_body(&app, id, precision)))
}

fn model_body(app: &App, id: String, precision: String) -> ModelBody {
    ModelBody {
        id,
        object: "model",
        created: 0,
        owned_by: "itera",
        precision,
        weights_version: app.engine.weights().version.to_string(),
    }
}

pub(super) fn no_model(app: &App) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "model_not_found",
        format!("no such model; there are {}", app.known_models()),
    )
}
