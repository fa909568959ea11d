//! Clients behind a proxy that speaks the PROXY protocol: at 127.0.0.2, from the servers' point of view.

use std::sync::Arc;

use drover_mqtt::Listener;
use drover_mqtt_codec::{ReasonCode, Version};
use drover_testkit::eventually;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::server::{Device, Server, allow_anonymous, anonymous, connect};

const PROXY: &str = "127.0.0.2";

async fn behind_proxy(change: impl FnOnce(&mut drover_mqtt::Config)) -> Server {
    Server::start(|config| {
        config.proxy.from = vec![format!("{PROXY}/32")];
        change(config);
    })
    .await
}

/// A header of version 2 for a client with this address.
fn version_2(client: [u8; 4]) -> Vec<u8> {
    let [a, b, c, d] = client;
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[a, b, c, d, 127, 0, 0, 1, 4, 0, 7, 91]].concat()
}

/// A connection of the proxy that begins with these bytes.
async fn begun(server: &Server, listener: &str, header: &[u8]) -> TcpStream {
    let mut stream = server.from(PROXY, listener).await;
    stream.write_all(header).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_is_counted_and_trusted_as_what_its_proxy_says_that_it_is() {
    let server = behind_proxy(|config| {
        allow_anonymous(config);
        config.max_connections_per_source = 1;
    })
    .await;
    let mut pump = Device::over(begun(&server, "mqtt", &version_2([192, 0, 2, 7])).await);
    assert_eq!(pump.connect(connect(Version::V5, "pump")).await.reason, ReasonCode::Success);
    let header = b"PROXY TCP4 192.0.2.8 127.0.0.1 1024 1883\r\n";
    let mut fan = Device::over(begun(&server, "mqtt", header).await);
    assert_eq!(fan.connect(connect(Version::V5, "fan")).await.reason, ReasonCode::Success);
    // The second of its source.
    assert_eq!(Device::over(begun(&server, "mqtt", &version_2([192, 0, 2, 7])).await).next().await, None);
    assert_eq!(server.metric("closed_total{reason=\"connections of the source\"}"), Some(1));
    // The proxy is on loopback, its client is not.
    let mut stranger = Device::over(begun(&server, "mqtt", &version_2([192, 0, 2, 9])).await);
    assert_eq!(stranger.connect(anonymous(Version::V5, "a")).await.reason, ReasonCode::NotAuthorized);
    drop(pump);
    eventually("the place of the source is free again", async || {
        let mut pump = Device::over(begun(&server, "mqtt", &version_2([192, 0, 2, 7])).await);
        pump.send(&drover_mqtt_codec::Packet::Connect(Box::new(connect(Version::V5, "pump")))).await;
        pump.next().await
    })
    .await;
}

#[tokio::test]
async fn the_header_comes_before_tls_and_websocket() {
    let server = behind_proxy(|_| {}).await;
    let ca = std::fs::read_to_string(server.env.data_dir.join("ca.crt")).unwrap();
    let tls = TlsConnector::from(Arc::new((*drover_trust::client_config(&ca).unwrap()).clone()));
    let stream = begun(&server, "mqtts", &version_2([192, 0, 2, 7])).await;
    let mut pump =
        Device::over(tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap());
    assert_eq!(pump.connect(connect(Version::V5, "pump")).await.reason, ReasonCode::Success);

    let mut stream = begun(&server, "ws", &version_2([192, 0, 2, 7])).await;
    stream
        .write_all(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
        .await
        .unwrap();
    let rest = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(rest).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 101");
}

#[tokio::test]
async fn a_proxy_without_a_valid_header_is_closed_and_others_may_not_send_one() {
    let server = behind_proxy(|config| config.connect_timeout_s = 1).await;
    for header in [&b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0"[..], b"PROXY UNKNOWN\r\n", b"GET / HTTP/1.1\r\n"]
    {
        assert_eq!(Device::over(begun(&server, "mqtt", header).await).next().await, None);
    }
    assert_eq!(server.metric("closed_total{reason=\"PROXY header\"}"), Some(3));
    let mut direct = server.tcp().await;
    direct.stream.write_all(&version_2([192, 0, 2, 7])).await.unwrap();
    assert_eq!(direct.next().await, None);
    server.device(Version::V5, "pump").await;
    // Half a header, and nothing more.
    assert_eq!(Device::over(begun(&server, "mqtt", b"\r\n\r\n\0\r\nQUIT\n\x21").await).next().await, None);
    eventually("it is counted", async || server.metric("connects_total{outcome=\"timed out\"}")).await;
}

#[tokio::test]
async fn a_proxy_on_other_listeners_is_a_client_like_any_other() {
    let server = behind_proxy(|config| config.proxy.listeners = vec![Listener::Mqtts]).await;
    let mut pump = Device::over(server.from(PROXY, "mqtt").await);
    assert_eq!(pump.connect(connect(Version::V5, "pump")).await.reason, ReasonCode::Success);
}
