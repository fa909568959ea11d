//! Every path of the server, and what stands around them.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use http::{Method, Uri};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{Problem, Sort};
use crate::extract::{Known, MAX_BODY_BYTES, refuse_unknown};
use crate::metrics::Requests;
use crate::{Api, admission, api_keys, auth, backups, credentials, dead_letters, devices, docs, events};
use crate::{
    health, latest, ledger, live, metrics, openapi, query, retention, sessions, telemetry, tenants, topics,
    trace,
};

/// All of it. From the outside in: counting, traces, panics, then for what needs a token room, deadline and
/// authentication, last the names of the parameters.
pub fn router(api: Arc<Api>) -> Router {
    let counters = Requests::register(&api.metrics);
    let traces = api.traces.clone();
    let (router, mut document) = routes(&api).split_for_parts();
    openapi::finish(&mut document);
    router
        .merge(docs::router(&document))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(admission::panicked))
        .layer(from_fn_with_state(traces, trace::trace))
        .layer(from_fn_with_state(counters, metrics::count))
        .with_state(api)
}

fn routes(api: &Arc<Api>) -> OpenApiRouter<Arc<Api>> {
    let administration = OpenApiRouter::<Arc<Api>>::new()
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tenants::get))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::get, api_keys::delete))
        .routes(routes!(backups::create))
        .routes(routes!(retention::get, retention::set, retention::delete))
        .route_layer(from_fn(auth::refuse_keys));
    let protected = OpenApiRouter::<Arc<Api>>::new()
        .merge(administration)
        .routes(routes!(devices::create::create, devices::list::list))
        .routes(routes!(devices::get::get, devices::update::update, devices::delete::delete))
        .routes(routes!(credentials::create, credentials::list))
        .routes(routes!(credentials::delete))
        .routes(routes!(telemetry::range::range, telemetry::publish::publish, telemetry::erase::erase))
        .routes(routes!(latest::of_device))
        .routes(routes!(latest::of_all))
        .routes(routes!(events::list))
        .routes(routes!(live::watch))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::get, sessions::end))
        .routes(routes!(topics::watch))
        .routes(routes!(dead_letters::list))
        .routes(routes!(ledger::get));
    let protected = known_parameters_only(protected)
        .route_layer(from_fn_with_state(api.clone(), admission::share))
        .route_layer(from_fn_with_state(api.clone(), auth::authenticate))
        .route_layer(from_fn_with_state(api.clone(), admission::admit));
    // A query has a deadline of its own.
    let queries = known_parameters_only(OpenApiRouter::<Arc<Api>>::new().routes(routes!(query::query)))
        .route_layer(from_fn_with_state(api.clone(), admission::share))
        .route_layer(from_fn_with_state(api.clone(), auth::authenticate))
        .route_layer(from_fn_with_state(api.clone(), admission::admit_query));
    let open = OpenApiRouter::new().routes(routes!(health::get)).routes(routes!(metrics::get));
    OpenApiRouter::with_openapi(openapi::head())
        .merge(protected)
        .merge(queries)
        .merge(known_parameters_only(open))
}

fn known_parameters_only(router: OpenApiRouter<Arc<Api>>) -> OpenApiRouter<Arc<Api>> {
    let known = Known::of(router.get_openapi());
    router.route_layer(from_fn_with_state(known, refuse_unknown))
}

async fn unknown_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    Problem::new(Sort::NotFound, format!("there is no path {path}; /docs shows those that there are"))
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    Problem::new(
        Sort::MethodNotAllowed,
        format!("{path} has no method {method}; the header Allow names those that it has"),
    )
}
