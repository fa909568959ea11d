//! The messages of a session for its client: those on their way, then those that wait, in one order. The order gives the packet ids,
//! so that a restart finds the same ones without a record of what was sent. No time, no sockets, no locks here.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use drover_backbone::Ticket;
use drover_mqtt_codec::QoS;

use crate::backlog::{Backlog, Share};
use crate::message::Delivery;

/// Packet ids that there are (MQTT 5, 2.2.1).
const PACKET_IDS: u64 = 65_535;
/// Room that is kept when a queue runs empty.
const KEPT: usize = 4;

/// One message for the client.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Place among the session's QoS 1 and 2 messages, from 1; 0 for QoS 0.
    pub(crate) sequence: u64,
    pub(crate) delivery: Delivery,
    /// Of its record in the journal: at QoS 2 nothing is sent that could be forgotten.
    pub(crate) ticket: Option<Ticket>,
    /// It was sent before: DUP (MQTT 5, 3.3.1.1).
    pub(crate) is_sent: bool,
    /// It stands in the database.
    pub(crate) is_stored: bool,
}

/// A QoS 2 message that the client has received: PUBREL is due, PUBCOMP is waited for.
#[derive(Debug)]
struct Received {
    sequence: u64,
    ticket: Option<Ticket>,
}

/// Messages that stand in the database only. They lie between `waiting` and `newer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// All of them are behind this sequence.
    pub(crate) after: u64,
    pub(crate) count: usize,
}

/// A page that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) stored: Stored,
    /// As the outbox had it then.
    epoch: u64,
}

/// The messages that a client which was connected when the server was killed may have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// As many as this, the first ones.
    pub(crate) window: u16,
    /// None is behind this sequence.
    pub(crate) through: u64,
    /// All are behind this sequence: those before are known already.
    pub(crate) after: u64,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// QoS 0 messages; further ones are dropped.
    pub(crate) volatile: usize,
    /// Bytes of QoS 1 and 2 messages; more of them end the session.
    pub(crate) bytes: usize,
}

/// Whose bound does not let a message in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// That of the session's queue.
    Session,
    /// That of all queues of the tenant.
    Tenant,
}

/// The queue of one session.
#[derive(Debug)]
pub(crate) struct Outbox {
    next_sequence: u64,
    /// Sent on this connection and not acknowledged.
    inflight: VecDeque<Entry>,
    received: VecDeque<Received>,
    waiting: VecDeque<Entry>,
    stored: Option<Stored>,
    newer: VecDeque<Entry>,
    /// Bytes of QoS 1 and 2 messages, with those that have a place and are not there yet.
    share: Share,
    /// Bytes of the latter.
    reserved: usize,
    /// QoS 0 messages, and their bytes.
    volatile: usize,
    volatile_bytes: usize,
    /// Those that stand in the database and are settled since the last checkpoint.
    settled: Vec<u64>,
    /// Those that the checkpoint under way deletes.
    deleted: Vec<u64>,
    /// Grows when `deleted` is forgotten: a page that was asked for before may have them still.
    epoch: u64,
    pub(crate) suspect: Option<Suspect>,
    pub(crate) sent_through: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::of(&Arc::default())
    }
}

/// The packet id of a place in the order.
pub(crate) fn packet_id(sequence: u64) -> NonZeroU16 {
    let id = u16::try_from(sequence.saturating_sub(1) % PACKET_IDS + 1).unwrap_or(1);
    NonZeroU16::new(id).unwrap_or(NonZeroU16::MIN)
}

impl Outbox {
    /// An empty one, which is counted for its tenant.
    pub(crate) fn of(backlog: &Arc<Backlog>) -> Self {
        Self {
            next_sequence: 1,
            inflight: VecDeque::new(),
            received: VecDeque::new(),
            waiting: VecDeque::new(),
            stored: None,
            newer: VecDeque::new(),
            share: Share::of(backlog),
            reserved: 0,
            volatile: 0,
            volatile_bytes: 0,
            settled: Vec::new(),
            deleted: Vec::new(),
            epoch: 0,
            suspect: None,
            sent_through: 0,
        }
    }

