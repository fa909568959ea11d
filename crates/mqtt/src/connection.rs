//! A connected client: bytes to packets, packets to bytes, acknowledgements in order, and the timeouts. One poll does a turn of all
//! of it. What a message means is said in `publish`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use drover_backbone::Ticket;
use drover_model::Channel;
use drover_mqtt_codec::{
    Ack, AckProperties, Disconnect, DisconnectProperties, Packet, Publish, ReasonCode, Version, Will, decode,
    encode_pingresp, encode_puback, needed,
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connect::{self, Admitted};
use crate::error::End;
use crate::gateway::Gateway;
use crate::listener::Permits;
use crate::message::TICKS_PER_SECOND;
use crate::outbound::{Limits, Outbound};
use crate::publish;
use crate::router::Hit;
use crate::session::Ending;
use crate::space::Registration;
use crate::subscribe;
use crate::transport::{Layer, Transport};

/// Bytes read at a time, into a buffer that all connections of a thread share.
const READ_BYTES: usize = 64 << 10;
/// Bytes written at a time, and the bound of what may wait unsent before reading pauses.
const WRITE_BYTES: usize = 64 << 10;
/// First capacity of a buffer for an incomplete packet; it doubles as bytes come, whatever length the packet claims.
const REST_BYTES: usize = 512;
/// Rounds of reading and writing before other connections have their turn.
const MAX_ROUNDS: usize = 4;
/// Acknowledgements kept room for when none is pending.
const KEPT_PENDING: usize = 16;
/// After the last packet the client's own bytes are read and thrown away for so long, lest a reset swallows that packet.
const LINGER: Duration = Duration::from_secs(1);

/// Buffers that a thread's connections use one after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    input: BytesMut,
    output: BytesMut,
    pub(crate) hits: Vec<Hit>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What an acknowledgement waits for.
pub(crate) enum Outcome {
    /// Until the record is durable.
    Logged(Ticket),
    /// Nothing; with a text for MQTT 5.
    Done(ReasonCode, &'static str),
}

struct Pending {
    packet_id: NonZeroU16,
    bytes: usize,
    outcome: Outcome,
}

/// A message that the log did not take yet.
pub(crate) struct Held {
    pub(crate) channel: Channel,
    pub(crate) publish: Publish,
    pub(crate) ready: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// One client from CONNACK to its end.
pub(crate) struct Connection {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) registration: Registration,
    transport: Transport,
    /// An incomplete packet, or what came after reading paused.
    unread: BytesMut,
    /// Whether `unread` may hold whole packets.
    is_unread_whole: bool,
    unsent: BytesMut,
    is_flush_pending: bool,
    outbound: Outbound,
    /// Acknowledgements in the order of their messages (MQTT 5, 4.6.0).
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    held: Option<Box<Held>>,
    /// Topics by alias; the first is alias 1, an empty one is not set.
    pub(crate) aliases: Vec<Bytes>,
    will: Option<Box<Will>>,
    /// 1.5 times the keep-alive; 0 = none (MQTT 5, 3.1.2.10).
    keep_alive_ticks: u32,
    last_read: u32,
    paused_since: Option<u32>,
    blocked_since: Option<u32>,
    draining_since: Option<u32>,
}

/// Serves one accepted socket to its end.
pub(crate) async fn run(gateway: Arc<Gateway>, layer: Layer, socket: (TcpStream, IpAddr), permits: Permits) {
    let transport = [("transport", layer.label())];
    gateway.metrics.connections.get_or_create(&transport).inc();
    // Boxed: what the start needs is given back before the connection idles.
    let opened = Box::pin(connect::open(&gateway, layer, socket)).await;
    drop(permits.handshake);
    if let Some(mut connection) = opened {
        let end =
            poll_fn(|cx| SCRATCH.with_borrow_mut(|scratch| connection.poll(cx, scratch))).await;
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
        let now = gateway.now();
        Self {
            registration: admitted.registration,
            transport,
            is_unread_whole: !unread.is_empty(),
            unread: if unread.is_empty() { BytesMut::new() } else { unread },
            unsent: BytesMut::new(),
            is_flush_pending: false,
            outbound: Outbound::new(limits),
            pending: VecDeque::new(),
            pending_bytes: 0,
            held: None,
            aliases: Vec::new(),
            will: admitted.will,
            keep_alive_ticks: u32::from(admitted.keep_alive_s) * 3 * TICKS_PER_SECOND / 2,
            last_read: now,
            paused_since: None,
            blocked_since: None,
            draining_since: None,
            gateway,
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.outbound.limits.version
    }

    /// Whether a further QoS 1 message exceeds the receive maximum.
    pub(crate) fn is_window_full(&self) -> bool {
        self.pending.len() >= usize::from(self.gateway.config.receive_maximum.get())
    }

    /// Acknowledges a message in its turn; one without packet id needs none.
    pub(crate) fn acknowledge_later(
        &mut self,
        packet_id: Option<NonZeroU16>,
        outcome: Outcome,
        bytes: usize,
    ) -> Result<(), End> {
        if let Some(packet_id) = packet_id {
            self.pending.push_back(Pending { packet_id, bytes, outcome });
            self.pending_bytes += bytes;
        }
        Ok(())
    }

    /// Pauses reading until the log takes the message.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held = Some(Box::new(held));
    }

    /// Answers a request; an answer that the client does not take ends the connection.
    pub(crate) fn answer(&self, packet: &Packet, output: &mut BytesMut) -> Result<(), End> {
        if self.outbound.control(packet, output) {
            Ok(())
        } else {
            Err(End::refused(ReasonCode::PacketTooLarge, "the answer is longer than the client takes"))
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<End> {
        self.registration.session.waker.register(cx.waker());
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
            let has_read = self.read(cx, scratch)?;
            self.acknowledge(cx, &mut scratch.output)?;
            let has_more = self.send_waiting(&mut scratch.output);
            self.write(cx, &mut scratch.output)?;
            if !has_read && !(has_more && self.unsent.is_empty()) {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn check_ending(&mut self) -> Result<(), End> {
        match self.registration.session.ending() {
            None => {}
            Some(Ending::TakenOver) => {
                return Err(End::refused(ReasonCode::SessionTakenOver, "the client id connected again"));
            }
            Some(Ending::CredentialGone) => {
                return Err(End::refused(ReasonCode::NotAuthorized, "the credential was revoked"));
            }
            Some(Ending::QueueFull) => {
                return Err(End::refused(ReasonCode::QuotaExceeded, "too many messages wait for the client"));
            }
        }
        if self.gateway.is_draining() {
            let now = self.gateway.now();
            let since = *self.draining_since.get_or_insert(now);
            if self.pending.is_empty() || now.saturating_sub(since) >= ticks(self.gateway.config.drain_timeout_s) {
                return Err(End::refused(ReasonCode::ServerShuttingDown, "the server stops"));
            }
        }
        Ok(())
    }

    /// Offers the held message to the log when that may work.
    fn offer_again(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), End> {
        let Some(held) = &mut self.held else { return Ok(()) };
        if held.ready.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if let Some(held) = self.held.take() {
            let Held { channel, publish, .. } = *held;
            publish::ingest(self, channel, publish)?;
        }
        if self.held.is_some() {
            // Others were faster: look again after they had their turn.
            scratch.hits.clear();
            cx.waker().wake_by_ref();
        } else {
            self.paused_since = None;
        }
        Ok(())
    }

    /// Whether more may be taken in before what is pending has become durable.
    fn is_paused(&self) -> bool {
        self.held.is_some()
            || self.pending_bytes >= self.gateway.config.max_unacknowledged_bytes
            || (self.version() == Version::V4 && self.is_window_full())
    }

    fn may_read(&self) -> bool {
        !self.is_paused() && self.unsent.len() < WRITE_BYTES && self.draining_since.is_none()
    }

    /// Takes in what has come; says whether something had.
    fn read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, End> {
        if !self.may_read() {
            return Ok(false);
        }
        let has_rest = !self.unread.is_empty();
        let mut input = if has_rest { std::mem::take(&mut self.unread) } else { std::mem::take(&mut scratch.input) };
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
        outcome
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
                self.last_read = self.gateway.now();
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
            match decode(input, Some(self.version()), max_bytes)? {
                Some(packet) => self.receive(packet, scratch)?,
                None => break,
            }
        }
        Ok(())
    }

    fn receive(&mut self, packet: Packet, scratch: &mut Scratch) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => publish::receive(self, publish, scratch),
            Packet::PubAck(ack) => {
                if self.outbound.acknowledged(ack.packet_id) {
                    self.gateway.metrics.acknowledgements.inc();
                }
                Ok(())
            }
            Packet::Subscribe(packet) => subscribe::subscribe(self, &packet, &mut scratch.output),
            Packet::Unsubscribe(packet) => subscribe::unsubscribe(self, &packet, &mut scratch.output),
            Packet::PingReq => {
                encode_pingresp(&mut scratch.output);
                Ok(())
            }
            Packet::Disconnect(packet) => Err(self.farewell(&packet)),
            Packet::Auth(_) => {
                Err(End::refused(ReasonCode::BadAuthenticationMethod, "extended authentication is not offered"))
            }
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                Err(End::refused(ReasonCode::ProtocolError, "QoS 2 is not offered"))
            }
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => Err(End::refused(ReasonCode::ProtocolError, "a client never sends this packet")),
        }
    }

    fn farewell(&mut self, packet: &Disconnect) -> End {
        // MQTT 5, 3.14.2.2.2: the session expiry was 0 and may not be raised. The gateway has lowered any other to 0.
        if packet.reason == ReasonCode::Success { End::Disconnected } else { End::DisconnectedWithWill }
    }

    /// Acknowledges what has become durable, oldest first.
    fn acknowledge(&mut self, cx: &mut Context<'_>, output: &mut BytesMut) -> Result<(), End> {
        while let Some(front) = self.pending.front_mut() {
            let (reason, text) = match &mut front.outcome {
                Outcome::Done(reason, text) => (*reason, *text),
                Outcome::Logged(ticket) => match ticket.poll_durable(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) => (ReasonCode::Success, ""),
                    Poll::Ready(Err(_)) => {
                        return Err(End::refused(ReasonCode::ServerBusy, "the log could not keep a message"));
                    }
                },
            };
            self.put_ack(front_id(&self.pending), reason, text, output)?;
            if let Some(done) = self.pending.pop_front() {
                self.pending_bytes -= done.bytes;
            }
            self.paused_since = None;
            self.gateway.metrics.acknowledged.inc();
        }
        if self.pending.is_empty() && self.pending.capacity() > KEPT_PENDING {
            self.pending = VecDeque::new();
        }
        Ok(())
    }

    fn put_ack(
        &self,
        packet_id: Option<NonZeroU16>,
        reason: ReasonCode,
        text: &str,
        output: &mut BytesMut,
    ) -> Result<(), End> {
        let Some(packet_id) = packet_id else { return Ok(()) };
        if reason == ReasonCode::Success || self.version() == Version::V4 {
            encode_puback(packet_id, output);
            return Ok(());
        }
        if !text.is_empty() && self.outbound.limits.problem_information {
            let properties = AckProperties { reason_string: Some(text.to_owned()), ..AckProperties::default() };
            let ack = Ack { packet_id, reason, properties: Some(Box::new(properties)) };
            // MQTT 5, 3.4.2.2.2: left out when it makes the packet too long.
            if self.outbound.control(&Packet::PubAck(ack), output) {
                return Ok(());
            }
        }
        self.answer(&Packet::PubAck(Ack { packet_id, reason, properties: None }), output)
    }

    /// Writes waiting messages; says whether there are more than one write takes.
    fn send_waiting(&mut self, output: &mut BytesMut) -> bool {
        if !self.unsent.is_empty() || self.is_flush_pending {
            return false;
        }
        let now = self.gateway.now();
        while output.len() < WRITE_BYTES {
            let outbound = &self.outbound;
            let Some(delivery) = self.registration.session.next(|delivery| outbound.may_send(delivery)) else {
                return false;
            };
            self.outbound.publish(&delivery, now, &self.gateway.metrics, output);
        }
        true
    }

    /// Sends what it can; the rest waits.
    fn write(&mut self, cx: &mut Context<'_>, output: &mut BytesMut) -> Result<(), End> {
        if output.is_empty() && self.unsent.is_empty() && !self.is_flush_pending {
            return Ok(());
        }
        let mut sent = 0;
        while !self.unsent.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut self.transport).poll_write(cx, &self.unsent) else { break };
            self.unsent.advance(some(written?)?);
            self.blocked_since = None;
        }
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
            while let Some(rest) = output.get(sent..).filter(|rest| !rest.is_empty()) {
                let Poll::Ready(written) = Pin::new(&mut self.transport).poll_write(cx, rest) else { break };
                sent += some(written?)?;
                self.blocked_since = None;
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
        let is_blocked = !self.unsent.is_empty() || self.is_flush_pending;
        self.blocked_since = if is_blocked { self.blocked_since.or(Some(self.gateway.now())) } else { None };
        Ok(())
    }

    /// Ends what has waited too long, and says when to look again.
    fn check_timeouts(&mut self) -> Result<(), End> {
        let now = self.gateway.now();
        let config = &self.gateway.config;
        let paused_since = if self.is_paused() { self.paused_since.or(Some(now)) } else { None };
        if paused_since.is_some() != self.paused_since.is_some() && paused_since.is_some() {
            self.gateway.metrics.pauses.inc();
        }
        self.paused_since = paused_since;
        let stalled = self.paused_since.map_or(u32::MAX, |since| since.saturating_add(ticks(config.stall_timeout_s)));
        let blocked = self.blocked_since.map_or(u32::MAX, |since| since.saturating_add(ticks(config.write_timeout_s)));
        let drained =
            self.draining_since.map_or(u32::MAX, |since| since.saturating_add(ticks(config.drain_timeout_s)));
        // Whoever is not read can't be heard: the keep-alive is suspended.
        let silent = if self.keep_alive_ticks == 0 || !self.may_read() {
            u32::MAX
        } else {
            self.last_read.saturating_add(self.keep_alive_ticks + 1)
        };
        if self.paused_since.is_some() {
            self.last_read = now;
        }
        if now >= stalled {
            return Err(End::refused(ReasonCode::QuotaExceeded, "the log has taken nothing for too long"));
        }
        if now >= blocked {
            return Err(End::Io(std::io::ErrorKind::TimedOut.into()));
        }
        if now >= silent {
            return Err(End::refused(ReasonCode::KeepAliveTimeout, "nothing came within the keep-alive"));
        }
        let deadline = stalled.min(blocked).min(silent).min(drained);
        self.registration.session.deadline.store(deadline, Ordering::Relaxed);
        Ok(())
    }

    /// Leaves the space, sends the will, says goodbye.
    async fn close(self: Box<Self>, end: End) {
        let Self { gateway, registration, mut transport, mut unsent, outbound, will, .. } = *self;
        tracing::debug!("a client left: {end}");
        gateway.metrics.ended(end.label());
        let (space, session) = (registration.space.clone(), registration.session.clone());
        drop(registration);
        if let Some(will) = will.filter(|_| !matches!(end, End::Disconnected)) {
            publish::send_will(&gateway, &space, &session, *will);
        }
        let Some(reason) = end.reason() else {
            if matches!(end, End::Disconnected | End::DisconnectedWithWill) {
                linger(&mut transport).await;
            }
            return;
        };
        if outbound.limits.version == Version::V5 {
            put_disconnect(&outbound, reason, &end, &mut unsent);
        }
        let _ = tokio::time::timeout(LINGER, async {
            transport.write_all(&unsent).await?;
            transport.flush().await
        })
        .await;
        linger(&mut transport).await;
    }
}

