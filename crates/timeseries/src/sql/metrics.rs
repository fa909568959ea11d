//! What queries came to, for Prometheus. Labels come from closed sets; nothing is kept per tenant or query.

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::QueryError;

/// Upper bounds of the duration's buckets, in seconds.
const SECONDS: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

type Label = [(&'static str, &'static str); 1];

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// Nobody waited for the answer any more.
    Cancelled,
    Wrong,
    Memory,
    Rows,
    Timeout,
    Busy,
    Unavailable,
    Failed,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Answered,
        Self::Cancelled,
        Self::Wrong,
        Self::Memory,
        Self::Rows,
        Self::Timeout,
        Self::Busy,
        Self::Unavailable,
        Self::Failed,
    ];

    pub(crate) fn of(error: &QueryError) -> Self {
        match error {
            QueryError::Wrong(_) => Self::Wrong,
            QueryError::Memory { .. } => Self::Memory,
            QueryError::Rows { .. } => Self::Rows,
            QueryError::Timeout { .. } => Self::Timeout,
            QueryError::Busy => Self::Busy,
            QueryError::Incomplete(_) | QueryError::Unavailable(_) => Self::Unavailable,
            QueryError::Store(_) | QueryError::Internal(_) => Self::Failed,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Wrong => "wrong",
            Self::Memory => "memory",
            Self::Rows => "rows",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// Counters of an [`super::Engine`]; a clone counts the same.
#[derive(Debug, Clone)]
pub struct QueryMetrics {
    queries: Family<Label, Counter>,
    running: Gauge,
    seconds: Histogram,
    pub(crate) rows: Counter,
    spilled_bytes: Counter,
}

impl Default for QueryMetrics {
    fn default() -> Self {
        let queries = Family::default();
        // Each is there from the start, so that its rate is known from the first query on.
        for outcome in Outcome::ALL {
            let _ = queries.get_or_create(&label(outcome));
        }
        Self {
            queries,
            running: Gauge::default(),
            seconds: Histogram::new(SECONDS),
            rows: Counter::default(),
            spilled_bytes: Counter::default(),
        }
    }
}

impl QueryMetrics {
    /// Makes them known.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("queries", "SQL queries by how they ended", self.queries.clone());
        registry.register("queries_running", "SQL queries that run now", self.running.clone());
        registry.register(
            "query_seconds",
            "Durations of SQL queries, from their place among the running ones to the last piece of the answer",
            self.seconds.clone(),
        );
        registry.register("query_rows", "Rows of the answers to SQL queries", self.rows.clone());
        registry.register(
            "query_spilled_bytes",
            "Bytes that SQL queries wrote to disk since they did not fit into their memory",
            self.spilled_bytes.clone(),
        );
    }

    /// Counts a query as running until dropped.
    pub(crate) fn running(&self) -> Running {
        self.running.inc();
        Running(self.running.clone())
    }

    /// Counts a query that has run.
    pub(crate) fn ended(&self, outcome: Outcome, duration: Duration) {
        self.seconds.observe(duration.as_secs_f64());
        self.refused(outcome);
    }

    /// Counts a query that did not come to run.
    pub(crate) fn refused(&self, outcome: Outcome) {
        self.queries.get_or_create(&label(outcome)).inc();
    }

    /// Counts what a plan has written to disk when dropped, however the query ends.
    pub(crate) fn spills(&self, plan: Arc<dyn ExecutionPlan>) -> Spills {
        Spills { plan, bytes: self.spilled_bytes.clone() }
    }
}

const fn label(outcome: Outcome) -> Label {
    [("outcome", outcome.name())]
}

pub(crate) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(crate) struct Spills {
    plan: Arc<dyn ExecutionPlan>,
    bytes: Counter,
}

impl Drop for Spills {
    fn drop(&mut self) {
        self.bytes.inc_by(spilled(&self.plan));
    }
}

fn spilled(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or_default() as u64;
    plan.children().into_iter().map(spilled).fold(own, u64::saturating_add)
}
