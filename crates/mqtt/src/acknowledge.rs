//! Acknowledgements that a client waits for, in the order of its messages (MQTT 5, 4.6.0).

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::task::{Context, Poll};

use bytes::BytesMut;
use drover_backbone::Ticket;
use drover_mqtt_codec::{Ack, AckProperties, Packet, ReasonCode, Version, encode_puback};

use crate::error::End;
use crate::loops;
use crate::metrics::Metrics;
use crate::outbound::Outbound;

/// Acknowledgements kept room for when none is pending.
const KEPT_PENDING: usize = 16;

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

/// The acknowledgements of one client, oldest first.
#[derive(Default)]
pub(crate) struct Acknowledgements {
    pending: VecDeque<Pending>,
    bytes: usize,
    /// The first will wake the task.
    is_waiting: bool,
}

impl Acknowledgements {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes of the messages that are not acknowledged.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, packet_id: NonZeroU16, outcome: Outcome, bytes: usize) {
        self.pending.push_back(Pending { packet_id, bytes, outcome });
        self.bytes += bytes;
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
            let (reason, text) = match &front.outcome {
                Outcome::Done(reason, text) => (*reason, *text),
                Outcome::Logged(ticket) => match ticket.outcome() {
                    Poll::Pending => {
                        if !self.is_waiting {
                            self.is_waiting = true;
                            loops::wait_for(ticket, cx.waker());
                        }
                        break;
                    }
                    Poll::Ready(Ok(())) => (ReasonCode::Success, ""),
                    Poll::Ready(Err(_)) => {
                        return Err(End::refused(ReasonCode::ServerBusy, "the log could not keep a message"));
                    }
                },
            };
            put(front.packet_id, reason, text, (outbound, output))?;
            self.bytes -= front.bytes;
            self.pending.pop_front();
            self.is_waiting = false;
            metrics.acknowledged.inc();
        }
        if self.pending.is_empty() && self.pending.capacity() > KEPT_PENDING {
            self.pending = VecDeque::new();
        }
        Ok(self.pending.len() < before)
    }
}

fn put(
    packet_id: NonZeroU16,
    reason: ReasonCode,
    text: &str,
    (outbound, output): (&Outbound, &mut BytesMut),
) -> Result<(), End> {
    if reason == ReasonCode::Success || outbound.limits.version == Version::V4 {
        encode_puback(packet_id, output);
        return Ok(());
    }
    if !text.is_empty() && outbound.limits.problem_information {
        let properties = AckProperties { reason_string: Some(text.to_owned()), ..AckProperties::default() };
        let ack = Ack { packet_id, reason, properties: Some(Box::new(properties)) };
        // MQTT 5, 3.4.2.2.2: left out when it makes the packet too long.
        if outbound.control(&Packet::PubAck(ack), output) {
            return Ok(());
        }
    }
    outbound.answer(&Packet::PubAck(Ack { packet_id, reason, properties: None }), output)
}
