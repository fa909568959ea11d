//! Drover for applications, by gRPC: publish on behalf of devices, read what they measured, ask in SQL.
//!
//! ```no_run
//! # async fn example() -> Result<(), drover_sdk::Error> {
//! use drover_sdk::{Client, Publication};
//!
//! let client = Client::connect("http://127.0.0.1:8081", "drv_…").await?;
//! let sent = client.publish([Publication::json("pump-1", &serde_json::json!({ "temp": 21.5 }))]).await?;
//! assert!(sent.refusals.is_empty());
//! for (key, sample) in client.latest("pump-1").await? {
//!     println!("{key} = {:?} at {:?}", sample.value, sample.time);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is cheap to clone; its clones share one connection, which is made again when it is lost. What it has no method for, the
//! generated clients have: [`Client::devices`], [`Client::telemetry`] and so on.

mod client;
mod error;
mod history;
mod publish;

pub use client::{Authorized, Client, Connection};
pub use error::Error;
pub use history::{Aggregation, Range, Sample};
pub use publish::{Publication, Published, Refusal, RefusalReason};

/// Words of the platform: ids, times, values.
pub use drover_model as model;
/// Messages and clients as they are generated from the proto files.
pub use drover_proto as proto;
