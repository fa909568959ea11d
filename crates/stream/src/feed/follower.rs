//! One reader of the feed: reads the log from its cursor on, as fast as its answers are taken, and never ahead of that by more than a few.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::time::Duration;

use drover_backbone::{Frame, Log, LogError, Offset, Shard, Stream};
use drover_model::{Clock, Kind as ErrorKind};
use drover_proto::stream::v1::subscribe_response::Kind;
use drover_proto::stream::v1::{Gap, Position, SubscribeResponse};
use futures_util::FutureExt;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Status;

use super::cursor::{Cursor, Place};
use super::readers::Readers;
use super::wanted::Wanted;
use crate::metrics::StreamMetrics;

/// A position is sent after so long without an answer, so that the cursor of a quiet reader stays within what the log keeps.
const SILENCE: Duration = Duration::from_secs(15);
/// Who takes no answer for so long is let go but for its cursor: it holds neither frames in memory nor files of the log.
const PATIENCE: Duration = Duration::from_secs(1);
/// At the end of the log, records may wait so long for company, so that many readers cost little CPU.
const LINGER: Duration = Duration::from_millis(20);

pub(crate) type Answer = Result<SubscribeResponse, Status>;

/// Why reading stops.
enum Halt {
    /// No answer is taken for now.
    Stalled,
    /// Nobody takes answers any more.
    Gone,
    Failed(LogError),
}

impl From<LogError> for Halt {
    fn from(error: LogError) -> Self {
        Self::Failed(error)
    }
}

/// What a follower works with.
pub(crate) struct Tools {
    pub(crate) log: Log,
    pub(crate) clock: Clock,
    pub(crate) metrics: StreamMetrics,
}

pub(crate) struct Follower {
    tools: Tools,
    wanted: Wanted,
    /// Those that may have something of what is wanted.
    shards: Vec<Shard>,
    cursor: Cursor,
    answers: Sender<Answer>,
    /// When a position is sent.
    due: Instant,
}

impl Follower {
    pub(crate) fn new(tools: Tools, wanted: Wanted, cursor: Cursor, answers: Sender<Answer>) -> Self {
        let shards = wanted.shards(tools.log.shards());
        Self { tools, wanted, shards, cursor, answers, due: Instant::now() }
    }

    /// Reads until nobody takes the answers, or until `end` says why it is over.
    pub(crate) async fn run(mut self, end: impl Future<Output = Status>) {
        let answers = self.answers.clone();
        // Cancel-safe: nothing is read after it.
        let status = tokio::select! {
            status = self.follow() => status,
            () = answers.closed() => None,
            status = end => Some(status),
        };
        if let Some(status) = status {
            // Who doesn't take it sees the answers end.
            let _ = timeout(PATIENCE, answers.send(Err(status))).await;
        }
    }

