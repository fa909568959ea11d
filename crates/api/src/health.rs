//! `GET /v1/health`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::IntoResponse;
use drover_runtime::Status;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Shared;
use crate::extract::Json;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "status": "degraded",
    "parts": {"log": {"status": "degraded", "detail": "no space left on device"}, "stream": {"status": "ok"}}
}))]
pub struct Health {
    /// `degraded` when any part is not `ok`.
    #[schema(value_type = String, pattern = "^(ok|degraded)$")]
    pub status: &'static str,
    /// Every part by its name.
    pub parts: BTreeMap<&'static str, PartHealth>,
}

/// How a part is.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartHealth {
    /// `ok`, `degraded` or `starting`.
    #[schema(value_type = String, pattern = "^(ok|degraded|starting)$")]
    pub status: &'static str,
    /// What is wrong, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Read the server's health
///
/// Needs no token.
#[utoipa::path(
    get, path = "/v1/health", tag = "Operation", operation_id = "getHealth", security(()),
    responses(
        (status = 200, description = "Every part does its work", body = Health),
        (status = 503, description = "A part does not, or is starting", body = Health),
    ),
)]
pub async fn get(State(api): Shared) -> impl IntoResponse {
    let parts: BTreeMap<_, _> =
        api.health.snapshot().into_iter().map(|(name, part)| (name, encode(part))).collect();
    let ok = parts.values().all(|part| part.status == "ok");
    let (code, status) =
        if ok { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "degraded") };
    (code, Json(Health { status, parts }))
}

fn encode(status: Status) -> PartHealth {
    match status {
        Status::Ok => PartHealth { status: "ok", detail: None },
        Status::Starting => PartHealth { status: "starting", detail: None },
        Status::Degraded(detail) => PartHealth { status: "degraded", detail: Some(detail) },
    }
}
