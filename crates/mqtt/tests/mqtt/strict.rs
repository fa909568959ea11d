//! What the standard forbids, byte by byte: what each side is told, and that the connection ends.

use bytes::BytesMut;
use drover_mqtt_codec::{Connect, Packet, QoS, ReasonCode, Version, encode};

use crate::server::{Server, allow_anonymous, anonymous, connect_with, publish};

const BOTH: [Version; 2] = [Version::V4, Version::V5];

/// A CONNECT with these flags and what follows the keep-alive.
fn connect_bytes(version: Version, flags: u8, rest: &[u8]) -> Vec<u8> {
    let level = if version == Version::V5 { 5 } else { 4 };
    let body = [b"\0\x04MQTT", &[level, flags, 0, 60][..], rest].concat();
    [&[0x10, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

fn bytes_of(packet: &Packet, version: Version) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes
}

/// Flags, what follows the keep-alive (in MQTT 5 behind the properties), and the code.
const NO_CONNECT: [(u8, &[u8], ReasonCode); 17] = [
    // The reserved flag.
    (0b11, b"\0\x01c", ReasonCode::MalformedPacket),
    // Will QoS 3.
    (0b1_1110, b"\0\x01c\0\x01w\0\x01p", ReasonCode::MalformedPacket),
    // QoS, or the retain flag, of no will.
    (0b1010, b"\0\x01c", ReasonCode::MalformedPacket),
    (0b10_0010, b"\0\x01c", ReasonCode::MalformedPacket),
    // A will without its topic, without its payload, and with a wildcard.
    (0b110, b"\0\x01c", ReasonCode::MalformedPacket),
    (0b110, b"\0\x01c\0\x01w", ReasonCode::MalformedPacket),
    (0b110, b"\0\x01c\0\x01#\0\x01p", ReasonCode::TopicNameInvalid),
    // A user name, or a password, that is announced and is not there; or the other way round.
    (0b1000_0010, b"\0\x01c", ReasonCode::MalformedPacket),
    (0b1100_0010, b"\0\x01c\0\x01u", ReasonCode::MalformedPacket),
    (0b10, b"\0\x01c\0\x01u", ReasonCode::MalformedPacket),
    (0b1000_0010, b"\0\x01c\0\x01u\0\x01p", ReasonCode::MalformedPacket),
    // No client id; one that holds U+0000, a surrogate, or an overlong form.
    (0b10, b"", ReasonCode::MalformedPacket),
    (0b10, b"\0\x01\0", ReasonCode::MalformedPacket),
    (0b10, b"\0\x03\xED\xA0\x80", ReasonCode::MalformedPacket),
    (0b10, b"\0\x02\xC1\x81", ReasonCode::MalformedPacket),
    // A user name, and a will topic, that is no UTF-8.
    (0b110, b"\0\x01c\0\x01\xFF\0\x01p", ReasonCode::MalformedPacket),
    (0b1000_0010, b"\0\x01c\0\x01\xFF", ReasonCode::MalformedPacket),
];

#[tokio::test]
async fn what_is_no_valid_connect_is_answered_in_mqtt_5_alone_and_closed_in_both() {
    let server = Server::start(allow_anonymous).await;
    for (flags, rest, reason) in NO_CONNECT {
        let mut client = server.tcp().await;
        client.version = Version::V4;
        client.send_bytes(&connect_bytes(Version::V4, flags, rest)).await;
        assert_eq!(client.next().await, None, "{flags:b} {rest:?}");
        let will_properties: &[u8] = if flags & 0b100 != 0 && rest.len() > 3 { b"\0" } else { b"" };
        let (client_id, others) = rest.split_at(rest.len().min(3));
        let rest = [b"\0", client_id, will_properties, others].concat();
        let mut client = server.tcp().await;
        client.send_bytes(&connect_bytes(Version::V5, flags, &rest)).await;
        let Some(Packet::ConnAck(answer)) = client.next().await else {
            panic!("no CONNACK: {flags:b} {rest:?}")
        };
        assert_eq!((answer.reason, answer.session_present), (reason, false), "{flags:b} {rest:?}");
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn a_password_needs_a_user_name_in_3_1_1_alone() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.tcp().await;
    client.version = Version::V4;
    client.send_bytes(&connect_bytes(Version::V4, 0b100_0010, b"\0\x01c\0\x01p")).await;
    assert_eq!(client.next().await, None);
    let mut client = server.tcp().await;
    client.send_bytes(&connect_bytes(Version::V5, 0b100_0010, b"\0\0\x01c\0\x01p")).await;
    // It is understood, but names nobody here.
    let Some(Packet::ConnAck(answer)) = client.next().await else { panic!("no CONNACK") };
    assert_eq!(answer.reason, ReasonCode::BadUserNameOrPassword);
}

#[tokio::test]
async fn properties_of_connect_that_are_not_allowed_are_told_by_their_code() {
    let server = Server::start(allow_anonymous).await;
    let cases: [(&[u8], ReasonCode); 11] = [
        // Receive Maximum 0, Maximum Packet Size 0, Request Problem Information 2.
        (b"\x21\0\0", ReasonCode::ProtocolError),
        (b"\x27\0\0\0\0", ReasonCode::ProtocolError),
        (b"\x17\x02", ReasonCode::ProtocolError),
        (b"\x19\x02", ReasonCode::ProtocolError),
        // Twice.
        (b"\x11\0\0\0\x01\x11\0\0\0\x01", ReasonCode::ProtocolError),
        (b"\x22\0\x01\x22\0\x01", ReasonCode::ProtocolError),
        // Authentication data without a method, and a method that is not there.
        (b"\x16\0\x01d", ReasonCode::ProtocolError),
        (b"\x15\0\x05SCRAM", ReasonCode::BadAuthenticationMethod),
        // One of PUBLISH, one that there is not, and a user property that is no UTF-8.
        (b"\x23\0\x01", ReasonCode::MalformedPacket),
        (b"\x7E", ReasonCode::MalformedPacket),
        (b"\x26\0\x01n\0\x01\xFF", ReasonCode::MalformedPacket),
    ];
    for (properties, reason) in cases {
        let length = u8::try_from(properties.len()).unwrap();
        let mut client = server.tcp().await;
        client
            .send_bytes(&connect_bytes(Version::V5, 0b10, &[&[length][..], properties, b"\0\x01c"].concat()))
            .await;
        let Some(Packet::ConnAck(answer)) = client.next().await else { panic!("no CONNACK: {properties:?}") };
        assert_eq!(answer.reason, reason, "{properties:?}");
        assert_eq!(client.next().await, None);
    }
}

/// What ends a connection of MQTT 5, with its code; the first ones as well in 3.1.1.
const FORBIDDEN: [(&[u8], ReasonCode); 38] = [
    // Reserved flags of the first byte.
    (b"\x80\x06\0\x01\0\x01a\0", ReasonCode::MalformedPacket),
    (b"\xA0\x05\0\x01\0\x01a", ReasonCode::MalformedPacket),
    (b"\x60\x02\0\x01", ReasonCode::MalformedPacket),
    (b"\x41\x02\0\x01", ReasonCode::MalformedPacket),
    (b"\xC1\0", ReasonCode::MalformedPacket),
    (b"\xE1\0", ReasonCode::MalformedPacket),
    (b"\x00\0", ReasonCode::MalformedPacket),
    // A length of five bytes.
    (b"\xC0\xFF\xFF\xFF\xFF\x01", ReasonCode::MalformedPacket),
    // QoS 3, DUP at QoS 0.
    (b"\x36\x05\0\x01a\0\x01", ReasonCode::MalformedPacket),
    (b"\x38\x03\0\x01a", ReasonCode::ProtocolError),
    // A packet that only the server sends.
    (b"\xD0\0", ReasonCode::ProtocolError),
    // From here on MQTT 5. Another one; packet ids of 0.
    (b"\x20\x03\0\0\0", ReasonCode::ProtocolError),
    (b"\x32\x06\0\x01a\0\0\0", ReasonCode::ProtocolError),
    (b"\x82\x07\0\0\0\0\x01a\0", ReasonCode::ProtocolError),
    (b"\xA2\x06\0\0\0\0\x01a", ReasonCode::ProtocolError),
    // Topics: none, with a wildcard, U+0000, a surrogate.
    (b"\x30\x03\0\0\0", ReasonCode::ProtocolError),
    (b"\x30\x04\0\x01+\0", ReasonCode::TopicNameInvalid),
    (b"\x30\x04\0\x01\0\0", ReasonCode::MalformedPacket),
    (b"\x30\x06\0\x03\xED\xBF\xBF\0", ReasonCode::MalformedPacket),
    // Alias 0, alias twice, an identifier from the client, a response topic with a wildcard, a content type that is no UTF-8.
    (b"\x30\x07\0\x01a\x03\x23\0\0", ReasonCode::TopicAliasInvalid),
    (b"\x30\x0A\0\x01a\x06\x23\0\x01\x23\0\x01", ReasonCode::ProtocolError),
    (b"\x30\x06\0\x01a\x02\x0B\x01", ReasonCode::ProtocolError),
    (b"\x30\x08\0\x01a\x04\x08\0\x01+", ReasonCode::TopicNameInvalid),
    (b"\x30\x08\0\x01a\x04\x03\0\x01\xFF", ReasonCode::MalformedPacket),
    // SUBSCRIBE and UNSUBSCRIBE without a filter, options with reserved bits, QoS 3, Retain Handling 3, No Local on a shared one.
    (b"\x82\x03\0\x01\0", ReasonCode::ProtocolError),
    (b"\xA2\x03\0\x01\0", ReasonCode::ProtocolError),
    (b"\x82\x07\0\x01\0\0\x01a\x40", ReasonCode::MalformedPacket),
    (b"\x82\x07\0\x01\0\0\x01a\x03", ReasonCode::MalformedPacket),
    (b"\x82\x07\0\x01\0\0\x01a\x30", ReasonCode::ProtocolError),
    (b"\x82\x10\0\x01\0\0\x0a$share/g/a\x04", ReasonCode::ProtocolError),
    // A filter and a name that are no UTF-8; the subscription identifier 0.
    (b"\x82\x07\0\x01\0\0\x01\xFF\0", ReasonCode::MalformedPacket),
    (b"\x82\x09\0\x01\x02\x0B\0\0\x01a\0", ReasonCode::ProtocolError),
    (b"\xA2\x06\0\x01\0\0\x01\xFF", ReasonCode::MalformedPacket),
    (b"\x30\x08\0\x01a\x04\x08\0\x01\xFF", ReasonCode::MalformedPacket),
    (b"\x30\x05\0\x01\xFF\0x", ReasonCode::MalformedPacket),
    (b"\xF1\0", ReasonCode::MalformedPacket),
    // AUTH without a method in CONNECT; a reason code that DISCONNECT has not.
    (b"\xF0\0", ReasonCode::ProtocolError),
    (b"\xE0\x01\x01", ReasonCode::MalformedPacket),
];
/// So many of them are the same in 3.1.1.
const IN_BOTH: usize = 11;

#[tokio::test]
async fn what_is_forbidden_ends_the_connection_with_its_code_and_nothing_behind_it_counts() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = server.anonymous(Version::V5, "w").await;
    watcher.subscribe("after", QoS::AtMostOnce).await;
    for version in BOTH {
        let count = if version == Version::V4 { IN_BOTH } else { FORBIDDEN.len() };
        let after = bytes_of(&Packet::Publish(publish("after", None, b"")), version);
        for (bytes, reason) in &FORBIDDEN[..count] {
            let mut client = server.anonymous(version, "c").await;
            client.send_bytes(&[bytes, &after[..]].concat()).await;
            client.expect_end(*reason).await;
        }
    }
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn packets_may_follow_connect_at_once_and_count_only_if_it_is_accepted() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut watcher = server.anonymous(version, "w").await;
        watcher.subscribe("a", QoS::AtMostOnce).await;
        for (connect, is_accepted) in
            [(anonymous(version, "c"), true), (connect_with(version, "pump", "wrong"), false)]
        {
            let mut bytes = bytes_of(&Packet::Connect(Box::new(connect)), version);
            bytes.extend(bytes_of(&Packet::Publish(publish("a", Some(1), b"x")), version));
            let mut client = server.tcp().await;
            client.version = version;
            client.send_bytes(&bytes).await;
            let Some(Packet::ConnAck(answer)) = client.next().await else { panic!("CONNACK comes first") };
            assert_eq!(answer.reason == ReasonCode::Success, is_accepted);
            if is_accepted {
                client.expect_puback(1).await;
                watcher.receive(b"x").await;
            } else {
                assert!(!answer.session_present);
                assert_eq!(client.next().await, None);
            }
            watcher.expect_nothing().await;
        }
    }
}

#[tokio::test]
async fn client_ids_name_sessions_and_empty_ones_get_an_id_of_their_own() {
    let server = Server::start(allow_anonymous).await;
    let long = "é".repeat(1_000);
    for version in BOTH {
        let mut clients = Vec::new();
        let ids = [
            "0",
            "0123456789abcdefghijklm",
            "NOPQRSTUVWXYZnopqrstuvw",
            &long,
            "\u{FEFF}",
            "日本/+#$",
            "",
            "",
        ];
        for client_id in ids {
            let mut client = server.tcp().await;
            let answer = client.connect(anonymous(version, client_id)).await;
            assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
            let assigned = answer.properties.and_then(|properties| properties.assigned_client_id);
            assert_eq!(assigned.is_some(), version == Version::V5 && client_id.is_empty());
            clients.push((client, assigned));
        }
        // Each has its own session: nobody took another's.
        for (client, _) in &mut clients {
            client.expect_nothing().await;
        }
        if let Some(assigned) = clients.pop().unwrap().1 {
            let mut again = server.tcp().await;
            let connect = Connect { clean_start: false, ..anonymous(version, &assigned) };
            assert_eq!(again.connect(connect).await.reason, ReasonCode::Success);
            again.expect_nothing().await;
        }
    }
}

#[tokio::test]
async fn an_assigned_client_id_names_its_session_like_any_other() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.tcp().await;
    let answer = client.connect(crate::clients::persistent(Version::V5, "")).await;
    let assigned = answer.properties.unwrap().assigned_client_id.unwrap();
    client.leave().await;
    let (_, is_present) = server.persistent(Version::V5, &assigned).await;
    assert!(is_present);
}

#[tokio::test]
async fn answers_are_written_as_the_standard_draws_them() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.tcp().await;
    client.version = Version::V4;
    let dialogue: [(&[u8], &[u8]); 8] = [
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c", b"\x20\x02\0\0"),
        (b"\xC0\0", b"\xD0\0"),
        (b"\x82\x0c\x12\x34\0\x01b\x02\0\x03#/b\x01", b"\x90\x04\x12\x34\x02\x80"),
        (b"\x32\x05\0\x01a\x00\x05", b"\x40\x02\x00\x05"),
        (b"\x34\x05\0\x01a\x00\x06", b"\x50\x02\x00\x06"),
        (b"\x62\x02\x00\x06", b"\x70\x02\x00\x06"),
        (b"\x30\x04\0\x01bx", b"\x30\x04\0\x01bx"),
        (b"\xA2\x05\x12\x35\0\x01b", b"\xB0\x02\x12\x35"),
    ];
    for (said, answer) in dialogue {
        client.send_bytes(said).await;
        let mut read = vec![0; answer.len()];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut read).await.unwrap();
        assert_eq!(read, answer, "{said:?}");
    }
    client.leave().await;
}
