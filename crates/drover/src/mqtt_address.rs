//! Where a server's MQTT is: what the local one listens on, for a URL the usual port of its host.

use std::path::PathBuf;

use crate::client::Target;

/// Ports that MQTT has when nothing else is said.
const PLAIN_PORT: &str = "1883";
const TLS_PORT: &str = "8883";

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttAddress {
    pub host: String,
    pub port: String,
    pub security: Security,
}

/// How.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    Plain,
    /// By TLS, with a certificate of the authority in this file.
    Tls(PathBuf),
    /// By TLS, with a certificate of an authority that only the user can name.
    TlsOfSomebody,
}

/// None where nothing listens.
pub fn of(target: &Target) -> Option<MqttAddress> {
    let at = |name, security| {
        let address = target.address(name)?;
        let (host, port) = address.rsplit_once(':')?;
        Some(MqttAddress { host: reachable(host).to_owned(), port: port.to_owned(), security })
    };
    let authority = Security::Tls(target.directory().join("ca.crt"));
    if let Some(address) = at("mqtt", Security::Plain).or_else(|| at("mqtts", authority)) {
        return Some(address);
    }
    if target.address("api").is_some() {
        return None;
    }
    let url = target.url.as_deref().and_then(|url| reqwest::Url::parse(url).ok());
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("127.0.0.1").to_owned();
    let is_local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    let (port, security) =
        if is_local { (PLAIN_PORT, Security::Plain) } else { (TLS_PORT, Security::TlsOfSomebody) };
    Some(MqttAddress { host, port: port.to_owned(), security })
}

/// A listener on every interface is reached by the loopback.
pub fn reachable(host: &str) -> &str {
    if matches!(host, "0.0.0.0" | "[::]") { "127.0.0.1" } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_interface_is_reached_by_the_loopback() {
        assert_eq!(reachable("0.0.0.0"), "127.0.0.1");
        assert_eq!(reachable("[::]"), "127.0.0.1");
        assert_eq!(reachable("10.0.0.7"), "10.0.0.7");
    }

    #[test]
    fn of_a_url_it_is_the_usual_port_of_its_host() {
        let of = |url: &str| of(&Target { url: Some(url.to_owned()), ..Target::default() }).unwrap();
        let far = of("https://drover.example:8080");
        assert_eq!(
            (far.host.as_str(), far.port.as_str(), far.security),
            ("drover.example", "8883", Security::TlsOfSomebody)
        );
        assert_eq!(of("http://localhost:8080").security, Security::Plain);
    }
}
