//! A connected client: bytes to packets, packets to bytes, acknowledgements in order, and the timeouts. One poll does a turn of all
//! of it. What a message means is said in `publish`.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use drover_gateway::RefusedReason;
use drover_mqtt_codec::{
    Disconnect, Packet, Publish, QoS, ReasonCode, Version, decode, encode_pingresp, needed,
};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::answers::Answers;
use crate::backlog::Share;
use crate::budget::Account;
use crate::connect::{self, Admitted};
use crate::error::End;
use crate::gateway::Gateway;
use crate::goodbye;
use crate::listener::Permits;
use crate::outbound::{Limits, Outbound};
use crate::proxy::Peer;
use crate::publish;
use crate::route::Hits;
use crate::seat::{Leaving, Seat};
use crate::subscribe;
use crate::transport::{Layer, Transport};
use crate::waits::Waits;

/// Bytes read at a time, into a buffer that all connections of a thread share.
const READ_BYTES: usize = 64 << 10;
/// Bytes written at a time, and the bound of what may wait unsent before reading pauses.
pub(crate) const WRITE_BYTES: usize = 64 << 10;
/// First capacity of a buffer for an incomplete packet; it doubles as bytes come, whatever length the packet claims.
const REST_BYTES: usize = 512;
/// So much of it is not counted for the tenant.
const UNCOUNTED_BYTES: usize = 4 << 10;
/// Rounds of reading and writing before other connections have their turn.
const MAX_ROUNDS: usize = 4;
/// Answers that may be pending beside those that the receive maximum bounds.
const SPARE_ANSWERS: usize = 256;
/// Buffers that a thread's connections use one after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    input: BytesMut,
    output: BytesMut,
    pub(crate) hits: Hits,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A message that the log did not take yet.
pub(crate) struct Held {
    pub(crate) publish: Publish,
    pub(crate) ready: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// One client from CONNACK to its end.
pub(crate) struct Connection {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) seat: Seat,
    transport: Transport,
    /// An incomplete packet, or what came after reading paused.
    unread: BytesMut,
    /// Whether `unread` may hold whole packets.
    is_unread_whole: bool,
    /// What of `unread` is counted for the tenant.
    incomplete: Share,
    unsent: BytesMut,
    is_flush_pending: bool,
    pub(crate) outbound: Outbound,
    pub(crate) answers: Answers,
    /// Messages that the client has acknowledged, and the journal does not know it yet.
    pub(crate) settled: Vec<u64>,
    held: Option<Box<Held>>,
    /// Topics by alias; the first is alias 1, an empty one is not set.
    pub(crate) aliases: Vec<Bytes>,
    budget: Option<Box<Account>>,
    pub(crate) waits: Waits,
}

/// Serves one accepted socket to its end.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    layer: Layer,
    socket: (TcpStream, Peer),
    mut permits: Permits,
) {
    let transport = [("transport", layer.label())];
    gateway.metrics.connections.get_or_create(&transport).inc();
    // Boxed: what the start needs is given back before the connection idles.
    let opened = Box::pin(connect::open(&gateway, layer, socket, &mut permits)).await;
    drop(permits.handshake);
    if let Some(mut connection) = opened {
        let end = poll_fn(|cx| SCRATCH.with_borrow_mut(|scratch| connection.poll(cx, scratch))).await;
        Box::pin(connection.close(end)).await;
    }
    gateway.metrics.connections.get_or_create(&transport).dec();
    drop(permits.connection);
}

