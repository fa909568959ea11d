//! `GET /v1/deadletters`.

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use drover_model::Timestamp;
use drover_proto::stream::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Shared;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Json, Query};
use crate::page::{Page, PageQuery};

/// A message that was acknowledged but could not be understood.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetter {
    #[schema(example = "pump-7")]
    pub device: String,
    #[schema(example = "v1/telemetry")]
    pub topic: String,
    /// When it arrived, RFC 3339.
    #[schema(example = "2026-11-24T19:00:00.000Z", format = DateTime)]
    pub received: String,
    /// Why it could not be understood.
    #[schema(example = "not JSON: expected value at line 1 column 1")]
    pub reason: String,
    /// Its bytes, in base64.
    #[schema(example = "bm90IGpzb24=", format = Byte)]
    pub payload_base64: String,
}

impl From<pb::DeadLetter> for DeadLetter {
    fn from(letter: pb::DeadLetter) -> Self {
        Self {
            device: letter.device,
            topic: letter.topic,
            received: Timestamp::from_micros(letter.received_us).to_string(),
            reason: letter.reason,
            payload_base64: STANDARD.encode(&letter.payload),
        }
    }
}

/// List the dead letters
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/deadletters", tag = "Balance", operation_id = "listDeadLetters", params(PageQuery),
    responses((status = 200, description = "A page of dead letters", body = Page<DeadLetter>)),
)]
pub async fn list(
    State(api): Shared,
    Caller(tenant): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<DeadLetter>>, Problem> {
    let PageQuery { page_size, page_token } = page;
    let request = drover_rpc::request(&tenant, pb::ListDeadLettersRequest { page_size, page_token });
    let answer = api.telemetry.clone().list_dead_letters(request).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let items = answer.dead_letters.into_iter().map(DeadLetter::from).collect();
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}
