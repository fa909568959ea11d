//! Questions in SQL. DataFusion plans and runs them over [`points`], which reads heads and files as of one moment, and over
//! the [`Table`]s that others bring. A session knows the tables of one tenant only, so that no query can name another's. Queries
//! run on threads of their own, with less priority than what receives messages. No other crate names DataFusion.

mod answer;
mod error;
mod filter;
mod functions;
mod metrics;
mod places;
mod points;
mod session;
mod table;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::execute_stream;
use drover_model::Tenant;
use futures_util::{Stream, StreamExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub use answer::Format;
pub use error::QueryError;
pub use filter::Filter;
pub use metrics::QueryMetrics;
pub use table::Table;

use crate::Store;
use answer::Encoder;
use metrics::{Outcome, Spills};
use places::{Place, Places};
use points::{Missing, Points};

/// A query text that is longer is refused.
const MAX_SQL_BYTES: usize = 64 * 1024;
/// An answer is handed on in pieces of about this size, the first when there is so much or nothing more: what goes wrong before is an
/// error and not half an answer.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for who asked.
const WAITING_PIECES: usize = 2;
/// Threads that run queries have less of a processor than others that want it.
const NICENESS: i32 = 10;

/// Bounds of queries.
#[derive(Debug, Clone, Copy)]
pub struct QueryBounds {
    /// Memory of one query, bytes.
    pub memory_bytes: usize,
    /// Time of one query.
    pub timeout: Duration,
    /// Rows of one answer.
    pub rows: u64,
    /// Queries at a time; of one tenant half as many, at least one.
    pub concurrent: usize,
}

/// A query.
#[derive(Debug, Clone)]
pub struct Query {
    /// Its text: one SELECT, EXPLAIN, SHOW or DESCRIBE.
    pub sql: String,
    /// How the answer is wanted.
    pub format: Format,
    /// Less time than the bound.
    pub timeout: Option<Duration>,
}

/// Answers queries; cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Store,
    tables: Vec<Arc<dyn Table>>,
    bounds: QueryBounds,
    spill: PathBuf,
    places: Places,
    metrics: QueryMetrics,
    /// Started by the first query.
    threads: OnceLock<Option<Runtime>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which a task of another one must not.
        if let Some(threads) = self.threads.take().flatten() {
            threads.shutdown_background();
        }
    }
}

/// An answer as it is made. Dropping it ends the query.
#[derive(Debug)]
pub struct Answer(mpsc::Receiver<Result<Bytes, QueryError>>);

impl Answer {
    /// The next piece; none after the last one or an error.
    ///
    /// # Errors
    /// What the query came to after its first piece. Pieces before are then not the whole answer.
    pub async fn next(&mut self) -> Option<Result<Bytes, QueryError>> {
        self.0.recv().await
    }

    /// The pieces as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
        futures_util::stream::unfold(self, |mut this| async move { Some((this.next().await?, this)) })
    }
}

impl Engine {
    /// An engine over the points of `store` and over `tables`. `spill` is a folder for what doesn't fit into memory; it is
    /// emptied.
    pub fn new(store: Store, tables: Vec<Arc<dyn Table>>, bounds: QueryBounds, spill: PathBuf) -> Self {
        // What a killed process left there is of no use.
        let _ = std::fs::remove_dir_all(&spill);
        let places = Places::new(bounds.concurrent);
        let metrics = QueryMetrics::default();
        Self(Arc::new(Inner { store, tables, bounds, spill, places, metrics, threads: OnceLock::new() }))
    }

    /// What it counts.
    pub fn metrics(&self) -> &QueryMetrics {
        &self.0.metrics
    }

    /// Begins to answer. The first piece of the answer is there when this returns, so that an error up to then is returned as
    /// such.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn query(&self, tenant: &Tenant, query: Query) -> Result<(Bytes, Answer), QueryError> {
        let place = self.0.places.take(tenant).await;
        let place = place.inspect_err(|error| self.0.metrics.refused(Outcome::of(error)))?;
        let (sender, receiver) = mpsc::channel(WAITING_PIECES);
        let run = Run { inner: Arc::clone(&self.0), tenant: tenant.clone(), query, _place: place };
        let threads = self.0.threads.get_or_init(threads).as_ref();
        let threads = threads.ok_or_else(|| QueryError::Internal("no thread could be started".to_owned()))?;
        threads.spawn(run.until_closed(sender));
        let mut answer = Answer(receiver);
        match answer.next().await {
            Some(first) => Ok((first?, answer)),
            None => Err(QueryError::Internal("the thread of the query failed".to_owned())),
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("bounds", &self.0.bounds).finish_non_exhaustive()
    }
}

