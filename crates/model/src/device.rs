//! A device as the registry knows it.

use std::collections::BTreeMap;

use crate::{DeviceId, Timestamp};

/// Free pairs of name and text, for groups and search.
pub type Labels = BTreeMap<String, String>;

/// A registered device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name within the tenant.
    pub id: DeviceId,
    /// The profile whose defaults it shares.
    pub profile: String,
    /// Labels.
    pub labels: Labels,
    /// When it was registered.
    pub created: Timestamp,
    /// Counts changes; the first is 1.
    pub version: u64,
}
