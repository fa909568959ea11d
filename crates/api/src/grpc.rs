//! gRPC for integrators: the services' own methods, as far as `methods` lists them. A call is authenticated as a request of REST is, and
//! its messages are passed on to the service as they came. Nothing is decoded here.

mod answer;
mod deadline;
mod methods;
mod metrics;
mod open;
mod request;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use drover_gateway::{Place, Places};
use drover_model::TenantId;
use drover_rpc::{Link, Peers};
use drover_runtime::Stop;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{Method as Verb, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::server::HealthReporter;
use tower::{Service, ServiceExt};

use crate::auth::{self, Identity, Key};
use crate::error::Problem;
use crate::{Api, Config, admission};
use answer::Ends;
use methods::{Method, Needs};
use metrics::{Call, Calls};

pub use open::report;

/// Media type of gRPC; what follows it names a form of the messages.
const GRPC: &[u8] = b"application/grpc";

/// Serves every call of the listener `grpc`; cheap to clone.
#[derive(Clone)]
pub struct FrontDoor(Arc<Shared>);

struct Shared {
    api: Arc<Api>,
    peers: Peers,
    calls: Arc<Semaphore>,
    tenants: Arc<Places<TenantId>>,
    /// Services without authentication, with places of their own.
    open: Routes,
    open_calls: Arc<Semaphore>,
    counters: Calls,
}

/// A call's share of the bounds.
struct CallPlaces {
    _call: Option<OwnedSemaphorePermit>,
    _tenant: Option<Place<TenantId>>,
}

impl FrontDoor {
    /// With the voice of `grpc.health.v1`, see [`report`].
    ///
    /// # Errors
    /// When the descriptors that were compiled in are none.
    pub(crate) fn new(
        api: Arc<Api>,
        peers: Peers,
        config: &Config,
    ) -> anyhow::Result<(Self, HealthReporter)> {
        let (open, reporter) = open::services()?;
        let shared = Shared {
            counters: Calls::register(&api.metrics),
            api,
            peers,
            calls: Arc::new(Semaphore::new(config.max_grpc_calls)),
            tenants: admission::shares(config.max_grpc_calls),
            open,
            open_calls: Arc::new(Semaphore::new(config.max_grpc_calls)),
        };
        Ok((Self(Arc::new(shared)), reporter))
    }

    async fn serve(self, request: Request<Body>) -> Response<Body> {
        if let Some(refused) = refuse_other_protocols(&request) {
            return refused;
        }
        let shared = &*self.0;
        let path = request.uri().path();
        if let Some(service) = open::NAMES.into_iter().find(|name| is_of(path, name)) {
            let call = shared.counters.begin(Some((service, "all")));
            return shared.serve_open(request, call).await;
        }
        let Some(method) = methods::find(path) else {
            let status = Status::unimplemented(format!(
                "{} is not served; reflection lists what is",
                path.chars().take(256).collect::<String>()
            ));
            return answer::refusal(&status, shared.counters.begin(None));
        };
        let call = shared.counters.begin(Some((method.service, method.name)));
        shared.serve_method(request, method, call).await
    }
}

impl Shared {
    async fn serve_open(&self, request: Request<Body>, call: Call) -> Response<Body> {
        let permit = self.open_calls.clone().try_acquire_owned().ok();
        // How the server is, is told at once and whatever is in work.
        if permit.is_none() && request.uri().path() != open::CHECK {
            return answer::refusal(&too_many(), call);
        }
        let deadline = match deadline::deadline(request.headers(), Instant::now()) {
            Ok(deadline) => deadline,
            Err(status) => return answer::refusal(&status, call),
        };
        let ends = ends(deadline, stopped(self.api.stop.clone()));
        let places = CallPlaces { _call: permit, _tenant: None };
        match self.open.clone().oneshot(request::passed_on(request, None)).await {
            Ok(response) => answer::answer(response, ends, call, places),
            Err(never) => match never {},
        }
    }

    async fn serve_method(&self, request: Request<Body>, method: Method, call: Call) -> Response<Body> {
        match self.admit(request, method).await {
            Ok((response, ends, places)) => answer::answer(response, ends, call, places),
            Err(status) => answer::refusal(&status, call),
        }
    }

    /// Lets a call pass when there is room and its caller may make it; until its answer begins, or its time is over.
    async fn admit(
        &self,
        request: Request<Body>,
        method: Method,
    ) -> Result<(Response<Body>, Ends, CallPlaces), Status> {
        // What lasts has places of its own, so that watching keeps nobody from asking.
        let permit = if method.lasts {
            self.api.live_streams.clone().try_acquire_owned().map_err(|_| too_many_streams())?
        } else {
            self.calls.clone().try_acquire_owned().map_err(|_| too_many())?
        };
        let deadline = deadline::deadline(request.headers(), Instant::now())?;
        let begin = async {
            let Identity { tenant, key } =
                auth::identify(&self.api, request.headers(), &method.needs.scope()).await?;
            if method.needs == Needs::Administrator {
                auth::check_administrator(key.as_ref())?;
            }
            let place = self.share(tenant.id(), method)?;
            let request = request::passed_on(request, Some(&tenant));
            let response = forward(self.peers.link(method.peer), request).await?;
            Ok((response, key, place))
        };
        let (response, key, place) = within(deadline, begin).await?;
        let ends = if method.lasts {
            ends(deadline, no_longer(self.api.clone(), key))
        } else {
            ends(deadline, std::future::pending())
        };
        Ok((response, ends, CallPlaces { _call: Some(permit), _tenant: Some(place) }))
    }

    /// A place in the tenant's share of the calls, or of the streams.
    fn share(&self, tenant: &TenantId, method: Method) -> Result<Place<TenantId>, Status> {
        let (tenants, used) = if method.lasts {
            (&self.api.tenants_watching, "the tenant has its half of the live streams open; close one")
        } else {
            (&self.tenants, "the tenant has its half of the calls in work; try again when one has ended")
        };
        tenants.take(tenant).ok_or_else(|| Status::resource_exhausted(used))
    }
}

/// Whether a path is one of a service's methods.
fn is_of(path: &str, service: &str) -> bool {
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(service));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// What speaks another protocol is told so in HTTP, which it understands.
fn refuse_other_protocols(request: &Request<Body>) -> Option<Response<Body>> {
    let media_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if request.method() == Verb::POST && media_type.starts_with(GRPC) {
        return None;
    }
    let text = "this is gRPC: POST with content-type application/grpc; REST has a listener of its own, api\n";
    let body = http_body_util::Full::new(Bytes::from_static(text.as_bytes()));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Some(response)
}

/// Calls the service, whose panic is its own.
async fn forward(mut link: Link, request: Request<Body>) -> Result<Response<Body>, Status> {
    match AssertUnwindSafe(link.call(request)).catch_unwind().await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(Status::from_error(Box::new(error))),
        Err(_) => {
            tracing::error!("a call panicked");
            Err(drover_rpc::status(drover_model::Kind::Internal, "a panic"))
        }
    }
}

