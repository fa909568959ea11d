//! The trace of a request. Its span names route, method and status; no identifiers, parameters or bodies.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use drover_runtime::traces::{TRACEPARENT, Traces};

use crate::metrics::method_name;

/// Traces a request until its answer begins, when it is to be traced.
pub async fn trace(State(traces): State<Traces>, request: Request, next: Next) -> Response {
    if !traces.is_on() {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let own_context = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let Some(mut span) = traces.request(|| format!("{method} {route}"), own_context) else {
        return next.run(request).await;
    };
    span.set("http.request.method", method);
    span.set("http.route", route);
    let response = next.run(request).await;
    span.set("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        span.fail("the server failed");
    }
    response
}
