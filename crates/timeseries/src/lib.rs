//! The points of an installation: the newest in memory (`head`), the rest in Parquet files (`write`, `read`, `file`), which
//! of them count and each device's latest values in the database (`manifest`, `latest`); `census` keeps each device within its
//! bounds. `flush` moves points from memory to files, `compact` merges files into one for each tenant and day; `erasures` says
//! what was erased, `retention` how long points are kept, and `gone` which rows therefore no longer count; `rollup` has the
//! sums of merged files, made by `summary`; `range` and `aggregate` answer questions, `newest` bounds an answer, and
//! its `cursor` says where the next one goes on. Durability before a flush is the log's business: its offset is committed
//! together with the flush, and what came after is replayed.

mod aggregate;
mod census;
mod columns;
mod compact;
mod cursor;
mod damage;
mod erasures;
mod error;
mod file;
mod flush;
mod footers;
mod gone;
mod head;
mod latest;
mod manifest;
mod merge;
mod newest;
mod range;
mod read;
mod retention;
mod rollup;
mod sample;
mod snapshot;
mod sql;
mod store;
mod summary;
mod write;

pub use census::{DeviceBounds, OverBounds};
pub use compact::Compacted;
pub use cursor::Cursor;
pub use damage::Health;
pub use error::StoreError;
pub use flush::Flush;
pub use head::{DeviceSlot, HeadWriter};
pub use newest::MAX_ANSWER_SAMPLES;
pub use retention::{Retention, RetentionRule};
pub use sample::{Aggregation, RangeAnswer, RangeQuery, Sample};
pub use snapshot::{Linked, link_files};
pub use sql::{Answer, Engine, Filter, Format, Query, QueryBounds, QueryError, QueryMetrics, Table};
pub use store::{LatestPage, MAX_LATEST_DEVICES, NumberedSamples, Store, StoreOptions, StoreStats};

#[cfg(test)]
mod tests;
