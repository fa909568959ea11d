//! From an accepted socket to an answered CONNECT: handshake, who it is, what both sides allow.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use drover_model::{Scope, Tenant, TenantId};
use drover_mqtt_codec::{
    ConnAck, ConnAckProperties, Connect, DecodeError, Packet, PacketType, ReasonCode, Version, decode,
    encode, encoded_len,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connection::Connection;
use crate::error::End;
use crate::gateway::Gateway;
use crate::goodbye::linger;
use crate::listener::{Permits, places};
use crate::outbound::Limits;
use crate::proxy::{Peer, read_source};
use crate::seat::{Leaving, Seat, Taken, Wish};
use crate::session::{Client, NEVER, Owner};
use crate::transport::{Layer, Transport};
use crate::will::Will;

/// The tenant of clients without credentials.
const ANONYMOUS_TENANT: &str = "default";
/// Bytes that the buffer of a CONNECT grows by at a time.
const READ_STEP: usize = 1024;

/// Handshake and CONNECT within the connect timeout; `None` when no connection came of it.
pub(crate) async fn open(
    gateway: &Arc<Gateway>,
    layer: Layer,
    (mut stream, peer): (TcpStream, Peer),
    permits: &mut Permits,
) -> Option<Box<Connection>> {
    let timeout = Duration::from_secs(gateway.config.connect_timeout_s.into());
    let outcome = tokio::time::timeout(timeout, async {
        let source = match peer {
            Peer::Client(source) => source,
            Peer::Proxy(proxy) => match announced(gateway, &mut stream, proxy, permits).await {
                Ok(source) => source,
                Err(reason) => {
                    gateway.metrics.closed(reason);
                    return Ok(None);
                }
            },
        };
        let transport = layer.accept(gateway, stream, source).await?;
        start(gateway, transport, source).await.map(Some)
    });
    // Cancel-safe: what is dropped at the drain was not let in yet.
    let outcome = tokio::select! {
        () = gateway.stop.drain() => return None,
        outcome = outcome => outcome,
    };
    match outcome {
        Ok(Ok(connection)) => {
            if connection.is_some() {
                gateway.metrics.connect("accepted");
            }
            connection
        }
        Ok(Err(end)) => {
            tracing::debug!("a client was not let in: {end}");
            gateway.metrics.connect(end.label());
            None
        }
        Err(_) => {
            gateway.metrics.connect("timed out");
            None
        }
    }
}

/// The client that a proxy has announced, with its places among those of its source; or why there is none.
async fn announced(
    gateway: &Gateway,
    stream: &mut TcpStream,
    proxy: IpAddr,
    permits: &mut Permits,
) -> Result<IpAddr, &'static str> {
    let source = read_source(stream, proxy).await.map_err(|error| {
        tracing::debug!(%proxy, "a connection without a valid PROXY header: {error}");
        "PROXY header"
    })?;
    let [connection, handshake] = places(gateway, source)?;
    permits.connection.1 = Some(connection);
    permits.handshake.1 = Some(handshake);
    Ok(source)
}

async fn start(
    gateway: &Arc<Gateway>,
    mut transport: Transport,
    source: IpAddr,
) -> Result<Box<Connection>, End> {
    let mut buffer = BytesMut::new();
    let connect = match read_connect(gateway, &mut transport, &mut buffer).await {
        Ok(connect) => connect,
        Err(end) => {
            let version = claimed_version(&buffer, &end);
            return refuse(transport, version, usize::MAX, end).await;
        }
    };
    let version = connect.version;
    let limits = limits_of(gateway, &connect);
    match admit(gateway, connect, source).await {
        Ok((admitted, answer)) => {
            let mut output = BytesMut::new();
            let written = encode(&Packet::ConnAck(answer), version, &mut output);
            if written.is_err() || output.len() > limits.packet_bytes {
                return Err(End::refused(
                    ReasonCode::PacketTooLarge,
                    "CONNACK is longer than the client takes",
                ));
            }
            transport.write_all(&output).await?;
            transport.flush().await?;
            Ok(Box::new(Connection::new(gateway.clone(), transport, admitted, (limits, buffer))))
        }
        Err(end) => refuse(transport, Some(version), limits.packet_bytes, end).await,
    }
}

async fn read_connect(
    gateway: &Gateway,
    transport: &mut Transport,
    buffer: &mut BytesMut,
) -> Result<Box<Connect>, End> {
    loop {
        if let Some(packet) = decode(buffer, None, gateway.config.max_connect_bytes.get())? {
            return match packet {
                Packet::Connect(connect) => Ok(connect),
                other => Err(DecodeError::NotConnect(other.packet_type()).into()),
            };
        }
        buffer.reserve(READ_STEP);
        let read = transport.read_buf(buffer).await?;
        gateway.metrics.bytes_received.inc_by(u64::try_from(read).unwrap_or(u64::MAX));
        if read == 0 {
            return Err(End::Closed);
        }
    }
}

