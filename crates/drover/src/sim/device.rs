//! One device: connects, sends its messages when they are due, loses its connection as its faults say, and goes on with its session, where
//! what is not acknowledged is sent again.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use drover_mqtt_codec::{Ack, Packet, PublishRef, QoS, ReasonCode};
use tokio::time::{Instant, sleep_until};

use super::Login;
use super::faults::{Break, Breaks, Fault};
use super::fleet::Shared;
use super::models::{Source, measure};
use super::payloads;
use super::schedule::DeviceClock;
use super::session::{Refusal, leave, open};
use super::tally::Record;
use super::window::Window;
use crate::mqtt_connection::{Connection, MqttError, failed};

/// A ping is sent after such a silence of the server …
const PING_AFTER: Duration = Duration::from_secs(20);
/// … and after this the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(60);
/// How long acknowledgements are waited for after the last message.
const SETTLE: Duration = Duration::from_secs(30);
/// Pauses between attempts to connect: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A device that does not get in for so long gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// Messages that are put together before they are written.
const BATCH: usize = 64;

/// A device at work.
pub struct Device {
    shared: Arc<Shared>,
    number: u64,
    login: Login,
    clock: DeviceClock,
    breaks: Breaks,
    window: Window,
    /// Messages that it will send, and the next of them.
    total: u64,
    next: u64,
    /// Set when no more is to be sent.
    closed_at: Option<Instant>,
    record: Record,
    payload: Vec<u8>,
}

/// How a connection ended.
enum End {
    Done,
    Broken(Break),
}

impl Device {
    pub fn new(shared: Arc<Shared>, number: u64, login: Login) -> Self {
        let plan = shared.plan.clone();
        let clock = DeviceClock::exact(shared.began_us, plan.schedule.period());
        let drifts = plan.faults.contains(&Fault::Drift);
        Self {
            number,
            login,
            clock: if drifts { clock.drifting(plan.seed, number) } else { clock },
            breaks: Breaks::new(&plan.faults, plan.schedule.duration, (plan.seed, number)),
            window: Window::new(),
            total: plan.schedule.count(number),
            next: 0,
            closed_at: None,
            record: Record::default(),
            payload: Vec::new(),
            shared,
        }
    }

    /// Works until all is sent and acknowledged, or there is no hope of it.
    pub async fn run(mut self) -> Record {
        let begins = self.shared.began + self.shared.plan.schedule.begins(self.number);
        let stop = self.shared.stop.clone();
        tokio::select! {
            // Cancel-safe: nothing has begun.
            () = sleep_until(begins) => {}
            () = stop.drain() => return self.record,
        }
        let mut is_first = true;
        loop {
            let connection = match self.connect(is_first).await {
                Ok(connection) => connection,
                // Whoever has nothing left to say needs no connection.
                Err(_) if self.is_done(Instant::now()) => break,
                Err(reason) => {
                    self.record.gave_up = Some(reason);
                    break;
                }
            };
            self.record.reconnects += u64::from(!is_first);
            self.shared.counters.connected(!is_first);
            is_first = false;
            let end = self.work(connection).await;
            self.shared.counters.disconnected();
            match end {
                Ok(End::Done) => break,
                Ok(End::Broken(kind)) => self.stay_away(kind).await,
                Err(_) => {
                    self.record.lost_connections += 1;
                    // A server that lets devices in and ends their sessions at once is not to be asked without end.
                    sleep_until(Instant::now() + FIRST_PAUSE).await;
                }
            }
        }
        self.record.sent = self.next;
        self.record
    }

