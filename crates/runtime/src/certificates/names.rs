//! The names under which clients may reach this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use drover_trust::{SubjectName, TrustError};

/// Most names in one certificate.
const MAX_NAMES: usize = 64;

/// `localhost`, the loopback addresses, the host's name, its interfaces' addresses and the configured names; sorted.
///
/// # Errors
/// A configured name that is none.
pub fn server_names(configured: &[String]) -> Result<Vec<SubjectName>, TrustError> {
    let mut names = vec![
        SubjectName::Dns("localhost".to_owned()),
        SubjectName::Ip(Ipv4Addr::LOCALHOST.into()),
        SubjectName::Ip(Ipv6Addr::LOCALHOST.into()),
    ];
    for name in configured {
        names.push(name.parse()?);
    }
    names.extend(hostname::get().ok().and_then(|name| name.to_str()?.parse().ok()));
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<_> = interfaces.iter().map(if_addrs::Interface::ip).filter(is_reachable).collect();
    addresses.sort();
    names.extend(addresses.into_iter().map(SubjectName::Ip));
    let mut unique = Vec::new();
    for name in names {
        if unique.len() < MAX_NAMES && !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique.sort();
    Ok(unique)
}

/// Link-local addresses need a zone that no certificate can name.
fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}
