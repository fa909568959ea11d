//! Who a device is: the secret that it presents against the hashes that provisioning keeps, cached; and back-off for those who guess.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use drover_backbone::{Live, LiveMessage, Subscription};
use drover_model::{Clock, CredentialId, DeviceId, Kind, Tenant, TenantId, Timestamp};
use drover_proto::provisioning::v1::GetVerifiersRequest;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_rpc::Link;
use drover_trust::TokenHash;

use crate::backoff::Backoff;
use crate::places::network_of;
use crate::subject::tenant_and_device;
use crate::verifiers::{Account, Cache, Verifier, Verifiers};

/// Tenant of a username that names none.
const DEFAULT_TENANT: &str = "default";
/// A source may fail this often at once, and then five times a second: many devices may share one address.
const SOURCE_PERIOD: Duration = Duration::from_millis(200);
const SOURCE_BURST: u32 = 100;
/// An account may fail this often at once, and then once in five seconds.
const ACCOUNT_PERIOD: Duration = Duration::from_secs(5);
const ACCOUNT_BURST: u32 = 10;

/// Bounds of the cache.
#[derive(Debug, Clone, Copy)]
pub struct AuthenticatorOptions {
    /// Devices whose verifiers are cached at a time.
    pub max_cached_devices: usize,
    /// How long they are used without asking again.
    pub ttl: Duration,
}

/// A device that has proved its identity, and by which credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its name.
    pub device: DeviceId,
    /// What it proved it with.
    pub credential: CredentialId,
    generation: u64,
}

/// Why a device is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// Unknown name or wrong secret; which of them is not said.
    #[error("unknown device or wrong token")]
    BadCredentials,
    /// Too many failures from this source or for this account.
    #[error("too many failed attempts; try again later")]
    BackedOff,
    /// Provisioning did not answer.
    #[error("credentials can't be checked at the moment")]
    Unavailable,
}

impl AuthenticationError {
    /// What sort of failure it is.
    pub const fn kind(self) -> Kind {
        match self {
            Self::BadCredentials => Kind::Unauthenticated,
            Self::BackedOff => Kind::Exhausted,
            Self::Unavailable => Kind::Unavailable,
        }
    }
}

/// Checks devices' secrets.
pub struct Authenticator {
    credentials: CredentialsClient<Link>,
    clock: Clock,
    cache: Cache,
    ttl: Duration,
    sources: Backoff<IpAddr>,
    accounts: Backoff<Account>,
}

impl Authenticator {
    /// `provisioning` is the link to the service that keeps credentials.
    pub fn new(provisioning: Link, clock: Clock, options: AuthenticatorOptions) -> Self {
        Self {
            credentials: CredentialsClient::new(provisioning),
            clock,
            cache: Cache::new(options.max_cached_devices),
            ttl: options.ttl,
            sources: Backoff::new(SOURCE_PERIOD, SOURCE_BURST),
            accounts: Backoff::new(ACCOUNT_PERIOD, ACCOUNT_BURST),
        }
    }

    /// Checks a token. `username` is `device` or `device@tenant`. Back-off holds off those who guess: not whoever has a secret that
    /// the cache knows, nor the source from which the device came last, so that a stranger can't lock a device out.
    ///
    /// # Errors
    /// [`AuthenticationError`]; failures are counted against source and account.
    pub async fn authenticate(
        &self,
        source: IpAddr,
        username: &str,
        password: &[u8],
    ) -> Result<Identity, AuthenticationError> {
        let now = self.clock.now();
        let generation = self.cache.generation();
        let network = network_of(source);
        let account = account_of(username);
        let cached = account.as_ref().and_then(|account| self.cache.get(account, now));
        let mut credential = cached.and_then(|verifiers| matching(&verifiers, password));
        if credential.is_none() && self.sources.holds(&network, now) {
            return Err(AuthenticationError::BackedOff);
        }
        let Some(account) = account else {
            self.sources.failed(network, now);
            return Err(AuthenticationError::BadCredentials);
        };
        if credential.is_none() {
            if self.accounts.holds(&account, now) && !self.cache.is_known_source(&account, source) {
                return Err(AuthenticationError::BackedOff);
            }
            // Nobody is refused for what the cache does not know: the credential may be newer.
            credential = matching(&self.ask(&account, now).await?, password);
        }
        let Some(credential) = credential else {
            self.sources.failed(network, now);
            self.accounts.failed(account, now);
            return Err(AuthenticationError::BadCredentials);
        };
        self.cache.remember_source(&account, source);
        #[expect(clippy::disallowed_methods, reason = "the secret was checked")]
        let tenant = Tenant::authenticated(account.tenant);
        Ok(Identity { tenant, device: account.device, credential, generation })
    }

