//! The tree against the plain definition of a match. Sessions are their own numbers.

use std::collections::{BTreeMap, BTreeSet};

use drover_mqtt_codec::topic;
use proptest::prelude::*;

use super::*;
use crate::trie::strategies::{filters, topics};

const GROUPS: [&str; 2] = ["g", "h"];

fn member(number: u64, options: Options) -> Member<u64> {
    Member { number, session: number, options }
}

fn plain(number: u64) -> Member<u64> {
    member(number, Options::default())
}

fn options() -> impl Strategy<Value = Options> {
    let qos = prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    (qos, any::<bool>(), any::<bool>(), 0..4u32).prop_map(|(qos, no_local, retain_as_published, id)| {
        Options { qos, no_local, retain_as_published, id: NonZeroU32::new(id) }
    })
}

type Key = (Option<&'static str>, String, u64);

/// A shared subscription or an ordinary one of a session.
fn keys() -> impl Strategy<Value = Key> {
    (prop::option::of(prop::sample::select(GROUPS.to_vec())), filters(), 1..6u64)
}

/// What a session gets: quality, whether retain is as published, sorted identifiers.
type Expected = BTreeMap<u64, (QoS, bool, Vec<u32>)>;

fn expected(model: &BTreeMap<Key, Options>, name: &str, publisher: u64) -> Expected {
    let mut expected = Expected::new();
    for ((group, filter, number), options) in model {
        let counts = group.is_none() && !(options.no_local && *number == publisher);
        if counts && topic::matches(filter, name) {
            let (qos, retain, ids) = expected.entry(*number).or_default();
            *qos = options.qos.max(*qos);
            *retain |= options.retain_as_published;
            ids.extend(options.id.map(NonZeroU32::get));
            ids.sort_unstable();
        }
    }
    expected
}

fn found(tree: &Tree<u64>, name: &str, publisher: u64) -> Expected {
    let mut hits = Vec::new();
    tree.matching(name, publisher, &mut hits);
    let count = hits.len();
    let found: Expected = hits
        .into_iter()
        .map(|hit| {
            assert_eq!(hit.number, hit.session);
            let mut ids: Vec<_> = hit.ids.iter().map(|id| id.get()).collect();
            ids.sort_unstable();
            (hit.number, (hit.qos, hit.retain_as_published, ids))
        })
        .collect();
    assert_eq!(found.len(), count, "a session is hit twice");
    found
}

/// The groups that a topic reaches, each with its members.
fn found_shared(tree: &Tree<u64>, name: &str) -> Vec<(String, Vec<u64>)> {
    let mut found = Vec::new();
    tree.matching_shared(name, |members| {
        let numbers: Vec<_> = members.all().map(|member| member.number).collect();
        let picked: Vec<_> =
            numbers.iter().map(|_| members.pick(|_| true).map(|member| member.number)).collect();
        assert_eq!(picked.iter().flatten().collect::<BTreeSet<_>>(), numbers.iter().collect());
        found.push((members.group().to_owned(), numbers));
    });
    found.sort();
    found
}

fn expected_shared(model: &BTreeMap<Key, Options>, name: &str) -> Vec<(String, Vec<u64>)> {
    let mut groups: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for (group, filter, number) in model.keys() {
        if let Some(group) = group
            && topic::matches(filter, name)
        {
            groups.entry((group, filter)).or_default().push(*number);
        }
    }
    let mut expected: Vec<_> =
        groups.into_iter().map(|((group, _), numbers)| (group.to_string(), numbers)).collect();
    expected.sort();
    expected
}

fn unsubscribe(tree: &mut Tree<u64>, (group, filter, number): &Key) -> bool {
    match group {
        Some(group) => tree.unsubscribe_shared(group, filter, *number),
        None => tree.unsubscribe(filter, *number),
    }
}

proptest! {
    #[test]
    fn the_tree_finds_what_the_definition_says_and_is_empty_when_all_have_left(
        subscriptions in prop::collection::vec((keys(), options()), 0..60),
        gone in prop::collection::vec(keys(), 0..20),
        names in prop::collection::vec(topics(), 1..10),
    ) {
        let mut tree = Tree::default();
        let mut model = BTreeMap::new();
        for (key, options) in subscriptions {
            let member = member(key.2, options);
            let existed = match key.0 {
                Some(group) => tree.subscribe_shared(group, &key.1, member, true),
                None => tree.subscribe(&key.1, member),
            };
            prop_assert_eq!(existed, model.insert(key, options).is_some());
        }
        for key in gone {
            prop_assert_eq!(unsubscribe(&mut tree, &key), model.remove(&key).is_some());
        }
        prop_assert_eq!(tree.len(), model.len());
        for name in names {
            prop_assert_eq!(found(&tree, &name, 1), expected(&model, &name, 1), "{}", name);
            prop_assert_eq!(found_shared(&tree, &name), expected_shared(&model, &name), "{}", name);
        }
        for key in model.keys() {
            prop_assert!(unsubscribe(&mut tree, key));
        }
        prop_assert!(tree.ordinary.is_empty() && tree.shared.is_empty() && tree.len() == 0);
    }
}

#[test]
fn overlapping_subscriptions_give_one_hit_with_the_highest_qos_and_all_identifiers() {
    let mut tree = Tree::default();
    let subscriptions = [
        ("a/#", QoS::AtMostOnce, true, 1),
        ("a/+", QoS::ExactlyOnce, false, 2),
        ("+/b", QoS::AtLeastOnce, false, 0),
        ("a/b", QoS::AtLeastOnce, false, 3),
        ("b", QoS::AtMostOnce, true, 4),
    ];
    for (filter, qos, retain_as_published, id) in subscriptions {
        let id = NonZeroU32::new(id);
        tree.subscribe(filter, member(1, Options { qos, retain_as_published, id, no_local: false }));
    }
    assert_eq!(found(&tree, "a/b", 0), [(1, (QoS::ExactlyOnce, true, vec![1, 2, 3]))].into());
    assert_eq!(found(&tree, "x/b", 0), [(1, (QoS::AtLeastOnce, false, vec![]))].into());
}

#[test]
fn a_subscription_replaces_the_one_of_the_same_filter() {
    let mut tree = Tree::default();
    for others in [0, 3] {
        (0..others).for_each(|other| assert!(!tree.subscribe("a", plain(10 + other))));
        let options = Options { qos: QoS::ExactlyOnce, id: NonZeroU32::new(5), ..Options::default() };
        assert!(!tree.subscribe("a", member(1, options)));
        assert!(tree.subscribe("a", plain(1)));
        assert_eq!(found(&tree, "a", 0).get(&1), Some(&(QoS::AtMostOnce, false, vec![])));
        assert!(tree.unsubscribe("a", 1) && !tree.unsubscribe("a", 1));
    }
    assert_eq!(tree.len(), 3);
}

#[test]
fn no_local_leaves_out_the_publisher_unless_another_subscription_of_it_matches() {
    let mut tree = Tree::default();
    let options = Options { qos: QoS::AtLeastOnce, no_local: true, ..Options::default() };
    tree.subscribe("a", member(1, options));
    assert!(found(&tree, "a", 1).is_empty());
    assert_eq!(found(&tree, "a", 2).len(), 1);
    tree.subscribe("+", plain(1));
    assert_eq!(found(&tree, "a", 1), [(1, (QoS::AtMostOnce, false, vec![]))].into());
}

#[test]
fn a_leading_wildcard_matches_no_topic_that_begins_with_a_dollar_in_shared_filters_neither() {
    let mut tree = Tree::default();
    for (number, filter) in (1..).zip(["#", "+/a", "+/#", "$x/a", "$x/#", "$x/+"]) {
        tree.subscribe(filter, plain(number));
        tree.subscribe_shared("g", filter, plain(number), true);
    }
    assert_eq!(found(&tree, "$x/a", 0).into_keys().collect::<Vec<_>>(), [4, 5, 6]);
    let shared: Vec<_> = found_shared(&tree, "$x/a").into_iter().flat_map(|(_, members)| members).collect();
    assert_eq!(shared, [4, 5, 6]);
}

#[test]
fn empty_levels_count() {
    let mut tree = Tree::default();
    for (number, filter) in (1..).zip(["/", "+", "+/+", "/+", "a/", "a/+", "a//#", "a/#"]) {
        tree.subscribe(filter, plain(number));
    }
    let reached = |name| found(&tree, name, 0).into_keys().collect::<Vec<_>>();
    assert_eq!(reached("/"), [1, 3, 4]);
    assert_eq!(reached("a"), [2, 8]);
    assert_eq!(reached("a/"), [3, 5, 6, 7, 8]);
    assert_eq!(reached("a//b"), [7, 8]);
}

#[test]
fn members_of_a_group_take_turns_and_those_that_are_away_are_passed_over_while_one_is_present() {
    let mut tree = Tree::default();
    (1..=4).for_each(|number| assert!(!tree.subscribe_shared("g", "a/+", plain(number), false)));
    let mut deliver = |away: &[u64], messages: usize| {
        (1..=4).for_each(|number| tree.note_presence("g", "a/+", number, !away.contains(&number)));
        let mut counts = BTreeMap::new();
        for _ in 0..messages {
            tree.matching_shared("a/b", |members| {
                *counts.entry(members.pick(|_| true).map(|member| member.number)).or_insert(0) += 1;
            });
        }
        counts
    };
    let each = |numbers: &[u64], count| numbers.iter().map(|number| (Some(*number), count)).collect();
    assert_eq!(deliver(&[], 8), each(&[1, 2, 3, 4], 2));
    assert_eq!(deliver(&[2, 3], 8), each(&[1, 4], 4));
    assert_eq!(deliver(&[3, 4], 8), each(&[1, 2], 4));
    assert_eq!(deliver(&[1, 2, 3, 4], 8), each(&[1, 2, 3, 4], 2));
    // Whoever is no member does not become one.
    tree.note_presence("g", "a/+", 5, true);
    tree.note_presence("h", "a/+", 1, true);
    assert!(tree.subscribe_shared("g", "a/+", plain(1), false) && tree.unsubscribe_shared("g", "a/+", 2));
    assert_eq!((tree.len(), found_shared(&tree, "a/b")), (3, vec![("g".into(), vec![1, 3, 4])]));
}

#[test]
fn a_group_and_a_filter_together_name_a_shared_subscription() {
    let mut tree = Tree::default();
    tree.subscribe_shared("g", "a", plain(1), true);
    tree.subscribe_shared("h", "a", plain(1), false);
    tree.subscribe_shared("g", "+", plain(1), true);
    tree.subscribe("a", plain(1));
    assert_eq!(found_shared(&tree, "a").len(), 3);
    assert_eq!(found(&tree, "a", 0).len(), 1);
    assert!(!tree.unsubscribe_shared("g", "a", 2) && !tree.unsubscribe_shared("i", "a", 1));
    assert!(tree.unsubscribe_shared("g", "a", 1) && !tree.unsubscribe_shared("g", "a", 1));
    assert_eq!((found_shared(&tree, "a").len(), tree.len()), (2, 3));
}

#[test]
fn many_sessions_with_one_filter_come_and_go() {
    let mut tree = Tree::default();
    (0..1000).for_each(|number| assert!(!tree.subscribe("a/#", plain(number))));
    assert_eq!(found(&tree, "a", 0).len(), 1000);
    (0..1000).for_each(|number| assert!(tree.unsubscribe("a/#", number)));
    assert!(tree.ordinary.is_empty());
}

#[test]
fn a_topic_of_many_levels_visits_no_node_twice() {
    let mut tree = Tree::default();
    let levels = 128;
    for length in 1..levels {
        tree.subscribe(&format!("{}#", "+/".repeat(length)), plain(1));
        tree.subscribe(&format!("{}+", "+/".repeat(length)), plain(1));
        tree.subscribe(&format!("{}a", "a/".repeat(length)), plain(1));
        tree.subscribe(&format!("{}#", "a/".repeat(length)), plain(1));
    }
    assert_eq!(found(&tree, &vec!["a"; levels].join("/"), 0).len(), 1);
    assert_eq!(found(&tree, &format!("{}b", "a/".repeat(levels)), 0).len(), 1);
}

#[test]
fn the_only_subscriber_of_a_filter_takes_three_words() {
    assert_eq!(size_of::<Option<Subscribers<std::sync::Arc<()>>>>(), 24);
}
