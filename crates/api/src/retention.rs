//! How long points are kept.

use axum::extract::State;
use drover_proto::stream::v1 as pb;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Shared;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::Json;

/// How long points of some keys are kept.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Name of a key, in which `*` stands for any text; all keys when absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(required = false, example = "debug.*", max_length = 128)]
    pub keys: String,
    /// Days; 0 is for ever.
    #[schema(example = 7, maximum = 36_500)]
    pub days: u32,
}

/// The rules of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Retention {
    /// The most specific first: of those that match a key, the first one counts.
    pub items: Vec<RetentionRule>,
    /// Days for keys that no rule matches, as the server's setting `stream.retention_days` says; 0 is for ever.
    pub default_days: u32,
}

/// The rules that are to count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRetention {
    /// At most 64, in any order.
    pub items: Vec<RetentionRule>,
}

/// Read how long points are kept
///
/// By rules for keys. The most specific one that matches a key counts: a name before a pattern, of patterns the one with more
/// characters that are not `*`, last the one without `keys`.
#[utoipa::path(
    get, path = "/v1/retention", tag = "Telemetry", operation_id = "getRetention",
    responses((status = 200, description = "The rules", body = Retention)),
)]
pub async fn get(State(api): Shared, Caller(tenant): Caller) -> Result<Json<Retention>, Problem> {
    let request = drover_rpc::request(&tenant, pb::GetRetentionRequest {});
    let pb::GetRetentionResponse { rules, default_days } =
        api.retention.clone().get_retention(request).await?.into_inner();
    let items = rules.into_iter().map(|rule| RetentionRule { keys: rule.keys, days: rule.days });
    Ok(Json(Retention { items: items.collect(), default_days }))
}

/// Say how long points are kept
///
/// These rules take the place of all that there were. What they do not keep is seen no more when the answer is there, and leaves
/// the files in the background, for good. Events have bounds of their own.
#[utoipa::path(
    put, path = "/v1/retention", tag = "Telemetry", operation_id = "setRetention", request_body = NewRetention,
    responses((status = 200, description = "The rules", body = Retention)),
)]
pub async fn set(
    State(api): Shared,
    caller: Caller,
    Json(new): Json<NewRetention>,
) -> Result<Json<Retention>, Problem> {
    let rules = new.items.into_iter().map(|rule| pb::RetentionRule { keys: rule.keys, days: rule.days });
    let message = pb::SetRetentionRequest { rules: rules.collect() };
    let answer = api.retention.clone().set_retention(drover_rpc::request(&caller.0, message)).await;
    answer.map_err(|status| {
        let named = ["items", "days"].into_iter().find(|name| status.message().starts_with(*name));
        Problem::of_field(named.unwrap_or("keys"), &status)
    })?;
    get(State(api), caller).await
}

/// Remove all rules
///
/// Then the server's setting counts for all keys.
#[utoipa::path(
    delete, path = "/v1/retention", tag = "Telemetry", operation_id = "deleteRetention",
    responses((status = 204, description = "Removed")),
)]
pub async fn delete(State(api): Shared, Caller(tenant): Caller) -> Result<StatusCode, Problem> {
    let request = drover_rpc::request(&tenant, pb::SetRetentionRequest { rules: Vec::new() });
    api.retention.clone().set_retention(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
