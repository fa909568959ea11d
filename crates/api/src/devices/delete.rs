//! `DELETE /v1/devices/{id}`.

use axum::extract::State;
use drover_model::DeviceId;
use drover_proto::devices::v1::DeleteDeviceRequest;
use http::StatusCode;

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::Path;

/// Delete a device
///
/// Its credentials go with it and its connections end. Then what it measured and its events are erased: a device made later with the
/// same id begins anew. Dead letters stay. After 503 it is deleted, and what is not erased yet is erased soon; deleting it again waits
/// for that.
#[utoipa::path(
    delete, path = "/v1/devices/{id}", tag = "Devices", operation_id = "deleteDevice",
    params(("id" = String, Path, description = "The device", example = "pump-7")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn delete(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<DeviceId>,
) -> Result<StatusCode, Problem> {
    let request = drover_rpc::request(&tenant, DeleteDeviceRequest { id: id.to_string() });
    api.devices.clone().delete_device(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
