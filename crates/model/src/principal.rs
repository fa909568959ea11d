//! Who is calling, once that is known.

use std::fmt;

use crate::{ApiKeyId, DeviceId, InvalidId, TenantId};

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

/// Who comes to a gateway, by the name that it gives within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// A device, by its id.
    Device(DeviceId),
    /// An application, by the API key that it has: `app:` and the key's id.
    Application(ApiKeyId),
}

impl Party {
    /// What the name of an application begins with, and the id of no device.
    pub const APPLICATION_PREFIX: &str = "app:";

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`InvalidId`] names the first character that is not allowed.
    pub fn parse(name: &str) -> Result<Self, InvalidId> {
        match name.strip_prefix(Self::APPLICATION_PREFIX) {
            Some(key) => ApiKeyId::parse(key).map(Self::Application),
            None => DeviceId::parse(name).map(Self::Device),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => device.fmt(f),
            Self::Application(key) => write!(f, "{}{key}", Self::APPLICATION_PREFIX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whether_it_is_a_device_or_an_application() {
        for name in ["pump", "pump:7", "app", "app:dashboard", "app:a:b"] {
            let party = Party::parse(name).unwrap();
            assert_eq!(party.to_string(), name);
            assert_eq!(matches!(party, Party::Application(_)), name.contains("app:"), "{name}");
        }
        assert!(Party::parse("app:").is_err() && Party::parse("app:a/b").is_err());
    }
}
