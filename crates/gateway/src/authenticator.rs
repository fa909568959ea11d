//! Who a device or an application is: the secret that it presents against the hashes that provisioning keeps, cached; and back-off for those who guess.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use drover_backbone::{Live, LiveMessage, Subscription};
use drover_model::{Clock, Kind, Party, Scope, Tenant, TenantId, Timestamp};
use drover_proto::provisioning::v1::api_keys_client::ApiKeysClient;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::provisioning::v1::{GetApiKeyVerifierRequest, GetVerifiersRequest};
use drover_rpc::Link;
use drover_trust::TokenHash;
use tonic::Status;

use crate::backoff::Backoff;
use crate::places::network_of;
use crate::subject::tenant_and_party;
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
    /// Devices and applications whose verifiers are cached at a time.
    pub max_cached_devices: usize,
    /// How long they are used without asking again.
    pub ttl: Duration,
}

/// A device or an application that has proved its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its tenant.
    pub tenant: Tenant,
    /// Who it is.
    pub party: Party,
    /// What an application may do; none for a device, whose topics say it.
    pub scopes: Arc<[Scope]>,
    /// What it proved it with: names are used again, secrets never.
    secret: TokenHash,
    generation: u64,
}

/// Why a device or an application is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// Unknown name or wrong secret; which of them is not said.
    #[error("unknown name or wrong token")]
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

/// Checks secrets.
pub struct Authenticator {
    credentials: CredentialsClient<Link>,
    api_keys: ApiKeysClient<Link>,
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
            credentials: CredentialsClient::new(provisioning.clone()),
            api_keys: ApiKeysClient::new(provisioning),
            clock,
            cache: Cache::new(options.max_cached_devices),
            ttl: options.ttl,
            sources: Backoff::new(SOURCE_PERIOD, SOURCE_BURST),
            accounts: Backoff::new(ACCOUNT_PERIOD, ACCOUNT_BURST),
        }
    }

    /// Checks a secret. `username` is `device` or `device@tenant`, or `app:key` or `app:key@tenant`. Back-off holds off those who
    /// guess: not whoever has a secret that the cache knows, nor the source from which the account came last, so that a stranger can't
    /// lock it out.
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
        let mut verifier = cached.and_then(|verifiers| matching(&verifiers, password));
        if verifier.is_none() && self.sources.holds(&network, now) {
            return Err(AuthenticationError::BackedOff);
        }
        let Some(account) = account else {
            self.sources.failed(network, now);
            return Err(AuthenticationError::BadCredentials);
        };
        if verifier.is_none() {
            if self.accounts.holds(&account, now) && !self.cache.is_known_source(&account, source) {
                return Err(AuthenticationError::BackedOff);
            }
            // Nobody is refused for what the cache does not know: the secret may be newer.
            verifier = matching(&self.ask(&account, now).await?, password);
        }
        let Some(Verifier { hash: secret, scopes }) = verifier else {
            self.sources.failed(network, now);
            self.accounts.failed(account, now);
            return Err(AuthenticationError::BadCredentials);
        };
        self.cache.remember_source(&account, source);
        #[expect(clippy::disallowed_methods, reason = "the secret was checked")]
        let tenant = Tenant::authenticated(account.tenant);
        Ok(Identity { tenant, party: account.party, scopes, secret, generation })
    }

    /// Whether no credential has changed since the identity was checked.
    pub fn is_fresh(&self, identity: &Identity) -> bool {
        self.cache.generation() == identity.generation
    }

    /// Whether the secret is still good. Asks provisioning unless the answer is cached.
    ///
    /// # Errors
    /// [`AuthenticationError::Unavailable`].
    pub async fn is_valid(&self, identity: &Identity) -> Result<bool, AuthenticationError> {
        let account = Account { tenant: identity.tenant.id().clone(), party: identity.party.clone() };
        let now = self.clock.now();
        let verifiers = match self.cache.get(&account, now) {
            Some(verifiers) => verifiers,
            None => self.ask(&account, now).await?,
        };
        Ok(verifiers.iter().any(|verifier| verifier.hash == identity.secret))
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

    /// Asks for the verifiers of an account whose credentials changed: back-off may be about to hold off whoever comes with a new secret
    /// that the cache does not know. When that can't be told, it is asked again as the account comes.
    ///
    /// # Errors
    /// [`AuthenticationError::Unavailable`].
    pub async fn learn(&self, tenant: &TenantId, party: &Party) -> Result<(), AuthenticationError> {
        let account = Account { tenant: tenant.clone(), party: party.clone() };
        self.ask(&account, self.clock.now()).await?;
        Ok(())
    }

    async fn ask(&self, account: &Account, now: Timestamp) -> Result<Verifiers, AuthenticationError> {
        let generation = self.cache.generation();
        let answer = match &account.party {
            Party::Device(device) => self.ask_for_device(&account.tenant, device.as_str()).await,
            Party::Application(key) => self.ask_for_key(&account.tenant, key.as_str()).await,
        };
        let verifiers = answer.map_err(|status| {
            tracing::warn!("credentials can't be checked: {}", status.message());
            AuthenticationError::Unavailable
        })?;
        self.cache.put(account, verifiers.clone(), (now, self.ttl), generation);
        Ok(verifiers)
    }

    async fn ask_for_device(&self, tenant: &TenantId, device: &str) -> Result<Verifiers, Status> {
        let request = GetVerifiersRequest { tenant: tenant.to_string(), device: device.to_owned() };
        let answer = self.credentials.clone().get_verifiers(request).await?.into_inner();
        let scopes: Arc<[Scope]> = Arc::default();
        let verifiers = answer.verifiers.iter();
        Ok(verifiers.filter_map(|verifier| verifier_of(&verifier.token_sha256, scopes.clone())).collect())
    }

    /// A scope that this version does not know allows nothing.
    async fn ask_for_key(&self, tenant: &TenantId, key: &str) -> Result<Verifiers, Status> {
        let request = GetApiKeyVerifierRequest { tenant: tenant.to_string(), id: key.to_owned() };
        let answer = self.api_keys.clone().get_api_key_verifier(request).await?.into_inner();
        let verifier = answer.verifier.and_then(|verifier| {
            let scopes = verifier.scopes.iter().filter_map(|scope| Scope::parse(scope).ok()).collect();
            verifier_of(&verifier.token_sha256, scopes)
        });
        Ok(verifier.into_iter().collect())
    }
}

