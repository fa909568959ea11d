//! The children of a node by their first level: in a row while they are few, in a hash table when they are many.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{MANY_LEVELS, Node, ONE_LEVEL, is_wildcard};

/// As many children are looked at one after the other.
const FEW: usize = 8;

pub(super) enum Children<V> {
    Few(Box<[Node<V>]>),
    Many(Box<Table<V>>),
}

impl<V> Default for Children<V> {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

pub(super) struct Table<V> {
    places: HashTable<Place<V>>,
    hasher: DefaultHashBuilder,
}

/// A node is boxed so that a free place takes little room, and its hash is here so that the table grows without a look at the nodes:
/// with a million of them that would keep everybody waiting.
struct Place<V> {
    hash: u64,
    node: Box<Node<V>>,
}

impl<V> Children<V> {
    pub(super) fn one(node: Node<V>) -> Self {
        Self::Few(Box::new([node]))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Few(nodes) if nodes.is_empty())
    }

    pub(super) fn get(&self, level: &str) -> Option<&Node<V>> {
        match self {
            Self::Few(nodes) => nodes.iter().find(|node| node.first_level() == level),
            Self::Many(table) => table.get(level),
        }
    }

    pub(super) fn get_mut(&mut self, level: &str) -> Option<&mut Node<V>> {
        match self {
            Self::Few(nodes) => nodes.iter_mut().find(|node| node.first_level() == level),
            Self::Many(table) => table.get_mut(level),
        }
    }

    pub(super) fn each<'a>(&'a self, visit: impl FnMut(&'a Node<V>)) {
        match self {
            Self::Few(nodes) => nodes.iter().for_each(visit),
            Self::Many(table) => table.places.iter().map(|place| &*place.node).for_each(visit),
        }
    }

    /// Visits the children of a level of a topic name: that of this name, and those of wildcards if they count.
    pub(super) fn each_for(&self, level: &str, wildcards: bool, visit: impl FnMut(&Node<V>)) {
        match self {
            Self::Few(nodes) => {
                let counts = |found: &str| found == level || (wildcards && is_wildcard(found));
                nodes.iter().filter(|node| counts(node.first_level())).for_each(visit);
            }
            Self::Many(table) => {
                let levels = [level, ONE_LEVEL, MANY_LEVELS].into_iter().take(if wildcards { 3 } else { 1 });
                levels.filter_map(|level| table.get(level)).for_each(visit);
            }
        }
    }

    /// Adds a child whose first level no other has.
    pub(super) fn insert(&mut self, node: Node<V>) {
        match self {
            Self::Many(table) => table.insert(node),
            Self::Few(nodes) => {
                let mut row = std::mem::take(nodes).into_vec();
                row.reserve_exact(1);
                row.push(node);
                *self = if row.len() <= FEW { Self::Few(row.into()) } else { Self::Many(Table::of(row)) };
            }
        }
    }

    pub(super) fn remove(&mut self, level: &str) {
        match self {
            Self::Few(_) => self.retain_nodes(|node| node.first_level() != level),
            Self::Many(table) => {
                table.remove(level);
                self.shrink();
            }
        }
    }

    pub(super) fn retain_nodes(&mut self, mut keep: impl FnMut(&mut Node<V>) -> bool) {
        match self {
            Self::Few(nodes) => {
                let mut row = std::mem::take(nodes).into_vec();
                row.retain_mut(keep);
                *nodes = row.into();
            }
            Self::Many(table) => {
                table.places.retain(|place| keep(&mut place.node));
                self.shrink();
            }
        }
    }

    /// The child when there is just one.
    pub(super) fn take_only(&mut self) -> Option<Node<V>> {
        match self {
            Self::Few(nodes) if nodes.len() == 1 => std::mem::take(nodes).into_vec().pop(),
            Self::Few(_) | Self::Many(_) => None,
        }
    }

    /// Gives back room after a removal, with a distance to where more would be taken again.
    fn shrink(&mut self) {
        let Self::Many(table) = self else { return };
        let places = &mut table.places;
        if places.len() <= FEW / 2 {
            *self = Self::Few(std::mem::take(places).into_iter().map(|place| *place.node).collect());
        } else if places.len() < places.capacity() / 4 {
            places.shrink_to(places.len() * 2, |place| place.hash);
        }
    }
}

impl<V> Table<V> {
    fn of(row: Vec<Node<V>>) -> Box<Self> {
        let mut table = Self { places: HashTable::new(), hasher: DefaultHashBuilder::default() };
        row.into_iter().for_each(|node| table.insert(node));
        Box::new(table)
    }

    fn get(&self, level: &str) -> Option<&Node<V>> {
        let hash = self.hasher.hash_one(level);
        self.places.find(hash, |place| place.is_of(hash, level)).map(|place| &*place.node)
    }

    fn get_mut(&mut self, level: &str) -> Option<&mut Node<V>> {
        let hash = self.hasher.hash_one(level);
        self.places.find_mut(hash, |place| place.is_of(hash, level)).map(|place| &mut *place.node)
    }

    fn insert(&mut self, node: Node<V>) {
        let hash = self.hasher.hash_one(node.first_level());
        self.places.insert_unique(hash, Place { hash, node: Box::new(node) }, |place| place.hash);
    }

    fn remove(&mut self, level: &str) {
        let hash = self.hasher.hash_one(level);
        if let Ok(place) = self.places.find_entry(hash, |place| place.is_of(hash, level)) {
            place.remove();
        }
    }
}

impl<V> Place<V> {
    fn is_of(&self, hash: u64, level: &str) -> bool {
        self.hash == hash && self.node.first_level() == level
    }
}
