//! What a client waits for, in the order of what it sent (MQTT 5, 4.6.0): acknowledgements that wait until something is durable.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::task::{Context, Poll};

use bytes::BytesMut;
use drover_backbone::Ticket;
use drover_mqtt_codec::{
    Ack, AckProperties, Packet, PacketType, ReasonCode, SubAck, UnsubAck, Version, encode_puback,
};

use crate::error::End;
use crate::loops;
use crate::metrics::Metrics;
use crate::outbound::Outbound;

/// Answers kept room for when none is pending.
const KEPT_PENDING: usize = 16;

/// What is answered.
pub(crate) enum Answer {
    PubAck(NonZeroU16),
    PubRec(NonZeroU16),
    /// To the client's PUBREC.
    PubRel(NonZeroU16),
    PubComp(NonZeroU16),
    SubAck(Box<SubAck>),
    UnsubAck(Box<UnsubAck>),
}

/// What an answer waits for, and what it says.
pub(crate) struct Outcome {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) reason: ReasonCode,
    /// For MQTT 5; empty for none.
    pub(crate) text: &'static str,
}

impl Outcome {
    /// At once.
    pub(crate) const fn now(reason: ReasonCode, text: &'static str) -> Self {
        Self { ticket: None, reason, text }
    }

    /// When it is durable, if there is anything to wait for.
    pub(crate) const fn durable(ticket: Option<Ticket>) -> Self {
        Self { ticket, reason: ReasonCode::Success, text: "" }
    }
}

struct Pending {
    answer: Answer,
    bytes: usize,
    outcome: Outcome,
}

/// The answers to one client, oldest first.
#[derive(Default)]
pub(crate) struct Answers {
    pending: VecDeque<Pending>,
    /// Of the messages that wait for PUBACK or PUBREC.
    bytes: usize,
    /// Those that wait for PUBACK.
    publishes: usize,
    /// The first will wake the task.
    is_waiting: bool,
}

impl Answers {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// QoS 1 messages that are not acknowledged.
    pub(crate) fn publishes(&self) -> usize {
        self.publishes
    }

    /// Bytes of the messages that are not acknowledged.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `bytes` of a message wait for it.
    pub(crate) fn push(&mut self, answer: Answer, outcome: Outcome, bytes: usize) {
        self.publishes += usize::from(matches!(answer, Answer::PubAck(_)));
        self.bytes += bytes;
        self.pending.push_back(Pending { answer, bytes, outcome });
    }

    /// Writes what has become durable, up to the first that has not; that one wakes the task. Says whether there was any.
    pub(crate) fn write(
        &mut self,
        cx: &Context<'_>,
        outbound: &Outbound,
        metrics: &Metrics,
        output: &mut BytesMut,
    ) -> Result<bool, End> {
        let before = self.pending.len();
        while let Some(front) = self.pending.front() {
            if let Some(ticket) = &front.outcome.ticket {
                match ticket.outcome() {
                    Poll::Pending => {
                        if !self.is_waiting {
                            self.is_waiting = true;
                            loops::wait_for(ticket, cx.waker());
                        }
                        break;
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => {
                        return Err(End::refused(ReasonCode::ServerBusy, "the log could not keep a message"));
                    }
                }
            }
            let Some(Pending { answer, bytes, outcome }) = self.pending.pop_front() else { break };
            self.is_waiting = false;
            self.bytes -= bytes;
            self.publishes -= usize::from(matches!(answer, Answer::PubAck(_)));
            if matches!(answer, Answer::PubAck(_) | Answer::PubRec(_)) {
                metrics.acknowledged.inc();
            }
            put(answer, &outcome, outbound, output)?;
        }
        if self.pending.is_empty() && self.pending.capacity() > KEPT_PENDING {
            self.pending = VecDeque::new();
        }
        Ok(self.pending.len() < before)
    }
}

fn put(answer: Answer, outcome: &Outcome, outbound: &Outbound, output: &mut BytesMut) -> Result<(), End> {
    let (kind, packet_id) = match answer {
        Answer::SubAck(packet) => return outbound.answer(&Packet::SubAck(*packet), output),
        Answer::UnsubAck(packet) => return outbound.answer(&Packet::UnsubAck(*packet), output),
        Answer::PubAck(id) => (PacketType::PubAck, id),
        Answer::PubRec(id) => (PacketType::PubRec, id),
        Answer::PubRel(id) => (PacketType::PubRel, id),
        Answer::PubComp(id) => (PacketType::PubComp, id),
    };
    let is_v4 = outbound.limits.version == Version::V4;
    let reason = if is_v4 { ReasonCode::Success } else { outcome.reason };
    if kind == PacketType::PubAck && reason == ReasonCode::Success {
        encode_puback(packet_id, output);
        return Ok(());
    }
    if !is_v4 && !outcome.text.is_empty() && outbound.limits.problem_information {
        let text = Some(outcome.text.to_owned());
        let properties = AckProperties { reason_string: text, ..AckProperties::default() };
        let ack = Ack { packet_id, reason, properties: Some(Box::new(properties)) };
        // MQTT 5, 3.4.2.2.2: left out when it makes the packet too long.
        if outbound.control(&packet(kind, ack), output) {
            return Ok(());
        }
    }
    outbound.answer(&packet(kind, Ack { packet_id, reason, properties: None }), output)
}

const fn packet(kind: PacketType, ack: Ack) -> Packet {
    match kind {
        PacketType::PubRec => Packet::PubRec(ack),
        PacketType::PubRel => Packet::PubRel(ack),
        PacketType::PubComp => Packet::PubComp(ack),
        _ => Packet::PubAck(ack),
    }
}