    /// Whether no credential has changed since the identity was checked.
    pub fn is_fresh(&self, identity: &Identity) -> bool {
        self.cache.generation() == identity.generation
    }

    /// Whether the credential still exists. Asks provisioning unless the answer is cached.
    ///
    /// # Errors
    /// [`AuthenticationError::Unavailable`].
    pub async fn is_valid(&self, identity: &Identity) -> Result<bool, AuthenticationError> {
        let account = Account { tenant: identity.tenant.id().clone(), device: identity.device.clone() };
        let now = self.clock.now();
        let verifiers = match self.cache.get(&account, now) {
            Some(verifiers) => verifiers,
            None => self.ask(&account, now).await?,
        };
        Ok(verifiers.iter().any(|verifier| verifier.credential == identity.credential))
    }

    /// Follows changes of credentials from now on, so it has to be called before anybody is authenticated. The cache forgets what they
    /// touch, as long as they are awaited.
    pub fn changes(self: &Arc<Self>, live: &Live) -> Changes {
        Changes {
            authenticator: self.clone(),
            subscription: live.subscribe("credentials.changed.>", None),
            lagged: 0,
        }
    }

    /// Asks for the verifiers of a device whose credentials changed: back-off may be about to hold off whoever comes with a new secret
    /// that the cache does not know. When that fails, it is asked again as the device comes.
    pub async fn learn(&self, tenant: &TenantId, device: &DeviceId) {
        let account = Account { tenant: tenant.clone(), device: device.clone() };
        let _ = self.ask(&account, self.clock.now()).await;
    }

    async fn ask(&self, account: &Account, now: Timestamp) -> Result<Verifiers, AuthenticationError> {
        let generation = self.cache.generation();
        let request = GetVerifiersRequest {
            tenant: account.tenant.as_str().to_owned(),
            device: account.device.as_str().to_owned(),
        };
        let response = self.credentials.clone().get_verifiers(request).await.map_err(|status| {
            tracing::warn!("credentials can't be checked: {}", status.message());
            AuthenticationError::Unavailable
        })?;
        let verifiers: Verifiers = response.into_inner().verifiers.iter().filter_map(verifier_of).collect();
        self.cache.put(account, verifiers.clone(), (now, self.ttl), generation);
        Ok(verifiers)
    }
}

fn verifier_of(verifier: &drover_proto::provisioning::v1::Verifier) -> Option<Verifier> {
    let hash = TokenHash::from_bytes(verifier.token_sha256.as_slice().try_into().ok()?);
    Some(Verifier { credential: CredentialId::parse(&verifier.credential).ok()?, hash })
}

/// Compares with every verifier, and with one that matches nothing when there is none, so that time tells little.
fn matching(verifiers: &[Verifier], password: &[u8]) -> Option<CredentialId> {
    if verifiers.is_empty() {
        let _ = TokenHash::from_bytes([0; 32]).matches(password);
    }
    verifiers.iter().fold(None, |found, verifier| {
        if verifier.hash.matches(password) { Some(verifier.credential.clone()) } else { found }
    })
}

fn account_of(username: &str) -> Option<Account> {
    let (device, tenant) = username.split_once('@').unwrap_or((username, DEFAULT_TENANT));
    Some(Account { tenant: TenantId::parse(tenant).ok()?, device: DeviceId::parse(device).ok()? })
}

/// Credentials changed, and sessions have to be checked. Whoever changed them waits until this is dropped.
#[derive(Debug)]
pub struct Change {
    /// Whose; `None` when notices were lost, so that it may be anybody's.
    pub of: Option<(TenantId, DeviceId)>,
    _notice: LiveMessage,
}

/// Changes of credentials as they happen.
pub struct Changes {
    authenticator: Arc<Authenticator>,
    subscription: Subscription,
    lagged: u64,
}

impl Changes {
    /// The next one, which the cache knows of already; `None` when the process stops. Dropping the future loses none.
    pub async fn next(&mut self) -> Option<Change> {
        let notice = self.subscription.next().await?;
        let lagged = self.subscription.lagged();
        let of = tenant_and_device(&notice.subject).filter(|_| lagged == self.lagged);
        self.lagged = lagged;
        match of.clone() {
            Some((tenant, device)) => self.authenticator.cache.forget(&Account { tenant, device }),
            None => self.authenticator.cache.forget_all(),
        }
        Some(Change { of, _notice: notice })
    }
}

#[cfg(test)]
mod tests;
