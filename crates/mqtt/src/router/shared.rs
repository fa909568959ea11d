//! Shared subscriptions (MQTT 5, 4.8.2): a filter has groups, a group has members, and one member gets a message. Whether a member can
//! take it, the caller says.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Member;

/// The members of one group of one filter, by the numbers of their sessions; never empty.
pub(crate) struct Members<S> {
    group: Box<str>,
    members: Vec<Member<S>>,
    /// Whose turn it is; a number of messages rather than an index.
    turn: AtomicUsize,
}

impl<S> Members<S> {
    /// The name of the group.
    #[cfg(test)]
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// All members.
    #[cfg(test)]
    pub(crate) fn as_slice(&self) -> &[Member<S>] {
        &self.members
    }

    /// The next member in turn that accepts, if there is one.
    pub(crate) fn pick(&self, accepts: impl Fn(&S) -> bool) -> Option<&Member<S>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.members.len();
        let (before, from) = self.members.split_at_checked(first)?;
        let skipped = from.iter().chain(before).position(|member| accepts(&member.session))?;
        // The turn of those who were passed over is over too, or the one after them would get their messages on top of its own.
        self.turn.fetch_add(skipped, Ordering::Relaxed);
        self.members.get((first + skipped) % self.members.len())
    }

    /// Where a session is, or where it belongs.
    fn find(&self, number: u64) -> Result<usize, usize> {
        self.members.binary_search_by_key(&number, |member| member.number)
    }
}

/// The groups of one filter, by name.
pub(super) struct Groups<S>(Vec<Members<S>>);

impl<S> Default for Groups<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S> Groups<S> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Members<S>> {
        self.0.iter()
    }

    fn find(&self, group: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|members| (*members.group).cmp(group))
    }

    /// Answers whether the session was in the group before.
    pub(super) fn insert(&mut self, group: &str, member: Member<S>) -> bool {
        let place = self.find(group).unwrap_or_else(|place| {
            let (group, turn) = (group.into(), AtomicUsize::new(0));
            self.0.insert(place, Members { group, members: Vec::new(), turn });
            place
        });
        let Some(group) = self.0.get_mut(place) else { return false };
        match group.find(member.number) {
            Err(place) => {
                group.members.insert(place, member);
                false
            }
            Ok(place) => group.members.get_mut(place).map(|old| *old = member).is_some(),
        }
    }
}

/// Removes a session from a group of a filter; answers whether it was there.
pub(super) fn remove<S>(groups: &mut Option<Groups<S>>, group: &str, number: u64) -> bool {
    let Some(found) = groups else { return false };
    let Ok(place) = found.find(group) else { return false };
    let Some(members) = found.0.get_mut(place) else { return false };
    let Ok(index) = members.find(number) else { return false };
    members.members.remove(index);
    if members.members.is_empty() {
        found.0.remove(place);
    }
    if found.0.is_empty() {
        *groups = None;
    }
    true
}
