//! gRPC between services: the link that a generated client speaks through, who the caller is, and how error kinds map to statuses.

mod link;
mod page;
mod peers;
mod status;
mod tenant;

pub use link::{Link, LinkError};
pub use page::{PAGE_BYTES, Page, PageError, fitting, position_of, token};
pub use peers::Peers;
pub use status::{kind_of, status, storage_status};
pub use tenant::{TENANT_METADATA, request, tenant};
