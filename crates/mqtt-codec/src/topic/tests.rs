//! Filters of the standard, and `matches` and `is_within` against models that are slow and plain.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Level by level, straight from MQTT 5, 4.7.1 and 4.7.2.
fn model_matches(filter: &[&str], topic: &[&str]) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            ([first, filter @ ..], [level, topic @ ..]) => {
                (*first == "+" || first == level) && levels(filter, topic)
            }
            _ => false,
        }
    }
    let dollar = topic.first().is_some_and(|level| level.starts_with('$'));
    let wildcard = matches!(filter.first(), Some(&"+" | &"#"));
    !(dollar && wildcard) && levels(filter, topic)
}

fn level() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "ab", "", "$a", "ä"])
}

fn topic_levels() -> impl Strategy<Value = Vec<&'static str>> {
    vec(level(), 1..5)
}

fn filter_levels() -> impl Strategy<Value = Vec<&'static str>> {
    let middle = prop_oneof![2 => level(), 1 => Just("+")];
    (vec(middle, 0..4), any::<bool>()).prop_filter_map("a filter has a level", |(mut levels, multi)| {
        if multi {
            levels.push("#");
        }
        (!levels.is_empty()).then_some(levels)
    })
}

/// All topics of up to four levels over an alphabet that tells any two of the filters above apart: their
/// literals, and a literal that stands in none of them, plain and with `$`.
fn all_topics() -> Vec<Vec<&'static str>> {
    let alphabet = ["a", "b", "", "$a", "z", "$z"];
    let mut topics: Vec<Vec<&str>> = alphabet.iter().map(|level| vec![*level]).collect();
    let mut longest = topics.clone();
    for _ in 1..4 {
        longest = longest
            .iter()
            .flat_map(|topic| alphabet.iter().map(move |level| [topic.as_slice(), &[*level]].concat()))
            .collect();
        topics.extend(longest.clone());
    }
    topics
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn matches_agrees_with_the_model(filter in filter_levels(), topic in topic_levels()) {
        let expected = model_matches(&filter, &topic);
        prop_assert_eq!(matches(&filter.join("/"), &topic.join("/")), expected);
    }

    #[test]
    fn parsing_never_panics_and_keeps_the_text(text in any::<String>()) {
        if let Ok(filter) = TopicFilter::parse(&text) {
            let whole = match filter.group() {
                Some(group) => format!("$share/{group}/{}", filter.filter()),
                None => filter.filter().to_owned(),
            };
            prop_assert_eq!(whole, text.as_str());
            prop_assert!(filter.group().is_some() || is_within(filter.filter(), filter.filter()));
        }
        if let Ok(name) = TopicName::parse(&text) {
            prop_assert!(matches(&text, name.as_str()));
            prop_assert_eq!(name.levels().collect::<Vec<_>>().join("/"), text);
        }
    }
}

#[test]
fn within_means_that_every_topic_of_the_one_is_a_topic_of_the_other() {
    let levels = ["a", "", "$a", "+"];
    let mut filters: Vec<Vec<&str>> = vec![vec!["#"]];
    for first in levels {
        filters.extend([vec![first], vec![first, "#"]]);
        for second in levels {
            filters.extend([vec![first, second], vec![first, second, "#"]]);
            filters.extend(levels.iter().map(|third| vec![first, second, *third]));
        }
    }
    let topics = all_topics();
    let bitmaps: Vec<Vec<bool>> = filters
        .iter()
        .map(|filter| topics.iter().map(|topic| model_matches(filter, topic)).collect())
        .collect();
    for (filter, of_filter) in filters.iter().zip(&bitmaps) {
        for (allowed, of_allowed) in filters.iter().zip(&bitmaps) {
            let expected = of_filter.iter().zip(of_allowed).all(|(inner, outer)| !inner || *outer);
            let (filter, allowed) = (filter.join("/"), allowed.join("/"));
            assert_eq!(is_within(&filter, &allowed), expected, "{filter} within {allowed}");
        }
    }
}

#[test]
fn the_examples_of_the_standard_match_as_it_says() {
    for (filter, topic, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/#", "sport", true),
        ("#", "sport/tennis", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/monitor", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/monitor", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("ACCOUNTS", "Accounts", false),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

#[test]
fn invalid_filters_and_names_are_refused_with_the_cause() {
    let long = "a".repeat(MAX_TOPIC_BYTES + 1);
    for (text, error) in [
        ("", TopicError::Empty),
        (long.as_str(), TopicError::TooLong),
        ("a\0", TopicError::Nul),
        ("sport/tennis#", TopicError::MultiLevelWildcard),
        ("sport/tennis/#/ranking", TopicError::MultiLevelWildcard),
        ("sport+", TopicError::SingleLevelWildcard),
        ("$share/", TopicError::Share),
        ("$share/group", TopicError::Share),
        ("$share/group/", TopicError::Share),
        ("$share//a", TopicError::Share),
        ("$share/gr+up/a", TopicError::Share),
        ("$share/group/a#", TopicError::MultiLevelWildcard),
    ] {
        assert_eq!(TopicFilter::parse(text), Err(error), "{text:.20}");
    }
    assert_eq!(TopicName::parse("a/+"), Err(TopicError::WildcardInName));
    assert_eq!(TopicName::parse("a#b"), Err(TopicError::WildcardInName));
    assert_eq!(TopicName::parse(""), Err(TopicError::Empty));
    assert!(TopicName::parse(&"a".repeat(MAX_TOPIC_BYTES)).is_ok());
}

#[test]
fn a_shared_filter_splits_into_group_and_filter() {
    let filter = TopicFilter::parse("$share/consumers//finance/+").expect("valid");
    assert_eq!(filter.group(), Some("consumers"));
    assert_eq!(filter.filter(), "/finance/+");
    assert!(filter.has_wildcard());
    assert_eq!(filter.levels().collect::<Vec<_>>(), ["", "finance", "+"]);
    assert!(filter.matches(TopicName::parse("/finance/x").expect("valid")));
    assert_eq!(TopicFilter::parse("$share").expect("an ordinary filter").group(), None);
}
