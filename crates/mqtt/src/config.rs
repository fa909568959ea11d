//! The settings of the gateway. Defaults and explanations stand in `default.toml`.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use drover_mqtt_codec::topic::TopicFilter;
use drover_mqtt_codec::{PacketType, ReasonCode};
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

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    #[error("mqtt.anonymous.deny: {filter:?} is no topic filter: {reason}")]
    DenyFilter { filter: String, reason: String },
    #[error("mqtt.anonymous.deny_code: {code} is no failure that SUBACK can carry; the usual one is 135")]
    DenyCode { code: u8 },
    #[error(
        "mqtt.websocket_origins: {origin:?} is no origin as browsers write it, https://app.example.com, and not \"*\""
    )]
    Origin { origin: String },
    #[error("mqtt.proxy.from: {network:?} is neither an address nor a network such as 10.0.0.0/8")]
    Network { network: String },
    #[error("mqtt.{setting} is {value}; at least {least} is needed")]
    TooSmall { setting: &'static str, value: u64, least: u64 },
}

impl Config {
    /// Checks what the types don't say.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the setting.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        for filter in &self.anonymous.deny {
            TopicFilter::parse(filter).map_err(|error| InvalidConfig::DenyFilter {
                filter: filter.clone(),
                reason: error.to_string(),
            })?;
        }
        self.anonymous.code()?;
        if let Some(origin) = self.websocket_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(InvalidConfig::Origin { origin: origin.clone() });
        }
        self.proxy.networks()?;
        let least = [
            ("max_packet_bytes", self.max_packet_bytes.get(), 128),
            ("max_connect_bytes", self.max_connect_bytes.get(), 128),
        ];
        match least.into_iter().find(|(_, value, least)| value < least) {
            Some((setting, value, least)) => {
                Err(InvalidConfig::TooSmall { setting, value: value.into(), least: least.into() })
            }
            None => Ok(()),
        }
    }
}

/// Scheme, host and perhaps port, and nothing behind (RFC 6454, section 6.2).
fn is_origin(origin: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '/' | '?' | '#' | '@' | '*');
    origin == "*"
        || origin.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty() && !host.is_empty() && host.chars().all(is_plain)
        })
}

impl Proxy {
    /// The networks of the proxies.
    ///
    /// # Errors
    /// Names the entry that is none.
    pub fn networks(&self) -> Result<Vec<IpNet>, InvalidConfig> {
        let network = |text: &String| {
            let one = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            one.or_else(|_| text.parse::<IpNet>())
                .map_err(|_| InvalidConfig::Network { network: text.clone() })
        };
        self.from.iter().map(network).collect()
    }
}

impl Anonymous {
    /// The reason code of a denied filter.
    ///
    /// # Errors
    /// The number is none that SUBACK may carry.
    pub fn code(&self) -> Result<ReasonCode, InvalidConfig> {
        ReasonCode::from_u8(self.deny_code)
            .filter(|code| code.is_error() && code.is_allowed_in(PacketType::SubAck))
            .ok_or(InvalidConfig::DenyCode { code: self.deny_code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Config {
        toml::from_str(crate::DEFAULTS).unwrap()
    }

    #[test]
    fn the_defaults_are_complete_and_valid() {
        defaults().validate().unwrap();
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let mut config = defaults();
        config.anonymous.deny_code = 0x01;
        assert!(config.validate().unwrap_err().to_string().contains("deny_code"));
        let mut config = defaults();
        config.anonymous.deny = vec!["a/#/b".into()];
        assert!(config.validate().unwrap_err().to_string().contains("a/#/b"));
        let mut config = defaults();
        config.max_packet_bytes = NonZeroU32::MIN;
        assert!(config.validate().unwrap_err().to_string().contains("max_packet_bytes"));
        for origin in ["app.example.com", "https://app.example.com/", "https://*.example.com", "https://"] {
            let mut config = defaults();
            config.websocket_origins = vec!["*".into(), "http://localhost:8080".into(), origin.into()];
            assert!(config.validate().unwrap_err().to_string().contains(origin));
        }
        for network in ["10.0.0.0/33", "proxy.example.com", ""] {
            let mut config = defaults();
            config.proxy.from = vec!["10.0.0.1".into(), "fd00::/8".into(), network.into()];
            assert!(config.validate().unwrap_err().to_string().contains(&format!("{network:?}")));
        }
    }
}
