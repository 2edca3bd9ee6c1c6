//! What `POST /v1/completions` is asked for, and the checks of every field.

use std::collections::BTreeMap;

use itera_core::{
    sampling::SamplingConfig,
    tokenizer::{END_OF_TEXT, Tokenizer},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::{
    App,
    arms::Chosen,
    chat::Form,
    generate::{self, Log, Plan, Texts, draw_seed, in_range, prompt_text},
    sessions::Lease,
};
use crate::{
    client::Client,
    engine::{Adjustments, Completion, MAX_TOP, Prompt, Start},
    problem::{Code, Problem},
    store::Sampling,
};

/// OpenAI's default.
const DEFAULT_TOKENS: u64 = 16;

/// Most answers to one prompt, and to all prompts of a request.
const MAX_OF_PROMPT: u64 = 16;
const MAX_CHOICES: usize = 64;

/// What to write. Fields that are not listed are ignored, as clients send more.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(example = json!({"prompt": "Once upon a time", "max_tokens": 40, "temperature": 0.8}))]
pub(in crate::app) struct CompletionRequest {
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
    pub(super) stream: Option<bool>,
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
struct StreamOptions {
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
pub(in crate::app) enum Prompts {
    /// A text.
    Text(String),
    /// Tokens.
    Tokens(Vec<u32>),
    /// Texts.
    Texts(Vec<String>),
    /// Lists of tokens.
    TokenLists(Vec<Vec<u32>>),
}

/// A checked request.
#[derive(Debug)]
pub(in crate::app) struct Work {
    pub(in crate::app) form: Form,
    pub(in crate::app) plan: Plan,
    /// A prompt for each choice, in the order of their indices.
    pub(in crate::app) prompts: Vec<Input>,
    pub(in crate::app) include_usage: bool,
    /// The session that this goes on with.
    lease: Option<Lease>,
}

impl Work {
    /// Checks every field.
    ///
    /// # Errors
    /// The first that cannot be.
    pub(super) fn new(
        app: &App,
        client: &Client,
        request: CompletionRequest,
        form: Form,
    ) -> Result<Self, Problem> {
        refuse_unsupported(&request)?;
        let (asked, session) = (request.model.as_deref(), request.session.as_deref());
        let sampling = Sampling {
            temperature: request.temperature,
            top_k: request.top_k,
            top_p: request.top_p,
        };
        let Chosen {
            variant,
            sampling,
            arm,
        } = match session {
            None => app.choose(client, asked, request.user.as_deref(), sampling)?,
            Some(id) => app.sessions.chosen(&client.id(), id, sampling)?,
        };
        let is_own = |name: &str| *name == *variant.name || variant.has_name(name);
        if let (Some(_), Some(name)) = (session, asked)
            && !is_own(name)
            && app.variant(asked)?.id() != variant.id()
        {
            let message = format!(
                "the session is one of `{}`; leave `model` out",
                variant.id()
            );
            return Err(Problem::field("model", message));
        }
        let echo = request.echo.unwrap_or(false);
        let max_tokens = request.max_tokens.unwrap_or(DEFAULT_TOKENS);
        let least = u64::from(!echo);
        let most = app.settings.args.limits.max_tokens;
        let max_tokens = in_range("max_tokens", max_tokens, &least, &most)?;
        let temperature = sampling.temperature.unwrap_or(1.0);
        let temperature = in_range("temperature", temperature, &0.0, &2.0)?;
        let logprobs = request
            .logprobs
            .map(|top| in_range("logprobs", top, &0, &(MAX_TOP as u64)))
            .transpose()?;
        let adjustments = adjustments(&variant.tokenizer, &request, max_tokens)?;
        let seed = request.seed.unwrap_or_else(draw_seed);
        let n = in_range("n", request.n.unwrap_or(1), &1, &MAX_OF_PROMPT)?;
        let prompts = inputs(app, &variant.tokenizer, request.prompt, n, seed)?;
        let stop = generate::stops(request.stop)?;
        let log = Log::new(request.store, request.user)?;
        let top_k = generate::top_k(sampling.top_k)?;
        let top_p = generate::top_p(sampling.top_p)?;
        // The last check, since nobody else goes on with the session from here on.
        let (start, lease, log) = match session {
            None => (Start::Fresh, None, log),
            Some(_) if echo || prompts.len() != 1 => {
                let message = "a session takes one prompt and gives one answer, without `echo`";
                return Err(Problem::field("session", message));
            }
            Some(id) => {
                let (session, lease) = app.sessions.lease(&client.id(), id)?;
                (Start::Session(Box::new(session)), Some(lease), Log::none())
            }
        };
        Ok(Self {
            prompts,
            form,
            lease,
            include_usage: request.stream_options.unwrap_or_default().include_usage,
            plan: Plan {
                start,
                variant,
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
                arm,
            },
        })
    }

    /// Where the text stands now, if it is one of a session.
    pub(in crate::app) fn keep(&self, completion: &mut Completion) {
        if let (Some(lease), Some(session)) = (&self.lease, completion.session.take()) {
            lease.moves_to(*session);
        }
    }
}

/// A prompt with its text, without the end-of-text that starts it.
#[derive(Clone, Debug)]
pub(in crate::app) struct Input {
    pub(in crate::app) text: String,
    tokens: Option<Vec<u32>>,
    /// Whether that was written.
    has_start: bool,
    pub(in crate::app) seed: u64,
}

impl Input {
    /// How its answer is to be written.
    pub(in crate::app) fn plan(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        plan.sampling.seed = self.seed;
        plan.tells_start = self.has_start;
        plan
    }

    /// What the prompt counts: bytes, or tokens where it is given as such.
    pub(in crate::app) fn len(&self) -> usize {
        self.tokens.as_ref().map_or(self.text.len(), Vec::len)
    }

    pub(in crate::app) fn prompt(&self) -> Prompt {
        match &self.tokens {
            Some(tokens) => Prompt::Tokens(tokens.clone()),
            None => Prompt::Text(self.text.clone()),
        }
    }
}

/// Most biases of a request.
const MAX_BIASES: usize = 300;

/// Checks what is to be done to the logits.
fn adjustments(
    tokenizer: &Tokenizer,
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
        bias: biases(tokenizer, request.logit_bias.as_ref())?,
        min_tokens: in_range("min_tokens", min_tokens, &0, &max_tokens)? as usize,
        ignores_end: request.ignore_eos.unwrap_or(false),
    })
}

fn biases(
    tokenizer: &Tokenizer,
    asked: Option<&BTreeMap<String, f64>>,
) -> Result<Vec<(u32, f32)>, Problem> {
    let asked = asked.into_iter().flatten();
    let known = tokenizer.vocab_size() as u32;
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
pub(in crate::app) fn inputs(
    app: &App,
    tokenizer: &Tokenizer,
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
    let end_of_text = tokenizer.end_of_text();
    if matches!(&prompts, Prompts::Tokens(none) if none.is_empty()) {
        return Err(Problem::field(
            "prompt",
            "`prompt` is an empty list; give a text, or an empty text to begin one",
        ));
    }
    let tokens = |mut tokens: Vec<u32>| -> Result<_, Problem> {
        let has_start = tokens.first() == Some(&end_of_text);
        tokens.drain(..usize::from(has_start));
        let text = prompt_of_tokens(app, tokenizer, &tokens)?;
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
fn prompt_of_tokens(app: &App, tokenizer: &Tokenizer, tokens: &[u32]) -> Result<String, Problem> {
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
            Code::UnsupportedParameter,
            format!("`{param}` is not supported; leave it out"),
        )),
    }
}
