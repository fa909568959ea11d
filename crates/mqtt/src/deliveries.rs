//! A connection's sending side: messages of its session go out as the client's window allows, and its acknowledgements settle them.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use drover_backbone::Ticket;
use drover_mqtt_codec::{QoS, ReasonCode};
use drover_proto::sessions::v1::{self, change::Change};

use crate::answers::{Answer, Outcome};
use crate::connection::{Connection, WRITE_BYTES};
use crate::error::End;
use crate::gateway::Gateway;
use crate::journal::{delivery_from, message_from};
use crate::loops;
use crate::outbox::{Asked, Entry};
use crate::session::Session;

/// Messages that are read from the database at a time.
pub(crate) const PAGE: u16 = 1_024;
/// With so few left in memory the next page is read.
const LOW: usize = 256;
/// Pause after the database could not be read.
const PAGE_RETRY: Duration = Duration::from_secs(1);

impl Connection {
    /// PUBACK, or a PUBREC that refuses. One for a message that is not on its way changes nothing.
    pub(crate) fn acknowledged(&mut self, id: NonZeroU16, qos: QoS) -> Result<(), End> {
        let settled = self.seat.session.state.lock().outbox.settle(id, qos);
        self.count_settled(settled);
        Ok(())
    }

    /// PUBREC: PUBREL follows when a restart would know of it.
    pub(crate) fn received(&mut self, id: NonZeroU16) -> Result<(), End> {
        let seat = &self.seat;
        let (session, is_durable) = (&seat.session, seat.session.is_durable());
        let mut has_failed = false;
        let received = session.state.lock().outbox.receive(id, |sequence| {
            let received = v1::Received { session: session.number, sequences: vec![sequence] };
            let ticket = is_durable.then(|| seat.note(Change::Received(received)));
            has_failed = matches!(ticket, Some(Err(_)));
            ticket.and_then(Result::ok)
        });
        if has_failed {
            return Err(End::refused(ReasonCode::ServerBusy, "the log takes nothing at the moment"));
        }
        let outcome = match received {
            Some(ticket) => Outcome::durable(ticket),
            None => Outcome::now(ReasonCode::PacketIdentifierNotFound, ""),
        };
        self.answers.push(Answer::PubRel(id), outcome, 0);
        Ok(())
    }

    /// PUBCOMP.
    pub(crate) fn completed(&mut self, id: NonZeroU16) -> Result<(), End> {
        let settled = self.seat.session.state.lock().outbox.complete(id);
        self.count_settled(settled);
        Ok(())
    }

    fn count_settled(&mut self, settled: Option<u64>) {
        if let Some(sequence) = settled {
            self.gateway.metrics.acknowledgements.inc();
            if self.seat.session.is_durable() {
                self.settled.push(sequence);
            }
        }
    }

    /// PUBREL again for what a former connection left open (MQTT 5, 4.4).
    pub(crate) fn release_again(&mut self) {
        let state = self.seat.session.state.lock();
        for (id, ticket) in state.outbox.releases() {
            self.answers.push(Answer::PubRel(id), Outcome::durable(ticket), 0);
        }
    }

    /// Tells the journal what was settled. Should the log not take it, the next checkpoint does.
    pub(crate) fn note_settled(&mut self) {
        if !self.settled.is_empty() {
            let sequences = std::mem::take(&mut self.settled);
            let settled = v1::Settled { session: self.seat.session.number, sequences };
            let _ = self.seat.note(Change::Settled(settled));
        }
    }

    /// Writes waiting messages; says whether there are more than one write takes.
    pub(crate) fn send_waiting(&mut self, cx: &Context<'_>, output: &mut BytesMut) -> bool {
        let seat = &self.seat;
        let mut state = seat.session.state.lock();
        if !state.is_held_by(&seat.attachment) {
            return false;
        }
        state.outbox.mark_suspect();
        state.awaits_record = false;
        let window = self.outbound.limits.window.into();
        let has_more = loop {
            if output.len() >= WRITE_BYTES {
                break true;
            }
            let Some(entry) = state.outbox.next(window) else { break false };
            if awaits_record(entry, cx) {
                state.awaits_record = true;
                break false;
            }
            if self.outbound.publish(entry, &self.gateway.clock, &self.gateway.metrics, output) {
                state.outbox.sent();
            } else if let Some(sequence) = state.outbox.drop_next() {
                self.settled.push(sequence);
            }
        };
        let wanted = state.outbox.wants_page(LOW).filter(|_| !state.is_loading);
        state.is_loading |= wanted.is_some();
        drop(state);
        if let Some(asked) = wanted {
            load_page(&self.gateway, &seat.session, asked);
        }
        if !seat.session.is_durable() {
            self.settled.clear();
        }
        self.note_settled();
        has_more
    }
}

/// Whether a message has to wait until its record is durable; then that wakes the task. What is sent can't be forgotten, and all
/// messages of a frame go out together.
fn awaits_record(entry: &Entry, cx: &Context<'_>) -> bool {
    let is_durable = |ticket: &&Ticket| matches!(ticket.outcome(), Poll::Ready(Ok(())));
    let Some(ticket) = entry.ticket.as_ref().filter(|ticket| !is_durable(ticket)) else { return false };
    loops::wait_for(ticket, cx.waker());
    true
}

/// Reads the next messages of a session from the database.
fn load_page(gateway: &Arc<Gateway>, session: &Arc<Session>, asked: Asked) {
    let (gateway, session) = (gateway.clone(), session.clone());
    gateway.tasks.clone().track(async move {
        let page = gateway.store.page(session.number, asked.stored.after, PAGE.into()).await;
        if let Err(error) = &page {
            tracing::error!("waiting messages can't be read and are tried again: {error}");
            tokio::time::sleep(PAGE_RETRY).await;
        }
        {
            let mut state = session.state.lock();
            state.is_loading = false;
            if let Ok(page) = page {
                let page = page.into_iter().map(|(target, message)| {
                    let message = Arc::new(message_from(message, target.retain));
                    (target.sequence, delivery_from(&target, message))
                });
                state.outbox.load(asked, page.collect(), PAGE.into());
            }
        }
        session.wake();
    });
}
