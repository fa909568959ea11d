//! `GET /v1/devices/{id}/events`.

use axum::extract::State;
use drover_model::{DeviceId, Timestamp};
use drover_proto::devices::v1::GetDeviceRequest;
use drover_proto::stream::v1 as pb;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Path, Query};
use crate::page::{Page, PageQuery};

/// Something that a device reported.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    /// Milliseconds since 1970.
    #[schema(example = 1_795_978_800_000_i64)]
    pub ts: i64,
    /// The JSON object that the device sent.
    #[schema(value_type = Object, example = json!({"door": "open"}))]
    pub event: Box<RawValue>,
}

/// List a device's events
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/devices/{id}/events", tag = "Telemetry", operation_id = "listEvents",
    params(("id" = String, Path, description = "The device", example = "pump-7"), PageQuery),
    responses(
        (status = 200, description = "A page of events", body = Page<Event>),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn list(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<DeviceId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Event>>, Problem> {
    let known = drover_rpc::request(&tenant, GetDeviceRequest { id: id.to_string() });
    api.devices.clone().get_device(known).await?;
    let PageQuery { page_size, page_token } = page;
    let message = pb::ListEventsRequest { device: id.to_string(), page_size, page_token };
    let answer = api.telemetry.clone().list_events(drover_rpc::request(&tenant, message)).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let items = answer.events.into_iter().map(encode).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}

fn encode(event: pb::Event) -> Result<Event, Problem> {
    let ts = Timestamp::from_micros(event.ts_us).as_millis();
    let event = RawValue::from_string(event.json).map_err(|error| {
        tracing::error!("a stored event is not JSON: {error}");
        Problem::internal()
    })?;
    Ok(Event { ts, event })
}
