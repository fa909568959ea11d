//! The settings of the gateway. Defaults and explanations stand in `default.toml`.

use std::num::{NonZeroU16, NonZeroU32};

use drover_mqtt_codec::topic::TopicFilter;
use drover_mqtt_codec::{PacketType, ReasonCode};
use drover_runtime::Section;
use drover_runtime::config::Range;
use serde::Deserialize;

/// Section `mqtt`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub max_connections: NonZeroU32,
    pub max_handshakes: NonZeroU32,
    pub max_handshakes_per_source: u32,
    pub max_connections_per_source: u32,
    pub max_connections_per_tenant: u32,
    pub connect_timeout_s: u32,
    pub max_packet_bytes: NonZeroU32,
    pub max_connect_bytes: NonZeroU32,
    pub max_topic_levels: usize,
    pub max_filter_bytes: usize,
    pub max_subscriptions: usize,
    pub max_topic_aliases: u16,
    pub receive_maximum: NonZeroU16,
    pub max_unacknowledged_bytes: usize,
    pub stall_timeout_s: u32,
    pub write_timeout_s: u32,
    pub max_inflight: NonZeroU16,
    pub max_queued_messages: usize,
    pub max_queued_bytes: usize,
    pub max_retained_bytes: usize,
    pub max_session_expiry_s: u32,
    pub checkpoint_interval_s: NonZeroU32,
    pub max_keep_alive_s: u16,
    pub drain_timeout_s: u32,
    pub max_cached_devices: usize,
    pub credentials_ttl_s: u32,
    pub anonymous: Anonymous,
}

/// Clients without credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    pub allow: bool,
    pub deny: Vec<String>,
    pub deny_code: u8,
}

impl Section for Config {
    const RANGES: &'static [Range] = &[
        ("max_connections", 1, 10_000_000),
        ("max_handshakes", 1, 1_000_000),
        ("max_handshakes_per_source", 0, 1_000_000),
        ("max_connections_per_source", 0, 10_000_000),
        ("max_connections_per_tenant", 0, 10_000_000),
        ("connect_timeout_s", 1, 3_600),
        ("max_packet_bytes", 128, 268_435_455),
        ("max_connect_bytes", 128, 1_048_576),
        ("max_topic_levels", 8, 1_024),
        ("max_filter_bytes", 64, 65_535),
        ("max_subscriptions", 1, 1_000_000),
        ("max_topic_aliases", 0, 65_535),
        ("receive_maximum", 1, 65_535),
        ("max_unacknowledged_bytes", 1_024, 1_073_741_824),
        ("stall_timeout_s", 1, 3_600),
        ("write_timeout_s", 1, 3_600),
        ("max_inflight", 1, 65_535),
        ("max_queued_messages", 1, 1_000_000),
        ("max_queued_bytes", 1_024, 17_179_869_184),
        ("max_retained_bytes", 1_024, 1_099_511_627_776),
        ("max_session_expiry_s", 0, 4_294_967_295),
        ("checkpoint_interval_s", 1, 3_600),
        ("max_keep_alive_s", 0, 65_535),
        ("drain_timeout_s", 0, 3_600),
        ("max_cached_devices", 1, 100_000_000),
        ("credentials_ttl_s", 1, 86_400),
        ("anonymous.deny_code", 128, 162),
    ];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let filters = self.anonymous.deny.iter().filter_map(|filter| {
            let error = TopicFilter::parse(filter).err()?;
            Some(("anonymous.deny", format!("{filter:?} is no topic filter: {error}")))
        });
        let mut problems: Vec<_> = filters.collect();
        if self.anonymous.code().is_none() {
            let code = self.anonymous.deny_code;
            let problem = format!("{code} is no failure that SUBACK can carry; the usual one is 135");
            problems.push(("anonymous.deny_code", problem));
        }
        problems
    }
}

impl Anonymous {
    /// The reason code of a denied filter; none when SUBACK can't carry it.
    pub(crate) fn code(&self) -> Option<ReasonCode> {
        ReasonCode::from_u8(self.deny_code)
            .filter(|code| code.is_error() && code.is_allowed_in(PacketType::SubAck))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Config {
        toml::from_str(crate::DEFAULTS).unwrap()
    }

    #[test]
    fn the_defaults_are_complete_and_make_sense() {
        assert_eq!(defaults().problems(), []);
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let mut config = defaults();
        config.anonymous.deny_code = 130;
        config.anonymous.deny = vec!["a/b".into(), "a/#/b".into()];
        let problems = config.problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].0 == "anonymous.deny" && problems[0].1.contains("a/#/b"), "{problems:?}");
        assert!(problems[1].0 == "anonymous.deny_code" && problems[1].1.contains("130"), "{problems:?}");
    }
}
