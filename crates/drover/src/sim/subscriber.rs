//! Finds the messages of a run by subscribing, where there is no store to ask: any MQTT broker.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_mqtt_codec::{Ack, Packet, Publish, QoS, RetainHandling, Subscribe, Subscription};
use drover_runtime::Stop;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::session::{Refusal, leave, open};
use super::tally::Found;
use super::{Login, Plan, payloads};
use crate::failure::{Code, Failure, Outcome};
use crate::mqtt_connection::{Connection, MqttError, Server, failed};

/// Subscribers that share the devices, so that none of them is what holds the broker up.
const MOST_SUBSCRIBERS: u64 = 4;
/// After the last message of the fleet, silence for so long means that no more comes when all is there …
const QUIET: Duration = Duration::from_secs(1);
/// … and for so long when something is missing.
const MISSING_QUIET: Duration = Duration::from_secs(10);
/// Whatever comes, this is the end.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
const PING_EVERY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);
const SUBSCRIBE_ID: NonZeroU16 = NonZeroU16::MIN;

/// Where a device publishes: below the topic of the subscriber that listens for it.
pub fn topic(prefix: &str, run: &str, device: u64) -> String {
    format!("{prefix}/{run}/{}/{device}", device % MOST_SUBSCRIBERS)
}

/// Subscribers at work.
pub struct Subscribers {
    received: Arc<Received>,
    stop: Stop,
    tasks: JoinSet<()>,
}

/// What they have received.
struct Received {
    found: Mutex<Vec<Found>>,
    /// Different messages, and all copies.
    different: AtomicU64,
    all: AtomicU64,
}

impl Received {
    fn take(&self, message: &Publish) {
        let device = message.topic_str().rsplit('/').next().and_then(|device| device.parse::<usize>().ok());
        let (Some(device), Some(sequence)) = (device, payloads::sequence(&message.payload)) else { return };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = found.get_mut(device) else { return };
        self.different.fetch_add(u64::from(found.insert(sequence)), Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }
}

impl Subscribers {
    /// Connects and subscribes, each with the name and password of the devices.
    pub async fn start(plan: &Plan, server: &Server, logins: &[Login], prefix: &str) -> Outcome<Self> {
        let found = Mutex::new(vec![Found::default(); logins.len()]);
        let received = Received { found, different: AtomicU64::new(0), all: AtomicU64::new(0) };
        let mut subscribers =
            Self { received: Arc::new(received), stop: Stop::default(), tasks: JoinSet::new() };
        for number in 0..MOST_SUBSCRIBERS.min(plan.schedule.devices) {
            let Some(login) = logins.first() else { break };
            let subscriber = Subscriber {
                server: server.clone(),
                login: Login { client_id: format!("{}-subscriber-{number}", plan.run), ..login.clone() },
                filter: format!("{prefix}/{}/{number}/+", plan.run),
                qos: plan.qos,
                received: subscribers.received.clone(),
                stop: subscribers.stop.clone(),
                half_received: BTreeSet::new(),
            };
            let connection = subscriber.connect(true).await?;
            subscribers.tasks.spawn(subscriber.run(connection));
        }
        Ok(subscribers)
    }

