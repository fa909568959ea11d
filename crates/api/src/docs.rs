//! `/openapi.json` and the pages that show it. They are part of the program and load nothing from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use utoipa::openapi::OpenApi;

use crate::Api;

const PAGE: &str = include_str!("docs/index.html");
const SCRIPT: &str = include_str!("docs/page.js");
const STYLE: &str = include_str!("docs/style.css");

/// The page runs its own script only and talks to its own server only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// The document and its pages.
pub fn router(document: &OpenApi) -> Router<Arc<Api>> {
    let json = Bytes::from(document.to_pretty_json().expect("the document holds nothing that JSON can't"));
    Router::new()
        .route("/openapi.json", get(async move || file("application/json", json.clone())))
        .route("/docs", get(async || file("text/html; charset=utf-8", PAGE)))
        .route("/docs/page.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/docs/style.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route("/", get(async || Redirect::to("/docs")))
}

fn file(media_type: &'static str, content: impl IntoResponse) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, content)
}
