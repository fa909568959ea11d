//! The newest values: of one device, and of all.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse};
use drover_model::DeviceId;
use drover_proto::devices::v1::GetDeviceRequest;
use drover_proto::stream::v1 as pb;
use http::header::LINK;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use crate::Shared;
use crate::auth::Caller;
use crate::error::{PROBLEM_JSON, Problem};
use crate::extract::{Json, Pairs, Path, Query, ReadQuery};
use crate::page::Page;
use crate::telemetry::Sample;

/// Most devices of a page.
const MAX_DEVICES: u32 = 10_000;

/// The newest sample of each key.
#[derive(Debug)]
pub struct Latest(Vec<(Arc<str>, Sample)>);

impl Latest {
    fn new(values: Vec<pb::LatestValue>) -> Self {
        let read =
            |value: pb::LatestValue| value.sample.map(|sample| (value.key.into(), Sample::from(sample)));
        Self(values.into_iter().filter_map(read).collect())
    }

    /// Of one of many devices, which share the names of their keys.
    fn keyed(samples: Vec<pb::KeyedSample>, keys: &[Arc<str>]) -> Self {
        let read = |sample: pb::KeyedSample| {
            let key = keys.get(sample.key as usize)?;
            Some((Arc::clone(key), Sample::from(sample)))
        };
        Self(samples.into_iter().filter_map(read).collect())
    }
}

impl Serialize for Latest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, sample) in &self.0 {
            map.serialize_entry(&**key, sample)?;
        }
        map.end()
    }
}

/// The newest values of a device.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceLatest {
    #[schema(example = "pump-7")]
    pub device: String,
    /// The newest sample of each key.
    #[schema(value_type = HashMap<String, Sample>, example = json!({"temp": {"ts": 1_795_978_800_000_i64, "value": 21.5}}))]
    pub values: Latest,
}

/// Which page is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LatestQuery {
    /// Most devices of the page.
    #[param(minimum = 1, maximum = 10_000, default = 100, required = false)]
    pub page_size: u32,
    /// `next_page_token` of the page before.
    #[param(required = false)]
    pub page_token: String,
}

impl ReadQuery for LatestQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        let page_size = pairs.number("page_size", MAX_DEVICES)?.unwrap_or_default();
        Ok(Self { page_size, page_token: pairs.text("page_token")? })
    }
}

/// Where the values of a device go on.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeviceLatestQuery {
    /// From the header `Link` of the answer before.
    #[param(required = false)]
    pub page_token: String,
}

impl ReadQuery for DeviceLatestQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        Ok(Self { page_token: pairs.text("page_token")? })
    }
}

/// Read a device's newest values
///
/// By key, in ascending order. When they are more than about 4 MB, the header `Link` has the address of the rest, as `rel="next"` (RFC 8288).
#[utoipa::path(
    get, path = "/v1/devices/{id}/telemetry/latest", tag = "Telemetry", operation_id = "getLatest",
    params(("id" = String, Path, description = "The device", example = "pump-7"), DeviceLatestQuery),
    responses(
        (status = 200, description = "The newest sample of each key", body = HashMap<String, Sample>,
            headers(("Link" = String, description = "Where the rest is; absent when this is all")),
            example = json!({"temp": {"ts": 1_795_978_800_000_i64, "value": 21.5}})),
        (status = 404, description = "There is no such device", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn of_device(
    State(api): Shared,
    Caller(tenant): Caller,
    Path(id): Path<DeviceId>,
    Query(query): Query<DeviceLatestQuery>,
) -> Result<impl IntoResponse, Problem> {
    let known = drover_rpc::request(&tenant, GetDeviceRequest { id: id.to_string() });
    api.devices.clone().get_device(known).await?;
    let request = pb::LatestRequest { device: id.to_string(), page_token: query.page_token };
    let answer = api.telemetry.clone().latest(drover_rpc::request(&tenant, request)).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let next = Some(answer.next_page_token).filter(|token| !token.is_empty());
    let next =
        next.map(|token| format!("</v1/devices/{id}/telemetry/latest?page_token={token}>; rel=\"next\""));
    Ok((next.map(|next| AppendHeaders([(LINK, next)])), Json(Latest::new(answer.values))))
}

/// Read all devices' newest values
///
/// By device, in ascending order; a page ends at about 16 MB. Devices that never measured anything are not in the list.
#[utoipa::path(
    get, path = "/v1/telemetry/latest", tag = "Telemetry", operation_id = "listLatest", params(LatestQuery),
    responses((status = 200, description = "A page of devices", body = Page<DeviceLatest>)),
)]
pub async fn of_all(
    State(api): Shared,
    Caller(tenant): Caller,
    Query(query): Query<LatestQuery>,
) -> Result<Json<Page<DeviceLatest>>, Problem> {
    let LatestQuery { page_size, page_token } = query;
    let request = drover_rpc::request(&tenant, pb::ListLatestRequest { page_size, page_token });
    let answer = api.telemetry.clone().list_latest(request).await;
    let answer = answer.map_err(|status| Problem::of_field("page_token", &status))?.into_inner();
    let keys: Vec<Arc<str>> = answer.keys.into_iter().map(Into::into).collect();
    let item = |device: pb::DeviceLatest| DeviceLatest {
        device: device.device,
        values: Latest::keyed(device.samples, &keys),
    };
    let items = answer.devices.into_iter().map(item).collect();
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}
