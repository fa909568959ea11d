//! Order, packet ids, bounds, and the part of a queue that only the database has.

use std::sync::Arc;

use super::*;
use crate::message::Message;

const BOUNDS: Bounds = Bounds { volatile: 2, bytes: 1_000 };

fn delivery(qos: QoS, bytes: usize) -> Delivery {
    let message = Arc::new(Message::new("t", &vec![0; bytes], qos));
    Delivery { message, qos, retain: false, subscription_ids: None }
}

fn push(outbox: &mut Outbox, qos: QoS) -> u64 {
    let sequence = outbox.reserve(2, BOUNDS).unwrap();
    let entry =
        Entry { sequence, delivery: delivery(qos, 1), ticket: None, is_sent: false, is_stored: false };
    outbox.push(entry);
    sequence
}

/// Sends what may be sent, and answers the sequences.
fn send(outbox: &mut Outbox, window: usize) -> Vec<u64> {
    let mut sent = Vec::new();
    while let Some(entry) = outbox.next(window) {
        sent.push(entry.sequence);
        outbox.sent();
    }
    sent
}

#[test]
fn a_window_bounds_what_is_on_its_way_and_acknowledgements_open_it() {
    let mut outbox = Outbox::default();
    for _ in 0..3 {
        push(&mut outbox, QoS::AtLeastOnce);
    }
    assert_eq!(send(&mut outbox, 2), [1, 2]);
    assert_eq!(outbox.settle(packet_id(2), QoS::AtLeastOnce), Some(2), "in any order");
    assert_eq!(outbox.settle(packet_id(2), QoS::AtLeastOnce), None);
    assert_eq!(send(&mut outbox, 2), [3]);
}

#[test]
fn a_qos_2_message_keeps_its_place_in_the_window_until_it_is_complete() {
    let mut outbox = Outbox::default();
    push(&mut outbox, QoS::ExactlyOnce);
    push(&mut outbox, QoS::ExactlyOnce);
    assert_eq!(send(&mut outbox, 1), [1]);
    assert_eq!(outbox.settle(packet_id(1), QoS::AtLeastOnce), None, "PUBACK is no answer to QoS 2");
    assert!(outbox.receive(packet_id(1), |_| None).is_some());
    assert!(outbox.receive(packet_id(1), |_| panic!("recorded once")).is_some(), "a repetition");
    assert_eq!(send(&mut outbox, 1), [] as [u64; 0]);
    assert_eq!(outbox.complete(packet_id(1)), Some(1));
    assert_eq!(outbox.complete(packet_id(1)), None);
    assert_eq!(send(&mut outbox, 1), [2]);
}

#[test]
fn a_lost_connection_puts_what_was_not_acknowledged_first_with_the_same_ids_and_dup() {
    let mut outbox = Outbox::default();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
        push(&mut outbox, qos);
    }
    assert!(outbox.push_volatile(delivery(QoS::AtMostOnce, 1), BOUNDS));
    assert_eq!(send(&mut outbox, 2), [1, 2]);
    outbox.settle(packet_id(1), QoS::AtLeastOnce);
    assert_eq!(outbox.rewind(), 1, "QoS 0 is dropped");
    let first = outbox.next(9).unwrap();
    assert_eq!((first.sequence, first.is_sent), (2, true));
    outbox.sent();
    let second = outbox.next(9).unwrap();
    assert_eq!((second.sequence, second.is_sent), (3, false));
}

#[test]
fn qos_0_is_bounded_by_number_and_qos_1_by_bytes() {
    let mut outbox = Outbox::default();
    assert!(outbox.push_volatile(delivery(QoS::AtMostOnce, 1), BOUNDS));
    assert!(outbox.push_volatile(delivery(QoS::AtMostOnce, 1), BOUNDS));
    assert!(!outbox.push_volatile(delivery(QoS::AtMostOnce, 1), BOUNDS));
    assert_eq!(outbox.reserve(2_000, BOUNDS), Err(Full::Session));
    assert!(Outbox::default().reserve(2_000, BOUNDS).is_ok(), "a single one is taken whatever its length");
}

