//! Whether a connection has a request in work, from its whole head to the last byte of its answer, and for how long it had none.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use tokio::sync::{Notify, watch};
use tower::Service;

use super::idle::Idle;

/// The requests of a connection; cheap to clone.
#[derive(Clone)]
pub struct Work {
    requests: watch::Sender<Requests>,
    idle: Idle,
    /// Told when another connection needs the place.
    end: Arc<Notify>,
}

#[derive(Clone, Copy, Default)]
struct Requests {
    in_work: usize,
    /// Whether there ever was one.
    any: bool,
    /// Number among the idle connections.
    idle: Option<u64>,
    closed: bool,
}

/// A request in work.
struct InWork(Work);

/// An open connection.
pub struct Open(Work);

/// No request is in work, and the connection is to end.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// There never was one in time.
    FromTheStart,
    /// There were some, but none for too long.
    AfterRequests,
    /// Another connection needs the place.
    PlaceWanted,
}

impl Work {
    /// The work of a new connection, until the second is dropped.
    pub fn open(idle: Idle) -> (Self, Open) {
        let end = Arc::new(Notify::new());
        let first = Requests { idle: Some(idle.enter(&end)), ..Requests::default() };
        let work = Self { requests: watch::Sender::new(first), idle, end };
        (work.clone(), Open(work))
    }

    fn begin(&self) -> InWork {
        self.requests.send_modify(|requests| {
            requests.in_work += 1;
            requests.any = true;
            self.leave_idle(requests);
        });
        InWork(self.clone())
    }

    fn leave_idle(&self, requests: &mut Requests) {
        if let Some(number) = requests.idle.take() {
            self.idle.leave(number);
        }
    }

    /// Resolves when no first request came within `first`, or none for `later` after the one before, or when the place of an
    /// idle connection is wanted.
    pub async fn silence(&self, first: Duration, later: Duration) -> Silence {
        let mut changes = self.requests.subscribe();
        loop {
            let Requests { in_work, any, .. } = *changes.borrow_and_update();
            if in_work > 0 {
                let _ = changes.changed().await;
                continue;
            }
            let (wait, silence) =
                if any { (later, Silence::AfterRequests) } else { (first, Silence::FromTheStart) };
            // Cancel-safe: none of them holds anything.
            tokio::select! {
                _ = changes.changed() => {}
                () = self.end.notified() => return Silence::PlaceWanted,
                () = tokio::time::sleep(wait) => return silence,
            }
        }
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        let work = &self.0;
        work.requests.send_modify(|requests| {
            requests.in_work -= 1;
            if requests.in_work == 0 && !requests.closed {
                requests.idle = Some(work.idle.enter(&work.end));
            }
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let work = &self.0;
        work.requests.send_modify(|requests| {
            requests.closed = true;
            work.leave_idle(requests);
        });
    }
}

/// A service, with its requests counted.
#[derive(Clone)]
pub struct Counted<S> {
    service: S,
    work: Work,
}

impl<S> Counted<S> {
    pub fn new(service: S, work: Work) -> Self {
        Self { service, work }
    }
}

impl<S, I, B> Service<Request<I>> for Counted<S>
where
    S: Service<Request<I>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<UnsyncBoxBody<Bytes, B::Error>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        let in_work = self.work.begin();
        let answer = self.service.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| held(body, in_work))) })
    }
}

/// The body, which is in work until it is sent.
fn held<B: Body<Data = Bytes> + Send + 'static>(body: B, in_work: InWork) -> UnsyncBoxBody<Bytes, B::Error> {
    body.map_err(move |error| {
        let _lives_as_long = &in_work;
        error
    })
    .boxed_unsync()
}
