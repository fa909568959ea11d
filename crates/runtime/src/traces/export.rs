//! Spans on their way to the collector: a bounded queue and the one task that empties it. A collector that is away or slow costs
//! spans, never time.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::Context;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::settings::url_of;
use crate::{Metrics, Stop, Tasks};

/// Spans that wait to be sent; further ones are dropped.
const QUEUE_SPANS: usize = 4_096;
/// Spans of one request.
const BATCH_SPANS: usize = 512;
/// How long spans wait for company.
const LINGER: Duration = Duration::from_millis(500);
/// Longest wait for the collector.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for it while the process stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

type Label = [(&'static str, &'static str); 1];

/// What became of spans.
#[derive(Debug, Clone)]
struct Counters {
    sent: Counter,
    failed: Counter,
    dropped: Counter,
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let spans = Family::<Label, Counter>::default();
        let by = |outcome| spans.get_or_create_owned(&[("outcome", outcome)]);
        let counters = Self { sent: by("sent"), failed: by("failed"), dropped: by("dropped") };
        let help = "Spans of traces: sent, failed to be sent, or dropped since too many waited";
        metrics.register("traces", |registry| registry.register("spans", help, spans));
        counters
    }
}

/// The end of the queue into which spans go when they end.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl Queue {
    /// Also starts the task.
    pub(super) fn start(
        endpoint: &str,
        resource: &Resource,
        metrics: &Metrics,
        (tasks, stop): (&Tasks, &Stop),
    ) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client.context("runtime.otlp_endpoint")?)
            .with_endpoint(url_of(endpoint))
            .with_timeout(TIMEOUT)
            .build()
            .context("runtime.otlp_endpoint")?;
        exporter.set_resource(resource);
        let counters = Counters::register(metrics);
        let (spans, queued) = mpsc::channel(QUEUE_SPANS);
        let dropped = counters.dropped.clone();
        let sending = Sending { exporter, counters, is_failing: false };
        tasks.spawn("traces", sending.run(queued, stop.clone()));
        Ok(Self { spans, dropped })
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Sending {
    exporter: opentelemetry_otlp::SpanExporter,
    counters: Counters,
    is_failing: bool,
}

impl Sending {
    /// Sends until the process finishes, then what is left, without waiting long.
    async fn run(mut self, mut queued: mpsc::Receiver<SpanData>, stop: Stop) -> anyhow::Result<()> {
        loop {
            let mut batch = Vec::with_capacity(BATCH_SPANS);
            // Cancel-safe: `gather` takes nothing without leaving it in the batch.
            let is_last = tokio::select! {
                () = gather(&mut queued, &mut batch) => false,
                () = stop.finish() => true,
            };
            if is_last {
                while let Ok(span) = queued.try_recv() {
                    batch.push(span);
                }
                self.send(batch, LAST_TIMEOUT).await;
                return Ok(());
            }
            self.send(batch, TIMEOUT).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>, timeout: Duration) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let outcome = match tokio::time::timeout(timeout, self.exporter.export(batch)).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer in {} s", timeout.as_secs())),
        };
        match outcome {
            Ok(()) => {
                self.counters.sent.inc_by(count);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("traces are sent again");
                }
            }
            Err(error) => {
                self.counters.failed.inc_by(count);
                // Once, not once a batch.
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!("traces can't be sent to runtime.otlp_endpoint and are dropped: {error}");
                }
            }
        }
    }
}

/// Waits for a span, then for company up to a whole batch. Cancel-safe: what was taken is in the batch.
async fn gather(queued: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) {
    if queued.recv_many(batch, BATCH_SPANS).await == 0 {
        // Nobody can begin spans any more; the process is about to finish.
        std::future::pending::<()>().await;
    }
    let until = Instant::now() + LINGER;
    while batch.len() < BATCH_SPANS {
        let room = BATCH_SPANS - batch.len();
        match timeout_at(until, queued.recv_many(batch, room)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}
