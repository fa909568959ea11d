//! The topic tree of one tenant: which sessions a topic reaches. One level of a filter is one node.

use std::num::NonZeroU32;
use std::sync::Arc;

use drover_mqtt_codec::QoS;
use hashbrown::HashMap;

use crate::session::Session;

/// What a client asked for with a filter.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) id: Option<NonZeroU32>,
}

/// A session that a topic reaches, by the highest QoS of its matching subscriptions and with all their identifiers.
pub(crate) struct Hit {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: QoS,
    pub(crate) ids: Vec<NonZeroU32>,
}

/// Filters and their subscribers.
#[derive(Default)]
pub(crate) struct Tree {
    root: Node,
}

#[derive(Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    /// Subscribers of filters that end here, by session.
    here: HashMap<u64, Subscriber>,
    /// Subscribers of filters that end with `#` beneath here.
    beneath: HashMap<u64, Subscriber>,
}

/// Name of the node for the wildcard of one level; no topic has a level of that name.
const ONE_LEVEL: &str = "+";

impl Tree {
    /// Adds a subscription or replaces the session's one of the same filter.
    pub(crate) fn subscribe(&mut self, filter: &str, subscriber: Subscriber) {
        let (levels, beneath) = split(filter);
        let mut node = &mut self.root;
        for level in levels {
            node = node.child(level);
        }
        let subscribers = if beneath { &mut node.beneath } else { &mut node.here };
        subscribers.insert(subscriber.session.number, subscriber);
    }

    /// Removes a subscription, and the nodes that nobody needs any more.
    pub(crate) fn unsubscribe(&mut self, filter: &str, number: u64) {
        let (mut levels, beneath) = split(filter);
        self.root.remove(&mut levels, beneath, number);
    }

    /// Adds the sessions that a message of `publisher` to `topic` reaches to `hits`, each once. Every node is visited at most once.
    pub(crate) fn matching(&self, topic: &str, publisher: u64, hits: &mut Vec<Hit>) {
        let mut reached = Reached { publisher, hits };
        // MQTT 5, 4.7.2: a wildcard in first place matches no topic that starts with `$`.
        let hidden = topic.starts_with('$');
        self.root.collect(Some(topic), hidden, &mut reached);
        merge(hits);
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

/// The levels of a filter before a final `#`, and whether there is one.
fn split(filter: &str) -> (std::str::Split<'_, char>, bool) {
    match filter.strip_suffix('#') {
        None => (filter.split('/'), false),
        // `#` alone ends at the root, which has no level at all.
        Some("") => {
            let mut none = "".split('/');
            none.next();
            (none, true)
        }
        Some(before) => (before.strip_suffix('/').unwrap_or(before).split('/'), true),
    }
}

struct Reached<'a> {
    publisher: u64,
    hits: &'a mut Vec<Hit>,
}

impl Reached<'_> {
    fn add(&mut self, subscribers: &HashMap<u64, Subscriber>) {
        for subscriber in subscribers.values() {
            // MQTT 5, 3.8.3.1: no local.
            if !(subscriber.no_local && subscriber.session.number == self.publisher) {
                let ids = subscriber.id.into_iter().collect();
                self.hits.push(Hit { session: subscriber.session.clone(), qos: subscriber.qos, ids });
            }
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.beneath.is_empty()
    }

    fn child(&mut self, level: &str) -> &mut Self {
        if !self.children.contains_key(level) {
            self.children.insert(level.into(), Self::default());
        }
        self.children.get_mut(level).expect("it is there or was put there")
    }

    fn remove(&mut self, levels: &mut std::str::Split<'_, char>, beneath: bool, number: u64) {
        let Some(level) = levels.next() else {
            let subscribers = if beneath { &mut self.beneath } else { &mut self.here };
            subscribers.remove(&number);
            return;
        };
        let Some(child) = self.children.get_mut(level) else { return };
        child.remove(levels, beneath, number);
        if child.is_empty() {
            self.children.remove(level);
        }
    }

    /// `rest` is what is left of the topic; `None` at its end. Recursion is bounded by the levels of a filter.
    fn collect(&self, rest: Option<&str>, hidden: bool, reached: &mut Reached<'_>) {
        if !hidden {
            reached.add(&self.beneath);
        }
        let Some(rest) = rest else {
            reached.add(&self.here);
            return;
        };
        if self.children.is_empty() {
            return;
        }
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if let Some(child) = self.children.get(level) {
            child.collect(rest, false, reached);
        }
        if !hidden && let Some(child) = self.children.get(ONE_LEVEL) {
            child.collect(rest, false, reached);
        }
    }
}

/// Makes one hit of all hits of a session.
fn merge(hits: &mut Vec<Hit>) {
    if hits.len() < 2 {
        return;
    }
    hits.sort_by_key(|hit| hit.session.number);
    hits.dedup_by(|later, first| {
        let same = later.session.number == first.session.number;
        if same {
            first.qos = first.qos.max(later.qos);
            first.ids.append(&mut later.ids);
        }
        same
    });
}

#[cfg(test)]
mod tests;
