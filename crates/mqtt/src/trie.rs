//! A tree of paths (texts of levels with slashes between them) and what each leads to. The paths are filters that are looked up by a
//! topic, or topics that are looked up by a filter. A node has one level or several: only where paths part there are two nodes.

mod children;
mod label;

use crate::trie::children::Children;
use crate::trie::label::Label;

/// Paths and their values. Neither kind of look-up visits a node twice, and each recurses at most once a level.
pub(crate) struct Trie<V> {
    children: Children<V>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { children: Children::default() }
    }
}

struct Node<V> {
    /// Levels below those of the parent; the first one differs from those of all siblings.
    label: Label,
    value: Option<V>,
    children: Children<V>,
}

const ONE_LEVEL: &str = "+";
const MANY_LEVELS: &str = "#";

impl<V> Trie<V> {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The value of a path.
    pub(crate) fn get(&self, path: &str) -> Option<&V> {
        let mut node = self.children.get(first_level(path))?;
        let mut rest = below(&node.label, path)?;
        while let Some(path) = rest {
            node = node.children.get(first_level(path))?;
            rest = below(&node.label, path)?;
        }
        node.value.as_ref()
    }

    /// Where the value of a path is or has to be put.
    pub(crate) fn slot(&mut self, path: &str) -> &mut Option<V> {
        let (mut node, mut rest) = self.children.enter(path);
        while let Some(path) = rest {
            (node, rest) = node.children.enter(path);
        }
        &mut node.value
    }

    /// Changes or takes the value of a path that is in the tree, and answers what `change` does.
    pub(crate) fn change<R>(&mut self, path: &str, change: impl FnOnce(&mut Option<V>) -> R) -> Option<R> {
        self.children.change(path, change)
    }

    /// Removes the values that `keep` doesn't want.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &V) -> bool) {
        self.children.retain(&mut String::new(), &mut keep);
    }

    /// The values of all filters that match a topic name; `paths` of this tree are filters.
    pub(crate) fn of_topic(&self, topic: &str, mut found: impl FnMut(&V)) {
        // MQTT 5, 4.7.2: a wildcard in first place matches no topic that starts with `$`.
        self.children.of_topic(topic, topic.starts_with('$'), &mut found);
    }

    /// The values of all topic names that match a filter; `paths` of this tree are topic names.
    pub(crate) fn of_filter(&self, filter: &str, mut found: impl FnMut(&V)) {
        if !is_wildcard(first_level(filter)) {
            return self.children.of_filter(filter, &mut found);
        }
        self.children.each(|node| {
            if !node.label.starts_with('$') {
                node.of_filter(filter, &mut found);
            }
        });
    }
}

/// How far two paths lead together.
enum Reach<'a> {
    /// They part.
    Parted,
    /// Both are at their end.
    End,
    /// This is left of the longer one.
    Rest(&'a str),
}

impl<V> Node<V> {
    fn new(path: &str) -> Self {
        Self { label: path.into(), value: None, children: Children::default() }
    }

    fn first_level(&self) -> &str {
        first_level(&self.label)
    }

    /// Makes two nodes of this one, the upper one with the first `bytes` of the label.
    fn split(&mut self, bytes: usize) {
        let (Some(upper), Some(lower)) = (self.label.get(..bytes), self.label.get(bytes + 1..)) else {
            return;
        };
        let (upper, lower) = (upper.into(), lower.into());
        let child =
            Self { label: lower, value: self.value.take(), children: std::mem::take(&mut self.children) };
        *self = Self { label: upper, value: None, children: Children::one(child) };
    }

    /// Joins a node that only leads to another with that one. Answers whether the node leads anywhere at all.
    fn join(&mut self) -> bool {
        if self.value.is_some() {
            return true;
        }
        if let Some(child) = self.children.take_only() {
            let label = Label::from(&*format!("{}/{}", &*self.label, &*child.label));
            *self = Self { label, ..child };
        }
        self.value.is_some() || !self.children.is_empty()
    }

    fn retain(&mut self, path: &mut String, keep: &mut impl FnMut(&str, &V) -> bool) -> bool {
        let parent = path.len();
        path.push_str(&self.label);
        self.value.take_if(|value| !keep(path, value));
        path.push('/');
        self.children.retain(path, keep);
        path.truncate(parent);
        self.join()
    }

