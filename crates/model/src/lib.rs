//! The words and rules that every other crate speaks: ids, time, points, channels, error kinds.
//! No I/O, no wall clock, no protocol.

mod clock;
mod device;
mod id;
mod kind;
mod point;
mod principal;
mod scope;
mod timestamp;
pub mod topic;

pub use clock::{Clock, ManualClock, Now};
pub use device::{Device, Labels};
pub use id::{ApiKeyId, CredentialId, DeviceId, FeedGroupId, InvalidId, ProfileId, TelemetryKey, TenantId};
pub use kind::Kind;
pub use point::{Flags, Point, Value, ValueRef, serialize_number};
pub use principal::{Party, Tenant};
pub use scope::{InvalidScope, Scope};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use topic::Channel;
