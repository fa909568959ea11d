//! What an outbox has while there are messages.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use drover_backbone::Ticket;
use drover_mqtt_codec::QoS;

use crate::backlog::Share;

use super::{Entry, Stored, Suspect, packet_id};

/// Room that is kept when a queue runs empty.
const KEPT: usize = 4;

/// A QoS 2 message that the client has received: PUBREL is due, PUBCOMP is waited for.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) sequence: u64,
    pub(super) ticket: Option<Ticket>,
}

/// What an outbox has while there are messages.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Sent on this connection and not acknowledged.
    pub(super) inflight: VecDeque<Entry>,
    pub(super) received: VecDeque<Received>,
    pub(super) waiting: VecDeque<Entry>,
    pub(super) stored: Option<Stored>,
    pub(super) newer: VecDeque<Entry>,
    /// QoS 0 messages, and their bytes.
    pub(super) volatile: usize,
    pub(super) volatile_bytes: usize,
    /// Those that stand in the database and are settled since the last checkpoint.
    pub(super) settled: Vec<u64>,
    /// Those that the checkpoint under way deletes.
    pub(super) deleted: Vec<u64>,
    pub(super) suspect: Option<Suspect>,
}

impl Queues {
    /// Those of messages, in the order of the messages; what stands in the database only lies between the last two.
    pub(super) fn all(&self) -> impl Iterator<Item = &VecDeque<Entry>> {
        [&self.inflight, &self.waiting, &self.newer].into_iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().all(VecDeque::is_empty)
            && self.received.is_empty()
            && self.stored.is_none()
            && self.settled.is_empty()
            && self.deleted.is_empty()
            && self.suspect.is_none()
    }

    /// Where the newest message belongs.
    pub(super) fn last(&mut self) -> &mut VecDeque<Entry> {
        if self.stored.is_some() { &mut self.newer } else { &mut self.waiting }
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.waiting.pop_front();
        shrink(&mut self.waiting);
        entry
    }

    /// What is left of a message that is gone.
    pub(super) fn let_go(&mut self, entry: &Entry, share: &mut Share) {
        let bytes = entry.delivery.message.size();
        if entry.sequence == 0 {
            self.volatile -= 1;
            self.volatile_bytes -= bytes;
            return;
        }
        share.give_back(bytes);
        if entry.is_stored {
            self.settled.push(entry.sequence);
        }
    }

    pub(super) fn take_inflight(&mut self, id: NonZeroU16, qos: QoS, share: &mut Share) -> Option<u64> {
        let is_meant = |entry: &Entry| entry.delivery.qos == qos && packet_id(entry.sequence) == id;
        let position = self.inflight.iter().position(is_meant)?;
        let entry = self.inflight.remove(position)?;
        shrink(&mut self.inflight);
        self.let_go(&entry, share);
        Some(entry.sequence)
    }

    /// Leaves to the database what stands there, beyond the first `keep` messages.
    pub(super) fn unload(&mut self, keep: usize) {
        let from_newer = self.stored.is_some();
        let queue = self.last();
        let start = if from_newer { 0 } else { keep.min(queue.len()) };
        // Only an unbroken run: what lies behind it is newer.
        let run = queue.iter().skip(start).take_while(|entry| entry.is_stored).count();
        if run == 0 {
            return;
        }
        let after = start.checked_sub(1).and_then(|last| queue.get(last)).map_or(0, |entry| entry.sequence);
        queue.drain(start..start + run);
        match &mut self.stored {
            Some(stored) => stored.count += run,
            None => {
                self.newer = self.waiting.split_off(start);
                self.stored = Some(Stored { after, count: run });
            }
        }
        shrink(&mut self.waiting);
        shrink(&mut self.newer);
    }
}

pub(super) fn shrink(queue: &mut VecDeque<Entry>) {
    if queue.is_empty() && queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
}
