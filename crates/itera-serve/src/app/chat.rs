//! `POST /v1/chat/completions`, as OpenAI's clients expect it, over a model that knows no conversations: it goes on
//! with the text of all messages, a line end between each and the next.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    App,
    completions::{self, CompletionRequest, CompletionResponse, ID_PREFIX, Usage},
    stream::StreamEvent,
};
use crate::{
    client::Client,
    problem::{Body, Problem},
};

/// What the id of a chat completion begins with; the rest is good for feedback.
pub(super) const CHAT_PREFIX: &str = "chatcmpl-";

/// A conversation to continue. All fields of `POST /v1/completions` but `prompt`, `echo` and `logprobs` are read too.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(example = json!({"messages": [{"role": "user", "content": "Once upon a time"}], "max_tokens": 40}))]
pub(super) struct ChatRequest {
    /// Their roles are not told to the model.
    messages: Vec<Message>,
    /// The same as `max_tokens`, which it goes before.
    max_completion_tokens: Option<u64>,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    rest: Map<String, Value>,
}

/// A part of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
struct Message {
    /// `system`, `user`, `assistant` or another.
    #[serde(rename = "role")]
    _role: String,
    content: Content,
}

/// A text or the parts of one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a text or a list of parts that are texts"
)]
enum Content {
    /// A text.
    Text(String),
    /// Parts, each a text.
    Parts(Vec<Part>),
}

/// A part of a text.
#[derive(Clone, Debug, Deserialize, ToSchema)]
struct Part {
    text: String,
}

impl Content {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        }
    }
}

/// The answer, or a piece of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ChatResponse {
    id: String,
    /// `chat.completion`, of a piece `chat.completion.chunk`.
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    /// The name of the model.
    model: String,
    /// Precision of the weights; not one of OpenAI's.
    precision: &'static str,
    /// The weights that wrote it, shortened.
    system_fingerprint: String,
    choices: Vec<ChatChoice>,
    usage: Option<Usage>,
    /// `EXPERIMENT/ARM`, if it is part of an experiment; not one of OpenAI's.
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: Option<String>,
}

/// One answer, or a piece of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ChatChoice {
    index: usize,
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Answer>,
    /// Of a piece: what is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Answer>,
    /// `stop` or `length`; null while more follows.
    finish_reason: Option<&'static str>,
    /// What to name in `POST /feedback`; null while more follows.
    feedback_id: Option<String>,
    /// Gives this text again from these weights.
    seed: u64,
}

/// What the model says.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Answer {
    /// Of pieces, only the first has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    content: String,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// That of `POST /v1/completions`.
    Text,
    /// That of `POST /v1/chat/completions`.
    Chat,
}

impl Form {
    /// A whole answer as JSON.
    pub(super) fn whole(self, response: CompletionResponse) -> serde_json::Result<String> {
        match self {
            Self::Text => serde_json::to_string(&response),
            Self::Chat => {
                let message = |content| (Some(answer(Some("assistant"), content)), None);
                serde_json::to_string(&chat("chat.completion", response, message))
            }
        }
    }

    /// A piece as JSON; the `first` of a choice has no text yet.
    pub(super) fn piece(
        self,
        chunk: CompletionResponse,
        first: bool,
    ) -> serde_json::Result<String> {
        match self {
            Self::Text => serde_json::to_string(&chunk),
            Self::Chat => {
                let role = first.then_some("assistant");
                let delta = |content| (None, Some(answer(role, content)));
                serde_json::to_string(&chat("chat.completion.chunk", chunk, delta))
            }
        }
    }
}

const fn answer(role: Option<&'static str>, content: String) -> Answer {
    Answer { role, content }
}

/// An answer in the other form; `says` makes message and delta of a text.
fn chat(
    object: &'static str,
    response: CompletionResponse,
    says: impl Fn(String) -> (Option<Answer>, Option<Answer>),
) -> ChatResponse {
    let id = response.id.strip_prefix(ID_PREFIX).unwrap_or(&response.id);
    let choices = response.choices.into_iter().map(|choice| {
        let (message, delta) = says(choice.text);
        ChatChoice {
            index: choice.index,
            message,
            delta,
            finish_reason: choice.finish_reason,
            feedback_id: choice.feedback_id,
            seed: choice.seed,
        }
    });
    ChatResponse {
        id: format!("{CHAT_PREFIX}{id}"),
        object,
        created: response.created,
        model: response.model,
        precision: response.precision,
        system_fingerprint: response.system_fingerprint,
        choices: choices.collect(),
        usage: response.usage,
        arm: response.arm,
    }
}

/// Continue a conversation, for clients of the OpenAI interface.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answers; with `stream` as events of the same form that end in `[DONE]`",
            content((ChatResponse = "application/json"), (StreamEvent = "text/event-stream"))),
    )
)]
pub(super) async fn chat_completions(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<ChatRequest>,
) -> Result<Response, Problem> {
    completions::answer(app, client, plain(request)?, Form::Chat).await
}

/// The request for a plain text that it stands for.
fn plain(request: ChatRequest) -> Result<CompletionRequest, Problem> {
    let ChatRequest {
        messages,
        max_completion_tokens,
        mut rest,
    } = request;
    if messages.is_empty() {
        return Err(Problem::field(
            "messages",
            "`messages` is empty; give at least one",
        ));
    }
    for param in ["prompt", "echo"] {
        rest.remove(param);
    }
    let tells = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    if rest.remove("logprobs").is_some_and(|value| tells(&value)) {
        return Err(Problem::field(
            "logprobs",
            "`logprobs` is not told of conversations; ask `/v1/completions`, or `/v1/score`",
        ));
    }
    let texts: Vec<String> = messages
        .into_iter()
        .map(|message| message.content.into_text())
        .collect();
    rest.insert("prompt".to_owned(), Value::String(texts.join("\n")));
    if let Some(most) = max_completion_tokens {
        rest.insert("max_tokens".to_owned(), most.into());
    }
    let request = serde_path_to_error::deserialize(Value::Object(rest));
    request.map_err(|error| Problem::field("messages", error.to_string()))
}
