//! The tree against the plain definition of a match.

use drover_model::{Tenant, TenantId};
use drover_mqtt_codec::topic;
use proptest::prelude::*;

use super::*;
use crate::session::{Client, QueueBounds};

#[expect(clippy::disallowed_methods, reason = "a test vouches for its tenant")]
fn session() -> Arc<Session> {
    let client = Client::Anonymous(Tenant::authenticated(TenantId::parse("default").unwrap()));
    Arc::new(Session::new(client, "".into(), QueueBounds { messages: 1, bytes: 1 }))
}

fn subscriber(session: &Arc<Session>) -> Subscriber {
    Subscriber { session: session.clone(), qos: QoS::AtMostOnce, no_local: false, id: None }
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just("a"), Just("b"), Just("$a")]
}

fn topics() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("no topic", |t| !t.is_empty())
}

fn filters() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop_oneof![level(), Just("+")], 0..4);
    (levels, any::<bool>())
        .prop_map(|(mut levels, many)| {
            if many {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("no filter", |filter| topic::TopicFilter::parse(filter).is_ok())
}

proptest! {
    #[test]
    fn the_tree_finds_what_the_definition_says_and_is_empty_when_all_have_left(
        subscriptions in prop::collection::vec((0..4usize, filters()), 0..30),
        gone in prop::collection::vec((0..4usize, filters()), 0..10),
        names in prop::collection::vec(topics(), 1..10),
    ) {
        let sessions: Vec<_> = (0..4).map(|_| session()).collect();
        let mut tree = Tree::default();
        let mut model = Vec::new();
        for (who, filter) in subscriptions {
            tree.subscribe(&filter, subscriber(&sessions[who]));
            model.push((who, filter));
        }
        for (who, filter) in gone {
            tree.unsubscribe(&filter, sessions[who].number);
            model.retain(|entry| *entry != (who, filter.clone()));
        }
        for name in names {
            let mut hits = Vec::new();
            tree.matching(&name, 0, &mut hits);
            let found: Vec<_> = hits.iter().map(|hit| hit.session.number).collect();
            let mut expected: Vec<_> = model
                .iter()
                .filter(|(_, filter)| topic::matches(filter, &name))
                .map(|(who, _)| sessions[*who].number)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(found, expected, "{}", name);
        }
        for (who, filter) in model {
            tree.unsubscribe(&filter, sessions[who].number);
        }
        prop_assert!(tree.is_empty());
    }
}

#[test]
fn overlapping_subscriptions_give_one_hit_with_the_highest_qos_and_all_identifiers() {
    let session = session();
    let mut tree = Tree::default();
    for (filter, qos, id) in
        [("a/#", QoS::AtMostOnce, 1), ("a/+", QoS::AtLeastOnce, 2), ("b", QoS::AtMostOnce, 3)]
    {
        tree.subscribe(filter, Subscriber { qos, id: NonZeroU32::new(id), ..subscriber(&session) });
    }
    let mut hits = Vec::new();
    tree.matching("a/b", 0, &mut hits);
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].qos, QoS::AtLeastOnce);
    assert_eq!(hits[0].ids.iter().map(|id| id.get()).sum::<u32>(), 3);
}

#[test]
fn no_local_leaves_out_the_publisher() {
    let session = session();
    let mut tree = Tree::default();
    tree.subscribe("a", Subscriber { no_local: true, ..subscriber(&session) });
    let mut hits = Vec::new();
    tree.matching("a", session.number, &mut hits);
    assert!(hits.is_empty());
    tree.matching("a", 0, &mut hits);
    assert_eq!(hits.len(), 1);
}
