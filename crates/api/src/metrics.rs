//! Counts of requests, and `GET /metrics`.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use drover_runtime::Metrics;
use http::Method;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::Shared;

/// Upper bounds of the duration's buckets, in seconds.
pub const SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: String,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// The counters of the REST server; cheap to clone.
#[derive(Clone)]
pub struct Requests {
    requests: Family<Labels, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
}

impl Requests {
    pub fn register(metrics: &Metrics) -> Self {
        let requests = Family::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        metrics.register("api", |registry| {
            registry.register("requests", "Requests by route, method and class of status", requests.clone());
            registry.register("request_seconds", "Time until an answer begins", seconds.clone());
        });
        Self { requests, seconds }
    }
}

/// Counts a request.
pub async fn count(State(counters): State<Requests>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let start = Instant::now();
    let response = next.run(request).await;
    let seconds = start.elapsed().as_secs_f64();
    let status = status_class(response.status().as_u16());
    counters.seconds.get_or_create(&Route { route: route.clone() }).observe(seconds);
    counters.requests.get_or_create(&Labels { route, method, status }).inc();
    response
}

/// Read the metrics
///
/// The text format of OpenMetrics, as Prometheus reads it. Needs no token.
#[utoipa::path(
    get, path = "/metrics", tag = "Operation", operation_id = "getMetrics", security(()),
    responses((status = 200, description = "All metrics", body = String, content_type = "application/openmetrics-text")),
)]
pub async fn get(State(api): Shared) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], api.metrics.encode())
}

/// A method's name out of a closed set.
pub fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

fn status_class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