    async fn follow(&mut self) -> Option<Status> {
        loop {
            match self.read().await {
                Ok(never) => match never {},
                Err(Halt::Stalled) => {
                    self.tools.metrics.feed_stalls.inc();
                    drop(self.answers.reserve().await.ok()?);
                }
                Err(Halt::Gone) => return None,
                Err(Halt::Failed(error @ LogError::Stopped)) => {
                    return Some(drover_rpc::status(ErrorKind::Unavailable, error));
                }
                Err(Halt::Failed(error)) => {
                    return Some(drover_rpc::storage_status(ErrorKind::Unavailable, error));
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Infallible, Halt> {
        self.position_when_due().await?;
        let mut readers = self.open().await?;
        let mut is_fresh = false;
        loop {
            self.position_when_due().await?;
            let at_hand = poll_fn(|context| readers.poll_next(context)).now_or_never();
            if at_hand.is_none() && std::mem::take(&mut is_fresh) && self.is_at_end() {
                sleep(LINGER).await;
            }
            let next = match at_hand {
                Some(next) => Some(next),
                // Cancel-safe: the readers keep their places.
                None => timeout_at(self.due, poll_fn(|context| readers.poll_next(context))).await.ok(),
            };
            let Some(next) = next else { continue };
            let (shard, (offset, frame)) = next?;
            self.frame(shard, offset, &frame).await?;
            is_fresh = true;
            // A log that has much and nothing that is wanted would keep the thread.
            consume_budget().await;
        }
    }

    /// Opens the readers at the cursor. Where the log ends before it, the log is another one: it goes on from its end.
    async fn open(&mut self) -> Result<Readers, Halt> {
        let mut readers = Readers::default();
        for shard in self.shards.clone() {
            let from = self.cursor.place(shard).offset;
            match self.tools.log.reader(Stream::Telemetry, shard, from) {
                Ok(reader) => readers.push(shard, reader),
                Err(LogError::Beyond { end, .. }) => {
                    let gap = Gap { frames: 0, until_us: self.tools.clock.now().as_micros() };
                    self.gap(shard, end, gap).await?;
                    readers.push(shard, self.tools.log.reader(Stream::Telemetry, shard, end)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(readers)
    }

    /// Sends what of a frame is wanted. The cursor of an answer is the place of the next one, and of the last one the next frame: what
    /// is left of this frame is of no use, and the log may lose it.
    async fn frame(&mut self, shard: Shard, offset: Offset, frame: &Frame) -> Result<(), Halt> {
        let asked = self.cursor.place(shard).offset;
        if offset > asked {
            let gap = Gap { frames: offset.0 - asked.0, until_us: first_arrival(frame) };
            self.gap(shard, offset, gap).await?;
        }
        let from = self.cursor.place(shard);
        let mut held: Option<Kind> = None;
        // The pipeline reports what is unreadable.
        for (record, view) in (0_u16..).zip(frame.records().map_while(Result::ok)) {
            if record < from.record {
                continue;
            }
            for (part, answer) in self.wanted.answers(&view) {
                let place = Place { offset, record, part };
                if place < from {
                    continue;
                }
                if let Some(before) = held.replace(answer) {
                    self.send(shard, place, before).await?;
                }
            }
        }
        let next = Place::of_frame(offset.next());
        match held {
            Some(last) => self.send(shard, next, last).await,
            None => {
                self.cursor.set(shard, next);
                Ok(())
            }
        }
    }

    async fn gap(&mut self, shard: Shard, to: Offset, gap: Gap) -> Result<(), Halt> {
        self.tools.metrics.feed_gaps.inc();
        self.send(shard, Place::of_frame(to), Kind::Gap(gap)).await
    }

    /// Says where the reader is, after a silence. Shards that can't have anything for it are passed over.
    async fn position_when_due(&mut self) -> Result<(), Halt> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let end = Cursor::end_of(&self.tools.log);
        for shard in (0..self.tools.log.shards()).map(Shard) {
            if self.shards.binary_search(&shard).is_err() {
                self.cursor.set(shard, end.place(shard));
            }
        }
        let Some(first) = self.shards.first().copied() else { return Ok(()) };
        self.send(first, self.cursor.place(first), Kind::Position(Position {})).await
    }

    fn is_at_end(&self) -> bool {
        let end = |shard: &Shard| self.tools.log.end(Stream::Telemetry, *shard);
        self.shards.iter().all(|shard| self.cursor.place(*shard).offset >= end(shard))
    }

    /// Sends an answer behind which the shard is at `next`. When it isn't taken, the cursor stays before it.
    async fn send(&mut self, shard: Shard, next: Place, kind: Kind) -> Result<(), Halt> {
        let before = self.cursor.place(shard);
        self.cursor.set(shard, next);
        let response = SubscribeResponse { cursor: self.cursor.encode(), kind: Some(kind) };
        let sent = match self.answers.try_send(Ok(response)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Halt::Gone),
            Err(TrySendError::Full(response)) => match timeout(PATIENCE, self.answers.send(response)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Halt::Gone),
                Err(_) => Err(Halt::Stalled),
            },
        };
        match &sent {
            Ok(()) => {
                self.tools.metrics.feed_answers.inc();
                self.due = Instant::now() + SILENCE;
            }
            Err(_) => self.cursor.set(shard, before),
        }
        sent
    }
}

/// When the first record of a frame arrived.
fn first_arrival(frame: &Frame) -> i64 {
    frame.records().find_map(Result::ok).map_or(0, |record| record.received_us)
}
