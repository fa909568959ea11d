//! Retained messages against the plain definition of a match.

use drover_mqtt_codec::topic;
use proptest::prelude::*;

use super::*;
use crate::trie::strategies::{filters, topics};

proptest! {
    #[test]
    fn a_filter_finds_what_the_definition_says(
        topics in prop::collection::btree_set(topics(), 0..60),
        gone in prop::collection::btree_set(topics(), 0..30),
        filters in prop::collection::vec(filters(), 1..10),
    ) {
        let mut retained = Retained::default();
        for topic in &topics {
            prop_assert_eq!(retained.set(topic, topic.clone()), None);
        }
        for topic in &gone {
            let removed = retained.remove(topic);
            prop_assert_eq!(removed.as_ref(), topics.get(topic));
        }
        prop_assert_eq!(retained.len(), topics.difference(&gone).count());
        for filter in filters {
            let mut found = Vec::new();
            retained.matching(&filter, &mut found);
            found.sort();
            let expected = topics.difference(&gone).filter(|topic| topic::matches(&filter, topic));
            prop_assert_eq!(found, expected.cloned().collect::<Vec<_>>(), "{}", filter);
        }
    }
}

fn matching(retained: &Retained<&'static str>, filter: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    retained.matching(filter, &mut found);
    found.sort_unstable();
    found
}

fn of(topics: &[&'static str]) -> Retained<&'static str> {
    let mut retained = Retained::default();
    for topic in topics {
        retained.set(topic, *topic);
    }
    retained
}

#[test]
fn a_message_replaces_the_one_of_its_topic() {
    let mut retained = Retained::default();
    assert_eq!(retained.set("a/b", 1), None);
    assert_eq!(retained.set("a/b", 2), Some(1));
    assert_eq!((retained.get("a/b"), retained.get("a"), retained.len()), (Some(&2), None, 1));
    assert_eq!((retained.remove("a"), retained.remove("a/b"), retained.remove("a/b")), (None, Some(2), None));
    assert_eq!((retained.len(), retained.messages.is_empty()), (0, true));
}

#[test]
fn a_leading_wildcard_finds_no_topic_that_begins_with_a_dollar() {
    let retained = of(&["$SYS", "$SYS/a", "a/$b", "a"]);
    assert_eq!(matching(&retained, "#"), ["a", "a/$b"]);
    assert_eq!(matching(&retained, "+"), ["a"]);
    assert_eq!(matching(&retained, "+/#"), ["a", "a/$b"]);
    assert_eq!(matching(&retained, "+/a"), [""; 0]);
    assert_eq!(matching(&retained, "$SYS/#"), ["$SYS", "$SYS/a"]);
    assert_eq!(matching(&retained, "$SYS/+"), ["$SYS/a"]);
    assert_eq!(matching(&retained, "a/+"), ["a/$b"]);
}

#[test]
fn an_empty_level_is_a_level() {
    let retained = of(&["/", "a", "a/", "a//b", "/a"]);
    assert_eq!(matching(&retained, "+"), ["a"]);
    assert_eq!(matching(&retained, "+/+"), ["/", "/a", "a/"]);
    assert_eq!(matching(&retained, "a/+"), ["a/"]);
    assert_eq!(matching(&retained, "a/#"), ["a", "a/", "a//b"]);
    assert_eq!(matching(&retained, "a//#"), ["a/", "a//b"]);
    assert_eq!(matching(&retained, "/#"), ["/", "/a"]);
}

#[test]
fn a_sweep_removes_what_is_not_wanted() {
    let mut retained = of(&["a", "a/b", "a/b/c", "d/e", "ä/é"]);
    let mut seen = Vec::new();
    retained.retain(|topic, message| {
        assert_eq!(topic, *message);
        seen.push(*message);
        topic.len() != 3
    });
    seen.sort_unstable();
    assert_eq!(seen, ["a", "a/b", "a/b/c", "d/e", "ä/é"]);
    assert_eq!(retained.len(), 3);
    assert_eq!(matching(&retained, "#"), ["a", "a/b/c", "ä/é"]);
    retained.retain(|_, _| false);
    assert_eq!((retained.len(), retained.messages.is_empty()), (0, true));
}

#[test]
fn a_filter_of_many_levels_finds_a_topic_of_as_many() {
    let topic: &'static str = Box::leak("a/".repeat(127).into_boxed_str());
    let retained = of(&[topic]);
    assert_eq!(matching(&retained, &format!("{}+", "+/".repeat(127))), [topic]);
    assert_eq!(matching(&retained, &format!("{}#", "+/".repeat(127))), [topic]);
    assert_eq!(matching(&retained, &format!("{}a", "+/".repeat(127))), [""; 0]);
}
