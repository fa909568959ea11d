//! One worker a shard: reads the log in order, applies batches, and commits when the head is full or old.

use std::time::Duration;

use anyhow::Context as _;
use drover_backbone::{Frame, LogError, Offset, Reader, Shard, Stream};
use drover_model::Timestamp;
use drover_runtime::{Env, PartHealth, Status};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::batch::{Decoder, Outcome, Rows, Traced};
use crate::commit::Committer;
use crate::config::Config;
use crate::erase::Applied;
use crate::error::Error;
use crate::ledger::{self, ByTenant, Ledger};
use crate::metrics::StreamMetrics;
use crate::notify::Notify;
use crate::store::Store;

/// Frames of one batch.
const BATCH_FRAMES: usize = 64;
/// A batch of fewer records than this waits for [`LINGER`] before the next, so that a quiet log costs little CPU.
const SMALL_BATCH_RECORDS: u64 = 256;
/// How long records may wait for company.
const LINGER: Duration = Duration::from_millis(20);
/// While a commit is failing, the head grows to this many times its flush size; then the log is read no further.
const HEAD_OVERFLOW: usize = 4;
/// Pause between two tries of a commit, or of a table, that failed.
const RETRY: Duration = Duration::from_millis(500);

pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) store: Store,
    pub(crate) points: drover_timeseries::Store,
    pub(crate) ledger: Ledger,
    pub(crate) applied: Applied,
    pub(crate) metrics: StreamMetrics,
    pub(crate) health: PartHealth,
}

/// Runs all workers until the process finishes.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let workers = (0..context.env.log.shards()).map(|shard| Worker::open(&context, Shard(shard)));
    let mut workers = try_join_all(workers).await?;
    try_join_all(workers.iter_mut().map(Worker::replay)).await?;
    context.ledger.replayed();
    context.health.set(Status::Ok);
    try_join_all(workers.iter_mut().map(Worker::follow)).await?;
    Ok(())
}

struct Worker {
    shard: Shard,
    reader: Reader,
    /// The first frame that is not applied.
    next: Offset,
    /// Where the log ended when this process opened it.
    replay_end: Offset,
    decoder: Decoder,
    committer: Committer,
    /// Resolves when the commit under way has ended; it gives back what it could not commit.
    committing: Option<oneshot::Receiver<Result<(), Uncommitted>>>,
    /// Applied since the last commit began.
    counts: ByTenant,
    /// When the next commit is due; none while nothing was applied.
    due: Option<Instant>,
    config: Config,
    points: drover_timeseries::Store,
    ledger: Ledger,
    applied: Applied,
    notify: Notify,
    env: Env,
}

/// What a commit that failed gives back.
struct Uncommitted {
    counts: ByTenant,
    error: Error,
}

/// What a worker does next.
enum Step {
    Apply((Offset, Frame)),
    Committed(Result<(), Uncommitted>),
    Commit,
    Finish,
}

impl Worker {
    async fn open(context: &Context, shard: Shard) -> anyhow::Result<Self> {
        let next = context.store.offset(Stream::Telemetry.as_str(), shard).await?;
        let committer = Committer {
            store: context.store.clone(),
            points: context.points.clone(),
            log: context.env.log.clone(),
            metrics: context.metrics.clone(),
            health: context.health.clone(),
        };
        Ok(Self {
            shard,
            reader: context.env.log.reader(Stream::Telemetry, shard, next)?,
            next,
            replay_end: context.env.log.end(Stream::Telemetry, shard),
            decoder: Decoder::new(&context.config, context.env.traces.is_on()),
            committer,
            committing: None,
            counts: ByTenant::default(),
            due: None,
            config: context.config.clone(),
            points: context.points.clone(),
            ledger: context.ledger.clone(),
            applied: context.applied.clone(),
            notify: Notify::new(context.env.live.clone()),
            env: context.env.clone(),
        })
    }

    /// Applies what an earlier process left in the log.
    async fn replay(&mut self) -> anyhow::Result<()> {
        let replay_end = self.replay_end;
        while self.next < replay_end {
            let first = self.reader.next().await?;
            self.batch(first, Some(replay_end)).await?;
            self.commit_when_full().await;
        }
        Ok(())
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        loop {
            match self.step().await? {
                Step::Apply(first) => {
                    let records = self.batch(first, None).await?;
                    self.commit_when_full().await;
                    if records < SMALL_BATCH_RECORDS {
                        tokio::time::sleep(LINGER).await;
                    }
                }
                Step::Committed(outcome) => {
                    let _ = self.committed(outcome);
                }
                Step::Commit => self.begin_commit(),
                Step::Finish => return self.finish().await,
            }
        }
    }

    /// Cancel-safe: the reader keeps its place, and the other branches only wait.
    async fn step(&mut self) -> Result<Step, LogError> {
        let (due, committing) = (self.due, self.committing.is_some());
        tokio::select! {
            biased;
            outcome = ended(&mut self.committing), if committing => Ok(Step::Committed(outcome)),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !committing => Ok(Step::Commit),
            frame = self.reader.next() => frame.map(Step::Apply),
            () = self.env.stop.finish() => Ok(Step::Finish),
        }
    }

