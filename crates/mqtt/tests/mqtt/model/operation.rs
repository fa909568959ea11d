//! What happens to the brokers, and how it is made up.

use drover_mqtt_codec::{QoS, RetainHandling, Version};
use proptest::prelude::*;
use proptest::sample::select;

use super::broker::{Subscription, Wish};

/// Client ids; the last ones are of the driver itself.
pub const NAMES: [&str; CLIENTS + 2] = ["a", "b", "c", "newcomer", "changes something"];
/// Clients that do something.
pub const CLIENTS: usize = 3;
const TOPICS: [&str; 6] = ["a", "a/b", "a/c", "b/c", "a/b/c", "$s/b"];
const FILTERS: [&str; 12] =
    ["#", "+", "+/+", "a/#", "a/+", "+/b", "a/b", "b/c", "$s/#", "w/+", "$share/g/a/+", "$share/h/#"];
const WILL_TOPICS: [&str; 2] = ["w/1", "w/2"];

/// What a publisher says of a message; its payload is made up when it is sent.
#[derive(Clone, Debug)]
pub struct Publication {
    pub topic: &'static str,
    pub qos: QoS,
    pub retain: bool,
    pub empty: bool,
    /// PUBREL is held back.
    pub held: bool,
}

/// One step. A client that has to be connected is chosen among those that are.
#[derive(Clone, Debug)]
pub enum Op {
    Connect { client: usize, wish: Wish, will: Option<Publication> },
    Leave { client: usize, goodbye: bool },
    Subscribe { client: usize, subscription: Subscription },
    Unsubscribe { client: usize, filter: &'static str },
    Publish { client: usize, publication: Publication },
    Flood { client: usize, count: usize, publication: Publication },
    Acknowledge { client: usize, which: usize },
    Drain { client: usize },
    Release { client: usize, which: usize },
    Repeat { client: usize, which: usize },
    Checkpoint,
    Kill { flush: bool, unanswered: Option<(usize, Publication)> },
}

pub fn operations() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(operation(), 1..60)
}

fn operation() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let which = 0_usize..8;
    let will = prop::option::weighted(0.3, publication(&WILL_TOPICS));
    prop_oneof![
        6 => (client.clone(), wish(), will).prop_map(|(client, wish, will)| Op::Connect { client, wish, will }),
        3 => (client.clone(), any::<bool>()).prop_map(|(client, goodbye)| Op::Leave { client, goodbye }),
        5 => (client.clone(), subscription())
            .prop_map(|(client, subscription)| Op::Subscribe { client, subscription }),
        1 => (client.clone(), select(&FILTERS[..]))
            .prop_map(|(client, filter)| Op::Unsubscribe { client, filter }),
        14 => (client.clone(), publication(&TOPICS))
            .prop_map(|(client, publication)| Op::Publish { client, publication }),
        1 => (client.clone(), 10_usize..60, publication(&TOPICS))
            .prop_map(|(client, count, publication)| Op::Flood { client, count, publication }),
        8 => (client.clone(), which.clone()).prop_map(|(client, which)| Op::Acknowledge { client, which }),
        1 => client.clone().prop_map(|client| Op::Drain { client }),
        2 => (client.clone(), which.clone()).prop_map(|(client, which)| Op::Release { client, which }),
        1 => (client.clone(), which).prop_map(|(client, which)| Op::Repeat { client, which }),
        2 => Just(Op::Checkpoint),
        3 => (any::<bool>(), prop::option::of((client, unanswered())))
            .prop_map(|(flush, unanswered)| Op::Kill { flush, unanswered }),
    ]
}

fn qos() -> impl Strategy<Value = QoS> {
    select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce][..])
}

fn publication(topics: &'static [&'static str]) -> impl Strategy<Value = Publication> {
    (select(topics), qos(), prop::bool::weighted(0.3), prop::bool::weighted(0.1), any::<bool>())
        .prop_map(|(topic, qos, retain, empty, held)| Publication { topic, qos, retain, empty, held })
}

fn unanswered() -> impl Strategy<Value = Publication> {
    publication(&TOPICS)
        .prop_map(|publication| Publication { qos: publication.qos.max(QoS::AtLeastOnce), ..publication })
}

fn subscription() -> impl Strategy<Value = Subscription> {
    let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DontSend];
    let id = prop::option::of(1_u32..4);
    (select(&FILTERS[..]), qos(), prop::bool::weighted(0.2), any::<bool>(), select(handling.to_vec()), id)
        .prop_map(|(filter, qos, no_local, retain_as_published, retain_handling, id)| Subscription {
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
            id,
        })
}

fn wish() -> impl Strategy<Value = Wish> {
    let window = prop_oneof![1_usize..4, Just(super::driver::MAX_INFLIGHT)];
    (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.8), window).prop_map(
        |(is_v5, clean_start, persistent, window)| {
            if is_v5 {
                Wish { version: Version::V5, clean_start, persistent, window, will: None }
            } else {
                // Clean Session is both at once, and there is no Receive Maximum.
                Wish {
                    version: Version::V4,
                    clean_start,
                    persistent: !clean_start,
                    window: super::driver::MAX_INFLIGHT,
                    will: None,
                }
            }
        },
    )
}
