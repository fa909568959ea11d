//! `POST /v1/devices/{id}/telemetry`.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use drover_model::DeviceId;
use drover_proto::stream::v1::{Publication, PublicationChannel, PublishRequest, Refusal, RefusalReason};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem, Sort};
use crate::extract::{Path, unreadable};

/// Publish telemetry on behalf of a device
///
/// The body is what the device would send to `v1/telemetry`, in any of the forms that it may use, as `Content-Type` says. It is
/// answered when the message is on the disk; what can't be understood becomes a dead letter. For many messages at a time there is gRPC.
#[utoipa::path(
    post, path = "/v1/devices/{id}/telemetry", tag = "Telemetry", operation_id = "publishTelemetry",
    params(("id" = String, Path, description = "The device", example = "pump-7")),
    request_body(content = Object, content_type = "application/json", description = "`{\"key\": value}`, `{\"ts\": ms, \"values\": {…}}`, or an array of either"),
    responses(
        (status = 204, description = "On the disk"),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
        (status = 413, description = "The body has more than 1 MiB", body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "The log takes nothing at the moment", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn publish(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(device): Path<DeviceId>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let payload = body.map_err(|_| unreadable())?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let publication = Publication {
        device: device.to_string(),
        channel: PublicationChannel::Telemetry.into(),
        content_type: content_type.to_owned(),
        payload,
    };
    let message = PublishRequest { publications: vec![publication] };
    let answer = api.publisher.clone().publish(drover_rpc::request(&tenant, message)).await?.into_inner();
    answer.refusals.into_iter().next().map_or(Ok(StatusCode::NO_CONTENT), |refusal| Err(refused(refusal)))
}

fn refused(refusal: Refusal) -> Problem {
    let sort = match refusal.reason() {
        RefusalReason::Unspecified | RefusalReason::Invalid => Sort::Invalid,
        RefusalReason::UnknownDevice => Sort::NotFound,
        RefusalReason::TooLarge => Sort::TooLarge,
        RefusalReason::LogBusy => Sort::Unavailable,
    };
    Problem::new(sort, refusal.detail)
}