fn front_id(pending: &VecDeque<Pending>) -> Option<NonZeroU16> {
    pending.front().map(|pending| pending.packet_id)
}

fn ticks(seconds: u32) -> u32 {
    seconds.saturating_mul(TICKS_PER_SECOND)
}

fn some(written: usize) -> Result<usize, End> {
    if written == 0 { Err(End::Closed) } else { Ok(written) }
}

fn put_disconnect(outbound: &Outbound, reason: ReasonCode, end: &End, output: &mut BytesMut) {
    if outbound.limits.problem_information {
        let properties =
            DisconnectProperties { reason_string: Some(end.to_string()), ..DisconnectProperties::default() };
        if outbound.control(&Packet::Disconnect(Disconnect { reason, properties: Some(Box::new(properties)) }), output) {
            return;
        }
    }
    outbound.control(&Packet::Disconnect(Disconnect { reason, properties: None }), output);
}

/// Closes the sending side and reads to the end for a moment: closing with unread bytes would make the kernel send a reset, which
/// can overtake the last packet.
pub(crate) async fn linger(transport: &mut Transport) {
    let _ = tokio::time::timeout(LINGER, async {
        transport.shutdown().await?;
        let mut sink = BytesMut::with_capacity(REST_BYTES);
        while transport.read_buf(&mut sink).await? > 0 {
            sink.clear();
        }
        std::io::Result::Ok(())
    })
    .await;
}
