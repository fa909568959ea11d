//! A connection's hold on its session: taken at CONNECT, given up at the end. Here sessions begin, are taken over, stay behind, and end.

use std::sync::Arc;

use drover_backbone::Ticket;
use drover_gateway::{Place, RefusedReason, Sender};
use drover_model::{Channel, TenantId};
use drover_mqtt_codec::ReasonCode;
use drover_mqtt_codec::topic::TopicFilter;
use drover_proto::sessions::v1::{self, change::Change};

use crate::error::End;
use crate::gateway::Gateway;
use crate::handover::{Estate, Rest};
use crate::journal::{suspect_to, will_to};
use crate::outbox::Full;
use crate::session::{Attachment, Client, Ending, Session, SessionKey, State, Subscription};
use crate::space::{Sessions, Space};
use crate::will::{Later, Will};

/// What a client says of the session it wants.
pub(crate) struct Wish {
    pub(crate) client_id: Box<str>,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Box<Will>>,
    /// Messages that it takes unacknowledged.
    pub(crate) window: u16,
    /// Among the connections of the tenant, if there is one left.
    pub(crate) place: Option<Place<TenantId>>,
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It said goodbye: no will.
    Goodbye,
    /// It said goodbye and wants its will (MQTT 5, 3.14.2.1, code 0x04), or the connection is lost.
    WithWill,
}

/// A session that this connection has.
pub(crate) struct Seat {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) space: Arc<Space>,
    pub(crate) session: Arc<Session>,
    pub(crate) attachment: Arc<Attachment>,
    /// CONNACK said yes. Who was let down before leaves no will.
    pub(crate) is_accepted: bool,
}

/// A seat that was just taken.
pub(crate) struct Taken {
    pub(crate) seat: Seat,
    /// The session was there before (MQTT 5, 3.2.2.1.1).
    pub(crate) is_present: bool,
    /// CONNACK waits for it.
    pub(crate) ticket: Option<Ticket>,
}

/// The connection or the will that a new connection drives out.
#[derive(Default)]
struct Displaced {
    attachment: Option<Arc<Attachment>>,
    will: Option<(Arc<Session>, Box<Will>)>,
    ended: Option<Arc<Session>>,
}

impl Seat {
    /// Takes the client's session over, or begins one.
    pub(crate) fn take(gateway: &Arc<Gateway>, client: Client, wish: Wish) -> Result<Taken, End> {
        let space = gateway.spaces.of(client.tenant());
        let key = SessionKey { owner: client.owner(), client_id: wish.client_id.clone() };
        let attachment = Arc::new(Attachment::new(client));
        let mut displaced = Displaced::default();
        let now_ms = gateway.clock.now().as_millis();
        let (session, is_present, groups) = {
            let mut sessions = space.sessions.lock();
            let known = sessions.get(&key).cloned();
            if known.is_none() {
                has_room(gateway, &sessions)?;
            }
            // Whoever takes a connection over takes its place, too.
            let inherited = known.as_ref().and_then(|known| known.state.lock().place.take());
            let Some(place) = inherited.or(wish.place) else {
                return Err(End::refused(ReasonCode::QuotaExceeded, "the tenant has too many connections"));
            };
            let known = known.filter(|known| {
                let stays = !wish.clean_start && may_resume(&known.state.lock(), &attachment.client, now_ms);
                displace(known, stays, &mut displaced);
                stays
            });
            let is_present = known.is_some();
            let session = match known {
                Some(session) => session,
                None => begin(&mut sessions, gateway, &space, (key, &attachment)),
            };
            sessions.attach(&session, &attachment);
            let mut state = session.state.lock();
            state.attachment = Some(attachment.clone());
            state.expiry_s = wish.expiry_s;
            state.will = wish.will;
            state.at_risk = wish.window;
            state.place = Some(place);
            state.awaits_record = false;
            gateway.metrics.dropped_many("taken over", state.outbox.rewind());
            // MQTT 5, 4.9: windows begin anew with the connection.
            state.unreleased.iter_mut().for_each(|known| known.is_counted = false);
            if let Some(at_ms) = state.armed_ms.take() {
                space.disarm(session.number, at_ms);
            }
            let groups = state.shared_filters();
            drop(state);
            (session, is_present, groups)
        };
        space.note_presence(&session, &groups);
        if wish.expiry_s > 0 {
            session.set_durable();
        }
        let seat = Self { gateway: gateway.clone(), space, session, attachment, is_accepted: false };
        let ended = seat.gateway.send_off(&seat.space, displaced);
        // The opening stands behind the end of the session before.
        let ticket = seat.note_opening()?.or(ended);
        Ok(Taken { seat, is_present, ticket })
    }

