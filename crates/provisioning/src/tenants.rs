//! The tenants of the installation. The tenant `default` is there from the first start.

use drover_model::{Clock, TenantId, Timestamp};

use crate::error::Error;
use crate::store::Store;
use drover_rpc::Page;

/// The tenant of an installation that has only one.
const DEFAULT_TENANT: &str = "default";
/// Longest display name.
pub const MAX_NAME_BYTES: usize = 256;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    pub id: TenantId,
    pub name: String,
    pub created: Timestamp,
}

/// The rules for tenants.
#[derive(Debug, Clone)]
pub struct Tenants {
    store: Store,
    clock: Clock,
}

impl Tenants {
    /// Makes sure that the default tenant is there.
    pub async fn open(store: Store, clock: Clock) -> Result<Self, Error> {
        let tenants = Self { store, clock };
        match tenants.create(DEFAULT_TENANT, "").await {
            Ok(_) | Err(Error::TenantExists(_)) => Ok(tenants),
            Err(error) => Err(error),
        }
    }

    pub async fn create(&self, id: &str, name: &str) -> Result<TenantRow, Error> {
        let id = TenantId::parse(id)?;
        if name.len() > MAX_NAME_BYTES {
            return Err(Error::NameTooLong(name.len()));
        }
        let name = if name.is_empty() { id.as_str() } else { name }.to_owned();
        let tenant = TenantRow { id, name, created: self.clock.now() };
        if self.store.insert_tenant(&tenant).await? {
            Ok(tenant)
        } else {
            Err(Error::TenantExists(tenant.id))
        }
    }

    pub async fn get(&self, id: &str) -> Result<TenantRow, Error> {
        let id = TenantId::parse(id)?;
        self.store.tenant(&id).await?.ok_or(Error::NoTenant(id))
    }

    /// A page of tenants, and the token of the next one.
    pub async fn list(&self, page: &Page) -> Result<(Vec<TenantRow>, String), Error> {
        let mut rows = self.store.tenants(page).await?;
        let next = page.cut(&mut rows, |tenant| tenant.id.to_string());
        Ok((rows, next))
    }
}
