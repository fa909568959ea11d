//! `POST /v1/devices`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::IntoResponse;
use drover_model::DeviceId;
use drover_proto::devices::v1::CreateDeviceRequest;
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Device;
use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Replace};

/// A device to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    #[schema(value_type = String, example = "pump-7", max_length = 128, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._:-]*$")]
    pub id: DeviceId,
    /// The profile whose defaults it shares; `default` when absent.
    #[serde(default, deserialize_with = "Replace::with")]
    #[schema(value_type = String, required = false, example = "default", max_length = 128)]
    pub profile: Option<String>,
    /// Free pairs of name and text; at most 64. A name has no `:`.
    #[serde(default)]
    #[schema(required = false, example = json!({"site": "north", "floor": "2"}))]
    pub labels: BTreeMap<String, String>,
}

/// Register a device
#[utoipa::path(
    post, path = "/v1/devices", tag = "Devices", operation_id = "createDevice", request_body = NewDevice,
    responses(
        (status = 201, description = "Registered", body = Device, headers(("Location" = String, description = "Path of the device"))),
        (status = 409, description = "The id is taken", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn create(
    State(api): Shared,
    Caller(tenant): Caller,
    Json(new): Json<NewDevice>,
) -> Result<impl IntoResponse, Problem> {
    if new.profile.as_deref() == Some("") {
        return Err(Problem::field("profile", "is empty; leave it out for the default one"));
    }
    let message = CreateDeviceRequest {
        id: new.id.to_string(),
        profile: new.profile.unwrap_or_default(),
        labels: new.labels.into_iter().collect(),
    };
    let answer = api.devices.clone().create_device(drover_rpc::request(&tenant, message)).await;
    let answer = answer.map_err(|status| super::problem(&status))?.into_inner();
    let device = Device::from(answer.device.unwrap_or_default());
    let location = [(LOCATION, format!("/v1/devices/{}", device.id))];
    Ok((StatusCode::CREATED, location, Json(device)))
}
