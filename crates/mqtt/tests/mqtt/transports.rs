//! TLS and WebSocket.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use drover_mqtt_codec::{Packet, QoS, ReasonCode, Version, encode};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::server::{Device, Server, connect, publish};

async fn tls(
    server: &Server,
    alpn: &[&[u8]],
) -> std::io::Result<Device<tokio_rustls::client::TlsStream<TcpStream>>> {
    let ca = std::fs::read_to_string(server.env.data_dir.join("ca.crt")).unwrap();
    let mut config = (*drover_trust::client_config(&ca).unwrap()).clone();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(server.addresses["mqtts"]).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    Ok(Device::over(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

#[tokio::test]
async fn devices_connect_over_tls_with_and_without_a_protocol_name() {
    let server = Server::start(|_| {}).await;
    for alpn in [&[][..], &[&b"mqtt"[..]]] {
        let mut device = tls(&server, alpn).await.unwrap();
        assert_eq!(device.connect(connect(Version::V5, "pump")).await.reason, ReasonCode::Success);
        device.publish(publish("v1/telemetry", Some(1), b"{}")).await;
        assert_eq!(device.expect_puback(1).await, ReasonCode::Success);
    }
    let mut device = tls(&server, &[b"h2", b"mqtt"]).await.unwrap();
    assert_eq!(device.stream.get_ref().1.alpn_protocol(), Some(&b"mqtt"[..]));
    assert_eq!(device.connect(connect(Version::V4, "pump")).await.reason, ReasonCode::Success);
}

#[tokio::test]
async fn a_client_that_speaks_only_other_protocols_is_refused_in_the_tls_handshake() {
    let server = Server::start(|_| {}).await;
    let Err(error) = tls(&server, &[b"h2", b"http/1.1"]).await else { panic!("it was let in") };
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

/// Bytes as WebSocket messages of at most three bytes each.
struct Chopped(tokio_tungstenite::WebSocketStream<TcpStream>, Vec<u8>);

async fn websocket(
    server: &Server,
    protocol: Option<&'static str>,
) -> Result<Chopped, tokio_tungstenite::tungstenite::Error> {
    let protocol = protocol.map(|protocol| ("Sec-WebSocket-Protocol", protocol));
    websocket_at(server, "/mqtt", protocol.as_slice()).await
}

async fn websocket_at(
    server: &Server,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<Chopped, tokio_tungstenite::tungstenite::Error> {
    let address = server.addresses["ws"];
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let (stream, response) = tokio_tungstenite::client_async(request, stream).await?;
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    Ok(Chopped(stream, Vec::new()))
}

impl tokio::io::AsyncRead for Chopped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.1.is_empty() {
            match self.0.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(Message::Binary(bytes)))) => self.1 = bytes.to_vec(),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
        let count = self.1.len().min(buf.remaining());
        buf.put_slice(&self.1[..count]);
        self.1.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Chopped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.0.poll_ready_unpin(cx).is_pending() {
            return Poll::Pending;
        }
        let count = bytes.len().min(3);
        self.0
            .start_send_unpin(Message::Binary(bytes[..count].to_vec().into()))
            .map_err(std::io::Error::other)?;
        Poll::Ready(Ok(count))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.poll_flush_unpin(cx).map_err(std::io::Error::other)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.poll_close_unpin(cx).map_err(std::io::Error::other)
    }
}

#[tokio::test]
async fn packets_span_websocket_messages() {
    let server = Server::start(|_| {}).await;
    let mut device = Device::over(websocket(&server, Some("chat, mqtt")).await.unwrap());
    assert_eq!(device.connect(connect(Version::V5, "pump")).await.reason, ReasonCode::Success);
    device.subscribe("dev/pump/x", QoS::AtMostOnce).await;
    device.publish(publish("dev/pump/x", Some(1), &[b'x'; 300])).await;
    assert_eq!(device.expect_puback(1).await, ReasonCode::Success);
    assert_eq!(device.expect_publish().await.payload.len(), 300);
}

#[tokio::test]
async fn a_websocket_without_the_subprotocol_or_with_text_is_refused() {
    let server = Server::start(|_| {}).await;
    assert!(websocket(&server, None).await.is_err());
    let mut stream = websocket(&server, Some("mqtt")).await.unwrap().0;
    stream.send(Message::Text("hello".into())).await.unwrap();
    assert!(!matches!(stream.next().await, Some(Ok(Message::Binary(_)))));
}

#[tokio::test]
async fn packets_of_full_length_share_a_websocket_message() {
    let server = Server::start(|config| config.max_packet_bytes = NonZeroU32::new(100_000).unwrap()).await;
    let mut stream = websocket(&server, Some("mqtt")).await.unwrap().0;
    let mut bytes = bytes::BytesMut::new();
    let long = |number| Packet::Publish(publish("dev/pump/x", Some(number), &[b'a'; 99_900]));
    let connect = Packet::Connect(Box::new(connect(Version::V5, "pump")));
    for packet in [connect, long(1), long(2), Packet::PingReq] {
        encode(&packet, Version::V5, &mut bytes).unwrap();
    }
    stream.send(Message::Binary(bytes.freeze())).await.unwrap();
    let mut device = Device::over(Chopped(stream, Vec::new()));
    assert!(matches!(device.next().await, Some(Packet::ConnAck(_))));
    let mut acknowledged = 0;
    while acknowledged < 2 {
        match device.next().await {
            Some(Packet::PubAck(_)) => acknowledged += 1,
            Some(Packet::PingResp) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn packets_share_websocket_messages_and_messages_come_in_frames() {
    let server = Server::start(|_| {}).await;
    let mut stream = websocket(&server, Some("mqtt")).await.unwrap().0;
    let mut bytes = bytes::BytesMut::new();
    let packets = [
        Packet::Connect(Box::new(connect(Version::V5, "pump"))),
        Packet::Publish(publish("dev/pump/x", Some(1), b"a")),
        Packet::Publish(publish("dev/pump/x", Some(2), b"b")),
        Packet::PingReq,
    ];
    for packet in &packets {
        encode(packet, Version::V5, &mut bytes).unwrap();
    }
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let frame = |data: &[u8], kind, is_last| {
        Message::Frame(Frame::message(bytes::Bytes::copy_from_slice(data), OpCode::Data(kind), is_last))
    };
    stream.send(frame(first, Data::Binary, false)).await.unwrap();
    // A control frame may come in between (RFC 6455, section 5.4).
    stream.send(Message::Ping("there?".into())).await.unwrap();
    stream.send(frame(second, Data::Continue, true)).await.unwrap();
    let mut device = Device::over(Chopped(stream, Vec::new()));
    assert!(matches!(device.next().await, Some(Packet::ConnAck(_))));
    let mut answers = [device.next().await, device.next().await, device.next().await];
    answers.sort_by_key(|answer| matches!(answer, Some(Packet::PingResp)));
    assert!(matches!(answers, [Some(Packet::PubAck(_)), Some(Packet::PubAck(_)), Some(Packet::PingResp)]));
}

#[tokio::test]
async fn a_text_message_ends_a_connected_client() {
    let server = Server::start(|_| {}).await;
    let mut device = Device::over(websocket(&server, Some("mqtt")).await.unwrap());
    assert_eq!(device.connect(connect(Version::V5, "pump")).await.reason, ReasonCode::Success);
    device.stream.0.send(Message::Text("hello".into())).await.unwrap();
    assert_eq!(device.next().await, None);
}

/// The HTTP status of a refusal; 101 when there was none.
#[tokio::test]
async fn a_request_that_asks_for_no_websocket_is_told_what_this_is() {
    let server = Server::start(|_| {}).await;
    let mut stream = TcpStream::connect(server.addresses["ws"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(body.contains("MQTT over WebSocket"), "{body}");
}

async fn status(server: &Server, path: &str, headers: &[(&'static str, &'static str)]) -> u16 {
    match websocket_at(server, path, headers).await {
        Ok(_) => 101,
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_websocket_at_another_path_or_of_a_strangers_page_is_refused_by_http() {
    let mqtt = ("Sec-WebSocket-Protocol", "mqtt");
    let server = Server::start(|_| {}).await;
    assert_eq!(status(&server, "/mqtt", &[mqtt]).await, 101);
    assert_eq!(status(&server, "/?a=b", &[mqtt]).await, 101);
    assert_eq!(status(&server, "/other", &[mqtt]).await, 404);
    assert_eq!(status(&server, "/mqtt", &[("Sec-WebSocket-Protocol", "chat")]).await, 400);
    assert_eq!(status(&server, "/mqtt", &[mqtt, ("Origin", "http://127.0.0.1:3000")]).await, 101);
    assert_eq!(status(&server, "/mqtt", &[mqtt, ("Origin", "https://evil.example")]).await, 403);
    for reason in ["path", "subprotocol", "origin"] {
        assert_eq!(
            server.metric(&format!("closed_total{{reason=\"WebSocket {reason}\"}}")),
            Some(1),
            "{reason}"
        );
    }

    let server = Server::start(|config| config.websocket_origins = vec!["https://app.example".into()]).await;
    assert_eq!(status(&server, "/mqtt", &[mqtt, ("Origin", "https://app.example")]).await, 101);
    assert_eq!(status(&server, "/mqtt", &[mqtt, ("Origin", "http://127.0.0.1:3000")]).await, 403);
    assert_eq!(status(&server, "/mqtt", &[mqtt]).await, 101);
}