    /// The place of the next QoS 1 or 2 message of so many bytes, which count from now on. One that is not used is to be cancelled.
    pub(crate) fn reserve(&mut self, bytes: usize, bounds: Bounds) -> Result<u64, Full> {
        // A single message is taken whatever its length.
        let waiting = self.bytes();
        if waiting > 0 && waiting + bytes > bounds.bytes {
            return Err(Full::Session);
        }
        if !self.share.take(bytes) {
            return Err(Full::Tenant);
        }
        self.reserved += bytes;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// A reserved place stays empty.
    pub(crate) fn cancel(&mut self, bytes: usize) {
        self.reserved = self.reserved.saturating_sub(bytes);
        self.share.give_back(bytes);
    }

    /// Puts a QoS 1 or 2 message at its reserved place.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.reserved = self.reserved.saturating_sub(entry.delivery.message.size());
        let queue = if self.stored.is_some() { &mut self.newer } else { &mut self.waiting };
        // Publishers on other threads may have been faster.
        let behind = queue.iter().rev().take_while(|other| other.sequence > entry.sequence).count();
        queue.insert(queue.len() - behind, entry);
    }

    /// Puts a QoS 0 message behind the others; `false` when the bound is reached.
    pub(crate) fn push_volatile(&mut self, delivery: Delivery, bounds: Bounds) -> bool {
        if self.volatile >= bounds.volatile || (self.volatile > 0 && self.bytes() > bounds.bytes) {
            return false;
        }
        self.volatile += 1;
        self.volatile_bytes += delivery.message.size();
        let queue = if self.stored.is_some() { &mut self.newer } else { &mut self.waiting };
        queue.push_back(Entry { sequence: 0, delivery, ticket: None, is_sent: false, is_stored: false });
        true
    }

    /// The next message to send with a window of so many unacknowledged ones.
    pub(crate) fn next(&self, window: usize) -> Option<&Entry> {
        let next = self.waiting.front()?;
        if next.sequence == 0 {
            return Some(next);
        }
        let oldest = self.received.front().map(|received| received.sequence);
        let oldest = oldest.into_iter().chain(self.inflight.front().map(|entry| entry.sequence)).min();
        // A packet id is used again only when its last message is settled.
        let has_id = oldest.is_none_or(|oldest| next.sequence.saturating_sub(oldest) < PACKET_IDS);
        (has_id && self.inflight.len() + self.received.len() < window).then_some(next)
    }

    /// Notes that the next message was sent.
    pub(crate) fn sent(&mut self) {
        let Some(mut entry) = self.pop() else { return };
        if entry.sequence == 0 {
            return self.let_go(&entry);
        }
        entry.is_sent = true;
        self.sent_through = self.sent_through.max(entry.sequence);
        self.inflight.push_back(entry);
    }

    /// Drops the next message, and answers its sequence if it has one.
    pub(crate) fn drop_next(&mut self) -> Option<u64> {
        let entry = self.pop()?;
        self.let_go(&entry);
        (entry.sequence != 0).then_some(entry.sequence)
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.waiting.pop_front();
        shrink(&mut self.waiting);
        entry
    }

    /// What is left of a message that is gone.
    fn let_go(&mut self, entry: &Entry) {
        let bytes = entry.delivery.message.size();
        if entry.sequence == 0 {
            self.volatile -= 1;
            self.volatile_bytes -= bytes;
            return;
        }
        self.share.give_back(bytes);
        if entry.is_stored {
            self.settled.push(entry.sequence);
        }
    }

    fn take_inflight(&mut self, id: NonZeroU16, qos: QoS) -> Option<u64> {
        let is_meant = |entry: &Entry| entry.delivery.qos == qos && packet_id(entry.sequence) == id;
        let position = self.inflight.iter().position(is_meant)?;
        let entry = self.inflight.remove(position)?;
        shrink(&mut self.inflight);
        self.let_go(&entry);
        Some(entry.sequence)
    }

    /// PUBACK, or a PUBREC that refuses: the message is settled. `None` when no such message is on its way.
    pub(crate) fn settle(&mut self, id: NonZeroU16, qos: QoS) -> Option<u64> {
        self.take_inflight(id, qos)
    }

