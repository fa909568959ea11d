//! Whether a connection has a request in work, from its whole head to the last byte of its answer, and for how long it had none.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tower::Service;

/// The requests of a connection; cheap to clone.
#[derive(Clone, Default)]
pub struct Work(watch::Sender<Requests>);

#[derive(Clone, Copy, Default)]
struct Requests {
    in_work: usize,
    /// Whether there ever was one.
    any: bool,
}

/// A request in work.
struct InWork(Work);

/// For too long no request was in work.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// There never was one.
    FromTheStart,
    /// There were some.
    AfterRequests,
}

impl Work {
    fn begin(&self) -> InWork {
        self.0.send_modify(|requests| *requests = Requests { in_work: requests.in_work + 1, any: true });
        InWork(self.clone())
    }

    /// Resolves when no first request came within `first`, or none for `later` after the one before.
    pub async fn silence(&self, first: Duration, later: Duration) -> Silence {
        let mut changes = self.0.subscribe();
        loop {
            let Requests { in_work, any } = *changes.borrow_and_update();
            let (wait, silence) =
                if any { (later, Silence::AfterRequests) } else { (first, Silence::FromTheStart) };
            if in_work > 0 {
                let _ = changes.changed().await;
            } else if tokio::time::timeout(wait, changes.changed()).await.is_err() {
                return silence;
            }
        }
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| requests.in_work -= 1);
    }
}

/// The router, with its requests counted.
#[derive(Clone)]
pub struct Counted {
    router: Router,
    work: Work,
}

impl Counted {
    pub fn new(router: Router, work: Work) -> Self {
        Self { router, work }
    }
}

impl<B> Service<Request<B>> for Counted
where
    Router: Service<Request<B>, Response = Response, Error = Infallible>,
    <Router as Service<Request<B>>>::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.router.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let in_work = self.work.begin();
        let answer = self.router.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| held(body, in_work))) })
    }
}

/// The body, which is in work until it is sent.
fn held(body: Body, in_work: InWork) -> Body {
    Body::new(body.map_err(move |error| {
        let _lives_as_long = &in_work;
        error
    }))
}