/// The version in which a CONNECT that could not be read is answered; `None` = not at all.
fn claimed_version(buffer: &[u8], end: &End) -> Option<Version> {
    if let End::Malformed(DecodeError::Mqtt31) = end {
        return Some(Version::V4);
    }
    if buffer.first().map(|first| first >> 4) != Some(PacketType::Connect as u8) {
        return None;
    }
    let length_bytes = buffer.get(1..5)?.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let level = buffer.get(1 + length_bytes..)?.strip_prefix(b"\0\x04MQTT")?.first()?;
    match level {
        0..=4 => Some(Version::V4),
        5.. => Some(Version::V5),
    }
}

/// Says why in CONNACK, where the version has a word for it, and closes.
async fn refuse<T>(
    mut transport: Transport,
    version: Option<Version>,
    max: usize,
    end: End,
) -> Result<T, End> {
    if let (Some(version), Some(reason)) = (version, end.reason()) {
        let text = if let End::Refused { text, .. } = &end { Some((*text).to_owned()) } else { None };
        let mut output = BytesMut::new();
        // MQTT 5, 3.2.2.3.9: the text is left out when it makes the packet too long.
        for reason_string in [text, None] {
            let properties = ConnAckProperties { reason_string, ..ConnAckProperties::default() };
            let answer = ConnAck { session_present: false, reason, properties: Some(Box::new(properties)) };
            let answer = Packet::ConnAck(answer);
            if encoded_len(&answer, version).is_ok_and(|length| length <= max)
                && encode(&answer, version, &mut output).is_ok()
            {
                transport.write_all(&output).await?;
                transport.flush().await?;
                break;
            }
        }
    }
    linger(&mut transport).await;
    Err(end)
}

fn limits_of(gateway: &Gateway, connect: &Connect) -> Limits {
    let properties = connect.properties.as_deref();
    let window = properties.and_then(|properties| properties.receive_maximum);
    let packet_bytes = properties.and_then(|properties| properties.maximum_packet_bytes).map(NonZeroU32::get);
    Limits {
        version: connect.version,
        window: window.unwrap_or(gateway.config.max_inflight).min(gateway.config.max_inflight).get(),
        packet_bytes: packet_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX),
        aliases: properties.and_then(|properties| properties.topic_alias_maximum).unwrap_or(0),
        problem_information: properties
            .and_then(|properties| properties.request_problem_information)
            .unwrap_or(true),
    }
}

/// A client that may come in. It has its session already, and gives it up when this is dropped.
pub(crate) struct Admitted {
    pub(crate) seat: Seat,
    pub(crate) keep_alive_s: u16,
}

async fn admit(
    gateway: &Arc<Gateway>,
    mut connect: Box<Connect>,
    source: IpAddr,
) -> Result<(Admitted, ConnAck), End> {
    if connect.properties.as_ref().is_some_and(|properties| properties.authentication_method.is_some()) {
        return Err(End::refused(
            ReasonCode::BadAuthenticationMethod,
            "extended authentication is not offered",
        ));
    }
    let client = identify(gateway, &connect, source).await?;
    if !gateway.spaces.of(client.tenant()).buckets.may_connect() {
        return Err(End::refused(ReasonCode::ConnectionRateExceeded, "the tenant connects too often"));
    }
    let owner = client.owner();
    let will = connect.will.take().map(|will| Will::of(gateway, &client, *will)).transpose()?;
    let assigned = assigned_client_id(gateway, &connect, &owner)?;
    let client_id = assigned.clone().unwrap_or_else(|| std::mem::take(&mut connect.client_id));
    let wish = Wish {
        client_id: client_id.into(),
        clean_start: connect.clean_start,
        expiry_s: session_expiry(gateway, &connect),
        will,
        place: gateway.connections_by_tenant.take(client.tenant().id()),
        window: limits_of(gateway, &connect).window,
    };
    let expiry_s = wish.expiry_s;
    let Taken { seat, is_present, ticket } = Seat::take(gateway, client, wish)?;
    // A credential that was revoked on the way is seen here or by the session that is registered now.
    if let Client::Identified(identity) = &seat.attachment.client
        && !gateway.authenticator.is_fresh(identity)
        && !gateway.authenticator.is_valid(identity).await?
    {
        if !is_present {
            // Its owner may be gone, and with it whoever would end it.
            seat.leave(Leaving::Goodbye, Some(0));
        }
        return Err(End::refused(ReasonCode::NotAuthorized, "the credential was revoked"));
    }
    if let Some(mut ticket) = ticket {
        let kept = ticket.durable().await;
        kept.map_err(|_| End::refused(ReasonCode::ServerBusy, "the log could not keep the session"))?;
    }
    let keep_alive_s = keep_alive(gateway, connect.keep_alive_s);
    let mut answer = answer(gateway, &connect, assigned, (keep_alive_s, expiry_s));
    answer.session_present = is_present;
    Ok((Admitted { seat, keep_alive_s }, answer))
}

