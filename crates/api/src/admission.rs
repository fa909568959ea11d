//! How many requests are in work at a time, for how long each may be, and what becomes of a panic.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Api;
use crate::error::{Problem, Sort};

/// Longest time until an answer begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets a request pass when there is room, and gives it its deadline. A stream counts until it begins.
pub async fn admit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Result<Response, Problem> {
    let Ok(_permit) = api.requests.try_acquire() else {
        return Err(Problem::new(Sort::Unavailable, "too many requests are in work; try again in a moment"));
    };
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .map_err(|_| Problem::new(Sort::Timeout, format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())))
}

/// The answer to a request whose work panicked.
pub fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<&str>().copied().or(cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!("a request panicked: {}", text.unwrap_or("no message"));
    drop(cause);
    Problem::internal().into_response()
}
