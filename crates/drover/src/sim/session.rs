//! Opening a connection with a session that outlives it, and telling refusals that pass from those that do not.

use std::num::NonZeroU16;

use bytes::Bytes;
use drover_mqtt_codec::{
    Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, ReasonCode, Secret, Version,
};

use super::Login;
use crate::mqtt_connection::{Connection, MqttError, Server, failed};

const KEEP_ALIVE_S: u16 = 60;
/// How long the server keeps a session whose client is away.
const SESSION_EXPIRY_S: u32 = 600;

/// A connection that the server let in.
pub struct Opened {
    pub connection: Connection,
    pub receive_maximum: Option<NonZeroU16>,
    /// The server goes on with the session that was there.
    pub is_resumed: bool,
}

/// Why there is none.
#[derive(Debug)]
pub enum Refusal {
    /// Later it may be otherwise.
    ForNow(MqttError),
    Final(MqttError),
}

/// Connects: with a new session, or with the one that is there.
pub async fn open(server: &Server, login: &Login, is_new: bool) -> Result<Opened, Refusal> {
    let properties =
        ConnectProperties { session_expiry_s: Some(SESSION_EXPIRY_S), ..ConnectProperties::default() };
    let connect = Connect {
        version: Version::V5,
        clean_start: is_new,
        keep_alive_s: KEEP_ALIVE_S,
        client_id: login.client_id.clone(),
        will: None,
        username: login.username.clone(),
        password: login.password.as_ref().map(|text| Secret(Bytes::copy_from_slice(text.as_bytes()))),
        properties: Some(Box::new(properties)),
    };
    let (connection, answer) = Connection::open(server, connect).await.map_err(Refusal::ForNow)?;
    if answer.reason.is_error() {
        let error = failed(&format!("{} is refused", login.client_id), answer.reason);
        return Err(if passes(answer.reason) { Refusal::ForNow(error) } else { Refusal::Final(error) });
    }
    let receive_maximum = answer.properties.and_then(|properties| properties.receive_maximum);
    Ok(Opened { connection, receive_maximum, is_resumed: answer.session_present })
}

/// Says goodbye, and that the session is not needed any more.
pub async fn leave(connection: Connection) {
    let properties = DisconnectProperties { session_expiry_s: Some(0), ..DisconnectProperties::default() };
    let last = Disconnect { reason: ReasonCode::Success, properties: Some(Box::new(properties)) };
    // Whoever leaves has nothing to lose: a server that is gone already knows.
    _ = connection.close(&Packet::Disconnect(last)).await;
}

fn passes(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::ServerShuttingDown
            | ReasonCode::QuotaExceeded
            | ReasonCode::ConnectionRateExceeded
    )
}
