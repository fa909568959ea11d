//! API keys of applications.

use axum::extract::State;
use axum::response::IntoResponse;
use drover_model::{ApiKeyId, Timestamp};
use drover_proto::provisioning::v1 as pb;
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Path, Query, Replace};
use crate::page::{Page, PageQuery};

/// An API key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    #[schema(value_type = String, example = "dashboard", max_length = 128, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._:-]*$")]
    pub id: ApiKeyId,
    /// What it is for, for people.
    #[serde(default, deserialize_with = "Replace::with")]
    #[schema(value_type = String, required = false, example = "The screen in the hall", max_length = 256)]
    pub description: Option<String>,
    /// What it allows, at most 32: `mqtt:publish:<topic filter>`, `mqtt:subscribe:<topic filter>`, `api:read`, `api:write`. When absent,
    /// the tenant's whole topic space: `mqtt:publish:#` and `mqtt:subscribe:#`.
    #[serde(default, deserialize_with = "Replace::with")]
    #[schema(value_type = Vec<String>, required = false, example = json!(["mqtt:subscribe:dev/+/state", "api:read"]))]
    pub scopes: Option<Vec<String>>,
}

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKey {
    #[schema(example = "dashboard")]
    pub id: String,
    /// What it is for, for people.
    #[schema(example = "The screen in the hall")]
    pub description: String,
    /// What it allows.
    #[schema(example = json!(["mqtt:subscribe:dev/+/state", "api:read"]))]
    pub scopes: Vec<String>,
    /// When it was made, RFC 3339.
    #[schema(example = "2026-11-24T19:00:00.000Z", format = DateTime)]
    pub created: String,
}

impl From<pb::ApiKey> for ApiKey {
    fn from(key: pb::ApiKey) -> Self {
        let created = Timestamp::from_micros(key.created_us).to_string();
        Self { id: key.id, description: key.description, scopes: key.scopes, created }
    }
}

/// An API key with its secret, which is never shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct IssuedApiKey {
    #[schema(example = "dashboard")]
    pub id: String,
    /// What it is for, for people.
    #[schema(example = "The screen in the hall")]
    pub description: String,
    /// What it allows.
    #[schema(example = json!(["mqtt:subscribe:dev/+/state", "api:read"]))]
    pub scopes: Vec<String>,
    /// When it was made, RFC 3339.
    #[schema(example = "2026-11-24T19:00:00.000Z", format = DateTime)]
    pub created: String,
    /// What the application logs in with. Keep it: the server has only its hash.
    #[schema(example = "drv_3q2-7wAB…")]
    pub secret: String,
}

/// Make an API key
///
/// The secret is in this answer and nowhere else. An application logs in to MQTT with `app:<key id>` as its username (`app:<key
/// id>@<tenant>` outside the tenant `default`) and the secret as its password; in REST the secret is its bearer token. A key never changes.
#[utoipa::path(
    post, path = "/v1/api-keys", tag = "API keys", operation_id = "createApiKey", request_body = NewApiKey,
    responses(
        (status = 201, description = "Made", body = IssuedApiKey, headers(("Location" = String, description = "Path of the key"))),
        (status = 409, description = "The id is taken", body = Problem, content_type = PROBLEM_JSON),
        (status = 429, description = "The tenant has 1000 keys already", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn create(
    State(api): Shared,
    Caller(tenant): Caller,
    Json(new): Json<NewApiKey>,
) -> Result<impl IntoResponse, Problem> {
    if new.scopes.as_ref().is_some_and(Vec::is_empty) {
        return Err(Problem::field("scopes", "is empty; leave it out for the whole topic space"));
    }
    let message = pb::CreateApiKeyRequest {
        id: new.id.to_string(),
        description: new.description.unwrap_or_default(),
        scopes: new.scopes.unwrap_or_default(),
    };
    let answer = api.api_keys.clone().create_api_key(drover_rpc::request(&tenant, message)).await;
    let answer = answer.map_err(|status| {
        let field = if status.message().starts_with("description ") { "description" } else { "scopes" };
        Problem::of_field(field, &status)
    })?;
    let pb::CreateApiKeyResponse { api_key, secret } = answer.into_inner();
    let ApiKey { id, description, scopes, created } = api_key.unwrap_or_default().into();
    let location = [(LOCATION, format!("/v1/api-keys/{id}"))];
    Ok((StatusCode::CREATED, location, Json(IssuedApiKey { id, description, scopes, created, secret })))
}

/// List the API keys
///
/// Without their secrets, by id in ascending order.
#[utoipa::path(
    get, path = "/v1/api-keys", tag = "API keys", operation_id = "listApiKeys", params(PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<ApiKey>)),
)]
pub async fn list(
    State(api): Shared,
    Caller(tenant): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    let PageQuery { page_size, page_token } = page;
    let request = drover_rpc::request(&tenant, pb::ListApiKeysRequest { page_size, page_token });
    let answer = api.api_keys.clone().list_api_keys(request).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let items = answer.api_keys.into_iter().map(ApiKey::from).collect();
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}

/// Read an API key
///
/// Without its secret.
#[utoipa::path(
    get, path = "/v1/api-keys/{id}", tag = "API keys", operation_id = "getApiKey",
    params(("id" = String, Path, description = "The key", example = "dashboard")),
    responses(
        (status = 200, description = "The key", body = ApiKey),
        (status = 404, description = "There is no such key", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn get(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<ApiKeyId>,
) -> Result<Json<ApiKey>, Problem> {
    let request = drover_rpc::request(&tenant, pb::GetApiKeyRequest { id: id.to_string() });
    let answer = api.api_keys.clone().get_api_key(request).await?.into_inner();
    Ok(Json(ApiKey::from(answer.api_key.unwrap_or_default())))
}

/// Delete an API key
///
/// Connections that were made with it end, and so do its MQTT sessions.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", tag = "API keys", operation_id = "deleteApiKey",
    params(("id" = String, Path, description = "The key", example = "dashboard")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is no such key", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn delete(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    let request = drover_rpc::request(&tenant, pb::DeleteApiKeyRequest { id: id.to_string() });
    api.api_keys.clone().delete_api_key(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
