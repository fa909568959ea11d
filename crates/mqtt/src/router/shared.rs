//! Shared subscriptions (MQTT 5, 4.8.2): a filter has groups, a group has members, and one member gets a message: one that is present
//! if there is any. The caller says who is.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Member;

/// The members of one group of one filter, of whom there is at least one.
pub(crate) struct Members<S> {
    group: Box<str>,
    /// By the numbers of their sessions.
    present: Vec<Member<S>>,
    /// Likewise.
    away: Vec<Member<S>>,
    /// Whose turn it is; a number of messages rather than an index.
    turn: AtomicUsize,
}

impl<S> Members<S> {
    /// The name of the group.
    #[cfg(test)]
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// All members, those that are present first.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Member<S>> {
        self.present.iter().chain(&self.away)
    }

    /// Whose turn it is: the next one that has room. When nobody has, the next one all the same.
    pub(crate) fn pick(&self, has_room: impl Fn(&Member<S>) -> bool) -> Option<&Member<S>> {
        self.pick_with_room(has_room).or_else(|| self.pick_with_room(|_| true))
    }

    /// The next one that has room, a present one if possible.
    pub(crate) fn pick_with_room(&self, has_room: impl Fn(&Member<S>) -> bool) -> Option<&Member<S>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        [&self.present, &self.away].into_iter().find_map(|members| {
            let (later, first) = members.split_at(turn.checked_rem(members.len())?);
            first.iter().chain(later).find(|member| has_room(member))
        })
    }

    fn is_empty(&self) -> bool {
        self.present.is_empty() && self.away.is_empty()
    }

    /// Puts a member where it belongs, in place of what there was of its session; answers whether there was something.
    fn insert(&mut self, member: Member<S>, is_present: bool) -> bool {
        let existed = self.remove(member.number).is_some();
        let members = if is_present { &mut self.present } else { &mut self.away };
        let place = find(members, member.number).unwrap_or_else(|place| place);
        members.insert(place, member);
        existed
    }

    fn remove(&mut self, number: u64) -> Option<Member<S>> {
        [&mut self.present, &mut self.away]
            .into_iter()
            .find_map(|members| find(members, number).ok().map(|place| members.remove(place)))
    }
}

/// Where a session is, or where it belongs.
fn find<S>(members: &[Member<S>], number: u64) -> Result<usize, usize> {
    members.binary_search_by_key(&number, |member| member.number)
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

    pub(super) fn get(&self, group: &str) -> Option<&Members<S>> {
        self.find(group).ok().and_then(|place| self.0.get(place))
    }

    /// Answers whether the session was in the group before.
    pub(super) fn insert(&mut self, group: &str, member: Member<S>, is_present: bool) -> bool {
        let place = self.find(group).unwrap_or_else(|place| {
            let (group, turn) = (group.into(), AtomicUsize::new(0));
            self.0.insert(place, Members { group, present: Vec::new(), away: Vec::new(), turn });
            place
        });
        self.0.get_mut(place).is_some_and(|members| members.insert(member, is_present))
    }

    /// Notes whether a member is present.
    pub(super) fn note(&mut self, group: &str, number: u64, is_present: bool) {
        let members = self.find(group).ok().and_then(|place| self.0.get_mut(place));
        if let Some(members) = members
            && let Some(member) = members.remove(number)
        {
            members.insert(member, is_present);
        }
    }
}

/// Removes a session from a group of a filter; answers whether it was there.
pub(super) fn remove<S>(groups: &mut Option<Groups<S>>, group: &str, number: u64) -> bool {
    let Some(found) = groups else { return false };
    let Ok(place) = found.find(group) else { return false };
    let Some(members) = found.0.get_mut(place) else { return false };
    let existed = members.remove(number).is_some();
    if members.is_empty() {
        found.0.remove(place);
    }
    if found.0.is_empty() {
        *groups = None;
    }
    existed
}
