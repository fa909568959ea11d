//! Devices: the JSON of one, and an endpoint a file.

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod update;

use std::collections::BTreeMap;

use drover_model::Timestamp;
use drover_proto::devices::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;

/// A registered device.
#[derive(Debug, Serialize, ToSchema)]
pub struct Device {
    #[schema(example = "pump-7")]
    pub id: String,
    /// The profile whose defaults it shares.
    #[schema(example = "default")]
    pub profile: String,
    /// Free pairs of name and text, for groups and search.
    #[schema(example = json!({"site": "north", "floor": "2"}))]
    pub labels: BTreeMap<String, String>,
    /// When it was registered, RFC 3339.
    #[schema(example = "2026-11-24T19:00:00.000Z", format = DateTime)]
    pub created: String,
    /// Counts changes; the first is 1.
    #[schema(example = 1)]
    pub version: u64,
}

impl From<pb::Device> for Device {
    fn from(device: pb::Device) -> Self {
        let created = Timestamp::from_micros(device.created_us).to_string();
        let labels = device.labels.into_iter().collect();
        Self { id: device.id, profile: device.profile, labels, created, version: device.version }
    }
}

/// A refusal of the registry. What it calls invalid is the profile, a label, or an id of an application: the rest was checked here.
fn problem(status: &tonic::Status) -> Problem {
    let named = ["id", "profile"].into_iter().find(|name| status.message().starts_with(*name));
    let field = named.unwrap_or("labels");
    Problem::of_field(field, status)
}
