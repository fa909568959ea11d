//! Live messages: publish and subscribe by subject, groups, request and reply. Nothing is kept: who isn't there, or is too slow,
//! misses it. Subjects are tokens joined by `.`; in patterns `*` stands for one token and a last `>` for one or more.

mod subjects;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use subjects::Subjects;

/// Messages that wait for one subscriber; what comes on top is lost to it.
const QUEUE_MESSAGES: usize = 1024;

/// Makes one token of any text: `.`, `*`, `>`, space and `%` are written as `%` and two hexadecimal digits.
pub fn token(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '.' | '*' | '>' | ' ' | '%');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if special(c) {
            let _ = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// Nobody is subscribed to the subject.
    #[error("nobody listens on this subject")]
    NoSubscribers,
    /// Everybody who got the request dropped it, or nobody had room for it.
    #[error("the request was dropped without an answer")]
    NoReply,
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
    /// Somebody had no room for the message.
    #[error("a subscriber had no room for the message")]
    Lost,
}

/// Who waits for an answer, until the first one.
type Asker = Mutex<Option<oneshot::Sender<Bytes>>>;

/// What the sender of a message waits for.
#[derive(Default)]
struct Awaited {
    asker: Option<oneshot::Sender<Bytes>>,
    held: Option<oneshot::Sender<Infallible>>,
}

/// A message as a subscriber gets it.
#[derive(Debug, Clone)]
pub struct LiveMessage {
    /// Where it was published.
    pub subject: Arc<str>,
    /// Its bytes.
    pub payload: Bytes,
    reply: Option<Arc<Asker>>,
    #[expect(dead_code, reason = "dropped with the last copy of the message")]
    held: Option<Arc<oneshot::Sender<Infallible>>>,
}

impl LiveMessage {
    /// Answers a request. Of several answers the first counts; on a message that is no request this does nothing.
    pub fn reply(&self, payload: Bytes) {
        if let Some(asker) = self.reply.as_ref().and_then(|reply| reply.lock().take()) {
            let _ = asker.send(payload);
        }
    }

    /// Whether the sender waits for an answer.
    pub fn wants_reply(&self) -> bool {
        self.reply.is_some()
    }
}

/// The sending side of a subscription.
#[derive(Debug, Clone)]
struct Member {
    id: u64,
    sender: mpsc::Sender<LiveMessage>,
    lagged: Arc<AtomicU64>,
}

impl Member {
    /// Whether there was room. A message without room is lost to this member.
    fn offer(&self, message: &LiveMessage) -> bool {
        self.sender.try_send(message.clone()).is_ok()
    }

    fn lose(&self) {
        self.lagged.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Shared {
    subjects: RwLock<Subjects>,
    ids: AtomicU64,
    subscriptions: AtomicU64,
}

/// A handle to live messages. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Live(Arc<Shared>);

impl Live {
    /// Live messages within this process.
    pub fn embedded() -> Self {
        Self::default()
    }

    /// Sends to every subscription that matches, and to one member of every group. Never blocks; who has no room loses the message.
    pub fn publish(&self, subject: &str, payload: Bytes) {
        self.send(subject, payload, Awaited::default());
    }

    /// Publishes, and waits until everybody who got the message is done with it, that is, has dropped it.
    ///
    /// # Errors
    /// [`LiveError::Timeout`] when somebody still has it then, [`LiveError::Lost`] when somebody had no room for it.
    pub async fn publish_and_wait(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<(), LiveError> {
        let (held, dropped) = oneshot::channel();
        let has_reached_all = self.send(subject, payload, Awaited { held: Some(held), ..Awaited::default() });
        match tokio::time::timeout(timeout, dropped).await {
            Ok(_) if has_reached_all => Ok(()),
            Ok(_) => Err(LiveError::Lost),
            Err(_) => Err(LiveError::Timeout),
        }
    }

    /// Whether anybody would get a message on this subject.
    pub fn has_subscribers(&self, subject: &str) -> bool {
        self.0.subscriptions.load(Ordering::Acquire) > 0 && self.0.subjects.read().any(subject)
    }

    /// Subscribes to a subject or pattern. Of the subscriptions with the same pattern and group, each message goes to one.
    pub fn subscribe(&self, pattern: &str, group: Option<&str>) -> Subscription {
        let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
        let id = self.0.ids.fetch_add(1, Ordering::Relaxed);
        let lagged = Arc::new(AtomicU64::new(0));
        self.0.subjects.write().insert(pattern, group, Member { id, sender, lagged: lagged.clone() });
        self.0.subscriptions.fetch_add(1, Ordering::Release);
        Subscription { shared: self.0.clone(), pattern: pattern.into(), id, receiver, lagged }
    }

    /// Publishes and waits for the first answer.
    ///
    /// # Errors
    /// [`LiveError`] when no answer came.
    pub async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, LiveError> {
        if !self.has_subscribers(subject) {
            return Err(LiveError::NoSubscribers);
        }
        let (asker, answer) = oneshot::channel();
        self.send(subject, payload, Awaited { asker: Some(asker), ..Awaited::default() });
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(payload)) => Ok(payload),
            Ok(Err(_)) => Err(LiveError::NoReply),
            Err(_) => Err(LiveError::Timeout),
        }
    }

    /// Whether everybody had room.
    fn send(&self, subject: &str, payload: Bytes, awaited: Awaited) -> bool {
        if self.0.subscriptions.load(Ordering::Acquire) == 0 {
            return true;
        }
        let subjects = self.0.subjects.read();
        let targets = subjects.matching(subject);
        if targets.is_empty() {
            return true;
        }
        let reply = awaited.asker.map(|asker| Arc::new(Mutex::new(Some(asker))));
        let held = awaited.held.map(Arc::new);
        let message = LiveMessage { subject: subject.into(), payload, reply, held };
        let lost = targets.into_iter().filter(|target| !target.send(&message)).count();
        lost == 0
    }
}

/// The receiving side; dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    pattern: Box<str>,
    id: u64,
    receiver: mpsc::Receiver<LiveMessage>,
    lagged: Arc<AtomicU64>,
}

impl Subscription {
    /// The next message. Dropping the future loses none. `None` never comes while the subscription lives in this process.
    pub async fn next(&mut self) -> Option<LiveMessage> {
        self.receiver.recv().await
    }

    /// The next message, if one is there already.
    pub fn try_next(&mut self) -> Option<LiveMessage> {
        self.receiver.try_recv().ok()
    }

    /// How many messages were lost because this subscription was too slow.
    pub fn lagged(&self) -> u64 {
        self.lagged.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.subjects.write().remove(&self.pattern, self.id);
        self.shared.subscriptions.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
