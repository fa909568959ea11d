//! MQTT over WebSocket (MQTT 5, section 6): binary messages as a stream of bytes, where packets may span messages.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use drover_gateway::may_connect;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::gateway::Gateway;

/// The subprotocol that client and server must agree on (MQTT 5, 6.0).
const SUBPROTOCOL: &str = "mqtt";
/// Where clients look for MQTT.
const PATHS: [&str; 2] = ["/mqtt", "/"];
/// Read buffer of a connection, in bytes.
const READ_BUFFER: usize = 2 << 10;
/// Packets of full length that one WebSocket message may have; shorter ones may be more.
const PACKETS_PER_MESSAGE: usize = 4;
/// The answer to a request that does not ask for a WebSocket (RFC 9110, 15.5.22).
const UPGRADE_REQUIRED: &str = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
    Content-Type: text/plain\r\nContent-Length: 57\r\n\r\nThis is MQTT over WebSocket, subprotocol mqtt, at /mqtt.\n";

/// A client behind a WebSocket.
pub(crate) struct WebSocket {
    stream: WebSocketStream<TcpStream>,
    /// The rest of the last message.
    unread: Bytes,
}

impl WebSocket {
    /// Does the opening handshake (RFC 6455, section 4.2), or refuses it by HTTP.
    pub(crate) async fn accept(gateway: &Gateway, mut stream: TcpStream, source: IpAddr) -> io::Result<Self> {
        if refuse_plain_http(&mut stream).await? {
            gateway.metrics.closed("WebSocket upgrade");
            return Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP without an upgrade"));
        }
        // MQTT 5, 6.0: a message may have several packets, and parts of them.
        let max_packet = usize::try_from(gateway.config.max_packet_bytes.get()).unwrap_or(usize::MAX);
        let max_bytes = max_packet.saturating_mul(PACKETS_PER_MESSAGE);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_bytes))
            .max_frame_size(Some(max_bytes));
        #[expect(clippy::result_large_err, reason = "the type that tungstenite asks for")]
        let agree = |request: &Request, response| match check(request, gateway, source) {
            Ok(()) => Ok(agreed(response)),
            Err(refusal) => {
                gateway.metrics.closed(refusal.counted);
                Err(refusal.response())
            }
        };
        let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, agree, Some(config)).await;
        Ok(Self { stream: accepted.map_err(io_error)?, unread: Bytes::new() })
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                // MQTT 5, 6.0: anything but binary data ends the connection.
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a text message")));
                }
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let taken = self.unread.split_to(self.unread.len().min(buf.remaining()));
        buf.put_slice(&taken);
        if !self.unread.has_remaining() {
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes all bytes as one message, when the one before is on its way.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream = Pin::new(&mut self.stream);
        ready!(stream.as_mut().poll_ready(cx)).map_err(io_error)?;
        stream.start_send(Message::Binary(Bytes::copy_from_slice(bytes))).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(io_error)
    }

    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx).map_err(io_error)
    }
}

/// Answers a request that is no opening handshake, which the library leaves without an answer. Only one that came in one piece,
/// as a browser sends it: to read more would be to parse HTTP twice.
async fn refuse_plain_http(stream: &mut TcpStream) -> io::Result<bool> {
    // Not in the future, which lasts as long as the connection.
    let mut head = vec![0; READ_BUFFER];
    let length = stream.peek(&mut head).await?;
    let text = String::from_utf8_lossy(head.get(..length).unwrap_or_default()).to_ascii_lowercase();
    if !text.starts_with("get ") || !text.ends_with("\r\n\r\n") || text.contains("\r\nupgrade:") {
        return Ok(false);
    }
    // What is not read when the socket closes would reset the connection before the answer is there.
    stream.read_exact(head.get_mut(..length).unwrap_or_default()).await?;
    stream.write_all(UPGRADE_REQUIRED.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(true)
}

fn agreed(mut response: Response) -> Response {
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    response
}

/// Why a handshake is refused: to HTTP, to the metrics, to people.
struct Refusal {
    status: StatusCode,
    counted: &'static str,
    text: &'static str,
}

impl Refusal {
    fn response(&self) -> ErrorResponse {
        let mut response = ErrorResponse::new(Some(self.text.to_owned()));
        *response.status_mut() = self.status;
        response
    }
}

fn check(request: &Request, gateway: &Gateway, source: IpAddr) -> Result<(), Refusal> {
    if !PATHS.contains(&request.uri().path()) {
        let text = "MQTT is at /mqtt and at /\n";
        return Err(Refusal { status: StatusCode::NOT_FOUND, counted: "WebSocket path", text });
    }
    // A page of a stranger may have a name of its own lead to this machine (DNS rebinding), where no credentials are needed.
    let trusts_names = !(gateway.config.anonymous.allow && source.is_loopback());
    if !may_connect(request.headers(), &gateway.config.websocket_origins, trusts_names) {
        let text = "this page's origin is not among mqtt.websocket_origins\n";
        return Err(Refusal { status: StatusCode::FORBIDDEN, counted: "WebSocket origin", text });
    }
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names =
        offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    if !names.any(|name| name == SUBPROTOCOL) {
        let text = "offer the WebSocket subprotocol mqtt\n";
        return Err(Refusal { status: StatusCode::BAD_REQUEST, counted: "WebSocket subprotocol", text });
    }
    Ok(())
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::ConnectionAborted.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
