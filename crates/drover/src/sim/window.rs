//! The messages of one device that are on their way at QoS 1 and 2, in the order in which they were sent. Bounded by what the server
//! takes and by [`MOST_IN_FLIGHT`]. It outlives connections, as the session does.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use tokio::time::Instant;

/// The most messages of a device on their way, whatever the server allows.
pub const MOST_IN_FLIGHT: u16 = 128;

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    pub id: NonZeroU16,
    pub sequence: u64,
    pub sent_at: Instant,
    /// QoS 2: the server has it (PUBREC), and only the end of the exchange is missing.
    pub is_received: bool,
}

/// The window of a device.
#[derive(Debug)]
pub struct Window {
    flights: VecDeque<Flight>,
    last_id: u16,
    limit: u16,
}

impl Window {
    pub fn new() -> Self {
        Self { flights: VecDeque::new(), last_id: 0, limit: MOST_IN_FLIGHT }
    }

    /// What the server allows from now on.
    pub fn allow(&mut self, receive_maximum: Option<NonZeroU16>) {
        self.limit = receive_maximum.map_or(MOST_IN_FLIGHT, |most| most.get().min(MOST_IN_FLIGHT));
    }

    pub fn is_full(&self) -> bool {
        self.flights.len() >= usize::from(self.limit)
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Takes in a message and gives it an id that no other on its way has.
    pub fn send(&mut self, sequence: u64, sent_at: Instant) -> NonZeroU16 {
        let id = loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            match NonZeroU16::new(self.last_id) {
                Some(id) if self.flights.iter().all(|flight| flight.id != id) => break id,
                _ => {}
            }
        };
        self.flights.push_back(Flight { id, sequence, sent_at, is_received: false });
        id
    }

    /// The exchange has ended: the message, when it was on its way.
    pub fn end(&mut self, id: NonZeroU16) -> Option<Flight> {
        let place = self.flights.iter().position(|flight| flight.id == id)?;
        self.flights.remove(place)
    }

    /// The server has the message; the message as it was before.
    pub fn receive(&mut self, id: NonZeroU16) -> Option<Flight> {
        let flight = self.flights.iter_mut().find(|flight| flight.id == id)?;
        let before = *flight;
        flight.is_received = true;
        Some(before)
    }

    /// What is on its way, oldest first: what a new connection goes on with.
    pub fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    /// The server has forgotten the session, and so the exchanges of messages that it has.
    pub fn forget_received(&mut self) {
        self.flights.retain(|flight| !flight.is_received);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    #[test]
    fn the_smaller_of_both_bounds_counts() {
        let mut window = Window::new();
        let now = Instant::now();
        window.allow(NonZeroU16::new(2));
        window.send(0, now);
        assert!(!window.is_full());
        window.send(1, now);
        assert!(window.is_full());
        window.allow(NonZeroU16::new(u16::MAX));
        for sequence in 2..u64::from(MOST_IN_FLIGHT) {
            window.send(sequence, now);
        }
        assert!(window.is_full());
        assert_eq!(window.end(id(1)).unwrap().sequence, 0);
        assert!(!window.is_full() && window.end(id(1)).is_none());
    }

    #[test]
    fn an_id_on_its_way_is_not_given_again() {
        let mut window = Window::new();
        let now = Instant::now();
        let first = window.send(0, now);
        for sequence in 1..200_000 {
            let next = window.send(sequence, now);
            assert_ne!(next, first);
            window.end(next);
        }
        assert_eq!(window.flights().map(|flight| flight.sequence).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_received_message_stays_until_its_exchange_ends() {
        let mut window = Window::new();
        let now = Instant::now();
        let (one, two) = (window.send(0, now), window.send(1, now));
        assert!(!window.receive(one).unwrap().is_received);
        assert!(window.receive(one).unwrap().is_received);
        assert_eq!(window.flights().map(|flight| flight.is_received).collect::<Vec<_>>(), [true, false]);
        window.forget_received();
        assert!(window.end(one).is_none() && window.end(two).is_some() && window.is_empty());
    }
}
