//! The page and the documents, compiled in: no build step, and nothing is loaded from elsewhere.

use axum::response::Html;

/// Type a prompt, watch the answer, rate or correct it, see what is learnt.
#[utoipa::path(get, path = "/", responses((status = 200, description = "The page", content_type = "text/html")))]
pub(super) async fn index() -> Html<&'static str> {
    Html(include_str!("../page/index.html"))
}

/// The OpenAPI document for people.
#[utoipa::path(get, path = "/docs", responses((status = 200, description = "The page", content_type = "text/html")))]
pub(super) async fn docs() -> Html<&'static str> {
    Html(include_str!("../page/docs.html"))
}