    /// PUBREC: the client has the message. `journal` makes its record. Answers the record's ticket, also for a repetition; `None`
    /// when no such message is on its way.
    pub(crate) fn receive(
        &mut self,
        id: NonZeroU16,
        journal: impl FnOnce(u64) -> Option<Ticket>,
    ) -> Option<Option<Ticket>> {
        if let Some(received) = self.received.iter().find(|received| packet_id(received.sequence) == id) {
            return Some(received.ticket.clone());
        }
        let sequence = self.take_inflight(id, QoS::ExactlyOnce)?;
        let ticket = journal(sequence);
        // In the order of the sequences: the first is the oldest.
        let behind = self.received.iter().rev().take_while(|other| other.sequence > sequence).count();
        self.received.insert(self.received.len() - behind, Received { sequence, ticket: ticket.clone() });
        Some(ticket)
    }

    /// PUBCOMP: the message is settled. `None` when it was not waited for.
    pub(crate) fn complete(&mut self, id: NonZeroU16) -> Option<u64> {
        let position = self.received.iter().position(|received| packet_id(received.sequence) == id)?;
        let received = self.received.remove(position)?;
        if self.received.is_empty() {
            self.received = VecDeque::new();
        }
        Some(received.sequence)
    }

    /// Packet ids for which PUBREL has to be sent again, and what they wait for.
    pub(crate) fn releases(&self) -> impl Iterator<Item = (NonZeroU16, Option<Ticket>)> {
        self.received.iter().map(|received| (packet_id(received.sequence), received.ticket.clone()))
    }

    /// The connection is gone: what was not acknowledged waits again, in its order, and QoS 0 messages are dropped; answers how many.
    pub(crate) fn rewind(&mut self) -> usize {
        while let Some(entry) = self.inflight.pop_back() {
            self.waiting.push_front(entry);
        }
        shrink(&mut self.inflight);
        let dropped = self.volatile;
        for queue in [&mut self.waiting, &mut self.newer] {
            queue.retain(|entry| entry.sequence != 0);
            shrink(queue);
        }
        self.volatile = 0;
        self.volatile_bytes = 0;
        dropped
    }

    /// Whether a page of the database is needed before more can be sent.
    pub(crate) fn wants_page(&self, low: usize) -> Option<Asked> {
        let stored = self.stored.filter(|_| self.waiting.len() <= low)?;
        Some(Asked { stored, epoch: self.epoch })
    }

    /// Takes in a page of at most `limit` messages that the database has behind what is in memory; one that is out of date is left out.
    pub(crate) fn load(&mut self, asked: Asked, mut page: Vec<(u64, Delivery)>, limit: usize) {
        let Some(stored) = self.stored.as_mut().filter(|_| self.epoch == asked.epoch) else { return };
        // A checkpoint may have written what is newer, and nobody has left that to the database yet.
        let newer = self.newer.iter().map(|entry| entry.sequence).find(|sequence| *sequence != 0);
        page.retain(|(sequence, _)| newer.is_none_or(|newer| *sequence < newer));
        // More may have been left to the database since the page was read.
        let is_last = page.len() < limit && *stored == asked.stored;
        self.settled.sort_unstable();
        self.deleted.sort_unstable();
        for (sequence, delivery) in page {
            stored.after = stored.after.max(sequence);
            let is_settled =
                [&self.settled, &self.deleted].iter().any(|some| some.binary_search(&sequence).is_ok());
            if !is_settled {
                stored.count = stored.count.saturating_sub(1);
                let is_sent = sequence <= self.sent_through;
                self.waiting.push_back(Entry { sequence, delivery, ticket: None, is_sent, is_stored: true });
            }
        }
        if is_last {
            self.stored = None;
            self.waiting.append(&mut self.newer);
            self.newer = VecDeque::new();
            // Nobody knew the length of what was settled in the database only.
            let kept = self.inflight.iter().chain(&self.waiting).filter(|entry| entry.sequence != 0);
            self.share.set(kept.map(|entry| entry.delivery.message.size()).sum::<usize>() + self.reserved);
        }
    }

