//! Bounds on how many at a time come from one source, or belong to one tenant.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Counts what is there by key. Keys are forgotten with their last place, so that there are never more than places.
#[derive(Debug)]
pub struct Places<K> {
    taken: Mutex<HashMap<K, u32>>,
    most: u32,
}

/// One of the places of its key, given back when dropped.
#[derive(Debug)]
pub struct Place<K: Hash + Eq>(Option<(Arc<Places<K>>, K)>);

impl<K: Hash + Eq + Clone> Places<K> {
    /// At most so many of each key; 0 = as many as come.
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), most })
    }

    /// A place, unless all places of the key are taken.
    pub fn take(self: &Arc<Self>, key: &K) -> Option<Place<K>> {
        if self.most == 0 {
            return Some(Place(None));
        }
        let mut taken = self.taken.lock();
        match taken.get_mut(key) {
            Some(count) if *count >= self.most => return None,
            Some(count) => *count += 1,
            None => {
                taken.insert(key.clone(), 1);
            }
        }
        Some(Place(Some((self.clone(), key.clone()))))
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let Some((places, key)) = self.0.take() else { return };
        let mut taken = places.taken.lock();
        if let Some(count) = taken.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&key);
            }
        }
    }
}

/// What counts as one source: the address, or of IPv6 the network of 64 bits that one subscriber has to itself.
pub fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_places_and_gets_them_back() {
        let places = Places::new(2);
        let (first, _second) = (places.take(&"a").unwrap(), places.take(&"a").unwrap());
        assert!(places.take(&"a").is_none());
        let other = places.take(&"b").unwrap();
        drop(first);
        let again = places.take(&"a").unwrap();
        assert!(places.take(&"a").is_none());
        drop((other, again));
        assert_eq!(places.taken.lock().len(), 1, "a key without places is forgotten");
    }

    #[test]
    fn nothing_is_counted_without_a_bound() {
        let places = Places::new(0);
        let many: Vec<_> = (0..100).map(|_| places.take(&"a").unwrap()).collect();
        assert!(places.taken.lock().is_empty() && many.len() == 100);
    }

    #[test]
    fn the_addresses_of_one_ipv6_subscriber_count_as_one_source() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network_of(address("2001:db8:1:2:3::4")), network_of(address("2001:db8:1:2:9::9")));
        assert_ne!(network_of(address("2001:db8:1:2:3::4")), network_of(address("2001:db8:1:3:3::4")));
        assert_eq!(network_of(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }
}