async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match deadline {
        None => work.await,
        Some(deadline) => {
            tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(deadline::exceeded()))
        }
    }
}

/// Resolves at the deadline, or with the other reason.
fn ends(deadline: Option<Instant>, other: impl Future<Output = Status> + Send + 'static) -> Ends {
    let Some(deadline) = deadline else { return Box::pin(other) };
    Box::pin(async move {
        // Cancel-safe: neither holds anything.
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => deadline::exceeded(),
            status = other => status,
        }
    })
}

async fn stopped(stop: Stop) -> Status {
    stop.drain().await;
    Status::unavailable("the server stops; connect again")
}

/// Resolves when the server stops, or the key is gone.
async fn no_longer(api: Arc<Api>, key: Option<Key>) -> Status {
    let stop = api.stop.clone();
    // Cancel-safe: neither holds anything.
    tokio::select! {
        status = stopped(stop) => status,
        () = auth::revoked(api, key) => Status::unauthenticated("the API key was deleted"),
    }
}

fn too_many() -> Status {
    Status::unavailable("too many calls are in work; try again in a moment, or raise api.max_grpc_calls")
}

fn too_many_streams() -> Status {
    Status::unavailable("too many live streams are open; close one, or raise api.max_live_streams")
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let code = match problem.status {
            400 => Code::InvalidArgument,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::NotFound,
            429 => Code::ResourceExhausted,
            503 => Code::Unavailable,
            504 => Code::DeadlineExceeded,
            _ => Code::Internal,
        };
        Self::new(code, problem.detail)
    }
}

impl<B> Service<Request<B>> for FrontDoor
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let front_door = self.clone();
        Box::pin(async move { Ok(front_door.serve(request.map(Body::new)).await) })
    }
}
