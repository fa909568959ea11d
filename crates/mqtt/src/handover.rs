//! What becomes of the messages of shared subscriptions when a member's session ends: another member of the group gets what this one
//! has not received (MQTT 5, 4.8.2). A QoS 2 message that was on its way goes to nobody else.

use std::sync::Arc;

use drover_backbone::Ticket;
use drover_mqtt_codec::topic::{TopicFilter, matches};

use crate::deliveries::PAGE;
use crate::gateway::Gateway;
use crate::journal::message_from;
use crate::message::Message;
use crate::route::{deliver_to, delivery};
use crate::session::Session;
use crate::space::Space;

/// A session that has ended, whose end is noted when its groups have what it leaves to them in the database.
pub(crate) struct Estate {
    pub(crate) space: Arc<Space>,
    pub(crate) session: Arc<Session>,
    pub(crate) will: Option<Ticket>,
    pub(crate) rest: Rest,
}

/// What an ended session leaves to its groups in the database.
pub(crate) struct Rest {
    /// All of the session, shared ones and others.
    filters: Vec<Box<str>>,
    /// The messages are behind this sequence.
    after: u64,
    /// But for these, which the client has acknowledged or that were handed on from memory; ascending.
    known: Vec<u64>,
    /// QoS 2 messages up to this sequence were sent.
    sent_through: u64,
}

impl Gateway {
    /// Takes the subscriptions of a session that has ended out of the topic tree, and hands on what waits in its queue. What of that
    /// stands in the database only is answered, for [`Self::hand_on_rest`].
    pub(crate) fn withdraw(&self, space: &Arc<Space>, session: &Session) -> Option<Rest> {
        let (subscriptions, mut outbox) = {
            let mut state = session.state.lock();
            (std::mem::take(&mut state.subscriptions), std::mem::take(&mut state.outbox))
        };
        space.unsubscribe(session.number, subscriptions.iter().map(|subscription| &*subscription.filter));
        let filters: Vec<_> = subscriptions.into_iter().map(|subscription| subscription.filter).collect();
        if !filters.iter().any(|filter| filter.starts_with("$share/")) {
            return None;
        }
        outbox.rewind();
        let (unseen, known) = (outbox.unseen(), outbox.known_stored());
        let (after, sent_through) = (outbox.stored_after(), outbox.sent_through);
        // Its share of the tenant's bound is free for the others.
        drop(outbox);
        for message in unseen {
            self.hand_on(space, &filters, &message);
        }
        Some(Rest { filters, after: after?, known, sent_through })
    }

    /// Hands on what ended sessions have in the database, then notes their ends, which removes it there.
    pub(crate) fn settle_estates(self: &Arc<Self>) {
        for Estate { space, session, will, rest } in std::mem::take(&mut *self.estates.lock()) {
            let gateway = self.clone();
            self.tasks.track(async move {
                gateway.hand_on_rest(&space, session.number, rest).await;
                gateway.note_end(&space, &session, will);
            });
        }
    }

    async fn hand_on_rest(&self, space: &Arc<Space>, session: u64, mut rest: Rest) {
        loop {
            let page = match self.store.page(session, rest.after, PAGE.into()).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!("messages of a session that has ended are not handed on: {error}");
                    return;
                }
            };
            let Some((last, _)) = page.last() else { return };
            rest.after = last.sequence;
            for (target, message) in page {
                let was_sent = target.qos > 1 && target.sequence <= rest.sent_through;
                if !was_sent && rest.known.binary_search(&target.sequence).is_err() {
                    let message = Arc::new(message_from(message, target.retain));
                    self.hand_on(space, &rest.filters, &message);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Gives a message to another member of the group through which it came, if one has room.
    fn hand_on(&self, space: &Arc<Space>, filters: &[Box<str>], message: &Arc<Message>) {
        let Some(filter) = origin(filters, &message.topic) else { return };
        let Some(hit) = space.member_with_room(&filter, message, self.bounds()) else {
            return self.metrics.dropped("session ended");
        };
        let (session, delivery) = delivery(message, hit);
        if deliver_to(self, space, &session, delivery).is_ok() {
            self.metrics.handed_on.inc();
        } else {
            self.metrics.dropped("session ended");
        }
    }
}

/// The shared subscription through which a message came. When several subscriptions of the session match, it may have been any.
fn origin(filters: &[Box<str>], topic: &str) -> Option<TopicFilter> {
    let parsed = filters.iter().filter_map(|filter| TopicFilter::parse(filter).ok());
    let mut matching = parsed.filter(|filter| matches(filter.filter(), topic));
    let only = matching.next().filter(|_| matching.next().is_none())?;
    only.group().is_some().then_some(only)
}
