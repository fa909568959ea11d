//! Who is calling, and for which tenant. The only place of this crate that makes a [`Tenant`].

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use drover_model::{Kind, Tenant, TenantId};
use drover_proto::provisioning::v1::GetTenantRequest;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::Api;
use crate::error::{Problem, Sort};

/// Header that names another tenant than the default one.
const TENANT_HEADER: &str = "x-drover-tenant";
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

/// Lets a request pass when its token is right and its tenant exists.
pub async fn authenticate(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    check_token(&api, request.headers())?;
    let caller = Caller(find_tenant(&api, request.headers()).await?);
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn check_token(api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
    let remedy = "send Authorization: Bearer <token>; the administrator's token is in <data dir>/admin.token or DROVER_TOKEN";
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Err(Problem::new(Sort::Unauthenticated, format!("the request has no token; {remedy}")));
    };
    let token =
        header.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    match token {
        Some((_, token)) if api.administrator.matches(token.trim_ascii()) => Ok(()),
        Some(_) => Err(Problem::new(Sort::Unauthenticated, format!("the token is not known; {remedy}"))),
        None => {
            Err(Problem::new(Sort::Unauthenticated, format!("the request has no bearer token; {remedy}")))
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
