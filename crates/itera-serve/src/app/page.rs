//! The page and the documents, compiled in: no build step, and nothing is loaded from elsewhere.

use axum::response::Html;

/// `GET /`: type a prompt, watch the answer, rate or correct it, see what is learnt.
pub(super) async fn index() -> Html<&'static str> {
    Html(include_str!("../page/index.html"))
}

/// `GET /docs`: the OpenAPI document for people.
pub(super) async fn docs() -> Html<&'static str> {
    Html(include_str!("../page/docs.html"))
}
