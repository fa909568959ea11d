//! The settings of the gateway. Defaults and explanations stand in `default.toml`.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use drover_mqtt_codec::topic::TopicFilter;
use drover_mqtt_codec::{PacketType, ReasonCode};
use drover_runtime::Section;
use drover_runtime::config::Range;
use ipnet::IpNet;
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
    pub max_incomplete_bytes_per_tenant: usize,
    pub max_inflight: NonZeroU16,
    pub max_queued_messages: usize,
    pub max_queued_bytes: usize,
    pub max_queued_bytes_per_tenant: usize,
    pub max_sessions_per_tenant: usize,
    pub max_retained_bytes: usize,
    pub max_session_expiry_s: u32,
    pub checkpoint_interval_s: NonZeroU32,
    pub max_keep_alive_s: u16,
    pub drain_timeout_s: u32,
    pub max_cached_devices: usize,
    pub credentials_ttl_s: u32,
    pub websocket_origins: Vec<String>,
    pub proxy: Proxy,
    pub budget: Budget,
    pub anonymous: Anonymous,
}

/// Who speaks the PROXY protocol, and where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    pub from: Vec<String>,
    pub listeners: Vec<Listener>,
}

/// A listener, by the name that it has in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listener {
    Mqtt,
    Mqtts,
    Ws,
}

/// How much clients may send; 0 = as much as they want.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub client_messages_per_s: u32,
    pub client_bytes_per_s: u32,
    pub tenant_messages_per_s: u32,
    pub tenant_bytes_per_s: u32,
    pub tenant_connects_per_s: u32,
    pub burst_s: NonZeroU32,
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
        ("max_incomplete_bytes_per_tenant", 1_048_576, 1_099_511_627_776),
        ("max_inflight", 1, 65_535),
        ("max_queued_messages", 1, 1_000_000),
        ("max_queued_bytes", 1_024, 17_179_869_184),
        ("max_queued_bytes_per_tenant", 1_024, 1_099_511_627_776),
        ("max_sessions_per_tenant", 0, 100_000_000),
        ("max_retained_bytes", 1_024, 1_099_511_627_776),
        ("max_session_expiry_s", 0, 4_294_967_295),
        ("checkpoint_interval_s", 1, 3_600),
        ("max_keep_alive_s", 0, 65_535),
        ("drain_timeout_s", 0, 3_600),
        ("max_cached_devices", 1, 100_000_000),
        ("credentials_ttl_s", 1, 86_400),
        ("budget.client_messages_per_s", 0, 100_000_000),
        ("budget.client_bytes_per_s", 0, 4_294_967_295),
        ("budget.tenant_messages_per_s", 0, 100_000_000),
        ("budget.tenant_bytes_per_s", 0, 4_294_967_295),
        ("budget.tenant_connects_per_s", 0, 1_000_000),
        ("budget.burst_s", 1, 3_600),
        ("anonymous.deny_code", 128, 162),
    ];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let filters = self.anonymous.deny.iter().filter_map(|filter| {
            let error = TopicFilter::parse(filter).err()?;
            Some(("anonymous.deny", format!("{filter:?} is no topic filter: {error}")))
        });
        let mut problems: Vec<_> = filters.collect();
        let origins = drover_gateway::origin_problems(&self.websocket_origins);
        problems.extend(origins.map(|problem| ("websocket_origins", problem)));
        let networks = self.proxy.from.iter().filter(|text| network(text).is_none());
        problems.extend(networks.map(|text| {
            ("proxy.from", format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))
        }));
        if self.anonymous.code().is_none() {
            let code = self.anonymous.deny_code;
            let problem = format!("{code} is no failure that SUBACK can carry; the usual one is 135");
            problems.push(("anonymous.deny_code", problem));
        }
        problems
    }
}

/// An address alone or a network.
fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => text.parse().ok(),
    }
}

impl Proxy {
    /// The networks of the proxies; entries that are none are named among the problems.
    pub(crate) fn networks(&self) -> Vec<IpNet> {
        self.from.iter().filter_map(|text| network(text)).collect()
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
        config.websocket_origins = vec!["*".into(), "http://localhost:8080".into()];
        let no_origins = ["app.example.com", "https://app.example.com/", "https://*.example.com", "https://"];
        config.websocket_origins.extend(no_origins.map(str::to_owned));
        config.proxy.from = vec!["10.0.0.1".into(), "fd00::/8".into(), "fd00::1".into()];
        let no_networks = ["10.0.0.0/33", "proxy.example.com", ""];
        config.proxy.from.extend(no_networks.map(str::to_owned));
        let problems = config.problems();
        assert_eq!(problems.len(), 9, "{problems:?}");
        assert!(problems[0].0 == "anonymous.deny" && problems[0].1.contains("a/#/b"), "{problems:?}");
        for (origin, problem) in no_origins.into_iter().zip(&problems[1..5]) {
            assert!(problem.0 == "websocket_origins" && problem.1.contains(origin), "{problem:?}");
        }
        for (network, problem) in no_networks.into_iter().zip(&problems[5..8]) {
            assert!(problem.0 == "proxy.from" && problem.1.contains(&format!("{network:?}")), "{problem:?}");
        }
        assert!(problems[8].0 == "anonymous.deny_code" && problems[8].1.contains("130"), "{problems:?}");
    }
}
