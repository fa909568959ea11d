//! `DELETE /v1/devices/{id}/telemetry`.

use axum::extract::State;
use drover_model::{DeviceId, TelemetryKey};
use drover_proto::devices::v1::GetDeviceRequest;
use drover_proto::stream::v1::EraseTelemetryRequest;
use http::StatusCode;
use utoipa::IntoParams;

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Pairs, Path, Query, ReadQuery};

/// Most keys of one call.
const MAX_KEYS: usize = 256;

/// What is erased.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EraseQuery {
    /// Keys, separated by commas; all, and the events too, when absent.
    #[param(value_type = String, required = false, example = "temp,rpm")]
    pub keys: Vec<TelemetryKey>,
}

impl ReadQuery for EraseQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        let keys = pairs.separated("keys", MAX_KEYS)?;
        if keys.is_empty() && pairs.one("keys")?.is_some() {
            return Err(Problem::field("keys", "names no key; leave it out to erase everything"));
        }
        Ok(Self { keys })
    }
}

/// Erase what a device measured
///
/// Everything that arrived up to now, and the device's events; or some keys only. When the answer is there, no call shows it any
/// more; what arrives later is shown. The files are written anew without it in the background. The device stays.
#[utoipa::path(
    delete, path = "/v1/devices/{id}/telemetry", tag = "Telemetry", operation_id = "eraseTelemetry",
    params(("id" = String, Path, description = "The device", example = "pump-7"), EraseQuery),
    responses(
        (status = 204, description = "Erased"),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn erase(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<DeviceId>,
    Query(query): Query<EraseQuery>,
) -> Result<StatusCode, Problem> {
    let known = drover_rpc::request(&tenant, GetDeviceRequest { id: id.to_string() });
    api.devices.clone().get_device(known).await?;
    let keys = query.keys.iter().map(TelemetryKey::to_string).collect();
    let request = EraseTelemetryRequest { device: id.to_string(), keys };
    api.erasures.clone().erase_telemetry(drover_rpc::request(&tenant, request)).await?;
    Ok(StatusCode::NO_CONTENT)
}
