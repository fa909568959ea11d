//! Reading requests: path parameters, query parameters and JSON bodies, each refused with a problem that names the field.

mod json;
mod path;
mod query;

pub use json::{Json, MAX_BODY_BYTES, Replace, unreadable};
pub use path::Path;
pub use query::{Known, Pairs, Query, ReadQuery, refuse_unknown};
