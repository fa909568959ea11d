//! TLS and WebSocket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use drover_mqtt_codec::{QoS, ReasonCode, Version};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

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
    assert!(tls(&server, &[b"h2"]).await.is_err());
}

/// Bytes as WebSocket messages of at most three bytes each.
struct Chopped(tokio_tungstenite::WebSocketStream<TcpStream>, Vec<u8>);

async fn websocket(
    server: &Server,
    protocol: Option<&'static str>,
) -> Result<Chopped, tokio_tungstenite::tungstenite::Error> {
    let address = server.addresses["ws"];
    let mut request = format!("ws://{address}/mqtt").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
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
