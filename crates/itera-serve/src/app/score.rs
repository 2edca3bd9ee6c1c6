//! `POST /v1/score`: how likely texts are.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{Extension, Json, extract::State};
use itera_core::{
    model::{Scorer, bits_per_byte},
    tokenizer::Tokenizer,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use utoipa::ToSchema;

use super::{App, generate::Texts};
use crate::{
    client::Client,
    limits::Work,
    problem::{Body, Problem},
    weights::Variant,
};

/// Most texts of a request, and most tokens of them together.
const MAX_TEXTS: usize = 256;
const MAX_TOKENS: usize = 65_536;

/// Most tokens of a request whose likelihoods are told one by one.
const MAX_TOLD: usize = 16_384;

/// What to score.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"input": ["Once upon a time", "a time upon Once"]}))]
pub(super) struct ScoreRequest {
    /// A text, or at most 256.
    input: Texts,
    /// A name of `GET /v1/models` [default: the first].
    model: Option<String>,
    /// Whether the likelihood of each token is told too [default: false].
    #[serde(default)]
    tokens: bool,
}

/// The scores in the order of the texts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ScoreResponse {
    model: String,
    /// Precision of the weights.
    precision: String,
    /// Digest of the weights.
    weights_version: String,
    data: Vec<TextScore>,
}

/// What the model makes of a text that it reads from a fresh state.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TextScore {
    /// Negative log-likelihood in nats: that of `itera-validate score`, to the last bit.
    nll_nats: f64,
    bytes: usize,
    tokens: usize,
    /// `nll_nats / ln 2 / bytes`; null for an empty text.
    bits_per_byte: Option<f64>,
    /// Only if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_scores: Option<Vec<TokenScore>>,
}

/// What the model makes of a token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TokenScore {
    id: u32,
    /// Where it begins in the text, and its length, in bytes.
    offset: usize,
    bytes: usize,
    nll_nats: f64,
}

/// Tell how likely texts are.
#[utoipa::path(
    post,
    path = "/v1/score",
    request_body = ScoreRequest,
    responses((status = 200, description = "The scores", body = ScoreResponse))
)]
pub(super) async fn score(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<ScoreRequest>,
) -> Result<Json<ScoreResponse>, Problem> {
    let variant = app.variant(request.model.as_deref())?;
    let texts = Arc::new(texts(request.input)?);
    let documents = tokenized(&variant, &texts).await?;
    let tokens: usize = documents.iter().map(Vec::len).sum();
    let _charge = app
        .limits
        .admit(&client, work(&documents, request.tokens)?)?;
    let documents = Arc::new(documents);
    let scores = nats(&app, &variant, &documents).await?;
    app.metrics.count_scored(tokens);
    let data = texts.iter().zip(documents.iter()).zip(&scores);
    let data = data.map(|((text, tokens), nats)| {
        let told = request
            .tokens
            .then(|| token_scores(&variant.tokenizer, tokens, nats));
        text_score(text, nats, told)
    });
    Ok(Json(ScoreResponse {
        model: variant.name.to_string(),
        precision: variant.precision.to_string(),
        weights_version: variant.version.to_string(),
        data: data.collect(),
    }))
}

fn texts(input: Texts) -> Result<Vec<String>, Problem> {
    let texts = input.into_list();
    if texts.is_empty() || texts.len() > MAX_TEXTS {
        let message = format!(
            "`input` has {} texts, expected 1 to {MAX_TEXTS}; divide it over several requests",
            texts.len()
        );
        return Err(Problem::field("input", message));
    }
    Ok(texts)
}

/// The tokens of each text.
async fn tokenized(
    variant: &Arc<Variant>,
    texts: &Arc<Vec<String>>,
) -> Result<Vec<Vec<u32>>, Problem> {
    let (variant, texts) = (Arc::clone(variant), Arc::clone(texts));
    let encode = move || {
        let tokens = |text: &String| variant.tokenizer.encode(text.as_bytes());
        let documents = texts.iter().map(tokens);
        documents.collect::<Result<Vec<_>, _>>()
    };
    let documents = tokio::task::spawn_blocking(encode).await;
    let documents = documents.map_err(Problem::internal)?;
    documents.map_err(|error| Problem::field("input", error.to_string()))
}

