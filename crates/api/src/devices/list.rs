//! `GET /v1/devices`.

use std::collections::HashMap;

use axum::extract::State;
use drover_proto::devices::v1::ListDevicesRequest;
use utoipa::IntoParams;

use super::Device;
use crate::Shared;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Json, Pairs, Query, ReadQuery};
use crate::page::{Page, PageQuery};

/// Which devices are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DevicesQuery {
    /// Most items of the page.
    #[param(minimum = 1, maximum = 1000, default = 100, required = false)]
    pub page_size: u32,
    /// `next_page_token` of the page before.
    #[param(required = false)]
    pub page_token: String,
    /// `name:value`; only devices that have this label. May be repeated: all of them must be there.
    #[param(value_type = Vec<String>, required = false, example = json!(["site:north"]))]
    pub label: HashMap<String, String>,
}

impl ReadQuery for DevicesQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        let PageQuery { page_size, page_token } = PageQuery::read(pairs)?;
        let mut label = HashMap::new();
        for text in pairs.all("label") {
            let Some((name, value)) = text.split_once(':') else {
                return Err(Problem::field("label", "has no ':'; write name:value"));
            };
            let before = label.insert(name.to_owned(), value.to_owned());
            if before.is_some_and(|before| before != value) {
                return Err(Problem::field(
                    "label",
                    "a name stands twice with different values, which no device has",
                ));
            }
        }
        Ok(Self { page_size, page_token, label })
    }
}

/// List the devices
///
/// By id, in ascending order.
#[utoipa::path(
    get, path = "/v1/devices", tag = "Devices", operation_id = "listDevices", params(DevicesQuery),
    responses((status = 200, description = "A page of devices", body = Page<Device>)),
)]
pub async fn list(
    State(api): Shared,
    Caller(tenant): Caller,
    Query(query): Query<DevicesQuery>,
) -> Result<Json<Page<Device>>, Problem> {
    let DevicesQuery { page_size, page_token, label: labels } = query;
    let message = ListDevicesRequest { page_size, page_token, labels };
    let answer = api.devices.clone().list_devices(drover_rpc::request(&tenant, message)).await;
    let answer = answer.map_err(|status| problem(&status))?.into_inner();
    let items = answer.devices.into_iter().map(Device::from).collect();
    Ok(Json(Page { items, next_page_token: answer.next_page_token }))
}

fn problem(status: &tonic::Status) -> Problem {
    let field = if status.message().starts_with("page_token") { "page_token" } else { "label" };
    Problem::of_field(field, status)
}
