//! The API keys of applications. A key never changes; its secret leaves in the answer that makes it and is kept only as its SHA-256.

use drover_model::{ApiKeyId, Clock, Party, Scope, Tenant, TenantId, Timestamp};
use drover_mqtt_codec::topic::{TopicError, TopicFilter};
use drover_rpc::Page;
use drover_runtime::Rng;
use drover_trust::TokenHash;

use crate::error::Error;
use crate::gateways::Gateways;
use crate::store::Store;

/// Most API keys of one tenant.
pub const MAX_API_KEYS: usize = 1_000;
/// Most scopes of one key: a gateway compares a topic with each of them.
pub const MAX_SCOPES: usize = 32;
/// Longest scope.
pub const MAX_SCOPE_BYTES: usize = 1_024;
/// Longest description.
pub const MAX_DESCRIPTION_BYTES: usize = 256;

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub description: String,
    pub scopes: Vec<Scope>,
    pub created: Timestamp,
}

/// What a secret is checked against, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyVerifier {
    pub token_sha256: Vec<u8>,
    pub scopes: Vec<Scope>,
}

/// Why a scope is refused.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    #[error(transparent)]
    Unknown(#[from] drover_model::InvalidScope),
    #[error("{scope:?}: {error}")]
    Filter { scope: String, error: TopicError },
    #[error("{0:?}: leave out $share/<group>/; whoever may subscribe to a filter may share it")]
    Shared(String),
    #[error("{0:?} has control characters")]
    Control(String),
    #[error("a scope has {0} bytes; at most {MAX_SCOPE_BYTES} are allowed")]
    TooLong(usize),
    #[error("{0} are given; at most {MAX_SCOPES} are allowed")]
    TooMany(usize),
}

/// The rules for API keys.
#[derive(Clone)]
pub struct ApiKeys {
    pub store: Store,
    pub gateways: Gateways,
    pub clock: Clock,
    pub rng: Rng,
}

impl ApiKeys {
    /// A new key and its secret, which every gateway takes when this returns.
    pub async fn create(
        &self,
        tenant: &Tenant,
        id: ApiKeyId,
        description: String,
        scopes: &[String],
    ) -> Result<(ApiKey, String), Error> {
        if description.len() > MAX_DESCRIPTION_BYTES {
            return Err(Error::DescriptionTooLong(description.len()));
        }
        let scopes = read_scopes(scopes)?;
        if self.store.tenant(tenant.id()).await?.is_none() {
            return Err(Error::NoTenant(tenant.id().clone()));
        }
        let secret = drover_trust::token_from(self.rng.bytes());
        let hash = TokenHash::of(secret.as_bytes());
        let key = ApiKey { id, description, scopes, created: self.clock.now() };
        if !self.store.insert_api_key(tenant, &key, hash.as_bytes()).await? {
            return Err(match self.store.api_key(tenant, &key.id).await? {
                Some(_) => Error::ApiKeyExists(key.id),
                None => Error::TooManyApiKeys(tenant.id().clone()),
            });
        }
        self.gateways.tell(tenant, &Party::Application(key.id.clone())).await;
        Ok((key, secret))
    }

    pub async fn get(&self, tenant: &Tenant, id: ApiKeyId) -> Result<ApiKey, Error> {
        self.store.api_key(tenant, &id).await?.ok_or(Error::NoApiKey(id))
    }

    /// A page of a tenant's keys, and the token of the next one.
    pub async fn list(&self, tenant: &Tenant, page: &Page) -> Result<(Vec<ApiKey>, String), Error> {
        let mut rows = self.store.api_keys(tenant, page).await?;
        let next = page.cut(&mut rows, |key| key.id.to_string());
        Ok((rows, next))
    }

    /// Removes a key. It is refused everywhere when this returns.
    pub async fn delete(&self, tenant: &Tenant, id: ApiKeyId) -> Result<(), Error> {
        let (this, tenant) = (self.clone(), tenant.clone());
        let work = async move {
            if !this.store.delete_api_key(&tenant, &id).await? {
                return Err(Error::NoApiKey(id));
            }
            this.gateways.tell_gone(&tenant, &Party::Application(id)).await;
            Ok(())
        };
        self.gateways.to_the_end(work).await
    }

    /// What a key's secret is checked against. The caller is a gateway that has not authenticated anybody yet, so the tenant is only a
    /// name.
    pub async fn verifier(&self, tenant: &TenantId, id: &ApiKeyId) -> Result<Option<ApiKeyVerifier>, Error> {
        self.store.api_key_verifier(tenant, id).await
    }

    /// Whose secret has this hash.
    pub async fn find(&self, token_sha256: &[u8]) -> Result<(TenantId, ApiKey), Error> {
        self.store.find_api_key(token_sha256).await?.ok_or(Error::UnknownSecret)
    }
}

/// The scopes of a new key; the whole topic space when none are given.
fn read_scopes(texts: &[String]) -> Result<Vec<Scope>, ScopeError> {
    if texts.is_empty() {
        return Ok(vec![Scope::Publish("#".into()), Scope::Subscribe("#".into())]);
    }
    if texts.len() > MAX_SCOPES {
        return Err(ScopeError::TooMany(texts.len()));
    }
    texts.iter().map(|text| read_scope(text)).collect()
}

fn read_scope(text: &str) -> Result<Scope, ScopeError> {
    if text.len() > MAX_SCOPE_BYTES {
        return Err(ScopeError::TooLong(text.len()));
    }
    // Lines of text in the database, and of tables in terminals.
    if text.contains(char::is_control) {
        return Err(ScopeError::Control(text.to_owned()));
    }
    let scope = Scope::parse(text)?;
    if let Some(filter) = scope.filter() {
        match TopicFilter::parse(filter) {
            Ok(filter) if filter.group().is_some() => return Err(ScopeError::Shared(text.to_owned())),
            Ok(_) => {}
            Err(error) => return Err(ScopeError::Filter { scope: text.to_owned(), error }),
        }
    }
    Ok(scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        read_scopes(&[text.to_owned()]).unwrap_err().to_string()
    }

    #[test]
    fn a_key_without_scopes_has_the_whole_topic_space() {
        let scopes: Vec<String> = read_scopes(&[]).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(scopes, ["mqtt:publish:#", "mqtt:subscribe:#"]);
    }

    #[test]
    fn a_scope_that_can_not_work_is_refused_with_its_reason() {
        assert!(refused("mqtt:publish:a#").contains("wildcard #"));
        assert!(refused("mqtt:subscribe:$share/g/a").contains("$share"));
        assert!(refused("mqtt:subscribe:a\nb").contains("control"));
        assert!(refused("mqtt:everything").contains("api:read"));
        assert!(refused(&format!("mqtt:publish:{}", "a".repeat(MAX_SCOPE_BYTES))).contains("bytes"));
        let many = vec!["api:read".to_owned(); MAX_SCOPES + 1];
        assert!(read_scopes(&many).unwrap_err().to_string().contains("at most 32"));
    }
}