    /// Applies a frame and those behind it that are there already.
    async fn batch(&mut self, first: (Offset, Frame), until: Option<Offset>) -> anyhow::Result<u64> {
        let mut frames = vec![first];
        while frames.len() < BATCH_FRAMES && until.is_none_or(|until| self.after(&frames) < until) {
            match self.reader.try_next()? {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        let replayed = until.is_some();
        let began = self.env.clock.now();
        let (decoder, points) = (&mut self.decoder, &self.points);
        let mut outcome = points.apply(self.shard.0, |head| decoder.apply(head, &frames, replayed));
        self.next = self.after(&frames);
        self.due.get_or_insert_with(|| Instant::now() + Duration::from_secs(self.config.flush_interval_s));
        let (records, traced) = (outcome.records, std::mem::take(&mut outcome.traced));
        self.settle(outcome, replayed).await;
        for traced in traced {
            self.trace(traced, began);
        }
        self.applied.reached(self.shard, self.next);
        Ok(records)
    }

    fn after(&self, frames: &[(Offset, Frame)]) -> Offset {
        frames.last().map_or(self.next, |(offset, _)| Offset(offset.0 + 1))
    }

    /// Writes the rows, then counts, then tells: what is counted can be read.
    async fn settle(&mut self, outcome: Outcome, replayed: bool) {
        if !outcome.rows.is_empty() {
            insert(&self.committer, self.shard, &outcome.rows).await;
        }
        self.ledger.add(&outcome.counts, replayed);
        ledger::add_all(&mut self.counts, &outcome.counts);
        let metrics = &self.committer.metrics;
        metrics.records.inc_by(outcome.records);
        metrics.points.inc_by(outcome.points);
        metrics.over_device_bounds.inc_by(outcome.over_device_bounds);
        metrics.unreadable_records.inc_by(outcome.unreadable);
        metrics.times_replaced.inc_by(outcome.times_replaced);
        metrics.erasures.inc_by(outcome.erasures);
        metrics.dead_letters.inc_by(outcome.rows.dead_letters.len() as u64);
        let end = self.env.log.end(Stream::Telemetry, self.shard);
        metrics.behind_frames.set(end.0.saturating_sub(self.next.0).cast_signed());
        metrics.head_points.set(i64::try_from(self.points.head_points(self.shard.0)).unwrap_or(i64::MAX));
        if !replayed {
            for letter in &outcome.rows.dead_letters {
                self.notify.refusal(&letter.tenant, &letter.device, &letter.topic, &letter.reason);
            }
        }
    }

    /// The span of a record: from the decoding of its batch until what it holds can be read.
    fn trace(&self, traced: Traced, began: Timestamp) {
        if let Some(mut span) = self.env.traces.stored(&traced.traceparent, began) {
            span.set("tenant.id", traced.tenant);
            span.set("device.id", traced.device);
            span.set("outcome", if traced.is_stored { "stored" } else { "dead-lettered" });
        }
    }

    /// Begins a commit when the head is full. When one is under way already, waits for it only if the head has overflowed.
    async fn commit_when_full(&mut self) {
        if self.is_full(HEAD_OVERFLOW) && self.committing.is_some() {
            let _ = self.await_commit().await;
        }
        let waiting = self.due.is_none_or(|due| due > Instant::now() + RETRY);
        if self.is_full(1) && self.committing.is_none() && waiting {
            self.begin_commit();
        }
    }

    /// Whether the head has `times` the size at which it is written.
    fn is_full(&self, times: usize) -> bool {
        self.points.head_points(self.shard.0) >= self.config.flush_points * times
            || self.points.head_bytes(self.shard.0) >= self.config.flush_bytes * times
    }

    fn begin_commit(&mut self) {
        self.due = None;
        let counts = std::mem::take(&mut self.counts);
        let (committer, shard, next) = (self.committer.clone(), self.shard, self.next);
        let (ended, committing) = oneshot::channel();
        self.committing = Some(committing);
        self.env.tasks.track(async move {
            let outcome = committer.run(shard, next, &counts).await;
            let _ = ended.send(outcome.map_err(|error| Uncommitted { counts, error }));
        });
    }

    async fn await_commit(&mut self) -> Result<(), Error> {
        let outcome = ended(&mut self.committing).await;
        self.committed(outcome)
    }

    /// Takes back what was not committed, for the next try.
    fn committed(&mut self, outcome: Result<(), Uncommitted>) -> Result<(), Error> {
        self.committing = None;
        let Err(Uncommitted { counts, error }) = outcome else { return Ok(()) };
        ledger::add_all(&mut self.counts, &counts);
        self.due = Some(Instant::now() + RETRY);
        Err(error)
    }

    /// Applies what is left in the log and writes all of it. What cannot be written stays in the log for the next start.
    async fn finish(&mut self) -> anyhow::Result<()> {
        while let Some(first) = self.reader.try_next()? {
            self.batch(first, None).await?;
        }
        let _ = self.await_commit().await;
        if self.due.is_some() {
            self.begin_commit();
            self.await_commit().await.context("writing the last points; they stay in the log")?;
        }
        Ok(())
    }
}

/// Resolves when the commit under way, if any, has ended. Cancel-safe.
async fn ended(
    committing: &mut Option<oneshot::Receiver<Result<(), Uncommitted>>>,
) -> Result<(), Uncommitted> {
    match committing {
        Some(committing) => committing.await.unwrap_or(Ok(())),
        None => Ok(()),
    }
}

/// Writes rows, however long it takes; the log holds what comes meanwhile.
async fn insert(committer: &Committer, shard: Shard, rows: &Rows) {
    while let Err(error) = committer.store.insert(rows).await {
        tracing::error!(shard = shard.0, "events and dead letters cannot be written, trying again: {error}");
        committer.health.set(Status::Degraded(format!("events and dead letters cannot be written: {error}")));
        tokio::time::sleep(RETRY).await;
    }
}