#[test]
fn a_place_counts_from_its_reservation_until_its_message_is_acknowledged_or_it_is_cancelled() {
    let backlog = Arc::new(Backlog::new(6));
    let (mut outbox, mut other) = (Outbox::of(&backlog), Outbox::of(&backlog));
    let first = outbox.reserve(2, BOUNDS).unwrap();
    push(&mut outbox, QoS::AtLeastOnce);
    outbox.reserve(2, BOUNDS).unwrap();
    assert_eq!(other.reserve(2, BOUNDS), Err(Full::Tenant));
    outbox.cancel(2);
    assert!(outbox.push_volatile(delivery(QoS::AtMostOnce, 1), BOUNDS));
    assert_eq!((outbox.bytes(), outbox.kept_bytes(), backlog.bytes()), (6, 4, 4));
    // A page that is read while a publisher has a place leaves that alone.
    outbox.take_unstored(|_, _| {});
    outbox.unload(0);
    let asked = outbox.wants_page(9).unwrap();
    outbox.load(asked, vec![(2, delivery(QoS::AtLeastOnce, 1))], 9);
    assert_eq!(outbox.kept_bytes(), 4);
    let (delivery, ticket) = (delivery(QoS::AtLeastOnce, 1), None);
    outbox.push(Entry { sequence: first, delivery, ticket, is_sent: false, is_stored: false });
    outbox.rewind();
    assert_eq!((outbox.bytes(), backlog.bytes()), (4, 4));
    send(&mut outbox, 9);
    outbox.settle(packet_id(first), QoS::AtLeastOnce);
    assert_eq!(backlog.bytes(), 2);
    drop(outbox);
    assert_eq!(backlog.bytes(), 0);
}

#[test]
fn packet_ids_go_round_without_zero() {
    assert_eq!(packet_id(1).get(), 1);
    assert_eq!(packet_id(65_535).get(), 65_535);
    assert_eq!(packet_id(65_536).get(), 1);
}

#[test]
fn what_a_slow_publisher_reserved_first_takes_its_place_before_later_ones() {
    let mut outbox = Outbox::default();
    let first = outbox.reserve(2, BOUNDS).unwrap();
    push(&mut outbox, QoS::AtLeastOnce);
    let entry = Entry {
        sequence: first,
        delivery: delivery(QoS::AtLeastOnce, 1),
        ticket: None,
        is_sent: false,
        is_stored: false,
    };
    outbox.push(entry);
    assert_eq!(send(&mut outbox, 9), [1, 2]);
}

