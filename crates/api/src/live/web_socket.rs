//! The live stream over WebSocket (RFC 6455): the opening handshake, and messages until either side closes. Clients only listen.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use drover_gateway::may_connect;
use drover_model::Kind;
use drover_proto::stream::v1::SubscribeResponse;
use futures_util::{SinkExt, Stream, StreamExt};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{StatusCode, response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::Status;

use crate::error::{Problem, Sort};
use crate::live::message;

/// The subprotocol of the messages.
const SUBPROTOCOL: &str = "drover.live.v1";
/// Offered as a subprotocol beside it, this carries the token: pages can't set the header Authorization.
const TOKEN_PREFIX: &str = "bearer.";
/// A ping goes out so often, so that neither side takes the other for dead.
const PING: Duration = Duration::from_secs(15);
/// Longest message that a client may send, which has nothing to say.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Longest time until the client has seen why it ends.
const GOODBYE: Duration = Duration::from_secs(2);
/// Longest time from the agreement until the connection is there.
const UPGRADE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether a request asks for a WebSocket (RFC 9110, section 7.8: without the word in `Connection` the other header means nothing).
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| list(headers, name).any(|word| word.eq_ignore_ascii_case(wanted));
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// The token that a request for a WebSocket offers as a subprotocol.
pub fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut offered = is_asked_for(headers).then(|| list(headers, header::SEC_WEBSOCKET_PROTOCOL))?;
    offered.find_map(|protocol| protocol.strip_prefix(TOKEN_PREFIX)).map(str::as_bytes)
}

/// The words of a header that is a list.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// An opening handshake that is agreed upon.
pub struct Handshake {
    upgrade: OnUpgrade,
    response: response::Builder,
}

impl Handshake {
    /// Checks what a client asks for (RFC 6455, section 4.2.1), and whether its page may.
    pub fn agree(mut parts: Parts, origins: &[String]) -> Result<Self, Problem> {
        let headers = &parts.headers;
        if !may_connect(headers, origins, true) {
            let detail = "this page's origin is not among api.websocket_origins";
            return Err(Problem::new(Sort::Denied, detail));
        }
        let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        if text(header::SEC_WEBSOCKET_VERSION) != b"13" {
            return Err(Problem::field("Sec-WebSocket-Version", "must be 13"));
        }
        let key = text(header::SEC_WEBSOCKET_KEY);
        if key.is_empty() {
            return Err(Problem::field("Sec-WebSocket-Key", "is missing"));
        }
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key));
        if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
            if !list(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|protocol| protocol == SUBPROTOCOL) {
                return Err(Problem::field("Sec-WebSocket-Protocol", "must have drover.live.v1 too"));
            }
            response = response.header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
        }
        let Some(upgrade) = parts.extensions.remove() else {
            return Err(Problem::field("Upgrade", "works over HTTP/1.1 with Connection: Upgrade"));
        };
        Ok(Self { upgrade, response })
    }

    /// The answer to the client, and the connection that it makes.
    pub fn complete(self) -> Result<(Response, Connection), Problem> {
        let response = self.response.body(Body::empty()).map_err(|error| {
            tracing::error!("an answer to a WebSocket handshake: {error}");
            Problem::internal()
        })?;
        Ok((response, Connection(self.upgrade)))
    }
}

/// Why a connection is closed (RFC 6455, section 7.4.1).
pub struct Goodbye {
    code: CloseCode,
    reason: String,
}

impl Goodbye {
    pub fn stop() -> Self {
        Self { code: CloseCode::Away, reason: "the server stops; connect again with the last id".into() }
    }

    pub fn revoked() -> Self {
        Self { code: CloseCode::Policy, reason: "the API key was deleted".into() }
    }

    fn failure(status: &Status) -> Self {
        let code = match drover_rpc::kind_of(status) {
            Kind::Unavailable | Kind::Exhausted | Kind::Timeout => CloseCode::Again,
            _ => CloseCode::Error,
        };
        Self { code, reason: "the stream broke off; connect again with the last id".into() }
    }

    fn no_messages() -> Self {
        Self { code: CloseCode::Policy, reason: "this stream takes no messages".into() }
    }

    fn too_large() -> Self {
        Self { code: CloseCode::Size, reason: format!("a message has more than {MAX_MESSAGE_BYTES} bytes") }
    }
}

/// A connection whose client waits for the answer to its handshake.
pub struct Connection(OnUpgrade);

impl Connection {
    /// Sends what comes until the client leaves, or until `end` says why it is over.
    pub async fn serve(
        self,
        answers: impl Stream<Item = Result<SubscribeResponse, Status>> + Unpin,
        end: impl Future<Output = Goodbye>,
    ) {
        let Ok(Ok(upgraded)) = timeout(UPGRADE, self.0).await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(MAX_MESSAGE_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        // Cancel-safe: nothing but the goodbye is sent after it. In this order, since the feed breaks off when the server stops.
        let goodbye = tokio::select! {
            biased;
            goodbye = end => Some(goodbye),
            goodbye = pump(&mut socket, answers) => goodbye,
        };
        let _ = timeout(GOODBYE, close(&mut socket, goodbye)).await;
    }
}

/// Sends until there is a reason to close. None when the client has closed, or is gone.
async fn pump(
    socket: &mut Socket,
    mut answers: impl Stream<Item = Result<SubscribeResponse, Status>> + Unpin,
) -> Option<Goodbye> {
    let mut pings = interval_at(tokio::time::Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Cancel-safe: each of them keeps what it has not given yet.
        let message = tokio::select! {
            answer = answers.next() => match answer {
                Some(Ok(answer)) => text(answer),
                Some(Err(status)) => return Some(Goodbye::failure(&status)),
                None => return Some(Goodbye::stop()),
            },
            came = socket.next() => match came? {
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Text(_) | Message::Binary(_)) => return Some(Goodbye::no_messages()),
                Err(Error::Capacity(_)) => return Some(Goodbye::too_large()),
                Ok(Message::Close(_)) | Err(_) => return None,
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        socket.send(message).await.ok()?;
    }
}

fn text(answer: SubscribeResponse) -> Message {
    let message = message::Message::from(answer);
    Message::text(serde_json::to_string(&message).unwrap_or_default())
}

/// Says why, and reads on until the client has closed too: a close with bytes unread would be a reset.
async fn close(socket: &mut Socket, goodbye: Option<Goodbye>) {
    let frame = goodbye.map(|Goodbye { code, reason }| CloseFrame { code, reason: reason.into() });
    if socket.close(frame).await.is_err() {
        return;
    }
    while let Some(came) = socket.next().await {
        if came.is_err() {
            let mut rest = [0; 512];
            while socket.get_mut().read(&mut rest).await.is_ok_and(|length| length > 0) {}
            return;
        }
    }
}