    /// Puts the opening into the journal when something of the session may outlive the connection: the session, or its will.
    fn note_opening(&self) -> Result<Option<Ticket>, End> {
        let opened = {
            let mut state = self.session.state.lock();
            if !self.session.is_durable() && state.will.is_none() {
                return Ok(None);
            }
            state.has_record = true;
            v1::Opened {
                session: self.session.number,
                owner: self.session.key.owner.to_string(),
                client_id: self.session.key.client_id.as_ref().to_owned(),
                expiry_s: state.expiry_s,
                will: state.will.as_deref().map(will_to),
                at_risk: state.at_risk.into(),
            }
        };
        self.note(Change::Opened(opened)).map(Some)
    }

    /// Appends a change of the session.
    pub(crate) fn note(&self, change: Change) -> Result<Ticket, End> {
        let noted = self.gateway.note(&self.space, &self.session, change);
        noted.ok_or(End::refused(ReasonCode::ServerBusy, "the log takes nothing at the moment"))
    }

    /// The session stays behind, or ends with the connection. A later call changes nothing.
    pub(crate) fn leave(&self, leaving: Leaving, expiry_s: Option<u32>) {
        let (gateway, space, session) = (&self.gateway, &self.space, &self.session);
        space.sessions.lock().detach(session, &self.attachment);
        let now_ms = gateway.clock.now().as_millis();
        let (will, closed, groups) = {
            let mut state = session.state.lock();
            if !state.is_held_by(&self.attachment) {
                return;
            }
            state.attachment = None;
            state.place = None;
            state.offline_since_ms = now_ms;
            state.expiry_s = expiry_s.unwrap_or(state.expiry_s);
            let dropped = state.outbox.rewind();
            state.subscriptions.shrink_to_fit();
            gateway.metrics.dropped_many("client away", dropped);
            if leaving == Leaving::Goodbye {
                state.will = None;
            }
            if state.expiry_s == 0 {
                state.has_ended = true;
                (state.will.take(), None, Vec::new())
            } else {
                let will = stand_by(&mut state, now_ms);
                (will, Some(closed(session, &state)), state.shared_filters())
            }
        };
        // Before the will: it is not for whoever leaves, when another may have it.
        let rest = match closed {
            None => gateway.withdraw(space, session),
            Some(_) => {
                space.note_presence(session, &groups);
                None
            }
        };
        let sent = will.map_or(Ok(None), |will| gateway.send_will(space, session, will));
        match (closed, sent) {
            (None, Ok(sent)) => {
                gateway.bury(space, session, sent, rest);
            }
            // It is buried when its will is out.
            (None, Err(Later)) => {}
            (Some(before), sent) => {
                let (closed, next_ms) = match sent {
                    Ok(_) => before,
                    Err(Later) => self::closed(session, &session.state.lock()),
                };
                // Without a record the session is taken for connected until the server stops; the checkpoint knows better.
                gateway.note(space, session, Change::Closed(closed));
                if let Some(at_ms) = next_ms {
                    space.arm(session, at_ms);
                }
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave(if self.is_accepted { Leaving::WithWill } else { Leaving::Goodbye }, None);
    }
}

/// Whether the session goes on when the connection that has it, if any, is driven out.
fn is_alive(state: &State, now_ms: i64) -> bool {
    let has_expired = match state.attachment {
        // MQTT 5, 3.1.2.11.2: it ends with its connection.
        Some(_) => state.expiry_s == 0,
        None => state.ends_at_ms().is_some_and(|end_ms| end_ms <= now_ms),
    };
    !state.has_ended && !has_expired
}

/// The session of an application whose key was made anew may hold more than the new key allows: then it is another's.
fn may_resume(state: &State, client: &Client, now_ms: i64) -> bool {
    let covers = |subscription: &Subscription| {
        TopicFilter::parse(&subscription.filter).is_ok_and(|filter| client.scopes_cover(filter.filter()))
    };
    is_alive(state, now_ms) && (client.scopes().is_none() || state.subscriptions.iter().all(covers))
}

/// Whether the tenant may have a further session.
fn has_room(gateway: &Gateway, sessions: &Sessions) -> Result<(), End> {
    let max = gateway.config.max_sessions_per_tenant;
    if max == 0 || sessions.len() < max {
        return Ok(());
    }
    gateway.metrics.sessions_refused.inc();
    Err(End::refused(ReasonCode::QuotaExceeded, "the tenant has too many sessions"))
}

fn begin(
    sessions: &mut Sessions,
    gateway: &Gateway,
    space: &Space,
    (key, attachment): (SessionKey, &Arc<Attachment>),
) -> Arc<Session> {
    let number = gateway.journal.session_number();
    let session = Arc::new(Session::new(key, number, attachment.clone(), &space.backlog));
    sessions.insert(&session);
    session
}

/// What a new connection means for the old one and its will: one without delay is published (MQTT 5, 3.1.3.2.2, 3.1.4), one with a delay
/// only if the session ends.
fn displace(known: &Arc<Session>, stays: bool, displaced: &mut Displaced) {
    let mut state = known.state.lock();
    let was_attached = state.attachment.is_some();
    displaced.attachment = state.attachment.take();
    let will = state.will.take();
    let is_due = !stays || (was_attached && will.as_ref().is_some_and(|will| will.delay_s == 0));
    displaced.will = will.filter(|_| is_due).map(|will| (known.clone(), will));
    if !stays {
        state.has_ended = true;
        displaced.ended = Some(known.clone());
    }
}

/// The will to publish at once; one that has to wait stays with the session.
fn stand_by(state: &mut State, now_ms: i64) -> Option<Box<Will>> {
    let delay_s = state.will.as_ref()?.delay_s.min(state.expiry_s);
    if delay_s == 0 {
        return state.will.take();
    }
    state.will_due_ms = now_ms + i64::from(delay_s) * 1_000;
    None
}

/// The record of a session that stays behind, and when to look at it next.
fn closed(session: &Session, state: &State) -> (v1::Closed, Option<i64>) {
    let will_due_ms = if state.will.is_some() { state.will_due_ms } else { 0 };
    let closed = v1::Closed {
        session: session.number,
        at_ms: state.offline_since_ms,
        sent_through: state.outbox.sent_through,
        will_due_ms,
        expiry_s: state.expiry_s,
        suspect: state.outbox.suspect().map(suspect_to),
    };
    (closed, state.next_due_ms())
}

impl Gateway {
    /// Appends a change of a session when it is in the journal.
    pub(crate) fn note(&self, space: &Arc<Space>, session: &Arc<Session>, change: Change) -> Option<Ticket> {
        self.journal.touch(space, session);
        self.journal.append(&space.tenant, change).ok()
    }

    /// Ends what a new connection drove out; answers what tells that a session's end is durable.
    fn send_off(&self, space: &Arc<Space>, displaced: Displaced) -> Option<Ticket> {
        if let Some(attachment) = displaced.attachment {
            attachment.end(Ending::TakenOver);
        }
        let rest = displaced.ended.as_ref().and_then(|session| self.withdraw(space, session));
        let sent = displaced.will.map_or(Ok(None), |(session, will)| self.send_will(space, &session, will));
        // It is buried when its will is out.
        let Ok(sent) = sent else { return None };
        displaced.ended.and_then(|session| self.bury(space, &session, sent, rest))
    }

    /// Takes a session that has ended and is withdrawn out of everything else; answers what tells that this is durable. With a will or
    /// messages for others, its end is noted when those are durable: a kill in between loses neither.
    fn bury(
        &self,
        space: &Arc<Space>,
        session: &Arc<Session>,
        will: Option<Ticket>,
        rest: Option<Rest>,
    ) -> Option<Ticket> {
        space.sessions.lock().remove(session);
        let has_record = {
            let mut state = session.state.lock();
            state.unreleased = Vec::new();
            state.has_record
        };
        if !has_record {
            return None;
        }
        if let Some(rest) = rest {
            self.estates.lock().push(Estate { space: space.clone(), session: session.clone(), will, rest });
            return None;
        }
        self.note_end(space, session, will)
    }

    /// Notes the end of a session, when its will is durable.
    pub(crate) fn note_end(
        &self,
        space: &Space,
        session: &Arc<Session>,
        will: Option<Ticket>,
    ) -> Option<Ticket> {
        let Some(mut will) = will else { return self.journal.end(&space.tenant, session) };
        let (journal, tenant, session) = (self.journal.clone(), space.tenant.clone(), session.clone());
        self.tasks.track(async move {
            // Should the log fail, the next start has the session again, and ends it.
            if will.durable().await.is_ok() {
                journal.end(&tenant, &session);
            }
        });
        None
    }

    /// Ends a session for which there was no room in its queue, or in those of its tenant; its will is published soon.
    /// Answers what tells that its end is durable.
    pub(crate) fn end_over_bound(
        &self,
        space: &Arc<Space>,
        session: &Arc<Session>,
        full: Full,
    ) -> Option<Ticket> {
        let (ending, bound, reason) = match full {
            Full::Session => (Ending::QueueFull, "session", "queue over its bound"),
            Full::Tenant => (Ending::TenantFull, "tenant", "queues of the tenant over their bound"),
        };
        let (messages, bytes) = {
            let outbox = &session.state.lock().outbox;
            (outbox.len(), outbox.bytes())
        };
        let ended = self.end_session(space, session, ending)?;
        tracing::warn!(
            tenant.id = %space.tenant.as_str(), session.number, bound,
            "a session ended because too many messages waited"
        );
        self.metrics.session_over_bound(bound);
        let event = serde_json::json!({
            "event": "session_ended",
            "reason": reason,
            "client_id": &*session.key.client_id,
            "messages": messages,
            "bytes": bytes,
        });
        self.tell_of_device(space, session, &event);
        ended
    }

    /// Writes an event of a session's device as if the device had sent it; other clients have no events.
    fn tell_of_device(&self, space: &Space, session: &Session, event: &serde_json::Value) {
        let Some(device) = session.key.owner.device() else { return };
        let sender = Sender { tenant: &space.tenant, device, publish: None, traceparent: "" };
        if self.ingress.accept(&sender, Channel::Event, "", event.to_string().as_bytes()).is_err() {
            self.refused(&space.tenant, RefusedReason::LogBusy);
        }
    }

    /// Ends a session, whether its client is connected or not; answers what tells that its end is durable, `None` when it had ended before.
    pub(crate) fn end_session(
        &self,
        space: &Arc<Space>,
        session: &Arc<Session>,
        ending: Ending,
    ) -> Option<Option<Ticket>> {
        let _fence = self.journal.fence();
        let now_ms = self.clock.now().as_millis();
        let attachment = {
            let mut state = session.state.lock();
            if state.has_ended {
                return None;
            }
            // As if its time had passed: so the journal says it while a will keeps the session.
            state.has_ended = true;
            (state.expiry_s, state.offline_since_ms, state.will_due_ms) = (0, now_ms, now_ms);
            state.attachment.take()
        };
        if let Some(attachment) = attachment {
            attachment.end(ending);
            space.sessions.lock().detach(session, &attachment);
        }
        // Makes room at once, though the session may wait for its will.
        let rest = self.withdraw(space, session);
        let waiting = {
            let state = session.state.lock();
            state.will.is_some().then(|| (state.has_record, closed(session, &state).0))
        };
        let Some((has_record, closed)) = waiting else {
            // Over a bound there is no room for it, and a publisher waits for the end.
            let rest = rest.filter(|_| !matches!(ending, Ending::QueueFull | Ending::TenantFull));
            return Some(self.bury(space, session, None, rest));
        };
        let ticket = if has_record { self.note(space, session, Change::Closed(closed)) } else { None };
        // Not here: it may reach the next session over its bound.
        space.arm(session, 0);
        Some(ticket)
    }

    /// Does what is due for sessions whose clients are away: wills, and the end of what has expired.
    pub(crate) fn attend(&self, space: &Arc<Space>, now_ms: i64) {
        for session in space.take_due(now_ms) {
            let (will, has_ended, next_ms) = {
                let mut state = session.state.lock();
                if state.attachment.is_some() {
                    continue;
                }
                if !state.has_ended && state.ends_at_ms().is_some_and(|end_ms| end_ms <= now_ms) {
                    state.has_ended = true;
                    self.metrics.sessions_expired.inc();
                }
                let is_due = state.has_ended || state.will_due_ms <= now_ms;
                let will = if is_due { state.will.take() } else { None };
                (will, state.has_ended, state.next_due_ms())
            };
            let rest = if has_ended { self.withdraw(space, &session) } else { None };
            let sent = will.map_or(Ok(None), |will| self.send_will(space, &session, will));
            let Ok(sent) = sent else {
                self.journal.touch(space, &session);
                continue;
            };
            if has_ended {
                self.bury(space, &session, sent, rest);
                continue;
            }
            self.journal.touch(space, &session);
            if let Some(at_ms) = next_ms {
                space.arm(&session, at_ms);
            }
        }
    }
}