    /// Tries until it is let in; else why not.
    async fn connect(&mut self, is_first: bool) -> Result<Connection, String> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            self.close_when_due(Instant::now());
            let error = match open(&self.shared.server, &self.login, is_first).await {
                Ok(opened) => {
                    self.window.allow(opened.receive_maximum);
                    return self.resume(opened.connection, opened.is_resumed).await;
                }
                Err(Refusal::Final(error)) => return Err(error.0),
                Err(Refusal::ForNow(error)) => error,
            };
            let give_up_at = (began + GIVE_UP_AFTER).min(self.closes_at() + SETTLE);
            if Instant::now() + pause > give_up_at {
                return Err(error.0);
            }
            sleep_until(Instant::now() + pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Goes on with what is on its way, in its order (MQTT 5, 4.4).
    async fn resume(&mut self, mut connection: Connection, is_resumed: bool) -> Result<Connection, String> {
        if !is_resumed {
            self.window.forget_received();
        }
        let flights: Vec<_> = self.window.flights().copied().collect();
        for flight in flights {
            let put = if flight.is_received {
                connection.put(&Packet::PubRel(Ack::success(flight.id)))
            } else {
                self.record.sent_again.insert(flight.sequence);
                self.put(&mut connection, (flight.sequence, Some(flight.id)), is_resumed).map(drop)
            };
            put.map_err(|error| error.0)?;
        }
        let now = self.passed();
        self.breaks.skip_until(now);
        Ok(connection)
    }

    /// One connection: sends and hears until all is done or it ends.
    async fn work(&mut self, mut connection: Connection) -> Result<End, MqttError> {
        let mut heard_at = Instant::now();
        let mut pinged = false;
        let stop = self.shared.stop.clone();
        loop {
            let now = Instant::now();
            self.close_when_due(now);
            let upcoming = self.breaks.next().map(|(at, kind)| (self.shared.began + at, kind));
            if let Some((at, kind)) = upcoming.filter(|(at, _)| *at <= now && self.closed_at.is_none()) {
                if kind != Break::MidMessage {
                    return Ok(self.broken(kind, self.passed()));
                }
                if self.is_due(now) {
                    return self.break_in_message(connection, at).await;
                }
            }
            self.put_due(&mut connection, now)?;
            if connection.unsent() > 0 {
                connection.flush().await?;
            }
            if self.is_done(now) {
                leave(connection).await;
                return Ok(End::Done);
            }
            if now >= heard_at + SILENCE {
                return Err(failed("the server is silent", "no answer"));
            }
            if now >= heard_at + PING_AFTER && !pinged {
                pinged = true;
                connection.put(&Packet::PingReq)?;
                continue;
            }
            let listen_until = heard_at + if pinged { SILENCE } else { PING_AFTER };
            let wake = self.wake(upcoming.map(|(at, _)| at)).map_or(listen_until, |at| at.min(listen_until));
            tokio::select! {
                // Cancel-safe: `next` keeps the bytes that came.
                packet = connection.next() => {
                    (heard_at, pinged) = (Instant::now(), false);
                    self.take_all(&mut connection, packet?)?;
                }
                () = sleep_until(wake) => {}
                () = stop.drain(), if self.closed_at.is_none() => {}
            }
        }
    }

    /// When something is to be done although nothing is heard.
    fn wake(&self, upcoming: Option<Instant>) -> Option<Instant> {
        if let Some(closed_at) = self.closed_at {
            return Some(closed_at + SETTLE);
        }
        let due = (self.next < self.total && !self.window.is_full())
            .then(|| self.shared.began + self.shared.plan.schedule.due(self.number, self.next));
        // A break in the middle of a message that has to wait comes with the message.
        let upcoming = upcoming.filter(|at| *at > Instant::now());
        [due, upcoming, Some(self.closes_at())].into_iter().flatten().min()
    }

    fn closes_at(&self) -> Instant {
        self.closed_at.unwrap_or(self.shared.began + self.shared.plan.schedule.duration)
    }

    fn close_when_due(&mut self, now: Instant) {
        let is_over = self.next >= self.total || now >= self.closes_at() || self.shared.stop.is_draining();
        if is_over && self.closed_at.is_none() {
            self.closed_at = Some(now);
        }
    }

    fn passed(&self) -> Duration {
        self.shared.began.elapsed()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.closed_at.is_none()
            && self.next < self.total
            && !self.window.is_full()
            && self.shared.began + self.shared.plan.schedule.due(self.number, self.next) <= now
    }

    fn is_done(&self, now: Instant) -> bool {
        self.closed_at.is_some_and(|closed_at| self.window.is_empty() || now >= closed_at + SETTLE)
    }

    /// Puts what is due as far as the window and a batch allow.
    fn put_due(&mut self, connection: &mut Connection, now: Instant) -> Result<(), MqttError> {
        for _ in 0..BATCH {
            if !self.is_due(now) {
                break;
            }
            self.put_next(connection)?;
        }
        Ok(())
    }

    /// Puts the next message; its bytes.
    fn put_next(&mut self, connection: &mut Connection) -> Result<usize, MqttError> {
        let sequence = self.next;
        self.next += 1;
        self.shared.counters.sent();
        let id =
            (self.shared.plan.qos != QoS::AtMostOnce).then(|| self.window.send(sequence, Instant::now()));
        self.put(connection, (sequence, id), false)
    }

    fn put(
        &mut self,
        connection: &mut Connection,
        (sequence, packet_id): (u64, Option<NonZeroU16>),
        dup: bool,
    ) -> Result<usize, MqttError> {
        let plan = &self.shared.plan;
        let micros = self.clock.shows(plan.schedule.due(self.number, sequence));
        let values = measure(plan.profile, &Source { seed: plan.seed, device: self.number, micros });
        payloads::write(&mut self.payload, (micros, sequence), &values, plan.size);
        let before = connection.unsent();
        let publish =
            PublishRef { dup, qos: plan.qos, packet_id, ..PublishRef::new(&self.login.topic, &self.payload) };
        connection.put_publish(&publish)?;
        Ok(connection.unsent() - before)
    }

    fn take_all(&mut self, connection: &mut Connection, first: Packet) -> Result<(), MqttError> {
        let mut next = Some(first);
        while let Some(packet) = next {
            self.take(connection, packet)?;
            next = connection.received()?;
        }
        Ok(())
    }

    fn take(&mut self, connection: &mut Connection, packet: Packet) -> Result<(), MqttError> {
        match packet {
            Packet::PubAck(ack) => {
                let flight = self.window.end(ack.packet_id);
                self.answered(flight.map(|flight| (flight.sequence, flight.sent_at)), ack.reason);
            }
            Packet::PubRec(ack) if ack.reason.is_error() => {
                let flight = self.window.end(ack.packet_id).filter(|flight| !flight.is_received);
                self.answered(flight.map(|flight| (flight.sequence, flight.sent_at)), ack.reason);
            }
            Packet::PubRec(ack) => {
                let before = self.window.receive(ack.packet_id).filter(|flight| !flight.is_received);
                self.answered(before.map(|flight| (flight.sequence, flight.sent_at)), ack.reason);
                connection.put(&Packet::PubRel(Ack::success(ack.packet_id)))?;
            }
            Packet::PubComp(ack) => drop(self.window.end(ack.packet_id)),
            Packet::PingResp => {}
            Packet::Disconnect(end) => return Err(failed("the server ended the session", end.reason)),
            other => return Err(failed("unexpected packet", other.packet_type())),
        }
        Ok(())
    }

    fn answered(&mut self, message: Option<(u64, Instant)>, reason: ReasonCode) {
        let Some((sequence, sent_at)) = message else { return };
        if reason.is_error() {
            self.record.refused += 1;
        } else if self.record.acknowledged.insert(sequence) {
            self.shared.acknowledged(sent_at.elapsed());
        }
    }

    fn broken(&mut self, kind: Break, at: Duration) -> End {
        self.breaks.skip_until(at);
        self.record.breaks.count(kind);
        End::Broken(kind)
    }

    async fn break_in_message(&mut self, mut connection: Connection, at: Instant) -> Result<End, MqttError> {
        let bytes = self.put_next(&mut connection)?;
        connection.break_off(bytes / 2).await;
        Ok(self.broken(Break::MidMessage, at.saturating_duration_since(self.shared.began)))
    }

    async fn stay_away(&mut self, kind: Break) {
        let Break::Gap(length) = kind else { return };
        let until = (Instant::now() + length).min(self.closes_at());
        let stop = self.shared.stop.clone();
        tokio::select! {
            // Cancel-safe: there is nothing but time.
            () = sleep_until(until) => {}
            () = stop.drain() => {}
        }
    }
}
