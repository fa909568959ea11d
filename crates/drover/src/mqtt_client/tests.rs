//! The client against a server that answers by script.

use bytes::BytesMut;
use drover_mqtt_codec::{ConnAck, ConnAckProperties, DecodeError, decode, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::mqtt_connection::MAX_PACKET;

/// The server's end: whole packets in and out.
struct Peer {
    stream: TcpStream,
    input: BytesMut,
}

impl Peer {
    async fn accept(listener: TcpListener) -> Self {
        Self { stream: listener.accept().await.unwrap().0, input: BytesMut::new() }
    }

    async fn next(&mut self, version: Option<Version>) -> Option<Packet> {
        loop {
            let packet: std::result::Result<_, DecodeError> = decode(&mut self.input, version, MAX_PACKET);
            if let Some(packet) = packet.unwrap() {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        encode(&packet, Version::V5, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    async fn consent(&mut self, reason: ReasonCode, receive_maximum: u16) {
        let Some(Packet::Connect(connect)) = self.next(None).await else { panic!("no CONNECT") };
        assert_eq!(connect.username.as_deref(), Some("station-01"));
        assert_eq!(connect.password.as_deref(), Some(&b"drv_x"[..]));
        let receive_maximum = NonZeroU16::new(receive_maximum);
        let properties = ConnAckProperties { receive_maximum, ..ConnAckProperties::default() };
        self.send(Packet::ConnAck(ConnAck {
            session_present: false,
            reason,
            properties: Some(Box::new(properties)),
        }))
        .await;
    }
}

async fn listen() -> (TcpListener, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::plain(listener.local_addr().unwrap().to_string());
    (listener, server)
}

#[tokio::test]
async fn no_more_stands_unacknowledged_than_the_server_allows() {
    let (listener, server) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(listener).await;
        peer.consent(ReasonCode::Success, 2).await;
        let mut ids = Vec::new();
        loop {
            match peer.next(Some(Version::V5)).await {
                Some(Packet::Publish(publish)) => {
                    assert_eq!(publish.qos, QoS::AtLeastOnce);
                    ids.push(publish.packet_id.unwrap());
                }
                Some(Packet::Disconnect(_)) => return ids.len(),
                other => panic!("{other:?}"),
            }
            // The second of a pair comes before the first is acknowledged, and not the third.
            if ids.len() % 2 == 0 {
                for id in ids.iter().rev().take(2) {
                    peer.send(Packet::PubAck(Ack::success(*id))).await;
                }
            }
        }
    };
    let client = async {
        let mut client = MqttClient::connect(&server, "station-01", "drv_x").await.unwrap();
        for _ in 0..10 {
            client.publish("v1/telemetry", b"{}").await.unwrap();
            assert!(client.unacknowledged <= 2);
        }
        client.settle().await.unwrap();
        assert_eq!(client.unacknowledged, 0);
        client.disconnect().await.unwrap();
    };
    let (received, ()) = tokio::join!(peer, client);
    assert_eq!(received, 10);
}

#[tokio::test]
async fn a_refused_connection_says_who_and_why() {
    let (listener, server) = listen().await;
    let peer = async { Peer::accept(listener).await.consent(ReasonCode::BadUserNameOrPassword, 1).await };
    let (client, ()) = tokio::join!(MqttClient::connect(&server, "station-01", "drv_x"), peer);
    let message = client.err().unwrap().to_string();
    assert!(message.starts_with("station-01 is refused: "), "{message}");
}

#[tokio::test]
async fn a_refused_message_is_an_error() {
    let (listener, server) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(listener).await;
        peer.consent(ReasonCode::Success, 10).await;
        let Some(Packet::Publish(publish)) = peer.next(Some(Version::V5)).await else { panic!("no PUBLISH") };
        let packet_id = publish.packet_id.unwrap();
        peer.send(Packet::PubAck(Ack { packet_id, reason: ReasonCode::QuotaExceeded, properties: None }))
            .await;
    };
    let client = async {
        let mut client = MqttClient::connect(&server, "station-01", "drv_x").await.unwrap();
        client.publish("v1/telemetry", b"{}").await.unwrap();
        client.settle().await.unwrap_err().to_string()
    };
    let ((), message) = tokio::join!(peer, client);
    assert!(message.starts_with("a message is refused"), "{message}");
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_an_error() {
    let (listener, server) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(listener).await;
        peer.consent(ReasonCode::Success, 10).await;
    };
    let client = async {
        let mut client = MqttClient::connect(&server, "station-01", "drv_x").await.unwrap();
        client.ping().await.unwrap_err()
    };
    let ((), error) = tokio::join!(peer, client);
    assert!(error.to_string().contains("connection"), "{error}");
}
