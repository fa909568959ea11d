//! The authority and what it issues.

use std::sync::Arc;
use std::time::Duration;

use drover_model::Timestamp;
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::{Renewable, client_config, server_config};

const DAY: Duration = Duration::from_secs(86_400);

/// The client verifies against the wall clock, so certificates that it sees here are valid for a hundred years.
/// (Of a trust anchor only name and key count.)
fn long_ago() -> Timestamp {
    Timestamp::parse("2020-01-01T00:00:00Z").unwrap()
}

fn names(texts: &[&str]) -> Vec<SubjectName> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A whole handshake in memory; returns the certificate that the client saw.
fn handshake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<Vec<u8>, rustls::Error> {
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut reader = wire.as_slice();
        while !reader.is_empty() {
            server.read_tls(&mut reader).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut reader = wire.as_slice();
        while !reader.is_empty() {
            client.read_tls(&mut reader).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(client.peer_certificates().unwrap()[0].to_vec())
}

fn connect(authority: &Authority, renewable: &Arc<Renewable>, host: &str) -> Result<Vec<u8>, rustls::Error> {
    let server = server_config(renewable.clone(), &[b"mqtt"]).unwrap();
    let client = client_config(authority.certificate_pem()).unwrap();
    let host = ServerName::try_from(host.to_owned()).unwrap();
    handshake(&mut ClientConnection::new(client, host).unwrap(), &mut ServerConnection::new(server).unwrap())
}

#[test]
fn a_client_that_trusts_the_authority_accepts_every_name_of_the_server_and_no_other() {
    let authority = Authority::generate("Drover test", long_ago()).unwrap();
    let certificate =
        authority.issue_server(&names(&["localhost", "127.0.0.1", "::1"]), long_ago(), DAY * 36_500).unwrap();
    let renewable = Arc::new(Renewable::new(certificate.certified_key().unwrap()));
    for host in ["localhost", "127.0.0.1", "::1"] {
        connect(&authority, &renewable, host).unwrap();
    }
    assert!(connect(&authority, &renewable, "elsewhere").is_err());
    let stranger = Authority::generate("Stranger", long_ago()).unwrap();
    assert!(connect(&stranger, &renewable, "localhost").is_err());
}

#[test]
fn the_next_handshake_shows_the_new_certificate() {
    let authority = Authority::generate("Drover test", long_ago()).unwrap();
    let issue = || authority.issue_server(&names(&["localhost"]), long_ago(), DAY * 36_500).unwrap();
    let renewable = Arc::new(Renewable::new(issue().certified_key().unwrap()));
    let before = connect(&authority, &renewable, "localhost").unwrap();
    renewable.set(issue().certified_key().unwrap());
    assert_ne!(before, connect(&authority, &renewable, "localhost").unwrap());
}

#[test]
fn an_authority_that_was_kept_issues_for_the_same_trust() {
    let first = Authority::generate("Drover test", long_ago()).unwrap();
    let again = Authority::from_pem(first.certificate_pem().to_owned(), &first.key_pem()).unwrap();
    let certificate = again.issue_server(&names(&["localhost"]), long_ago(), DAY * 36_500).unwrap();
    let renewable = Arc::new(Renewable::new(certificate.certified_key().unwrap()));
    connect(&first, &renewable, "localhost").unwrap();
}

#[test]
fn a_certificate_tells_its_names_and_when_it_is_due() {
    let now = long_ago();
    let authority = Authority::generate("Drover test", now).unwrap();
    let wanted = names(&["gateway.example", "10.0.0.7"]);
    let certificate = authority.issue_server(&wanted, now, DAY * 90).unwrap();
    let read =
        ServerCertificate::from_pem(certificate.chain_pem.clone(), certificate.key_pem.clone()).unwrap();
    assert_eq!(read.names, wanted);
    assert_eq!(read.not_after, now.plus(DAY * 90));
    assert!(!read.is_due(now.plus(DAY * 59)));
    assert!(read.is_due(now.plus(DAY * 61)));
    assert!(read.is_due(now.plus(DAY * 91)));
}

#[test]
fn wrong_pem_and_foreign_keys_are_told_apart() {
    let one = Authority::generate("One", long_ago()).unwrap();
    let other = Authority::generate("Other", long_ago()).unwrap();
    let foreign = Authority::from_pem(one.certificate_pem().to_owned(), &other.key_pem()).unwrap_err();
    assert!(matches!(foreign, TrustError::Mismatch));
    let nonsense = Authority::from_pem("no pem".to_owned(), &one.key_pem()).unwrap_err();
    assert!(nonsense.to_string().starts_with("certificate: "), "{nonsense}");
    let no_key = Authority::from_pem(one.certificate_pem().to_owned(), "no pem").unwrap_err();
    assert!(no_key.to_string().starts_with("private key: "), "{no_key}");
    assert!(client_config("no pem").is_err());
}

#[test]
fn only_host_names_and_addresses_are_names() {
    for text in ["", "a b", "-", "http://x", "*"] {
        assert!(text.parse::<SubjectName>().is_err(), "{text:?}");
    }
    assert_eq!("GW.Example".parse::<SubjectName>().unwrap(), SubjectName::Dns("gw.example".to_owned()));
    assert_eq!("*.example".parse::<SubjectName>().unwrap(), SubjectName::Dns("*.example".to_owned()));
}
