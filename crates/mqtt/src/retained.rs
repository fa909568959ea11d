//! The retained messages of one tenant by their topic (MQTT 5, 3.3.1.3). What a message is, and when it expires, is not known here.

use crate::trie::Trie;

/// Retained messages, at most one a topic.
pub(crate) struct Retained<M> {
    messages: Trie<M>,
    len: usize,
}

impl<M> Default for Retained<M> {
    fn default() -> Self {
        Self { messages: Trie::default(), len: 0 }
    }
}

impl<M> Retained<M> {
    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The message of a topic.
    pub(crate) fn get(&self, topic: &str) -> Option<&M> {
        self.messages.get(topic)
    }

    /// Sets the message of a topic and answers the one that it replaces.
    pub(crate) fn set(&mut self, topic: &str, message: M) -> Option<M> {
        let old = self.messages.slot(topic).replace(message);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes the message of a topic.
    pub(crate) fn remove(&mut self, topic: &str) -> Option<M> {
        let old = self.messages.change(topic, Option::take).flatten();
        self.len -= usize::from(old.is_some());
        old
    }

    /// Removes the messages that `keep` doesn't want.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &M) -> bool) {
        let mut kept = 0;
        self.messages.retain(|topic, message| {
            let keeps = keep(topic, message);
            kept += usize::from(keeps);
            keeps
        });
        self.len = kept;
    }
}

impl<M: Clone> Retained<M> {
    /// Adds the messages whose topics a filter matches to `found`, in no particular order.
    pub(crate) fn matching(&self, filter: &str, found: &mut Vec<M>) {
        self.messages.of_filter(filter, |message| found.push(message.clone()));
    }
}

#[cfg(test)]
mod tests;