fn verifier_of(token_sha256: &[u8], scopes: Arc<[Scope]>) -> Option<Verifier> {
    Some(Verifier { hash: TokenHash::from_bytes(token_sha256.try_into().ok()?), scopes })
}

/// Compares with every verifier, and with one that matches nothing when there is none, so that time tells little.
fn matching(verifiers: &[Verifier], password: &[u8]) -> Option<Verifier> {
    if verifiers.is_empty() {
        let _ = TokenHash::from_bytes([0; 32]).matches(password);
    }
    verifiers.iter().fold(
        None,
        |found, verifier| {
            if verifier.hash.matches(password) { Some(verifier.clone()) } else { found }
        },
    )
}

fn account_of(username: &str) -> Option<Account> {
    let (party, tenant) = username.split_once('@').unwrap_or((username, DEFAULT_TENANT));
    Some(Account { tenant: TenantId::parse(tenant).ok()?, party: Party::parse(party).ok()? })
}

/// Credentials changed, and sessions have to be checked. Whoever changed them waits until this is dropped.
#[derive(Debug)]
pub struct Change {
    /// Whose; `None` when notices were lost, so that it may be anybody's.
    pub of: Option<(TenantId, Party)>,
    /// The device or the key was deleted: it has no credentials, and what is made later under its name is another.
    pub is_gone: bool,
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
        let of = tenant_and_party(&notice.subject).filter(|_| lagged == self.lagged);
        self.lagged = lagged;
        match of.clone() {
            Some((tenant, party)) => self.authenticator.cache.forget(&Account { tenant, party }),
            None => self.authenticator.cache.forget_all(),
        }
        let is_gone = of.is_some() && &*notice.payload == b"gone";
        Some(Change { of, is_gone, _notice: notice })
    }
}

#[cfg(test)]
mod tests;
