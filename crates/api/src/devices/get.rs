//! `GET /v1/devices/{id}`.

use axum::extract::State;
use axum::response::IntoResponse;
use drover_model::DeviceId;
use drover_proto::devices::v1::GetDeviceRequest;
use http::header::ETAG;

use super::Device;
use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Path};

/// Read a device
#[utoipa::path(
    get, path = "/v1/devices/{id}", tag = "Devices", operation_id = "getDevice",
    params(("id" = String, Path, description = "The device", example = "pump-7")),
    responses(
        (status = 200, description = "The device", body = Device, headers(("ETag" = String, description = "Its version, for `If-Match`"))),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn get(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<DeviceId>,
) -> Result<impl IntoResponse, Problem> {
    let request = drover_rpc::request(&tenant, GetDeviceRequest { id: id.to_string() });
    let answer = api.devices.clone().get_device(request).await?.into_inner();
    let device = Device::from(answer.device.unwrap_or_default());
    Ok(([(ETAG, format!("\"{}\"", device.version))], Json(device)))
}
