//! Which subscriptions a subject reaches: a tree by token.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{LiveMessage, Member};

/// All subscriptions, by pattern.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    children: HashMap<Box<str>, Subjects>,
    one: Option<Box<Subjects>>,
    /// Patterns that end here.
    here: Vec<Target>,
    /// Patterns that end here with `>`.
    rest: Vec<Target>,
}

/// One subscription, or a group of them.
#[derive(Debug)]
pub(super) struct Target {
    group: Option<Box<str>>,
    members: Vec<Member>,
    turn: AtomicUsize,
}

impl Target {
    /// To the member whose turn it is, or the first after it that has room; whether there was one.
    pub(super) fn send(&self, message: &LiveMessage) -> bool {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.members.len().max(1);
        let (before, from) = self.members.split_at_checked(turn).unwrap_or_default();
        let taken = from.iter().chain(before).any(|member| member.offer(message));
        if !taken && let Some(member) = from.first() {
            member.lose();
        }
        taken
    }
}

impl Subjects {
    pub(super) fn insert(&mut self, pattern: &str, group: Option<&str>, member: Member) {
        let mut node = self;
        let mut tokens = pattern.split('.').peekable();
        while let Some(token) = tokens.next() {
            if token == ">" && tokens.peek().is_none() {
                return add(&mut node.rest, group, member);
            }
            node = match token {
                "*" => node.one.get_or_insert_default(),
                _ => node.children.entry(token.into()).or_default(),
            };
        }
        add(&mut node.here, group, member);
    }

    /// Takes a subscription away, and the branches that are empty then.
    pub(super) fn remove(&mut self, pattern: &str, id: u64) {
        let (token, rest) = match pattern.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (pattern, None),
        };
        if token == ">" && rest.is_none() {
            return take(&mut self.rest, id);
        }
        let node = if token == "*" { self.one.as_deref_mut() } else { self.children.get_mut(token) };
        let Some(node) = node else { return };
        match rest {
            Some(rest) => node.remove(rest, id),
            None => take(&mut node.here, id),
        }
        if node.is_empty() {
            if token == "*" {
                self.one = None;
            } else {
                self.children.remove(token);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.one.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    pub(super) fn any(&self, subject: &str) -> bool {
        self.visit(Some(subject), &mut |_| true)
    }

    pub(super) fn matching(&self, subject: &str) -> Vec<&Target> {
        let mut found = Vec::new();
        self.visit(Some(subject), &mut |target| {
            found.push(target);
            false
        });
        found
    }

    /// Shows every target of a subject until one is enough.
    fn visit<'a>(&'a self, subject: Option<&str>, see: &mut impl FnMut(&'a Target) -> bool) -> bool {
        let Some(subject) = subject else {
            return self.here.iter().any(see);
        };
        if self.rest.iter().any(&mut *see) {
            return true;
        }
        let (token, rest) = match subject.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (subject, None),
        };
        self.children.get(token).is_some_and(|child| child.visit(rest, see))
            || self.one.as_deref().is_some_and(|child| child.visit(rest, see))
    }
}

fn add(targets: &mut Vec<Target>, group: Option<&str>, member: Member) {
    let same = |target: &&mut Target| group.is_some() && target.group.as_deref() == group;
    match targets.iter_mut().find(same) {
        Some(target) => target.members.push(member),
        None => targets.push(Target {
            group: group.map(Into::into),
            members: vec![member],
            turn: AtomicUsize::new(0),
        }),
    }
}

fn take(targets: &mut Vec<Target>, id: u64) {
    for target in &mut *targets {
        target.members.retain(|member| member.id != id);
    }
    targets.retain(|target| !target.members.is_empty());
}
