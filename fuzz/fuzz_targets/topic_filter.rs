//! Two filters and a topic, one a line: parsing and matching never panic, and a topic that the first filter matches
//! is matched by the second whenever the first lies within it.

#![no_main]

use drover_mqtt_codec::topic::{TopicFilter, TopicName, is_within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let (Some(first), Some(second), Some(topic)) = (lines.next(), lines.next(), lines.next()) else { return };
    let (Ok(first), Ok(second)) = (TopicFilter::parse(first), TopicFilter::parse(second)) else { return };
    let within = is_within(first.filter(), second.filter());
    if first.filter() == second.filter() {
        assert!(within);
    }
    assert!(is_within(first.filter(), "#") || first.filter().starts_with('$'));
    let Ok(topic) = TopicName::parse(topic) else { return };
    if within && first.matches(topic) {
        assert!(second.matches(topic), "{first:?} {second:?} {topic:?}");
    }
    // A topic is a filter without wildcards, so matching and lying within say the same of it.
    assert_eq!(second.matches(topic), is_within(topic.as_str(), second.filter()));
});
