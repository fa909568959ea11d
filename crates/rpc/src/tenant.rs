//! For whom a call between services is made. Only authenticated peers reach a service, so what they say of the tenant stands.

use drover_model::{Kind, Tenant, TenantId};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

/// Metadata key that carries the tenant between services.
pub const TENANT_METADATA: &str = "x-drover-tenant";

/// A request on behalf of a tenant.
pub fn request<T>(tenant: &Tenant, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(tenant.as_str()).expect("an id is printable ASCII");
    request.metadata_mut().insert(TENANT_METADATA, value);
    request
}

/// The tenant on whose behalf a request was made.
///
/// # Errors
/// Unauthenticated when the caller named none.
pub fn tenant<T>(request: &Request<T>) -> Result<Tenant, Status> {
    let text =
        request.metadata().get(TENANT_METADATA).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let id = TenantId::parse(text)
        .map_err(|error| crate::status(Kind::Unauthenticated, format!("{TENANT_METADATA}: {error}")))?;
    #[expect(clippy::disallowed_methods, reason = "an authenticated peer vouches for the tenant")]
    Ok(Tenant::authenticated(id))
}
