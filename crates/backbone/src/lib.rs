//! The backbone: a durable `Log` of records and `Live` messages that are not kept. Both are opened by what the configuration names;
//! nothing outside this crate knows which implementation is behind them.

#[cfg(test)]
mod contract;
mod embedded;
mod frame;
mod health;
mod live;
mod log;
mod partition;
mod producer;
mod queue;
mod reader;
mod snapshot;
mod stats;
mod ticket;

pub use frame::{Frame, FrameError, Records};
pub use health::LogHealth;
pub use live::{Live, LiveError, LiveMessage, Subscription, token};
pub use log::{Log, LogError, LogOptions};
pub use partition::{Offset, PARTITIONS, Shard, Stream, partition_of, sequence, shard_of};
pub use producer::{Producer, ProducerOptions, Refused};
pub use reader::Reader;
pub use snapshot::{Kept, LogFile};
pub use stats::{LogStats, SYNC_BOUNDS_US};
pub use ticket::Ticket;
