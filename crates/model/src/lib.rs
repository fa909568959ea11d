//! The words and rules that every other crate speaks: ids, time, points, channels, error kinds.
//! No I/O, no wall clock, no protocol.

mod clock;
mod device;
mod id;
mod kind;
mod point;
mod principal;
mod timestamp;
pub mod topic;

pub use clock::{Clock, ManualClock, Now};
pub use device::{Device, Labels};
pub use id::{CredentialId, DeviceId, InvalidId, ProfileId, TelemetryKey, TenantId};
pub use kind::Kind;
pub use point::{Flags, Point, Value, ValueRef, serialize_number};
pub use principal::{Principal, Tenant};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use topic::Channel;