    /// Waits for what is still on its way, and gives what came of each device.
    pub async fn finish(mut self, acknowledged: u64) -> Vec<Found> {
        let deadline = Instant::now() + RECEIVE_TIMEOUT;
        let (mut last, mut changed_at) = (0, Instant::now());
        while Instant::now() < deadline {
            let all = self.received.all.load(Ordering::Relaxed);
            if all != last {
                (last, changed_at) = (all, Instant::now());
            }
            let is_whole = self.received.different.load(Ordering::Relaxed) >= acknowledged;
            if changed_at.elapsed() >= if is_whole { QUIET } else { MISSING_QUIET } {
                break;
            }
            sleep(POLL).await;
        }
        self.stop.begin_drain();
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut *self.received.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Subscriber {
    server: Server,
    login: Login,
    filter: String,
    qos: QoS,
    received: Arc<Received>,
    stop: Stop,
    /// QoS 2 messages whose exchange has not ended: a copy of one is no second message (MQTT 5, 4.3.3).
    half_received: BTreeSet<NonZeroU16>,
}

impl Subscriber {
    async fn connect(&self, is_new: bool) -> Outcome<Connection> {
        let opened = open(&self.server, &self.login, is_new).await.map_err(|refusal| match refusal {
            Refusal::Final(error) => Failure::new(Code::Denied, error.0),
            Refusal::ForNow(error) => Failure::new(Code::Unreachable, error.0),
        })?;
        let mut connection = opened.connection;
        if opened.is_resumed {
            return Ok(connection);
        }
        let subscription = Subscription {
            filter: self.filter.clone(),
            qos: self.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DontSend,
        };
        let subscribe =
            Subscribe { packet_id: SUBSCRIBE_ID, subscriptions: vec![subscription], properties: None };
        connection.put(&Packet::Subscribe(subscribe))?;
        connection.flush().await?;
        match connection.answer().await? {
            Packet::SubAck(answer) => match answer.reasons.iter().find(|reason| reason.is_error()) {
                None => Ok(connection),
                Some(reason) => Err(Failure::new(
                    Code::Denied,
                    format!(
                        "the broker refuses to subscribe to {} ({reason}): name a topic that is allowed with --topic",
                        self.filter
                    ),
                )),
            },
            other => Err(failed("expected SUBACK, got", other.packet_type()).into()),
        }
    }

    /// Receives until it is stopped. A connection that is lost is opened again, with the session that was there.
    async fn run(mut self, connection: Connection) {
        let mut connection = Some(connection);
        loop {
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => self.connect(false).await,
            };
            if let Ok(open) = open
                && let Ok(open) = self.receive(open).await
            {
                return leave(open).await;
            }
            if self.stop.is_draining() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn receive(&mut self, mut connection: Connection) -> Result<Connection, MqttError> {
        let stop = self.stop.clone();
        let mut ping_at = Instant::now() + PING_EVERY;
        loop {
            tokio::select! {
                // Cancel-safe: `next` keeps the bytes that came.
                packet = connection.next() => {
                    let mut next = Some(packet?);
                    while let Some(packet) = next {
                        self.take(&mut connection, packet)?;
                        next = connection.received()?;
                    }
                }
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + PING_EVERY;
                    connection.put(&Packet::PingReq)?;
                }
                () = stop.drain() => return Ok(connection),
            }
            connection.flush().await?;
        }
    }

    fn take(&mut self, connection: &mut Connection, packet: Packet) -> Result<(), MqttError> {
        match packet {
            Packet::Publish(message) => match (message.qos, message.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => {
                    self.received.take(&message);
                    connection.put(&Packet::PubAck(Ack::success(id)))?;
                }
                (QoS::ExactlyOnce, Some(id)) => {
                    if self.half_received.insert(id) {
                        self.received.take(&message);
                    }
                    connection.put(&Packet::PubRec(Ack::success(id)))?;
                }
                _ => self.received.take(&message),
            },
            Packet::PubRel(ack) => {
                self.half_received.remove(&ack.packet_id);
                connection.put(&Packet::PubComp(Ack::success(ack.packet_id)))?;
            }
            Packet::Disconnect(end) => return Err(failed("the server ended the session", end.reason)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_for_the_device_of_its_topic() {
        let found = Mutex::new(vec![Found::default(); 6]);
        let received = Received { found, different: AtomicU64::new(0), all: AtomicU64::new(0) };
        let message = |topic: String, payload: &'static [u8]| Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: topic.into(),
            packet_id: None,
            properties: None,
            payload: payload.into(),
        };
        let seven = b"[{\"seq\":7}]";
        received.take(&message(topic("plant", "sim-a", 5), seven));
        received.take(&message(topic("plant", "sim-a", 5), seven));
        received.take(&message(topic("plant", "sim-a", 6), seven));
        received.take(&message("plant/other".to_owned(), seven));
        received.take(&message(topic("plant", "sim-a", 1), b"hello"));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&received.different), count(&received.all)), (1, 2));
    }
}
