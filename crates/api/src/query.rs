//! `POST /v1/query`: a question in SQL.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use drover_proto::stream::v1 as pb;
use futures_util::{StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem, Sort};
use crate::extract::Json;

/// Where it is. A key with `api:read` may ask, although it is a POST.
pub const PATH: &str = "/v1/query";

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// One SELECT, EXPLAIN, SHOW or DESCRIBE, at most 64 KiB.
    #[schema(
        example = "SELECT device, avg(value) AS mean FROM points WHERE key = 'temp' AND ts > now() - INTERVAL '1 hour' GROUP BY device"
    )]
    pub sql: String,
    /// Seconds that it may take; fewer than the server's setting.
    #[serde(default)]
    #[schema(required = false, minimum = 1)]
    pub timeout_s: Option<u32>,
}

/// An answer as JSON.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueryAnswer {
    /// The columns in their order.
    columns: Vec<QueryColumn>,
    /// A member for each column; times are RFC 3339 in UTC.
    #[schema(value_type = Vec<Object>, example = json!([{"device": "pump-7", "mean": 21.5}]))]
    rows: Vec<serde_json::Value>,
    /// Files that could not be read; absent when the answer is whole.
    #[schema(required = false)]
    incomplete: Vec<String>,
}

/// A column of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueryColumn {
    #[schema(example = "device")]
    name: String,
    /// `text`, `number`, `integer`, `boolean`, `timestamp` or `object`.
    #[serde(rename = "type")]
    #[schema(example = "text")]
    kind: String,
}

/// Ask a question in SQL
///
/// Tables: `points` (`device`, `key`, `ts`, `value` with booleans as 0 and 1, `text`, `seq`, `flags`), `events` (`device`, `ts`, `event`),
/// `devices` (`id`, `profile`, `labels`, `created`), `alarms`. All of the tenant's own, and nothing can be changed. Beside what
/// DataFusion has there are `time_bucket('5m', ts)`, `first(value, ts)`, `last(value, ts)`, `percentile(value, 0.95)` and, to fill
/// gaps, the table `time_buckets('1h', from, to)`. The header `Accept` chooses the form; JSON when absent. An answer that breaks
/// off is not whole.
#[utoipa::path(
    post, path = "/v1/query", tag = "Telemetry", operation_id = "query", request_body = Question,
    responses(
        (status = 200, description = "The answer", content(
            (QueryAnswer = "application/json"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
        (status = 400, description = "The question is wrong; `detail` says where and why", body = Problem, content_type = PROBLEM_JSON),
        (status = 429, description = "Too many queries run, or this one needs too much memory or has too many rows", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn query(
    State(api): Shared,
    Caller(tenant): Caller,
    headers: HeaderMap,
    Json(question): Json<Question>,
) -> Result<Response, Problem> {
    let (media_type, format) = form(&headers)?;
    if question.timeout_s == Some(0) {
        return Err(Problem::field("timeout_s", "must be at least 1"));
    }
    let request = pb::QueryRequest {
        sql: question.sql,
        format: format.into(),
        timeout_ms: question.timeout_s.unwrap_or_default().saturating_mul(1_000),
    };
    let pieces = api.telemetry.clone().query(drover_rpc::request(&tenant, request)).await;
    let mut pieces = pieces.map_err(|status| problem(&status))?.into_inner();
    let first = pieces.message().await.map_err(|status| problem(&status))?.unwrap_or_default();
    let rest = pieces.map_ok(|response| response.piece);
    let body = futures_util::stream::iter([Ok(first.piece)]).chain(rest);
    Ok(([(CONTENT_TYPE, media_type)], Body::from_stream(body)).into_response())
}

fn problem(status: &tonic::Status) -> Problem {
    Problem::of_field("sql", status)
}

/// The first form of `Accept` that there is. Weights are not looked at.
fn form(headers: &HeaderMap) -> Result<(&'static str, pb::QueryFormat), Problem> {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if accepted.peek().is_none() {
        return Ok((JSON, pb::QueryFormat::Json));
    }
    let types = accepted.flat_map(|list| list.split(','));
    let mut types = types.map(|one| one.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let found = types.find_map(|one| match one.as_str() {
        JSON | "application/*" | "*/*" => Some((JSON, pb::QueryFormat::Json)),
        CSV | "text/*" => Some((CSV, pb::QueryFormat::Csv)),
        ARROW => Some((ARROW, pb::QueryFormat::Arrow)),
        _ => None,
    });
    found.ok_or_else(|| {
        Problem::new(
            Sort::Invalid,
            format!("Accept names no form that there is; use {JSON}, {CSV} or {ARROW}"),
        )
    })
}
