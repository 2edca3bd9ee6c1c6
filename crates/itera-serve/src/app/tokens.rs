//! `POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`, as clients of vLLM and llama-server expect them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
};
use itera_core::tokenizer::END_OF_TEXT;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use crate::problem::{Body, Problem};

/// A text to divide into tokens. Fields that are not listed are ignored, as clients send more.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(example = json!({"prompt": "Once upon a time"}))]
pub(super) struct TokenizeRequest {
    /// The text; `content` is the same.
    #[serde(alias = "content")]
    prompt: String,
    /// Whether the end-of-text before every text is told too [default: false]; `add_special` is the same.
    #[serde(default, alias = "add_special")]
    add_special_tokens: bool,
    /// A name of `GET /v1/models` [default: the first].
    model: Option<String>,
}

/// The tokens of a text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TokenizeResponse {
    tokens: Vec<u32>,
    count: usize,
}

/// Divide a text into tokens.
#[utoipa::path(
    post,
    path = "/tokenize",
    request_body = TokenizeRequest,
    responses((status = 200, description = "The tokens", body = TokenizeResponse))
)]
pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    Body(request): Body<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, Problem> {
    let variant = app.variant(request.model.as_deref())?;
    let tokenizer = &variant.tokenizer;
    // A client that asks for the id of end-of-text writes its name.
    let tokens = if request.prompt == END_OF_TEXT {
        vec![tokenizer.end_of_text()]
    } else {
        let found = tokenizer.encode(request.prompt.as_bytes());
        let mut tokens = found.map_err(|error| Problem::field("prompt", error.to_string()))?;
        if request.add_special_tokens {
            tokens.insert(0, tokenizer.end_of_text());
        }
        tokens
    };
    Ok(Json(TokenizeResponse {
        count: tokens.len(),
        tokens,
    }))
}

/// Tokens to join. Fields that are not listed are ignored, as clients send more.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(example = json!({"tokens": [72, 105]}))]
pub(super) struct DetokenizeRequest {
    tokens: Vec<u32>,
    /// A name of `GET /v1/models` [default: the first].
    model: Option<String>,
}

/// The text of tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DetokenizeResponse {
    /// The text; bytes that are no characters are replaced.
    prompt: String,
    /// The same.
    content: String,
}

/// Join tokens to their text.
#[utoipa::path(
    post,
    path = "/detokenize",
    request_body = DetokenizeRequest,
    responses((status = 200, description = "The text", body = DetokenizeResponse))
)]
pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    Body(request): Body<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, Problem> {
    let variant = app.variant(request.model.as_deref())?;
    let tokenizer = &variant.tokenizer;
    let vocabulary = tokenizer.vocab_size() as u32;
    if let Some(token) = request.tokens.iter().find(|token| **token >= vocabulary) {
        let message = format!("`tokens` holds {token}, expected ids below {vocabulary}");
        return Err(Problem::field("tokens", message));
    }
    let end = tokenizer.end_of_text();
    let texts = request.tokens.split(|token| *token == end);
    let texts: Vec<Vec<u8>> = texts.map(|tokens| tokenizer.decode(tokens)).collect();
    let text = String::from_utf8_lossy(&texts.join(END_OF_TEXT.as_bytes())).into_owned();
    Ok(Json(DetokenizeResponse {
        prompt: text.clone(),
        content: text,
    }))
}

/// What a client needs to know of the tokenizer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TokenizerInfo {
    /// Its class: `bpe`, `bytes` or `char`.
    tokenizer_class: String,
    vocab_size: usize,
    /// The token before every text, and the one that ends it.
    bos_token: &'static str,
    eos_token: &'static str,
    /// None: the model was trained on texts, not on conversations.
    chat_template: Option<String>,
}

/// Whose tokenizer.
#[derive(Debug, Deserialize)]
pub(super) struct Whose {
    model: Option<String>,
}

/// What a client needs to know of the tokenizer.
#[utoipa::path(
    get,
    path = "/tokenizer_info",
    params(("model" = Option<String>, Query, description = "A name of `GET /v1/models` [default: the first]")),
    responses((status = 200, description = "The tokenizer", body = TokenizerInfo))
)]
pub(super) async fn tokenizer_info(
    State(app): State<Arc<App>>,
    Query(whose): Query<Whose>,
) -> Result<Json<TokenizerInfo>, Problem> {
    let variant = app.variant(whose.model.as_deref())?;
    let tokenizer = &variant.tokenizer;
    Ok(Json(TokenizerInfo {
        tokenizer_class: tokenizer.kind().name().to_owned(),
        vocab_size: tokenizer.vocab_size(),
        bos_token: END_OF_TEXT,
        eos_token: END_OF_TEXT,
        chat_template: None,
    }))
}
