//! How many connections one source has open. Those of this machine are not counted: a reverse proxy on it makes all its connections
//! from there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The part of an IPv6 address that names a network: who has one has all 2^64 sources of it (RFC 4291, 2.5.4).
const IPV6_NETWORK: u128 = u128::MAX << 64;

/// Open connections by the source that they come from; cheap to clone.
#[derive(Clone)]
pub struct Sources {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place among those of its source; given back when dropped.
pub struct Place {
    sources: Sources,
    source: Option<IpAddr>,
}

impl Sources {
    /// At most so many of each; 0 = as many as come.
    pub fn new(max: usize) -> Self {
        let max = if max == 0 { usize::MAX } else { max };
        Self { max, open: Arc::default() }
    }

    /// A place for a connection from this address; none when its source has too many.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        if let Some(source) = source {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(source).or_default();
            if *count >= self.max {
                return None;
            }
            *count += 1;
        }
        Some(Place { sources: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut open = self.sources.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What is counted as one source; nothing for this machine's.
fn source_of(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_so_many_places_and_gets_them_back() {
        let sources = Sources::new(2);
        let places = [sources.enter(address("192.0.2.1")), sources.enter(address("::ffff:192.0.2.1"))];
        assert!(places.iter().all(Option::is_some));
        assert!(sources.enter(address("192.0.2.1")).is_none());
        assert!(sources.enter(address("192.0.2.2")).is_some());
        drop(places);
        assert!(sources.open.lock().unwrap().is_empty());
        assert!(sources.enter(address("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_source() {
        let sources = Sources::new(1);
        let _place = sources.enter(address("2001:db8:0:1::1")).unwrap();
        assert!(sources.enter(address("2001:db8:0:1:ffff::2")).is_none());
        assert!(sources.enter(address("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn zero_is_no_bound() {
        let sources = Sources::new(0);
        let places: Vec<_> = (0..100).map(|_| sources.enter(address("192.0.2.1"))).collect();
        assert!(places.iter().all(Option::is_some));
    }

    #[test]
    fn connections_of_this_machine_are_not_counted() {
        let sources = Sources::new(1);
        let places = ["127.0.0.1", "127.0.0.1", "::1", "::1", "::ffff:127.0.0.1"];
        let places: Vec<_> = places.map(|text| sources.enter(address(text))).into_iter().collect();
        assert!(places.iter().all(Option::is_some));
        assert!(sources.open.lock().unwrap().is_empty());
    }
}
