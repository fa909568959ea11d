//! One transport for every generated client. In one process it calls the generated server directly, with no socket between.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

/// Longest a call may take, streams excepted.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call did not reach its peer. A concrete type, so that calls stay `Send`; tonic turns it into its source, the status.
#[derive(Debug, thiserror::Error)]
#[error("{peer}: {status}")]
pub struct LinkError {
    peer: &'static str,
    #[source]
    status: Status,
}

/// A cheap handle to a peer, resolved at each call, so that the order in which services are built does not matter.
#[derive(Clone)]
pub struct Link {
    peer: &'static str,
    routes: Arc<OnceLock<Routes>>,
}

impl Link {
    pub(crate) fn new(peer: &'static str, routes: Arc<OnceLock<Routes>>) -> Self {
        Self { peer, routes }
    }

    fn error(&self, status: Status) -> LinkError {
        LinkError { peer: self.peer, status }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.peer)
    }
}

impl Service<http::Request<Body>> for Link {
    type Response = http::Response<Body>;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, LinkError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let link = self.clone();
        Box::pin(async move {
            let Some(routes) = link.routes.get().cloned() else {
                return Err(link.error(Status::unavailable(format!("{} is not running", link.peer))));
            };
            match tokio::time::timeout(CALL_TIMEOUT, routes.oneshot(request)).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(never)) => match never {},
                Err(_) => {
                    Err(link
                        .error(Status::deadline_exceeded(format!("{} did not answer in 30 s", link.peer))))
                }
            }
        })
    }
}