impl Connection {
    /// `unread` is what came after CONNECT.
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        transport: Transport,
        admitted: Admitted,
        (limits, unread): (Limits, BytesMut),
    ) -> Self {
        let mut seat = admitted.seat;
        seat.is_accepted = true;
        let mut connection = Self {
            incomplete: Share::of(&seat.space.incomplete),
            budget: seat.space.buckets.account(&seat.session.key.owner, &gateway.metrics),
            seat,
            transport,
            is_unread_whole: !unread.is_empty(),
            unread: if unread.is_empty() { BytesMut::new() } else { unread },
            unsent: BytesMut::new(),
            is_flush_pending: false,
            outbound: Outbound::new(limits),
            answers: Answers::default(),
            settled: Vec::new(),
            held: None,
            aliases: Vec::new(),
            waits: Waits::new(admitted.keep_alive_s, gateway.now()),
            gateway,
        };
        connection.release_again();
        connection
    }

    pub(crate) fn version(&self) -> Version {
        self.outbound.limits.version
    }

    /// Whether a further QoS 1 or 2 message exceeds the receive maximum (MQTT 5, 4.9).
    pub(crate) fn is_window_full(&self) -> bool {
        if self.version() == Version::V4 {
            return false;
        }
        let state = self.seat.session.state.lock();
        let unreleased = state.unreleased.iter().filter(|known| known.is_counted).count();
        self.answers.publishes() + unreleased >= usize::from(self.gateway.config.receive_maximum.get())
    }

    /// Pauses reading until the log takes the message.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held = Some(Box::new(held));
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<End> {
        self.seat.attachment.waker.register(cx.waker());
        let turn = self.turn(cx, scratch);
        match turn.and_then(|()| self.check_timeouts()) {
            Ok(()) => Poll::Pending,
            Err(end) => {
                // What was answered before still goes out, with the farewell.
                self.unsent.extend_from_slice(&scratch.output);
                scratch.output.clear();
                Poll::Ready(end)
            }
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), End> {
        self.check_ending()?;
        for _ in 0..MAX_ROUNDS {
            self.offer_again(cx, scratch)?;
            self.await_budget(cx);
            let could_read = self.may_read();
            let has_read = self.read(cx, scratch)?;
            let metrics = &self.gateway.metrics;
            let output = &mut scratch.output;
            self.waits.has_progressed |= self.answers.write(cx, &self.outbound, metrics, output)?;
            self.note_settled();
            // Whoever takes everything only now has been sent nothing in this round.
            let has_more = !self.is_free() || self.send_waiting(cx, &mut scratch.output);
            self.write(cx, &mut scratch.output)?;
            let goes_on = has_read || (has_more && self.is_free()) || (!could_read && self.may_read());
            if !goes_on {
                // What was waited for at the drain may have come in this turn.
                return self.check_ending();
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Whether everything that was written has been taken.
    fn is_free(&self) -> bool {
        self.unsent.is_empty() && !self.is_flush_pending
    }

    /// Offers the held message to the log when that may work.
    fn offer_again(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), End> {
        let Some(held) = &mut self.held else { return Ok(()) };
        if held.ready.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if let Some(held) = self.held.take() {
            publish::handle(self, held.publish, scratch)?;
        }
        if self.held.is_some() {
            // Others were faster: look again after they had their turn.
            cx.waker().wake_by_ref();
        } else {
            self.waits.has_progressed = true;
        }
        Ok(())
    }

    /// Goes on with reading when what was sent is within the budgets again.
    fn await_budget(&mut self, cx: &mut Context<'_>) {
        if let Some(budget) = &mut self.budget
            && budget.poll_wait(cx).is_ready()
        {
            // It could not be heard.
            self.waits.last_read = self.gateway.now();
        }
    }

    /// Whether more may be taken in before what is pending has become durable.
    pub(crate) fn is_paused(&self) -> bool {
        self.held.is_some()
            || self.answers.bytes() >= self.gateway.config.max_unacknowledged_bytes
            || self.answers.len() >= usize::from(self.gateway.config.receive_maximum.get()) + SPARE_ANSWERS
    }

    pub(crate) fn may_read(&self) -> bool {
        self.may_take_in() && self.unsent.len() < WRITE_BYTES
    }

    /// Whether it is not read only because too much waits that it does not take.
    pub(crate) fn is_stuffed(&self) -> bool {
        self.may_take_in() && self.unsent.len() >= WRITE_BYTES
    }

    /// Whether budget, log and drain allow to read it.
    fn may_take_in(&self) -> bool {
        let is_within_budget = !self.budget.as_ref().is_some_and(|budget| budget.is_waiting());
        is_within_budget && !self.is_paused() && self.waits.draining_since.is_none()
    }

    /// Takes in what has come; says whether something had.
    fn read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, End> {
        if !self.may_read() {
            return Ok(false);
        }
        let has_rest = !self.unread.is_empty();
        let mut input =
            if has_rest { std::mem::take(&mut self.unread) } else { std::mem::take(&mut scratch.input) };
        let outcome = self.fill_and_consume(cx, &mut input, scratch);
        if has_rest {
            if !input.is_empty() {
                self.unread = input;
            }
        } else {
            if !input.is_empty() {
                // A copy, lest one client's rest keeps the thread's buffer.
                self.unread = BytesMut::with_capacity(input.len().max(REST_BYTES));
                self.unread.extend_from_slice(&input);
                input.clear();
            }
            scratch.input = input;
        }
        let has_read = outcome?;
        self.count_incomplete()?;
        Ok(has_read)
    }

    /// A client may be slow to finish a packet, but not with more memory than its tenant has for that.
    fn count_incomplete(&mut self) -> Result<(), End> {
        let (now, before) = (self.unread.capacity(), self.incomplete.bytes());
        let now = if now > UNCOUNTED_BYTES { now } else { 0 };
        self.incomplete.give_back(before.saturating_sub(now));
        if now <= before || self.incomplete.take(now - before) {
            return Ok(());
        }
        let text = "the tenant's clients have begun too many packets that they do not finish";
        Err(End::refused(ReasonCode::QuotaExceeded, text))
    }

    fn fill_and_consume(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Result<bool, End> {
        let mut has_read = false;
        if self.is_unread_whole {
            self.is_unread_whole = false;
            has_read = true;
            self.consume(input, scratch)?;
            if !self.may_read() {
                return Ok(has_read);
            }
        }
        if input.is_empty() {
            input.reserve(READ_BYTES);
        } else {
            let missing = needed(input)?.unwrap_or(input.len() + 1).saturating_sub(input.len());
            input.reserve(missing.min(input.len().max(REST_BYTES)));
        }
        // Made anew at each poll: it holds nothing between two.
        let read = std::pin::pin!(self.transport.read_buf(input)).poll(cx);
        match read {
            Poll::Pending => Ok(has_read),
            Poll::Ready(Ok(0)) => Err(End::Closed),
            Poll::Ready(Err(error)) => Err(End::Io(error)),
            Poll::Ready(Ok(read)) => {
                self.waits.last_read = self.gateway.now();
                self.gateway.metrics.bytes_received.inc_by(u64::try_from(read).unwrap_or(u64::MAX));
                self.consume(input, scratch)?;
                Ok(true)
            }
        }
    }

    /// Takes whole packets off the input until reading has to pause.
    fn consume(&mut self, input: &mut BytesMut, scratch: &mut Scratch) -> Result<(), End> {
        let max_bytes = self.gateway.config.max_packet_bytes.get();
        while !input.is_empty() {
            if !self.may_read() || scratch.output.len() >= WRITE_BYTES {
                self.is_unread_whole = true;
                break;
            }
            let before = input.len();
            let Some(packet) = decode(input, Some(self.version()), max_bytes)? else { break };
            if let Some(budget) = &mut self.budget {
                let is_message = matches!(packet, Packet::Publish(_));
                budget.charge(is_message, before - input.len(), &self.gateway.metrics);
            }
            self.receive(packet, scratch)?;
        }
        if let Some(budget) = &mut self.budget {
            budget.settle(&self.gateway.metrics);
        }
        Ok(())
    }

    fn receive(&mut self, packet: Packet, scratch: &mut Scratch) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => publish::receive(self, publish, scratch),
            Packet::PubAck(ack) => self.acknowledged(ack.packet_id, QoS::AtLeastOnce),
            // MQTT 5, 4.3.3: a PUBREC that refuses ends the message's way.
            Packet::PubRec(ack) if ack.reason.is_error() => {
                self.acknowledged(ack.packet_id, QoS::ExactlyOnce)
            }
            Packet::PubRec(ack) => self.received(ack.packet_id),
            Packet::PubComp(ack) => self.completed(ack.packet_id),
            Packet::PubRel(ack) => publish::release(self, ack.packet_id),
            Packet::Subscribe(packet) => subscribe::subscribe(self, &packet),
            Packet::Unsubscribe(packet) => subscribe::unsubscribe(self, &packet),
            Packet::PingReq => {
                encode_pingresp(&mut scratch.output);
                Ok(())
            }
            Packet::Disconnect(packet) => Err(self.farewell(&packet)),
            // MQTT 5, 4.12: nobody has agreed on a method.
            Packet::Auth(_) => {
                Err(End::refused(ReasonCode::ProtocolError, "extended authentication is not offered"))
            }
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => {
                Err(End::refused(ReasonCode::ProtocolError, "a client never sends this packet"))
            }
        }
    }

    fn farewell(&self, packet: &Disconnect) -> End {
        let expiry_s = packet.properties.as_ref().and_then(|properties| properties.session_expiry_s);
        let expiry_s = expiry_s.map(|expiry_s| connect::bounded_expiry(&self.gateway, expiry_s));
        // MQTT 5, 3.14.2.2.2.
        if expiry_s.is_some_and(|expiry_s| expiry_s > 0) && self.seat.session.state.lock().expiry_s == 0 {
            let text = "a session without expiry can't get one at its end";
            return End::refused(ReasonCode::ProtocolError, text);
        }
        if packet.reason == ReasonCode::Success {
            End::Disconnected { expiry_s }
        } else {
            End::DisconnectedWithWill { expiry_s }
        }
    }

    /// Sends what it can; the rest waits.
    fn write(&mut self, cx: &mut Context<'_>, output: &mut BytesMut) -> Result<(), End> {
        if output.is_empty() && self.unsent.is_empty() && !self.is_flush_pending {
            return Ok(());
        }
        let mut sent = 0;
        while !self.unsent.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut self.transport).poll_write(cx, &self.unsent) else {
                break;
            };
            self.unsent.advance(some(written?)?);
            self.waits.blocked_since = None;
        }
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
            while let Some(rest) = output.get(sent..).filter(|rest| !rest.is_empty()) {
                let Poll::Ready(written) = Pin::new(&mut self.transport).poll_write(cx, rest) else { break };
                sent += some(written?)?;
                self.waits.blocked_since = None;
            }
        }
        self.unsent.extend_from_slice(output.get(sent..).unwrap_or_default());
        self.gateway.metrics.bytes_sent.inc_by(u64::try_from(output.len()).unwrap_or(u64::MAX));
        output.clear();
        match Pin::new(&mut self.transport).poll_flush(cx) {
            Poll::Ready(flushed) => {
                flushed?;
                self.is_flush_pending = false;
            }
            Poll::Pending => self.is_flush_pending = true,
        }
        let is_blocked = !self.is_free();
        self.waits.blocked_since =
            if is_blocked { self.waits.blocked_since.or(Some(self.gateway.now())) } else { None };
        Ok(())
    }

    /// Gives up the session, says goodbye.
    async fn close(mut self: Box<Self>, end: End) {
        self.note_settled();
        let Self { gateway, seat, mut transport, unsent, outbound, mut answers, held, waits, .. } = *self;
        if waits.paused_since.is_some() {
            gateway.metrics.paused.dec();
        }
        if held.is_some() {
            gateway.refused(&seat.space.tenant, RefusedReason::LogBusy);
        }
        tracing::debug!("a client left: {end}");
        gateway.metrics.ended(end.label());
        match end {
            End::Disconnected { expiry_s } => seat.leave(Leaving::Goodbye, expiry_s),
            End::DisconnectedWithWill { expiry_s } => seat.leave(Leaving::WithWill, expiry_s),
            _ => seat.leave(Leaving::WithWill, None),
        }
        drop(seat);
        let has_left =
            matches!(end, End::Closed | End::Disconnected { .. } | End::DisconnectedWithWill { .. });
        if has_left && !answers.is_empty() {
            goodbye::answer(&mut transport, &outbound, (&mut answers, &gateway.metrics), unsent).await;
            goodbye::linger(&mut transport).await;
            return;
        }
        match end {
            End::Closed | End::Io(_) => {}
            End::Disconnected { .. } | End::DisconnectedWithWill { .. } => {
                goodbye::linger(&mut transport).await;
            }
            End::Malformed(_) | End::Refused { .. } => {
                goodbye::say(&mut transport, &outbound, unsent, &end).await;
            }
        }
    }
}

fn some(written: usize) -> Result<usize, End> {
    if written == 0 { Err(End::Closed) } else { Ok(written) }
}
