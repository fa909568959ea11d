//! Who is calling, once that is known.

use std::fmt;

use crate::{DeviceId, TenantId};

/// The proof that a caller belongs to a tenant. Every store, topic tree and queue is reached through one of these, never
/// through a [`TenantId`] that came in by a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(TenantId);

impl Tenant {
    /// Vouches for a tenant. `clippy.toml` bans the call; each of the few places that may make it (a checked secret, an
    /// authenticated peer, a record from our own log) says so with an `expect` and its reason.
    pub fn authenticated(id: TenantId) -> Self {
        Self(id)
    }

    /// Its name.
    pub fn id(&self) -> &TenantId {
        &self.0
    }

    /// Its name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An authenticated caller of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A device with an identity of its own.
    Device { tenant: Tenant, device: DeviceId },
    /// A client without credentials on a loopback listener that allows it: the tenant's whole topic space.
    Anonymous { tenant: Tenant },
}

impl Principal {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &Tenant {
        match self {
            Self::Device { tenant, .. } | Self::Anonymous { tenant } => tenant,
        }
    }
}