/// What the request costs, if anybody may ask for it.
fn work(documents: &[Vec<u32>], tells_tokens: bool) -> Result<Work, Problem> {
    let tokens = documents.iter().map(Vec::len).sum();
    let most = if tells_tokens { MAX_TOLD } else { MAX_TOKENS };
    if tokens > most {
        let message = format!(
            "the texts have {tokens} tokens, expected at most {most}; divide them over several requests"
        );
        return Err(Problem::field("input", message));
    }
    Ok(Work {
        choices: 1,
        tokens,
        told: if tells_tokens { tokens } else { 0 },
    })
}

/// The documents of a request, which several threads score.
struct Shared {
    variant: Arc<Variant>,
    documents: Arc<Vec<Vec<u32>>>,
    /// Which of them are scored together.
    groups: Vec<Range<usize>>,
    /// The group that nobody scores yet.
    next: AtomicUsize,
    /// Whether nobody waits for the scores any more.
    is_over: AtomicBool,
}

/// A group by its first document, with the likelihood of each token of each of its documents in nats.
type ScoredGroup = (usize, Vec<Vec<f64>>);

impl Shared {
    /// Scores one group after the other until there is none.
    fn work_off(&self) -> Vec<ScoredGroup> {
        let mut scorer = self
            .variant
            .model
            .scorer(self.variant.tokenizer.end_of_text());
        let mut scored = Vec::new();
        while !self.is_over.load(Ordering::Relaxed)
            && let Some(group) = self.groups.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            let documents = self.documents[group.clone()].iter();
            let documents: Vec<&[u32]> = documents.map(Vec::as_slice).collect();
            let mut nats = vec![Vec::new(); documents.len()];
            scorer.tokens(&documents, |document, next| nats[document].push(next));
            scored.push((group.start, nats));
        }
        scored
    }
}

/// Ends the work when the request is given up.
struct Waits(Arc<Shared>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// The likelihood of each token of each document, in nats. As many threads as the server generates with, less those
/// that score for others; at least one.
async fn nats(
    app: &Arc<App>,
    variant: &Arc<Variant>,
    documents: &Arc<Vec<Vec<u32>>>,
) -> Result<Vec<Vec<f64>>, Problem> {
    let shared = Arc::new(Shared {
        variant: Arc::clone(variant),
        documents: Arc::clone(documents),
        groups: Scorer::groups(documents.iter().map(Vec::len)),
        next: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let _waits = Waits(Arc::clone(&shared));
    let most = shared.groups.len();
    let mut threads = JoinSet::new();
    let mut seat = Arc::clone(&app.scoring).acquire_owned().await.ok();
    while let Some(taken) = seat.take() {
        let shared = Arc::clone(&shared);
        threads.spawn_blocking(move || {
            let scored = shared.work_off();
            drop(taken);
            scored
        });
        if threads.len() < most {
            seat = Arc::clone(&app.scoring).try_acquire_owned().ok();
        }
    }
    let mut all = vec![Vec::new(); documents.len()];
    while let Some(scored) = threads.join_next().await {
        for (start, nats) in scored.map_err(Problem::internal)? {
            for (place, nats) in all[start..].iter_mut().zip(nats) {
                *place = nats;
            }
        }
    }
    Ok(all)
}

fn text_score(text: &str, nats: &[f64], token_scores: Option<Vec<TokenScore>>) -> TextScore {
    // From 0, token by token, as everywhere: the sum of none is 0 and not -0.
    let nll_nats = nats.iter().fold(0.0, |sum, next| sum + next);
    TextScore {
        nll_nats,
        bytes: text.len(),
        tokens: nats.len(),
        bits_per_byte: (!text.is_empty()).then(|| bits_per_byte(nll_nats, text.len() as f64)),
        token_scores,
    }
}

fn token_scores(tokenizer: &Tokenizer, tokens: &[u32], nats: &[f64]) -> Vec<TokenScore> {
    let mut offset = 0;
    let scores = tokens.iter().zip(nats).map(|(&id, &nll_nats)| {
        let bytes = tokenizer.token_bytes(id).len();
        offset += bytes;
        TokenScore {
            id,
            offset: offset - bytes,
            bytes,
            nll_nats,
        }
    });
    scores.collect()
}