#[test]
fn a_queue_that_was_left_to_the_database_comes_back_in_order_page_by_page() {
    let mut outbox = Outbox::default();
    for _ in 0..5 {
        push(&mut outbox, QoS::AtLeastOnce);
    }
    let mut database = Vec::new();
    outbox.take_unstored(|sequence, delivery| database.push((sequence, delivery.clone())));
    outbox.unload(0);
    push(&mut outbox, QoS::AtLeastOnce);
    assert!(outbox.next(9).is_none());
    let mut sent = Vec::new();
    while let Some(asked) = outbox.wants_page(0) {
        let page: Vec<_> =
            database.iter().filter(|(sequence, _)| *sequence > asked.stored.after).take(2).cloned().collect();
        outbox.load(asked, page, 2);
        sent.extend(send(&mut outbox, 9));
    }
    assert_eq!(sent, [1, 2, 3, 4, 5, 6]);
    (1..=6).for_each(|sequence| {
        outbox.settle(packet_id(sequence), QoS::AtLeastOnce);
    });
    assert_eq!(outbox.take_settled(), [1, 2, 3, 4, 5], "the last one never stood there");
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn what_is_settled_but_not_yet_deleted_does_not_come_back() {
    let restored =
        Restored { next_sequence: 3, stored: 2, stored_bytes: 4, settled: vec![1], ..Restored::default() };
    let mut outbox = Outbox::restore(restored);
    let page = || vec![(1, delivery(QoS::AtLeastOnce, 1)), (2, delivery(QoS::AtLeastOnce, 1))];
    let early = outbox.wants_page(0).unwrap();
    assert_eq!(outbox.take_settled(), [1]);
    outbox.load(early, page(), 9);
    assert_eq!(send(&mut outbox, 9), [2], "a checkpoint that deletes it is under way");
    assert_eq!(outbox.bytes(), 2, "what was settled has left");
    assert_eq!(outbox.take_settled(), [1], "a checkpoint that failed");

    let restored = Restored { next_sequence: 3, stored: 2, settled: vec![1], ..Restored::default() };
    let mut outbox = Outbox::restore(restored);
    let early = outbox.wants_page(0).unwrap();
    outbox.take_settled();
    outbox.unload(0);
    outbox.load(early, page(), 9);
    assert_eq!(send(&mut outbox, 9), [] as [u64; 0], "the page was read before it was deleted");
    assert!(outbox.wants_page(0).is_some());
}

#[test]
fn rows_that_are_settled_or_in_memory_are_known() {
    let restored = Restored { next_sequence: 4, stored: 3, settled: vec![2], ..Restored::default() };
    let mut outbox = Outbox::restore(restored);
    push(&mut outbox, QoS::AtLeastOnce);
    assert_eq!(outbox.known_stored(), [2]);
    outbox.take_unstored(|_, _| {});
    assert_eq!(outbox.known_stored(), [2, 4]);
    outbox.take_settled();
    assert_eq!(outbox.known_stored(), [2, 4], "a checkpoint that deletes it is under way");
}

#[test]
fn what_comes_to_the_database_while_a_page_is_read_is_not_forgotten() {
    let mut outbox = Outbox::restore(Restored { next_sequence: 2, stored: 1, ..Restored::default() });
    let asked = outbox.wants_page(0).unwrap();
    push(&mut outbox, QoS::AtLeastOnce);
    outbox.take_unstored(|_, _| {});
    outbox.unload(0);
    outbox.load(asked, vec![(1, delivery(QoS::AtLeastOnce, 1))], 9);
    assert_eq!(send(&mut outbox, 9), [1]);
    let again = outbox.wants_page(0).unwrap();
    assert_eq!(again.stored.after, 1);
    outbox.load(again, vec![(2, delivery(QoS::AtLeastOnce, 1))], 9);
    assert_eq!(send(&mut outbox, 9), [2]);
}

#[test]
fn a_page_that_has_what_is_in_memory_too_brings_nothing_twice() {
    for limit in [2, 9] {
        let mut outbox = Outbox::restore(Restored { next_sequence: 2, stored: 1, ..Restored::default() });
        push(&mut outbox, QoS::ExactlyOnce);
        let asked = outbox.wants_page(0).unwrap();
        // A checkpoint has been written, the outbox was not told yet.
        let mut page = vec![(1, delivery(QoS::ExactlyOnce, 1))];
        outbox.take_unstored(|sequence, delivery| page.push((sequence, delivery.clone())));
        outbox.load(asked, page, limit);
        outbox.unload(9);
        assert_eq!(send(&mut outbox, 9), [1, 2]);
        assert_eq!(outbox.wants_page(0), None);
    }
}

#[test]
fn bytes_of_qos_0_messages_do_not_outlive_a_restart() {
    let outbox = Outbox::restore(Restored { next_sequence: 1, stored_bytes: 9, ..Restored::default() });
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn only_what_waited_at_a_kill_may_have_been_sent_before() {
    let suspect = Some(Suspect { window: 2, through: 3, after: 0 });
    let mut outbox = Outbox::restore(Restored { next_sequence: 3, suspect, ..Restored::default() });
    (0..2).for_each(|_| {
        push(&mut outbox, QoS::AtLeastOnce);
    });
    outbox.mark_suspect();
    let dup: Vec<_> =
        outbox.queues.unwrap().waiting.iter().map(|entry| (entry.sequence, entry.is_sent)).collect();
    assert_eq!(dup, [(3, true), (4, false)]);
}

#[test]
fn an_outbox_in_which_nothing_is_has_no_queues() {
    let mut outbox = Outbox::default();
    push(&mut outbox, QoS::AtLeastOnce);
    send(&mut outbox, 9);
    outbox.rewind();
    assert!(outbox.queues.is_some(), "the message waits again");
    assert_eq!(send(&mut outbox, 9), [1]);
    outbox.settle(packet_id(1), QoS::AtLeastOnce);
    outbox.rewind();
    assert!(outbox.queues.is_none());
    assert_eq!(push(&mut outbox, QoS::AtLeastOnce), 2, "the order goes on");
    outbox.take_unstored(|_, _| ());
    outbox.unload(0);
    assert!(outbox.queues.is_some(), "the database has a message");
}

#[test]
fn what_may_have_been_sent_before_a_kill_is_known_page_by_page() {
    let suspect = Some(Suspect { window: 3, through: 4, after: 0 });
    let restored = Restored { next_sequence: 5, stored: 4, stored_bytes: 8, suspect, ..Restored::default() };
    let mut outbox = Outbox::restore(restored);
    let mut dup = Vec::new();
    while let Some(asked) = outbox.wants_page(0) {
        let first = asked.stored.after + 1;
        let page = (first..=4).map(|sequence| (sequence, delivery(QoS::AtLeastOnce, 1)));
        outbox.load(asked, page.take(2).collect(), 2);
        outbox.mark_suspect();
        while let Some(entry) = outbox.next(9) {
            dup.push((entry.sequence, entry.is_sent));
            outbox.sent();
        }
    }
    assert_eq!(dup, [(1, true), (2, true), (3, true), (4, false)]);
    assert_eq!(outbox.suspect(), None);
}
