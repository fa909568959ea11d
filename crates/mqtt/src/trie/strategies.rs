//! Topics and filters for property tests: few levels, so that they meet, and now and then many children.

use drover_mqtt_codec::topic;
use proptest::prelude::*;

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => prop_oneof![Just(""), Just("a"), Just("b"), Just("$a"), Just("ä")],
        1 => prop::sample::select(vec!["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
    ]
}

pub(crate) fn topics() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("no topic", |topic| topic::TopicName::parse(topic).is_ok())
}

pub(crate) fn filters() -> impl Strategy<Value = String> {
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
