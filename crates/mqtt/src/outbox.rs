//! The messages of a session for its client: those on their way, then those that wait, in one order. The order gives the packet ids,
//! so that a restart finds the same ones without a record of what was sent. No time, no sockets, no locks here.

mod queues;

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use drover_backbone::Ticket;
use drover_mqtt_codec::QoS;

use crate::backlog::{Backlog, Share};
use crate::message::{Delivery, Message};

use self::queues::{Queues, Received, shrink};

/// Packet ids that there are (MQTT 5, 2.2.1).
const PACKET_IDS: u64 = 65_535;
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
    /// Bytes of QoS 1 and 2 messages, with those that have a place and are not there yet.
    share: Share,
    /// Bytes of the latter.
    reserved: usize,
    pub(crate) sent_through: u64,
    /// Grows when [`Queues::deleted`] is forgotten: a page that was asked for before may have them still.
    epoch: u64,
    /// Not there while nothing is in them: most sessions have no messages.
    queues: Option<Box<Queues>>,
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
            share: Share::of(backlog),
            reserved: 0,
            sent_through: 0,
            epoch: 0,
            queues: None,
        }
    }

    /// Whether so many more bytes are within the bounds of the session and its tenant.
    pub(crate) fn has_room(&self, bytes: usize, bounds: Bounds) -> bool {
        self.is_within(bytes, bounds) && self.share.has_room(bytes)
    }

    /// Within that of the session. A single message is taken whatever its length.
    fn is_within(&self, bytes: usize, bounds: Bounds) -> bool {
        let waiting = self.bytes();
        waiting == 0 || waiting + bytes <= bounds.bytes
    }

    /// The place of the next QoS 1 or 2 message of so many bytes, which count from now on. One that is not used is to be cancelled.
    pub(crate) fn reserve(&mut self, bytes: usize, bounds: Bounds) -> Result<u64, Full> {
        if !self.is_within(bytes, bounds) {
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
        let queue = self.queues.get_or_insert_default().last();
        // Publishers on other threads may have been faster.
        let behind = queue.iter().rev().take_while(|other| other.sequence > entry.sequence).count();
        queue.insert(queue.len() - behind, entry);
    }

    /// Puts a QoS 0 message behind the others; `false` when the bound is reached.
    pub(crate) fn push_volatile(&mut self, delivery: Delivery, bounds: Bounds) -> bool {
        let bytes = self.bytes();
        let queues = self.queues.get_or_insert_default();
        if queues.volatile >= bounds.volatile || (queues.volatile > 0 && bytes > bounds.bytes) {
            return false;
        }
        queues.volatile += 1;
        queues.volatile_bytes += delivery.message.size();
        queues.last().push_back(Entry {
            sequence: 0,
            delivery,
            ticket: None,
            is_sent: false,
            is_stored: false,
        });
        true
    }

    /// The next message to send with a window of so many unacknowledged ones.
    pub(crate) fn next(&self, window: usize) -> Option<&Entry> {
        let queues = self.queues.as_ref()?;
        let next = queues.waiting.front()?;
        if next.sequence == 0 {
            return Some(next);
        }
        let oldest = queues.received.front().map(|received| received.sequence);
        let oldest = oldest.into_iter().chain(queues.inflight.front().map(|entry| entry.sequence)).min();
        // A packet id is used again only when its last message is settled.
        let has_id = oldest.is_none_or(|oldest| next.sequence.saturating_sub(oldest) < PACKET_IDS);
        (has_id && queues.inflight.len() + queues.received.len() < window).then_some(next)
    }

    /// Notes that the next message was sent.
    pub(crate) fn sent(&mut self) {
        let Some(queues) = &mut self.queues else { return };
        let Some(mut entry) = queues.pop() else { return };
        if entry.sequence == 0 {
            return queues.let_go(&entry, &mut self.share);
        }
        entry.is_sent = true;
        self.sent_through = self.sent_through.max(entry.sequence);
        queues.inflight.push_back(entry);
    }

    /// Drops the next message, and answers its sequence if it has one.
    pub(crate) fn drop_next(&mut self) -> Option<u64> {
        let queues = self.queues.as_mut()?;
        let entry = queues.pop()?;
        queues.let_go(&entry, &mut self.share);
        (entry.sequence != 0).then_some(entry.sequence)
    }

    /// PUBACK, or a PUBREC that refuses: the message is settled. `None` when no such message is on its way.
    pub(crate) fn settle(&mut self, id: NonZeroU16, qos: QoS) -> Option<u64> {
        self.queues.as_mut()?.take_inflight(id, qos, &mut self.share)
    }

    /// PUBREC: the client has the message. `journal` makes its record. Answers the record's ticket, also for a repetition; `None`
    /// when no such message is on its way.
    pub(crate) fn receive(
        &mut self,
        id: NonZeroU16,
        journal: impl FnOnce(u64) -> Option<Ticket>,
    ) -> Option<Option<Ticket>> {
        let queues = self.queues.as_mut()?;
        if let Some(received) = queues.received.iter().find(|received| packet_id(received.sequence) == id) {
            return Some(received.ticket.clone());
        }
        let sequence = queues.take_inflight(id, QoS::ExactlyOnce, &mut self.share)?;
        let ticket = journal(sequence);
        // In the order of the sequences: the first is the oldest.
        let behind = queues.received.iter().rev().take_while(|other| other.sequence > sequence).count();
        let place = queues.received.len() - behind;
        queues.received.insert(place, Received { sequence, ticket: ticket.clone() });
        Some(ticket)
    }

    /// PUBCOMP: the message is settled. `None` when it was not waited for.
    pub(crate) fn complete(&mut self, id: NonZeroU16) -> Option<u64> {
        let received = &mut self.queues.as_mut()?.received;
        let position = received.iter().position(|received| packet_id(received.sequence) == id)?;
        let complete = received.remove(position)?;
        if received.is_empty() {
            *received = VecDeque::new();
        }
        Some(complete.sequence)
    }

    /// Packet ids for which PUBREL has to be sent again, and what they wait for.
    pub(crate) fn releases(&self) -> impl Iterator<Item = (NonZeroU16, Option<Ticket>)> {
        let received = self.queues.iter().flat_map(|queues| &queues.received);
        received.map(|received| (packet_id(received.sequence), received.ticket.clone()))
    }

    /// The connection is gone: what was not acknowledged waits again, in its order, and QoS 0 messages are dropped; answers how many.
    pub(crate) fn rewind(&mut self) -> usize {
        let Some(queues) = &mut self.queues else { return 0 };
        while let Some(entry) = queues.inflight.pop_back() {
            queues.waiting.push_front(entry);
        }
        shrink(&mut queues.inflight);
        let dropped = queues.volatile;
        for queue in [&mut queues.waiting, &mut queues.newer] {
            queue.retain(|entry| entry.sequence != 0);
            shrink(queue);
        }
        (queues.volatile, queues.volatile_bytes) = (0, 0);
        self.give_back();
        dropped
    }

    /// Gives back the room of queues in which nothing is.
    fn give_back(&mut self) {
        self.queues.take_if(|queues| queues.is_empty());
    }

    /// Whether a page of the database is needed before more can be sent.
    pub(crate) fn wants_page(&self, low: usize) -> Option<Asked> {
        let queues = self.queues.as_ref()?;
        let stored = queues.stored.filter(|_| queues.waiting.len() <= low)?;
        Some(Asked { stored, epoch: self.epoch })
    }

    /// Takes in a page of at most `limit` messages that the database has behind what is in memory; one that is out of date is left out.
    pub(crate) fn load(&mut self, asked: Asked, mut page: Vec<(u64, Delivery)>, limit: usize) {
        let Some(queues) = self.queues.as_mut().filter(|_| self.epoch == asked.epoch) else { return };
        let Some(stored) = &mut queues.stored else { return };
        // A checkpoint may have written what is newer, and nobody has left that to the database yet.
        let newer = queues.newer.iter().map(|entry| entry.sequence).find(|sequence| *sequence != 0);
        page.retain(|(sequence, _)| newer.is_none_or(|newer| *sequence < newer));
        // More may have been left to the database since the page was read.
        let is_last = page.len() < limit && *stored == asked.stored;
        queues.settled.sort_unstable();
        queues.deleted.sort_unstable();
        for (sequence, delivery) in page {
            stored.after = stored.after.max(sequence);
            let is_settled =
                [&queues.settled, &queues.deleted].iter().any(|some| some.binary_search(&sequence).is_ok());
            if !is_settled {
                stored.count = stored.count.saturating_sub(1);
                let is_sent = sequence <= self.sent_through;
                queues.waiting.push_back(Entry {
                    sequence,
                    delivery,
                    ticket: None,
                    is_sent,
                    is_stored: true,
                });
            }
        }
        if is_last {
            queues.stored = None;
            queues.waiting.append(&mut queues.newer);
            queues.newer = VecDeque::new();
            // Nobody knew the length of what was settled in the database only.
            let kept = queues.inflight.iter().chain(&queues.waiting).filter(|entry| entry.sequence != 0);
            self.share.set(kept.map(|entry| entry.delivery.message.size()).sum::<usize>() + self.reserved);
        }
    }

    /// The transaction is done: leaves to the database what stands there, beyond the first `keep` messages.
    pub(crate) fn unload(&mut self, keep: usize) {
        let Some(queues) = &mut self.queues else { return };
        if !queues.deleted.is_empty() {
            queues.deleted = Vec::new();
            self.epoch += 1;
        }
        queues.unload(keep);
        self.give_back();
    }

    /// The QoS 1 and 2 messages in memory that another client may have in the place of this one, in their order.
    pub(crate) fn unseen(&self) -> Vec<Arc<Message>> {
        let entries = self.queues.iter().flat_map(|queues| queues.all()).flatten();
        let is_free = |entry: &&Entry| {
            entry.sequence != 0 && !(entry.is_sent && entry.delivery.qos == QoS::ExactlyOnce)
        };
        entries.filter(is_free).map(|entry| entry.delivery.message.clone()).collect()
    }

    /// Behind which sequence messages stand in the database only; `None` when there are none.
    pub(crate) fn stored_after(&self) -> Option<u64> {
        Some(self.queues.as_ref()?.stored?.after)
    }

    /// Sequences of rows in the database that stand for nothing more: settled since the last checkpoint, or in memory as well. Ascending.
    pub(crate) fn known_stored(&self) -> Vec<u64> {
        let Some(queues) = &self.queues else { return Vec::new() };
        let in_memory = queues.all().flatten().filter(|entry| entry.is_stored).map(|entry| entry.sequence);
        let mut known: Vec<u64> =
            queues.settled.iter().chain(&queues.deleted).copied().chain(in_memory).collect();
        known.sort_unstable();
        known
    }

    /// Messages that the client has not acknowledged, and those that wait.
    pub(crate) fn len(&self) -> usize {
        let Some(queues) = &self.queues else { return 0 };
        let in_memory = queues.all().map(VecDeque::len).sum::<usize>() + queues.received.len();
        in_memory + queues.stored.map_or(0, |stored| stored.count)
    }

    /// Those that stand in the database, once the caller's transaction is done.
    pub(crate) fn stored_len(&self) -> usize {
        let Some(queues) = &self.queues else { return 0 };
        let in_memory = queues.all().flatten().filter(|entry| entry.is_stored).count();
        in_memory + queues.stored.map_or(0, |stored| stored.count)
    }

    /// Of all messages that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.share.bytes() + self.queues.as_ref().map_or(0, |queues| queues.volatile_bytes)
    }

    /// Of the QoS 1 and 2 messages.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.share.bytes()
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(crate) fn received(&self) -> impl Iterator<Item = u64> {
        self.queues.iter().flat_map(|queues| &queues.received).map(|received| received.sequence)
    }

    pub(crate) fn suspect(&self) -> Option<Suspect> {
        self.queues.as_ref()?.suspect
    }

    /// What stands in the database and is settled; it does not, once the caller's transaction is done.
    pub(crate) fn take_settled(&mut self) -> Vec<u64> {
        let Some(queues) = &mut self.queues else { return Vec::new() };
        queues.deleted.append(&mut queues.settled);
        queues.deleted.clone()
    }

    /// The QoS 1 and 2 messages that do not stand in the database; they will, once the caller's transaction is done.
    pub(crate) fn take_unstored(&mut self, mut take: impl FnMut(u64, &Delivery)) {
        let Some(queues) = &mut self.queues else { return };
        let all = [&mut queues.inflight, &mut queues.waiting, &mut queues.newer];
        for entry in all.into_iter().flatten().filter(|entry| !entry.is_stored && entry.sequence != 0) {
            take(entry.sequence, &entry.delivery);
            entry.is_stored = true;
        }
    }

    /// As a checkpoint and the journal have it.
    pub(crate) fn restore(restored: Restored) -> Self {
        let received = restored.received.into_iter().map(|sequence| Received { sequence, ticket: None });
        // What was settled since is as long as the others, as far as can be told before it is read.
        let left = restored.stored.saturating_sub(restored.settled.len());
        let left_bytes = restored.stored_bytes.saturating_mul(left).checked_div(restored.stored).unwrap_or(0);
        let queues = Queues {
            received: received.collect(),
            stored: (restored.stored > 0).then_some(Stored { after: 0, count: restored.stored }),
            settled: restored.settled,
            suspect: restored.suspect,
            ..Queues::default()
        };
        let mut outbox = Self {
            next_sequence: restored.next_sequence,
            sent_through: restored.sent_through,
            queues: Some(Box::new(queues)),
            ..Self::of(&restored.backlog)
        };
        outbox.share.add(left_bytes);
        for (sequence, delivery) in restored.fresh {
            let is_sent = sequence <= outbox.sent_through;
            outbox.share.add(delivery.message.size());
            outbox.push(Entry { sequence, delivery, ticket: None, is_sent, is_stored: false });
        }
        outbox.give_back();
        outbox
    }

    /// Takes for sent what may have been, as far as it is known which messages these are.
    pub(crate) fn mark_suspect(&mut self) {
        let Some(queues) = &mut self.queues else { return };
        let Some(mut suspect) = queues.suspect else { return };
        let known = suspect.after;
        for entry in queues.waiting.iter_mut().filter(|entry| entry.sequence > known) {
            if suspect.window == 0 || entry.sequence > suspect.through {
                suspect.window = 0;
                break;
            }
            entry.is_sent = true;
            self.sent_through = self.sent_through.max(entry.sequence);
            (suspect.window, suspect.after) = (suspect.window - 1, entry.sequence);
        }
        queues.suspect = Some(suspect).filter(|suspect| suspect.window > 0 && queues.stored.is_some());
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

#[cfg(test)]
mod tests;
