//! Counts of calls.

use std::time::Instant;

use drover_runtime::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tonic::Code;

use crate::metrics::SECONDS;

/// The method of a call to one that is not there.
const NO_METHOD: &str = "none";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    service: &'static str,
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    service: &'static str,
    method: &'static str,
}

/// The counters of the front door; cheap to clone.
#[derive(Clone)]
pub struct Calls {
    calls: Family<Labels, Counter>,
    seconds: Family<Named, Histogram, fn() -> Histogram>,
    open: Gauge,
}

impl Calls {
    pub fn register(metrics: &Metrics) -> Self {
        let calls = Family::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let open = Gauge::default();
        metrics.register("grpc", |registry| {
            registry.register("calls", "Calls that ended, by method and code", calls.clone());
            registry.register("call_seconds", "Time until an answer begins", seconds.clone());
            registry.register("calls_open", "Calls in work, streams included", open.clone());
        });
        Self { calls, seconds, open }
    }

    /// A call begins; `named` are its service and its method, if they are known.
    pub fn begin(&self, named: Option<(&'static str, &'static str)>) -> Call {
        let (service, method) = named.unwrap_or((NO_METHOD, NO_METHOD));
        self.open.inc();
        Call { calls: self.clone(), service, method, start: Some(Instant::now()), code: None }
    }
}

/// One call. Who has gone before its end has cancelled it.
pub struct Call {
    calls: Calls,
    service: &'static str,
    method: &'static str,
    /// Until the answer begins.
    start: Option<Instant>,
    code: Option<Code>,
}

impl Call {
    pub fn begun(&mut self) {
        if let Some(start) = self.start.take() {
            let named = Named { service: self.service, method: self.method };
            self.calls.seconds.get_or_create(&named).observe(start.elapsed().as_secs_f64());
        }
    }

    pub fn ended(&mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = name(self.code.unwrap_or(Code::Cancelled));
        let labels = Labels { service: self.service, method: self.method, code };
        self.calls.calls.get_or_create(&labels).inc();
        self.calls.open.dec();
    }
}

/// A code's name in the gRPC documentation.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
