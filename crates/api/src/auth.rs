//! Who is calling, and for which tenant. The only place of this crate that makes a [`Tenant`].

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use drover_backbone::token;
use drover_model::{ApiKeyId, Kind, Party, Scope, Tenant, TenantId};
use drover_proto::provisioning::v1::{FindApiKeyRequest, GetTenantRequest};
use drover_trust::TokenHash;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::error::{Problem, Sort};
use crate::live::web_socket;
use crate::{Api, query};

/// Header that names another tenant than the default one.
pub const TENANT_HEADER: &str = "x-drover-tenant";
/// What to do without a token that is known.
const REMEDY: &str = "send Authorization: Bearer <token>: an API key's secret, or the administrator's token, which is in <data dir>/admin.token or DROVER_TOKEN";
/// The tenant of a request that names none; it is always there.
const DEFAULT_TENANT: &str = "default";

/// The tenant that an authenticated caller works for.
#[derive(Debug, Clone)]
pub struct Caller(pub Tenant);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Problem::new(Sort::Unauthenticated, "this path is not open to callers that are not known")
        })
    }
}

/// The API key with which a request came; absent for the administrator.
#[derive(Debug, Clone)]
pub struct Key {
    pub id: ApiKeyId,
    pub scopes: Vec<Scope>,
    tenant: Tenant,
    secret: TokenHash,
}

/// The key of a request, if it came with one.
pub struct ByKey(pub Option<Key>);

impl<S: Send + Sync> FromRequestParts<S> for ByKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Key>().cloned()))
    }
}

/// Lets a request pass when its token is right and its tenant exists. The token is the administrator's, or an API key for its own tenant
/// as far as its scopes go.
pub async fn authenticate(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let only_reads = request.method().is_safe() || request.uri().path() == query::PATH;
    let needed = if only_reads { Scope::Read } else { Scope::Write };
    let Identity { tenant, key } = identify(&api, request.headers(), &needed).await?;
    request.extensions_mut().insert(Caller(tenant));
    if let Some(key) = key {
        request.extensions_mut().insert(key);
    }
    Ok(next.run(request).await)
}

/// Who is calling: for which tenant, and by which key, which is absent for the administrator.
pub struct Identity {
    pub tenant: Tenant,
    pub key: Option<Key>,
}

/// Reads the token and the tenant out of the headers of a request, or the metadata of a call. A key must have the scope.
pub async fn identify(api: &Api, headers: &HeaderMap, needed: &Scope) -> Result<Identity, Problem> {
    let token = bearer(headers)?;
    if api.administrator.matches(token) {
        return Ok(Identity { tenant: find_tenant(api, headers).await?, key: None });
    }
    let key = find_key(api, token)
        .await?
        .ok_or_else(|| Problem::new(Sort::Unauthenticated, format!("the token is not known; {REMEDY}")))?;
    check_scope(&key, needed)?;
    check_own_tenant(&key, headers)?;
    Ok(Identity { tenant: key.tenant.clone(), key: Some(key) })
}

/// Lets a request pass that came with the administrator's token.
pub async fn refuse_keys(ByKey(key): ByKey, request: Request, next: Next) -> Result<Response, Problem> {
    check_administrator(key.as_ref())?;
    Ok(next.run(request).await)
}

/// A key makes neither keys nor tenants.
pub fn check_administrator(key: Option<&Key>) -> Result<(), Problem> {
    let Some(key) = key else { return Ok(()) };
    let detail = format!("API key {} may not do this; use the administrator's token", key.id);
    Err(Problem::new(Sort::Denied, detail))
}

fn bearer(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        let problem = || Problem::new(Sort::Unauthenticated, format!("the request has no token; {REMEDY}"));
        return web_socket::token(headers).ok_or_else(problem);
    };
    let token =
        header.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    token.map(|(_, token)| token.trim_ascii()).ok_or_else(|| {
        Problem::new(Sort::Unauthenticated, format!("the request has no bearer token; {REMEDY}"))
    })
}

/// The key that has this secret. It is asked for with each request, so that a deleted one is refused at once.
async fn find_key(api: &Api, token: &[u8]) -> Result<Option<Key>, Problem> {
    let secret = TokenHash::of(token);
    let request = FindApiKeyRequest { token_sha256: secret.as_bytes().to_vec() };
    let found = match api.api_keys.clone().find_api_key(request).await {
        Ok(found) => found.into_inner(),
        Err(status) if drover_rpc::kind_of(&status) == Kind::NotFound => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let key = found.api_key.unwrap_or_default();
    let (Ok(tenant), Ok(id)) = (TenantId::parse(&found.tenant), ApiKeyId::parse(&key.id)) else {
        tracing::error!("API key {} of tenant {} has an impossible name", key.id, found.tenant);
        return Err(Problem::internal());
    };
    #[expect(clippy::disallowed_methods, reason = "the secret of a key of this tenant was presented")]
    let tenant = Tenant::authenticated(tenant);
    // A scope that this version does not know allows nothing.
    let scopes = key.scopes.iter().filter_map(|scope| Scope::parse(scope).ok()).collect();
    Ok(Some(Key { id, scopes, tenant, secret }))
}

fn check_scope(key: &Key, needed: &Scope) -> Result<(), Problem> {
    if key.scopes.contains(needed) {
        return Ok(());
    }
    Err(Problem::new(Sort::Denied, format!("API key {} has no scope {needed}", key.id)))
}

fn check_own_tenant(key: &Key, headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(TENANT_HEADER) {
        Some(named) if named.as_bytes() != key.tenant.as_str().as_bytes() => {
            let detail =
                format!("API key {} is one of tenant {}; leave out X-Drover-Tenant", key.id, key.tenant);
            Err(Problem::new(Sort::Denied, detail))
        }
        _ => Ok(()),
    }
}

/// Resolves when a key is gone; never for the administrator.
pub async fn revoked(api: Arc<Api>, key: Option<Key>) {
    let Some(key) = key else { return std::future::pending().await };
    let party = Party::Application(key.id).to_string();
    let subject = format!("credentials.changed.{}.{}", token(key.tenant.as_str()), token(&party));
    let mut changes = api.live.subscribe(&subject, None);
    loop {
        // Also at first: it may be gone since the request was let in. Who can't be asked is asked at the next change.
        let request = FindApiKeyRequest { token_sha256: key.secret.as_bytes().to_vec() };
        let found = api.api_keys.clone().find_api_key(request).await;
        if found.is_err_and(|status| drover_rpc::kind_of(&status) == Kind::NotFound)
            || changes.next().await.is_none()
        {
            return;
        }
    }
}

async fn find_tenant(api: &Api, headers: &HeaderMap) -> Result<Tenant, Problem> {
    let text = match headers.get(TENANT_HEADER) {
        None => DEFAULT_TENANT,
        Some(value) => value.to_str().map_err(|_| Problem::field("X-Drover-Tenant", "is not ASCII text"))?,
    };
    let id = TenantId::parse(text).map_err(|error| Problem::field("X-Drover-Tenant", error))?;
    if text != DEFAULT_TENANT {
        let request = tonic::Request::new(GetTenantRequest { id: text.to_owned() });
        api.tenants.clone().get_tenant(request).await.map_err(|status| {
            match drover_rpc::kind_of(&status) {
                Kind::NotFound => {
                    let remedy = "make it with POST /v1/tenants, or see GET /v1/tenants";
                    Problem::new(Sort::NotFound, format!("X-Drover-Tenant: {}; {remedy}", status.message()))
                }
                _ => status.into(),
            }
        })?;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the administrator's token was checked, and the tenant exists"
    )]
    Ok(Tenant::authenticated(id))
}
