//! Tenants.

use axum::extract::State;
use axum::response::IntoResponse;
use drover_model::{TenantId, Timestamp};
use drover_proto::provisioning::v1 as pb;
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Shared;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Path, Query, Replace};
use crate::page::{Page, PageQuery};

/// A tenant: a group of devices and applications that sees nothing of any other.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenant {
    #[schema(example = "acme")]
    pub id: String,
    /// Its name for people.
    #[schema(example = "Acme Pumps")]
    pub name: String,
    /// When it was made, RFC 3339.
    #[schema(example = "2026-11-24T19:00:00.000Z", format = DateTime)]
    pub created: String,
}

impl From<pb::Tenant> for Tenant {
    fn from(tenant: pb::Tenant) -> Self {
        let created = Timestamp::from_micros(tenant.created_us).to_string();
        Self { id: tenant.id, name: tenant.name, created }
    }
}

/// A tenant to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    #[schema(value_type = String, example = "acme", max_length = 128, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._:-]*$")]
    pub id: TenantId,
    /// Its name for people; the id when absent.
    #[serde(default, deserialize_with = "Replace::with")]
    #[schema(value_type = String, required = false, example = "Acme Pumps", max_length = 256)]
    pub name: Option<String>,
}

/// Make a tenant
#[utoipa::path(
    post, path = "/v1/tenants", tag = "Tenants", operation_id = "createTenant", request_body = NewTenant,
    responses(
        (status = 201, description = "Made", body = Tenant, headers(("Location" = String, description = "Path of the tenant"))),
        (status = 409, description = "The id is taken", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn create(State(api): Shared, Json(new): Json<NewTenant>) -> Result<impl IntoResponse, Problem> {
    let request = pb::CreateTenantRequest { id: new.id.to_string(), name: new.name.unwrap_or_default() };
    let answer = api.tenants.clone().create_tenant(request).await;
    let answer = answer.map_err(|status| Problem::of_field("name", &status))?.into_inner();
    let tenant = Tenant::from(answer.tenant.unwrap_or_default());
    let location = [(LOCATION, format!("/v1/tenants/{}", tenant.id))];
    Ok((StatusCode::CREATED, location, Json(tenant)))
}

/// Get one tenant
#[utoipa::path(
    get, path = "/v1/tenants/{id}", tag = "Tenants", operation_id = "getTenant",
    params(("id" = String, Path, description = "The tenant", example = "acme")),
    responses(
        (status = 200, description = "The tenant", body = Tenant),
        (status = 404, description = "There is no such tenant", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn get(State(api): Shared, Path(id): Path<TenantId>) -> Result<Json<Tenant>, Problem> {
    let request = pb::GetTenantRequest { id: id.to_string() };
    let answer = api.tenants.clone().get_tenant(request).await?.into_inner();
    Ok(Json(answer.tenant.unwrap_or_default().into()))
}

/// List the tenants
///
/// By id, in ascending order.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "Tenants", operation_id = "listTenants", params(PageQuery),
    responses((status = 200, description = "A page of tenants", body = Page<Tenant>)),
)]
pub async fn list(State(api): Shared, Query(page): Query<PageQuery>) -> Result<Json<Page<Tenant>>, Problem> {
    let PageQuery { page_size, page_token } = page;
    let answer = api.tenants.clone().list_tenants(pb::ListTenantsRequest { page_size, page_token }).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let items = answer.tenants.into_iter().map(Tenant::from).collect();
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}
