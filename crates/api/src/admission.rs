//! How many requests are in work at a time, in all and of one tenant, for how long each may be, and what becomes of a panic.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use drover_gateway::Places;
use drover_model::TenantId;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::SemaphorePermit;

use crate::Api;
use crate::auth::Caller;
use crate::error::{Problem, Sort};
use crate::extract::{MAX_BODY_BYTES, unreadable};

/// Longest time until an answer begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time until a body is there.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What a tenant may have of the requests in work, and of the streams that are open: one of so many.
pub const TENANT_SHARE: usize = 2;

/// Places of tenants among so many in all.
pub fn shares(of: usize) -> Arc<Places<TenantId>> {
    Places::new(u32::try_from((of / TENANT_SHARE).max(1)).unwrap_or(u32::MAX))
}

/// Lets a request pass when there is room, and gives it its deadline. A stream counts until it begins.
pub async fn admit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Result<Response, Problem> {
    let _permit = permit(&api)?;
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .map_err(|_| Problem::new(Sort::Timeout, format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())))
}

/// Lets a query pass when there is room. How long it may take is the stream service's setting.
pub async fn admit_query(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let _permit = permit(&api)?;
    Ok(next.run(request).await)
}

fn permit(api: &Api) -> Result<SemaphorePermit<'_>, Problem> {
    api.requests
        .try_acquire()
        .map_err(|_| Problem::new(Sort::Unavailable, "too many requests are in work; try again in a moment"))
}

/// Lets a request pass whose tenant has room among those in work, when all of its body is there: who sends slowly holds up nobody else.
pub async fn share(
    State(api): State<Arc<Api>>,
    Caller(tenant): Caller,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let _place = api.tenants_in_work.take(tenant.id()).ok_or_else(|| {
        Problem::new(
            Sort::Exhausted,
            "the tenant has its half of the requests in work; try again when one has ended",
        )
    })?;
    Ok(next.run(whole(request).await?).await)
}

/// The request with its body read.
async fn whole(request: Request) -> Result<Request, Problem> {
    let too_large = || Problem::new(Sort::TooLarge, format!("the body has more than {MAX_BODY_BYTES} bytes"));
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let (parts, body) = request.into_parts();
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(unreadable()),
        Err(_) => {
            let detail = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
            return Err(Problem::new(Sort::Stalled, detail));
        }
    };
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The answer to a request whose work panicked.
pub fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<&str>().copied().or(cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!("a request panicked: {}", text.unwrap_or("no message"));
    drop(cause);
    Problem::internal().into_response()
}