/// How long the session outlives its connection, in seconds. In 3.1.1 it is for ever or not at all (3.1.1, 3.1.2.4).
fn session_expiry(gateway: &Gateway, connect: &Connect) -> u32 {
    let asked_s = match connect.version {
        Version::V4 if connect.clean_start => 0,
        Version::V4 => NEVER,
        Version::V5 => {
            connect.properties.as_ref().and_then(|properties| properties.session_expiry_s).unwrap_or(0)
        }
    };
    bounded_expiry(gateway, asked_s)
}

pub(crate) fn bounded_expiry(gateway: &Gateway, asked_s: u32) -> u32 {
    asked_s.min(gateway.config.max_session_expiry_s)
}

async fn identify(gateway: &Gateway, connect: &Connect, source: IpAddr) -> Result<Client, End> {
    match (&connect.username, &connect.password) {
        (None, None) if gateway.config.anonymous.allow && source.to_canonical().is_loopback() => {
            let id = TenantId::parse(ANONYMOUS_TENANT).expect("it is an id");
            #[expect(
                clippy::disallowed_methods,
                reason = "clients without credentials are allowed by setting"
            )]
            Ok(Client::Anonymous(Tenant::authenticated(id)))
        }
        (Some(username), Some(password)) => {
            let identity = gateway.authenticator.authenticate(source, username, password).await?;
            let client = Client::Identified(Box::new(identity));
            let is_for_mqtt = |scopes: &[Scope]| scopes.iter().any(|scope| scope.filter().is_some());
            if !client.scopes().is_none_or(is_for_mqtt) {
                return Err(End::refused(ReasonCode::NotAuthorized, "the API key has no scope mqtt:…"));
            }
            Ok(client)
        }
        (None, None) => Err(End::refused(
            ReasonCode::NotAuthorized,
            "credentials are needed: username = device id, or app:key id; password = its token",
        )),
        _ => Err(End::refused(
            ReasonCode::BadUserNameOrPassword,
            "both are needed: username = device id, or app:key id; password = its token",
        )),
    }
}

/// The id of a client that names none: the device's, or a random one.
fn assigned_client_id(gateway: &Gateway, connect: &Connect, owner: &Owner) -> Result<Option<String>, End> {
    if !connect.client_id.is_empty() {
        return Ok(None);
    }
    // MQTT 3.1.1, 3.1.3.1.
    if connect.version == Version::V4 && !connect.clean_start {
        let text = "a client id is needed with clean session 0";
        return Err(End::refused(ReasonCode::ClientIdentifierNotValid, text));
    }
    Ok(Some(match owner.device() {
        Some(device) => device.as_str().to_owned(),
        None => format!("auto-{:032x}", u128::from_be_bytes(gateway.rng.bytes())),
    }))
}

/// The keep-alive that is enforced, in seconds; 0 = none.
fn keep_alive(gateway: &Gateway, asked_s: u16) -> u16 {
    match (asked_s, gateway.config.max_keep_alive_s) {
        (asked_s, 0) => asked_s,
        (0, max_s) => max_s,
        (asked_s, max_s) => asked_s.min(max_s),
    }
}

/// CONNACK says what is not as the client asked, and the gateway's limits (MQTT 5, 3.2.2.3).
fn answer(
    gateway: &Gateway,
    connect: &Connect,
    assigned: Option<String>,
    (keep_alive_s, expiry_s): (u16, u32),
) -> ConnAck {
    let config = &gateway.config;
    let asked_expiry =
        connect.properties.as_ref().and_then(|properties| properties.session_expiry_s).unwrap_or(0);
    let properties = ConnAckProperties {
        session_expiry_s: (asked_expiry != expiry_s).then_some(expiry_s),
        receive_maximum: Some(config.receive_maximum),
        maximum_packet_bytes: Some(config.max_packet_bytes),
        assigned_client_id: assigned,
        topic_alias_maximum: Some(config.max_topic_aliases),
        server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
        ..ConnAckProperties::default()
    };
    ConnAck { session_present: false, reason: ReasonCode::Success, properties: Some(Box::new(properties)) }
}

/// Levels of a topic or filter.
pub(crate) fn topic_levels(topic: &str) -> usize {
    topic.bytes().filter(|&byte| byte == b'/').count() + 1
}
