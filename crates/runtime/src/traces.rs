//! Traces of single messages and requests by OTLP: which are traced, their spans, and what goes into them: never payloads, tokens or
//! secrets. `export` sends spans away; when it can't, spans are lost and counted, and nobody waits.

mod export;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drover_backbone::Ticket;
use drover_model::Timestamp;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Metrics, Rng, Stop, Tasks};
use export::Queue;
pub use settings::TraceSettings;

/// The header and the MQTT 5 user property by which a client brings a trace context of its own.
pub const TRACEPARENT: &str = "traceparent";
/// Traced messages that wait for the log at a time; further ones are not traced.
const MAX_RECEPTIONS: usize = 256;

/// Where spans are begun; cheap to clone. By default nothing is traced.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    tracer: SdkTracer,
    /// Spans go nowhere without it.
    provider: SdkTracerProvider,
    receptions: Arc<Semaphore>,
}

impl Traces {
    /// Sends spans as the settings say, from a task of its own.
    ///
    /// # Errors
    /// When no client of the endpoint can be made.
    pub(crate) fn start(
        settings: &TraceSettings,
        rng: &Rng,
        metrics: &Metrics,
        (tasks, stop): (&Tasks, &Stop),
    ) -> anyhow::Result<Self> {
        if settings.otlp_endpoint.is_empty() {
            return Ok(Self::default());
        }
        let resource = resource(rng);
        let queue = Queue::start(&settings.otlp_endpoint, &resource, metrics, (tasks, stop))?;
        let by_ratio = Sampler::TraceIdRatioBased(settings.trace_ratio);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .with_sampler(Sampler::ParentBased(Box::new(by_ratio)))
            .with_resource(resource)
            .build();
        let receptions = Arc::new(Semaphore::new(MAX_RECEPTIONS));
        Ok(Self(Some(Arc::new(Inner { tracer: provider.tracer("drover"), provider, receptions }))))
    }

    /// Whether anything may be traced.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a client's request, unless it isn't traced: by the trace context that the client brings, or by the ratio.
    pub fn request(&self, name: impl FnOnce() -> String, traceparent: Option<&str>) -> Option<Span> {
        let inner = self.0.as_ref()?;
        inner.begin(name().into(), SpanKind::Server, &parent_of(traceparent.unwrap_or_default()))
    }

    /// Begins the spans of a client's message on its way into the log, unless it isn't traced. The trace context that the client
    /// brings is looked for only when anything may be.
    pub fn reception<'a>(&self, traceparent: impl FnOnce() -> Option<&'a str>) -> Option<Reception> {
        let inner = self.0.as_ref()?;
        let parent = parent_of(traceparent().unwrap_or_default());
        let receive = inner.begin("receive".into(), SpanKind::Server, &parent)?;
        let place = Arc::clone(&inner.receptions).try_acquire_owned().ok();
        let append = inner.begin("log append".into(), SpanKind::Internal, &receive.context());
        match (place, append) {
            (Some(place), Some(append)) => Some(Reception { receive, append, _place: place }),
            _ => None,
        }
    }

    /// The span of storing what a record holds, from `began` until now; none when its trace context is none, or says not to trace.
    pub fn stored(&self, traceparent: &str, began: Timestamp) -> Option<Span> {
        let inner = self.0.as_ref()?;
        let parent = parent_of(traceparent);
        if !parent.span().span_context().is_sampled() {
            return None;
        }
        let micros = u64::try_from(began.as_micros()).unwrap_or_default();
        let builder = inner.tracer.span_builder("store").with_kind(SpanKind::Consumer);
        let builder = builder.with_start_time(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        Some(Span(inner.tracer.build_with_context(builder, &parent)))
    }
}

impl Inner {
    fn begin(&self, name: std::borrow::Cow<'static, str>, kind: SpanKind, parent: &Context) -> Option<Span> {
        let span = self.tracer.build_with_context(self.tracer.span_builder(name).with_kind(kind), parent);
        span.is_recording().then_some(Span(span))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Takes what was begun before, and does not wait.
        let _ = self.provider.shutdown();
    }
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traces").field("is_on", &self.is_on()).finish()
    }
}

/// Something that takes time, until it is dropped.
#[derive(Debug)]
pub struct Span(SdkSpan);

impl Span {
    /// Says something about it. Values are ids, counts and words of a closed set; never what clients send.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Says that it failed, and why.
    pub fn fail(&mut self, reason: &'static str) {
        self.0.set_status(Status::error(reason));
    }

    /// The W3C trace context of what comes of it.
    pub fn traceparent(&self) -> String {
        let mut carrier = Carrier(String::new());
        TraceContextPropagator::new().inject_context(&self.context(), &mut carrier);
        carrier.0
    }

    fn context(&self) -> Context {
        Context::new().with_remote_span_context(self.0.span_context().clone())
    }
}

/// A client's message on its way into the log.
#[derive(Debug)]
pub struct Reception {
    receive: Span,
    append: Span,
    _place: OwnedSemaphorePermit,
}

impl Reception {
    /// The span of the message, from its packet until it may be acknowledged.
    pub fn span(&mut self) -> &mut Span {
        &mut self.receive
    }

    /// The trace context for the record.
    pub fn traceparent(&self) -> String {
        self.append.traceparent()
    }

    /// The log did not take the message.
    pub fn refused(mut self, reason: &'static str) {
        self.append.fail(reason);
        self.receive.fail(reason);
    }

    /// Ends the spans when the record is durable.
    pub async fn durable(mut self, mut ticket: Ticket) {
        if ticket.durable().await.is_err() {
            self.refused("the log was closed before");
            return;
        }
        self.append.set("outcome", "durable");
    }
}

/// What this process is, for whoever looks at its spans.
fn resource(rng: &Rng) -> Resource {
    let instance: [u8; 16] = rng.bytes();
    let host = hostname::get().unwrap_or_default().to_string_lossy().into_owned();
    Resource::builder_empty()
        .with_service_name("drover")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            format!("{:032x}", u128::from_be_bytes(instance)),
        ))
        .with_attribute(KeyValue::new("host.name", host))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

/// The trace context in a text; an empty one when the text is none (W3C Trace Context, 3.2).
fn parent_of(traceparent: &str) -> Context {
    struct Given<'a>(&'a str);
    impl Extractor for Given<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == TRACEPARENT && !self.0.is_empty()).then_some(self.0)
        }

        fn keys(&self) -> Vec<&str> {
            vec![TRACEPARENT]
        }
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Given(traceparent))
}

struct Carrier(String);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = value;
        }
    }
}
