//! Which sessions a topic of one tenant reaches. A session is known by its number; what else it is, is not known here.

mod shared;

use std::num::NonZeroU32;

use drover_mqtt_codec::QoS;
use hashbrown::HashMap;
use smallvec::SmallVec;

pub(crate) use self::shared::Members;

use self::shared::Groups;
use crate::trie::Trie;

/// What a client asked for with a filter (MQTT 5, 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) id: Option<NonZeroU32>,
}

/// A session that has subscribed to a filter.
pub(crate) struct Member<S> {
    pub(crate) number: u64,
    pub(crate) session: S,
    pub(crate) options: Options,
}

/// A session that a topic reaches, with what its matching subscriptions ask for together.
#[derive(Debug)]
pub(crate) struct Hit<S> {
    pub(crate) number: u64,
    pub(crate) session: S,
    /// The highest of all.
    pub(crate) qos: QoS,
    /// Whether one asks for it.
    pub(crate) retain_as_published: bool,
    /// Those of all (MQTT 5, 3.3.4), in no particular order.
    pub(crate) ids: SmallVec<[NonZeroU32; 2]>,
}

/// The subscriptions of a tenant.
pub(crate) struct Tree<S> {
    ordinary: Trie<Subscribers<S>>,
    shared: Trie<Groups<S>>,
    len: usize,
}

impl<S> Default for Tree<S> {
    fn default() -> Self {
        Self { ordinary: Trie::default(), shared: Trie::default(), len: 0 }
    }
}

/// The sessions that have subscribed to one filter.
enum Subscribers<S> {
    One(Member<S>),
    Many(Box<HashMap<u64, Member<S>>>),
}

impl<S> Tree<S> {
    /// How many subscriptions there are, shared ones included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Subscribes a session. Answers whether it had subscribed to that filter before; the new subscription replaces that one.
    pub(crate) fn subscribe(&mut self, filter: &str, member: Member<S>) -> bool {
        let existed = match self.ordinary.slot(filter) {
            Some(subscribers) => subscribers.insert(member),
            none => none.replace(Subscribers::One(member)).is_some(),
        };
        self.len += usize::from(!existed);
        existed
    }

    /// Answers whether there was such a subscription.
    pub(crate) fn unsubscribe(&mut self, filter: &str, number: u64) -> bool {
        let existed = self.ordinary.change(filter, |subscribers| remove(subscribers, number));
        self.left(existed)
    }

    /// Subscribes a session as a member of a group (MQTT 5, 4.8.2), who is present or away; beyond that as `subscribe`.
    pub(crate) fn subscribe_shared(
        &mut self,
        group: &str,
        filter: &str,
        member: Member<S>,
        is_present: bool,
    ) -> bool {
        let existed = self.shared.slot(filter).get_or_insert_default().insert(group, member, is_present);
        self.len += usize::from(!existed);
        existed
    }

    /// Notes whether a member of a group is present. Of a session that is none it changes nothing.
    pub(crate) fn note_presence(&mut self, group: &str, filter: &str, number: u64, is_present: bool) {
        self.shared.change(filter, |groups| {
            if let Some(groups) = groups {
                groups.note(group, number, is_present);
            }
        });
    }

    /// Answers whether there was such a subscription.
    pub(crate) fn unsubscribe_shared(&mut self, group: &str, filter: &str, number: u64) -> bool {
        let existed = self.shared.change(filter, |groups| shared::remove(groups, group, number));
        self.left(existed)
    }

    /// A group of a filter, if there is one.
    pub(crate) fn group<R>(
        &mut self,
        group: &str,
        filter: &str,
        ask: impl FnOnce(&Members<S>) -> R,
    ) -> Option<R> {
        self.shared.change(filter, |groups| groups.as_ref()?.get(group).map(ask)).flatten()
    }

    fn left(&mut self, existed: Option<bool>) -> bool {
        let existed = existed.unwrap_or(false);
        self.len -= usize::from(existed);
        existed
    }

    /// Each shared subscription that a topic reaches: one of its members gets the message.
    pub(crate) fn matching_shared(&self, topic: &str, mut choose: impl FnMut(&Members<S>)) {
        self.shared.of_topic(topic, |groups| groups.iter().for_each(&mut choose));
    }
}

impl<S: Clone> Tree<S> {
    /// Fills `hits` with the sessions that a message of `publisher` to `topic` reaches by their ordinary subscriptions, each once.
    pub(crate) fn matching(&self, topic: &str, publisher: u64, hits: &mut Vec<Hit<S>>) {
        hits.clear();
        let mut filters = 0;
        self.ordinary.of_topic(topic, |subscribers| {
            filters += 1;
            subscribers.each(|member| {
                // MQTT 5, 3.8.3.1: no local.
                if !(member.options.no_local && member.number == publisher) {
                    hits.push(member.hit());
                }
            });
        });
        if filters > 1 {
            merge(hits);
        }
    }
}

impl<S: Clone> Member<S> {
    pub(crate) fn hit(&self) -> Hit<S> {
        let Options { qos, retain_as_published, id, .. } = self.options;
        let ids = id.into_iter().collect();
        Hit { number: self.number, session: self.session.clone(), qos, retain_as_published, ids }
    }
}

impl<S> Subscribers<S> {
    fn each(&self, visit: impl FnMut(&Member<S>)) {
        match self {
            Self::One(member) => std::iter::once(member).for_each(visit),
            Self::Many(members) => members.values().for_each(visit),
        }
    }

    /// Answers whether the session was there before.
    fn insert(&mut self, member: Member<S>) -> bool {
        match self {
            Self::Many(members) => members.insert(member.number, member).is_some(),
            Self::One(one) if one.number == member.number => {
                *one = member;
                true
            }
            Self::One(_) => {
                let one = std::mem::replace(self, Self::Many(Box::default()));
                if let Self::One(one) = one {
                    self.insert(one);
                }
                self.insert(member)
            }
        }
    }
}

/// Removes a session from the subscribers of a filter; answers whether it was there.
fn remove<S>(subscribers: &mut Option<Subscribers<S>>, number: u64) -> bool {
    match subscribers {
        None => false,
        Some(Subscribers::One(member)) => {
            let existed = member.number == number;
            if existed {
                *subscribers = None;
            }
            existed
        }
        Some(Subscribers::Many(members)) => {
            let existed = members.remove(&number).is_some();
            if members.is_empty() {
                *subscribers = None;
            } else if members.len() < members.capacity() / 4 {
                members.shrink_to(members.len() * 2);
            }
            existed
        }
    }
}

/// Makes one hit of all hits of a session.
fn merge<S>(hits: &mut Vec<Hit<S>>) {
    hits.sort_unstable_by_key(|hit| hit.number);
    hits.dedup_by(|later, first| {
        let same = later.number == first.number;
        if same {
            first.qos = first.qos.max(later.qos);
            first.retain_as_published |= later.retain_as_published;
            first.ids.append(&mut later.ids);
        }
        same
    });
}

#[cfg(test)]
mod figures;
#[cfg(test)]
mod tests;
