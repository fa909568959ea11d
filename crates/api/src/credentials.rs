//! Credentials of devices.

use axum::extract::State;
use axum::response::IntoResponse;
use drover_model::{CredentialId, DeviceId, Timestamp};
use drover_proto::provisioning::v1 as pb;
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Path, Query};
use crate::page::{Page, PageQuery};

/// How a device proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialType {
    /// A secret: the password of MQTT and of HTTP Basic.
    Token,
    /// A pre-shared key of DTLS. Not served by this version.
    Psk,
    /// A client certificate. Not served by this version.
    X509,
}

/// A credential to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredential {
    #[schema(inline, example = "token")]
    pub r#type: CredentialType,
    /// A certificate signing request in PEM; only for `x509`.
    #[schema(value_type = String, required = false)]
    pub csr: Option<String>,
}

/// A credential without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct Credential {
    #[schema(example = "6f0c1d2e3a4b5968")]
    pub id: String,
    #[schema(inline, example = "token")]
    pub r#type: CredentialType,
    /// When it was made, RFC 3339.
    #[schema(example = "2026-11-24T19:00:00.000Z", format = DateTime)]
    pub created: String,
}

/// A credential with its secret, which is never shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct IssuedCredential {
    #[schema(example = "6f0c1d2e3a4b5968")]
    pub id: String,
    #[schema(inline, example = "token")]
    pub r#type: CredentialType,
    /// What the device logs in with. Keep it: the server has only its hash.
    #[schema(example = "drv_3q2-7wAB…")]
    pub secret: String,
}

/// Make a credential
///
/// The secret is in this answer and nowhere else. An MQTT client logs in with the device's id as its username and the secret as its
/// password. A device has at most 16 credentials.
#[utoipa::path(
    post, path = "/v1/devices/{id}/credentials", tag = "Credentials", operation_id = "createCredential",
    params(("id" = String, Path, description = "The device", example = "pump-7")),
    request_body = NewCredential,
    responses(
        (status = 201, description = "Made", body = IssuedCredential, headers(("Location" = String, description = "Path of the credential"))),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
        (status = 429, description = "The device has 16 credentials already", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn create(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(device): Path<DeviceId>,
    Json(new): Json<NewCredential>,
) -> Result<impl IntoResponse, Problem> {
    let name = match new.r#type {
        CredentialType::Token => None,
        CredentialType::Psk => Some("psk"),
        CredentialType::X509 => Some("x509"),
    };
    if let Some(name) = name {
        return Err(Problem::field(
            "type",
            format!("credential type {name} is not served by this version; use token"),
        ));
    }
    if new.csr.is_some() {
        return Err(Problem::field("csr", "belongs to the type x509; leave it out"));
    }
    let message =
        pb::CreateCredentialRequest { device: device.to_string(), r#type: pb::CredentialType::Token.into() };
    let answer = api.credentials.clone().create_credential(drover_rpc::request(&tenant, message)).await?;
    let pb::CreateCredentialResponse { credential, secret } = answer.into_inner();
    let id = credential.unwrap_or_default().id;
    let location = [(LOCATION, format!("/v1/devices/{device}/credentials/{id}"))];
    Ok((StatusCode::CREATED, location, Json(IssuedCredential { id, r#type: new.r#type, secret })))
}

/// List a device's credentials
///
/// Without their secrets, by id in ascending order.
#[utoipa::path(
    get, path = "/v1/devices/{id}/credentials", tag = "Credentials", operation_id = "listCredentials",
    params(("id" = String, Path, description = "The device", example = "pump-7"), PageQuery),
    responses(
        (status = 200, description = "A page of credentials", body = Page<Credential>),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn list(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(device): Path<DeviceId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Credential>>, Problem> {
    let PageQuery { page_size, page_token } = page;
    let message = pb::ListCredentialsRequest { device: device.to_string(), page_size, page_token };
    let answer = api.credentials.clone().list_credentials(drover_rpc::request(&tenant, message)).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let items = answer.credentials.into_iter().map(encode).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}

/// Delete a credential
///
/// Connections that were made with it end.
#[utoipa::path(
    delete, path = "/v1/devices/{id}/credentials/{credential}", tag = "Credentials", operation_id = "deleteCredential",
    params(
        ("id" = String, Path, description = "The device", example = "pump-7"),
        ("credential" = String, Path, description = "The credential", example = "6f0c1d2e3a4b5968"),
    ),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is no such credential", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn delete(
    State(api): Shared,
    Caller(tenant): Caller,
    Path((device, credential)): Path<(DeviceId, CredentialId)>,
) -> Result<StatusCode, Problem> {
    let message =
        pb::DeleteCredentialRequest { device: device.to_string(), credential: credential.to_string() };
    api.credentials.clone().delete_credential(drover_rpc::request(&tenant, message)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn encode(credential: pb::Credential) -> Result<Credential, Problem> {
    let r#type = match credential.r#type() {
        pb::CredentialType::Token => CredentialType::Token,
        pb::CredentialType::Unspecified => {
            tracing::error!("credential {} has no type", credential.id);
            return Err(Problem::internal());
        }
    };
    let created = Timestamp::from_micros(credential.created_us).to_string();
    Ok(Credential { id: credential.id, r#type, created })
}
