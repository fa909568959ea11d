//! `PATCH /v1/devices/{id}`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::IntoResponse;
use drover_model::DeviceId;
use drover_proto::devices::v1::UpdateDeviceRequest;
use http::HeaderMap;
use http::header::{ETAG, IF_MATCH};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Device;
use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Path, Replace};

/// What is to change in a device (RFC 7396).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicePatch {
    /// Absent: stays.
    #[serde(default, deserialize_with = "Replace::with")]
    #[schema(value_type = String, required = false, example = "default", max_length = 128)]
    pub profile: Option<String>,
    /// Merged into the labels that are there; `null` removes one.
    #[serde(default)]
    #[schema(required = false, example = json!({"site": "south", "floor": null}))]
    pub labels: BTreeMap<String, Option<String>>,
}

/// Change a device
///
/// JSON merge patch: what is absent stays, a label that is `null` goes.
#[utoipa::path(
    patch, path = "/v1/devices/{id}", tag = "Devices", operation_id = "updateDevice",
    params(
        ("id" = String, Path, description = "The device", example = "pump-7"),
        ("If-Match" = Option<String>, Header, description = "Change it only if it has this version", example = "\"1\""),
    ),
    request_body(content((DevicePatch = "application/json"), (DevicePatch = "application/merge-patch+json"))),
    responses(
        (status = 200, description = "Changed", body = Device, headers(("ETag" = String, description = "Its new version"))),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
        (status = 412, description = "It has another version", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn update(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<DeviceId>,
    headers: HeaderMap,
    Json(patch): Json<DevicePatch>,
) -> Result<impl IntoResponse, Problem> {
    let mut message = UpdateDeviceRequest {
        id: id.to_string(),
        profile: patch.profile,
        version: expected_version(&headers)?,
        ..UpdateDeviceRequest::default()
    };
    for (name, value) in patch.labels {
        match value {
            Some(value) => drop(message.set_labels.insert(name, value)),
            None => message.remove_labels.push(name),
        }
    }
    let answer = api.devices.clone().update_device(drover_rpc::request(&tenant, message)).await;
    let answer = answer.map_err(|status| super::problem(&status))?.into_inner();
    let device = Device::from(answer.device.unwrap_or_default());
    Ok(([(ETAG, format!("\"{}\"", device.version))], Json(device)))
}

/// The version in `If-Match` (RFC 9110, 13.1.1); `*` asks only that the device is there.
fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version =
        text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
    let remedy = "is not a version; use \"<version>\" with its quotes, as in the ETag of the device";
    version.map(Some).ok_or_else(|| Problem::field("If-Match", remedy))
}
