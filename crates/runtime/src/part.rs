//! A service as the runtime sees it: what it serves and what it does in the background. Describing it starts nothing.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};

pub(crate) type Work = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
pub(crate) type Serve = Box<dyn FnOnce(TcpListener) -> Work + Send>;

/// A service: gRPC routes, listeners, background tasks.
pub struct Part {
    pub(crate) name: &'static str,
    pub(crate) routes: Option<RoutesBuilder>,
    pub(crate) listeners: Vec<(&'static str, Serve)>,
    pub(crate) tasks: Vec<(&'static str, Work)>,
}

impl Part {
    /// A part that does nothing yet. The name is also that of its gRPC peer and its section in the configuration.
    pub fn new(name: &'static str) -> Self {
        Self { name, routes: None, listeners: Vec::new(), tasks: Vec::new() }
    }

    /// Makes the gRPC services reachable and spawns the tasks. Nothing listens: enough for tests of one service.
    pub fn start(self, env: &crate::Env) {
        if let Some(routes) = self.routes {
            env.peers.serve(self.name, routes.routes());
        }
        for (name, work) in self.tasks {
            env.tasks.spawn(name, work);
        }
    }

    /// Serves a generated gRPC service to peers.
    #[must_use]
    pub fn grpc<S>(mut self, service: S) -> Self
    where
        S: tower::Service<http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.get_or_insert_with(Routes::builder).add_service(service);
        self
    }

    /// Serves a listener by its name in DESIGN section 6 (`mqtt`, `mqtts`, `ws`, `api`, …). The runtime binds it before anything
    /// starts. `serve` returns when [`crate::Stop::drain`] has resolved and its connections are closed.
    #[must_use]
    pub fn listen<F>(
        mut self,
        name: &'static str,
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.listeners.push((name, Box::new(move |listener| Box::pin(serve(listener)))));
        self
    }

    /// Runs in the background. It returns when [`crate::Stop::finish`] has resolved and its work is done; an error stops the process.
    #[must_use]
    pub fn task(
        mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> Self {
        self.tasks.push((name, Box::pin(work)));
        self
    }
}
