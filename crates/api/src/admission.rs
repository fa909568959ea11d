//! How many requests are in work at a time, for how long each may be, and what becomes of a panic.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use tokio::sync::SemaphorePermit;

use crate::Api;
use crate::error::{Problem, Sort};

/// Longest time until an answer begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

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

/// The answer to a request whose work panicked.
pub fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<&str>().copied().or(cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!("a request panicked: {}", text.unwrap_or("no message"));
    drop(cause);
    Problem::internal().into_response()
}