    fn of_topic(&self, topic: &str, found: &mut impl FnMut(&V)) {
        match reach_of_topic(&self.label, topic) {
            Reach::Parted => {}
            Reach::Rest(topic) => self.children.of_topic(topic, false, found),
            Reach::End => {
                self.value.iter().for_each(&mut *found);
                // `a/#` also matches its parent `a`.
                let beneath = self.children.get(MANY_LEVELS);
                beneath.and_then(|node| node.value.as_ref()).into_iter().for_each(found);
            }
        }
    }

    fn of_filter(&self, filter: &str, found: &mut impl FnMut(&V)) {
        match reach_of_filter(&self.label, filter) {
            Reach::Parted => {}
            Reach::Rest(MANY_LEVELS) => self.all(found),
            Reach::Rest(filter) => self.children.of_filter(filter, found),
            Reach::End => self.value.iter().for_each(found),
        }
    }

    fn all(&self, found: &mut impl FnMut(&V)) {
        self.value.iter().for_each(&mut *found);
        self.children.each(|node| node.all(found));
    }
}

impl<V> Children<V> {
    /// The child where a path begins, made when there is none, and the rest of the path.
    fn enter<'a>(&mut self, path: &'a str) -> (&mut Node<V>, Option<&'a str>) {
        let level = first_level(path);
        if self.get(level).is_none() {
            self.insert(Node::new(path));
        }
        let node = self.get_mut(level).expect("it is there or was put there");
        let bytes = common(&node.label, path);
        node.split(bytes);
        (node, path.get(bytes + 1..))
    }

    fn change<R>(&mut self, path: &str, change: impl FnOnce(&mut Option<V>) -> R) -> Option<R> {
        let level = first_level(path);
        let node = self.get_mut(level)?;
        let answer = match below(&node.label, path)? {
            None => change(&mut node.value),
            Some(rest) => node.children.change(rest, change)?,
        };
        if !node.join() {
            self.remove(level);
        }
        Some(answer)
    }

    fn retain(&mut self, path: &mut String, keep: &mut impl FnMut(&str, &V) -> bool) {
        self.retain_nodes(|node| node.retain(path, keep));
    }

    fn of_topic(&self, topic: &str, hidden: bool, found: &mut impl FnMut(&V)) {
        self.each_for(first_level(topic), !hidden, |node| node.of_topic(topic, found));
    }

    fn of_filter(&self, filter: &str, found: &mut impl FnMut(&V)) {
        let level = first_level(filter);
        if is_wildcard(level) {
            self.each(|node| node.of_filter(filter, found));
        } else if let Some(node) = self.get(level) {
            node.of_filter(filter, found);
        }
    }
}

/// How far a topic name leads along a part of a filter.
fn reach_of_topic<'a>(filter: &str, topic: &'a str) -> Reach<'a> {
    let mut rest = Some(topic);
    for wanted in filter.split('/') {
        if wanted == MANY_LEVELS {
            return Reach::End;
        }
        let Some(topic) = rest else { return Reach::Parted };
        let (level, after) = split_level(topic);
        if wanted != ONE_LEVEL && wanted != level {
            return Reach::Parted;
        }
        rest = after;
    }
    rest.map_or(Reach::End, Reach::Rest)
}

/// How far a filter leads along a part of a topic name. What is left is `#` if that matches all that begins with the part.
fn reach_of_filter<'a>(topic: &str, filter: &'a str) -> Reach<'a> {
    let mut rest = Some(filter);
    for level in topic.split('/') {
        let Some(filter) = rest else { return Reach::Parted };
        let (wanted, after) = split_level(filter);
        if wanted == MANY_LEVELS {
            return Reach::Rest(MANY_LEVELS);
        }
        if wanted != ONE_LEVEL && wanted != level {
            return Reach::Parted;
        }
        rest = after;
    }
    rest.map_or(Reach::End, Reach::Rest)
}

fn is_wildcard(level: &str) -> bool {
    matches!(level, ONE_LEVEL | MANY_LEVELS)
}

/// The first level, and those after it.
fn split_level(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (path, None),
    }
}

fn first_level(path: &str) -> &str {
    split_level(path).0
}

/// What is left of a path below a label that it begins with.
fn below<'a>(label: &str, path: &'a str) -> Option<Option<&'a str>> {
    match path.strip_prefix(label)? {
        "" => Some(None),
        rest => Some(Some(rest.strip_prefix('/')?)),
    }
}

/// Bytes of the levels that two paths begin with; the first levels are equal.
fn common(one: &str, other: &str) -> usize {
    let levels = one.split('/').zip(other.split('/')).take_while(|(one, other)| one == other);
    levels.map(|(level, _)| level.len() + 1).sum::<usize>().saturating_sub(1)
}

#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
mod tests;