/// Threads for queries, as many as there are processors, and as many again that read files.
fn threads() -> Option<Runtime> {
    let processors = processors();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors)
        .max_blocking_threads(4 * processors + 12)
        .thread_name("query")
        .on_thread_start(|| {
            // Of Linux a thread's own; where it is refused, queries have the priority of all.
            let _ = rustix::process::nice(NICENESS);
        })
        .enable_all()
        .build()
        .ok()
}

pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// One query under way.
struct Run {
    inner: Arc<Inner>,
    tenant: Tenant,
    query: Query,
    _place: Place,
}

impl Run {
    /// Runs the query until it ends, its time is over, or nobody waits for the answer.
    async fn until_closed(self, sender: mpsc::Sender<Result<Bytes, QueryError>>) {
        let metrics = &self.inner.metrics;
        let (_running, started) = (metrics.running(), Instant::now());
        let bound = self.inner.bounds.timeout;
        let timeout = self.query.timeout.map_or(bound, |timeout| timeout.min(bound));
        let deadline = tokio::time::Instant::from_std(started + timeout);
        // Cancel-safe: what is dropped here is the query.
        let ended = tokio::select! {
            outcome = self.run(&sender) => outcome,
            () = tokio::time::sleep_until(deadline) => Err(QueryError::Timeout { seconds: timeout.as_secs() }),
            () = sender.closed() => Ok(Outcome::Cancelled),
        };
        metrics.ended(ended.as_ref().map_or_else(Outcome::of, |outcome| *outcome), started.elapsed());
        if let Err(error) = ended {
            let _ = sender.send(Err(error)).await;
        }
    }

    async fn run(&self, sender: &mpsc::Sender<Result<Bytes, QueryError>>) -> Result<Outcome, QueryError> {
        if self.query.sql.len() > MAX_SQL_BYTES {
            return Err(QueryError::Wrong(format!("the text of a query may have {MAX_SQL_BYTES} bytes")));
        }
        let missing = Missing::default();
        let failed = |error: DataFusionError| self.failed(&error);
        let (mut rows, _spills) = self.start(&missing).await.map_err(failed)?;
        let unwritten = |error| QueryError::Internal(format!("writing the answer: {error}"));
        check_names(rows.schema().fields().iter().map(|field| field.name().as_str()))?;
        let mut encoder = Encoder::new(self.query.format, &rows.schema()).map_err(unwritten)?;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(failed)?;
            count += batch.num_rows() as u64;
            self.inner.metrics.rows.inc_by(batch.num_rows() as u64);
            if count > self.inner.bounds.rows {
                return Err(QueryError::Rows { rows: self.inner.bounds.rows });
            }
            encoder.write(&batch).map_err(unwritten)?;
            if encoder.len() >= PIECE_BYTES && sender.send(Ok(encoder.take())).await.is_err() {
                return Ok(Outcome::Cancelled);
            }
        }
        let missing: Vec<String> = missing.lock().iter().map(ToString::to_string).collect();
        if !missing.is_empty() && self.query.format != Format::Json {
            return Err(QueryError::Incomplete(missing.join(", ")));
        }
        let last = encoder.finish(&missing).map_err(unwritten)?;
        let sent = sender.send(Ok(last)).await;
        Ok(if sent.is_ok() { Outcome::Answered } else { Outcome::Cancelled })
    }

    fn failed(&self, error: &DataFusionError) -> QueryError {
        QueryError::of(error, self.inner.bounds.memory_bytes >> 20)
    }

    /// Plans the query in a session of its own, which knows the tenant's tables and nothing else.
    async fn start(&self, missing: &Missing) -> Result<(SendableRecordBatchStream, Spills), DataFusionError> {
        let Inner { store, tables, bounds, spill, .. } = &*self.inner;
        let points =
            Points { store: store.clone(), tenant: self.tenant.clone(), missing: Arc::clone(missing) };
        let session = session::of(&self.tenant, points, tables, (bounds.memory_bytes, spill))?;
        let plan = session.state().create_logical_plan(&self.query.sql).await?;
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan)?;
        let frame = session.execute_logical_plan(plan).await?;
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await?;
        let spills = self.inner.metrics.spills(Arc::clone(&plan));
        Ok((execute_stream(plan, task)?, spills))
    }
}

/// An answer names its columns: each once.
fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), QueryError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(QueryError::Wrong(format!(
                "two columns of the answer are named {name}; rename one with AS"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