    /// The transaction is done: leaves to the database what stands there, beyond the first `keep` messages.
    pub(crate) fn unload(&mut self, keep: usize) {
        if !self.deleted.is_empty() {
            self.deleted = Vec::new();
            self.epoch += 1;
        }
        let from_newer = self.stored.is_some();
        let queue = if from_newer { &mut self.newer } else { &mut self.waiting };
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

    /// Messages that the client has not acknowledged, and those that wait.
    pub(crate) fn len(&self) -> usize {
        let in_memory = self.inflight.len() + self.received.len() + self.waiting.len() + self.newer.len();
        in_memory + self.stored.map_or(0, |stored| stored.count)
    }

    /// Those that stand in the database, once the caller's transaction is done.
    pub(crate) fn stored_len(&self) -> usize {
        let queues = [&self.inflight, &self.waiting, &self.newer];
        let in_memory = queues.into_iter().flatten().filter(|entry| entry.is_stored).count();
        in_memory + self.stored.map_or(0, |stored| stored.count)
    }

    /// Of all messages that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.share.bytes() + self.volatile_bytes
    }

    /// Of the QoS 1 and 2 messages.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.share.bytes()
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(crate) fn received(&self) -> impl Iterator<Item = u64> {
        self.received.iter().map(|received| received.sequence)
    }

    /// What stands in the database and is settled; it does not, once the caller's transaction is done.
    pub(crate) fn take_settled(&mut self) -> Vec<u64> {
        self.deleted.append(&mut self.settled);
        self.deleted.clone()
    }

    /// The QoS 1 and 2 messages that do not stand in the database; they will, once the caller's transaction is done.
    pub(crate) fn take_unstored(&mut self, mut take: impl FnMut(u64, &Delivery)) {
        let queues = [&mut self.inflight, &mut self.waiting, &mut self.newer];
        for entry in queues.into_iter().flatten().filter(|entry| !entry.is_stored && entry.sequence != 0) {
            take(entry.sequence, &entry.delivery);
            entry.is_stored = true;
        }
    }

    /// As a checkpoint and the journal have it.
    pub(crate) fn restore(restored: Restored) -> Self {
        let mut outbox = Self {
            next_sequence: restored.next_sequence,
            received: restored
                .received
                .into_iter()
                .map(|sequence| Received { sequence, ticket: None })
                .collect(),
            stored: (restored.stored > 0).then_some(Stored { after: 0, count: restored.stored }),
            settled: restored.settled,
            suspect: restored.suspect,
            sent_through: restored.sent_through,
            ..Self::of(&restored.backlog)
        };
        // What was settled since is as long as the others, as far as can be told before it is read.
        let left = restored.stored.saturating_sub(outbox.settled.len());
        outbox
            .share
            .add(restored.stored_bytes.saturating_mul(left).checked_div(restored.stored).unwrap_or(0));
        for (sequence, delivery) in restored.fresh {
            let is_sent = sequence <= outbox.sent_through;
            outbox.share.add(delivery.message.size());
            outbox.push(Entry { sequence, delivery, ticket: None, is_sent, is_stored: false });
        }
        outbox
    }

    /// Takes for sent what may have been, as far as it is known which messages these are.
    pub(crate) fn mark_suspect(&mut self) {
        let Some(mut suspect) = self.suspect else { return };
        let known = suspect.after;
        for entry in self.waiting.iter_mut().filter(|entry| entry.sequence > known) {
            if suspect.window == 0 || entry.sequence > suspect.through {
                suspect.window = 0;
                break;
            }
            entry.is_sent = true;
            self.sent_through = self.sent_through.max(entry.sequence);
            (suspect.window, suspect.after) = (suspect.window - 1, entry.sequence);
        }
        self.suspect = Some(suspect).filter(|suspect| suspect.window > 0 && self.stored.is_some());
    }
}

/// What an outbox is made of after a restart.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) next_sequence: u64,
    pub(crate) received: Vec<u64>,
    pub(crate) stored: usize,
    pub(crate) stored_bytes: usize,
    pub(crate) settled: Vec<u64>,
    pub(crate) sent_through: u64,
    pub(crate) suspect: Option<Suspect>,
    pub(crate) fresh: Vec<(u64, Delivery)>,
}

fn shrink(queue: &mut VecDeque<Entry>) {
    if queue.is_empty() && queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
}

#[cfg(test)]
mod tests;
