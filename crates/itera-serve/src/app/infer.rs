//! `POST /infer`: text in, text out.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use itera_core::sampling::SamplingConfig;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    arms::Chosen,
    generate::{self, Plan, Texts, draw_seed, in_range, log, prompt_text},
};
use crate::{
    client::Client,
    engine::{Adjustments, Prompt, Start},
    experiments::Assigned,
    problem::{Body, Problem},
    store::{Sampling, random_id},
};

const DEFAULT_LENGTH: u64 = 64;
const DEFAULT_TEMPERATURE: f64 = 0.8;

/// What to write.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"input_text": "Once upon a time", "max_length": 40}))]
pub(super) struct InferRequest {
    /// The text to continue.
    input_text: String,
    /// Most tokens to write [default: 64]; at most those of `--max-tokens`.
    #[schema(minimum = 1)]
    max_length: Option<u64>,
    /// 0.1 to 2: the lower, the likelier the text [default: 0.8].
    #[schema(minimum = 0.1, maximum = 2.0)]
    temperature: Option<f64>,
    /// Draw from this many of the likeliest tokens only.
    #[schema(minimum = 1, maximum = 65_536)]
    top_k: Option<u32>,
    /// Draw from the likeliest tokens that together have this probability.
    #[schema(exclusive_minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
    /// The same seed gives the same text from the same weights [default: a drawn one].
    seed: Option<u64>,
    /// At most four texts that end the answer and are not part of it.
    stop: Option<Texts>,
    /// Precision of the weights, fp32, int8 or int4 as far as the model has them, or a name of `GET /v1/models`.
    model_variant: Option<String>,
    /// Whether the answer is stored, so that feedback can name it [default: true].
    store: Option<bool>,
    /// Whoever the text is for, as the caller names people; stored as a digest, by which it can be deleted.
    #[schema(max_length = 256)]
    user: Option<String>,
}

/// What was written.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct InferResponse {
    /// The continuation, without the input.
    output_text: String,
    /// The input.
    input_text: String,
    /// From the request's arrival to the end of the text.
    latency_ms: f64,
    /// Tokens written.
    tokens_generated: usize,
    /// The model that wrote it.
    model: String,
    /// Precision of the weights that wrote it.
    model_variant: String,
    /// Digest of the weights that wrote it.
    weights_version: String,
    /// What to name in `POST /feedback`; null if the answer is not stored.
    feedback_id: Option<String>,
    /// Gives this text again from these weights.
    seed: u64,
    /// `stop` at the end of the text or at a stop text, `length` after `max_length` tokens.
    finish_reason: &'static str,
    /// `EXPERIMENT/ARM`, if it is part of an experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: Option<String>,
}

/// Continue a text. The answer is logged, so that feedback can name it.
#[utoipa::path(
    post,
    path = "/infer",
    request_body = InferRequest,
    responses(
        (status = 200, description = "The continuation", body = InferResponse),
    )
)]
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Body(request): Body<InferRequest>,
) -> Result<Json<InferResponse>, Problem> {
    let (input_text, plan) = plan(&app, &client, request)?;
    let _charge = app.limits.admit(&client, plan.work([input_text.len()]))?;
    let prompt = Prompt::Text(input_text.clone());
    let completion = generate::run(&app, &client, &plan, prompt).await?;
    let feedback_id = log(&app, random_id(), &plan, input_text.clone(), &completion);
    Ok(Json(InferResponse {
        latency_ms: completion.total.as_secs_f64() * 1e3,
        tokens_generated: completion.tokens,
        model: completion.variant.name.to_string(),
        model_variant: completion.variant.precision.to_string(),
        weights_version: completion.variant.version.to_string(),
        finish_reason: completion.finish.name(),
        output_text: completion.text,
        input_text,
        feedback_id,
        seed: plan.sampling.seed,
        arm: plan.arm.as_ref().map(Assigned::name),
    }))
}

/// Checks every field.
fn plan(app: &App, client: &Client, request: InferRequest) -> Result<(String, Plan), Problem> {
    let input_text = prompt_text(app, "input_text", request.input_text)?;
    let max_length = request.max_length.unwrap_or(DEFAULT_LENGTH);
    let max_length = in_range(
        "max_length",
        max_length,
        &1,
        &app.settings.args.limits.max_tokens,
    )?;
    if let Some(temperature) = request.temperature {
        in_range("temperature", temperature, &0.1, &2.0)?;
    }
    let sampling = Sampling {
        temperature: request.temperature,
        top_k: request.top_k,
        top_p: request.top_p,
    };
    let (model, user) = (request.model_variant.as_deref(), request.user.as_deref());
    let Chosen {
        variant,
        sampling,
        arm,
    } = app.choose(client, model, user, sampling)?;
    let plan = Plan {
        start: Start::Fresh,
        variant,
        sampling: SamplingConfig {
            temperature: sampling.temperature.unwrap_or(DEFAULT_TEMPERATURE) as f32,
            top_k: generate::top_k(sampling.top_k)?,
            top_p: generate::top_p(sampling.top_p)?,
            seed: request.seed.unwrap_or_else(draw_seed),
        },
        adjustments: Adjustments::default(),
        max_tokens: max_length as usize,
        stop: generate::stops(request.stop)?,
        echo: false,
        tells_start: false,
        logprobs: None,
        log: generate::Log::new(request.store, request.user)?,
        arm,
    };
    Ok((input_text, plan))
}
