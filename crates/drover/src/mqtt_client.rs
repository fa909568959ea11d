//! A small MQTT 5 client for the demonstration's devices: connect, publish at QoS 1 with a bounded window, ping, disconnect.
//! It subscribes to nothing and resumes no session.

use std::num::NonZeroU16;

use bytes::Bytes;
use drover_mqtt_codec::{Ack, Connect, Disconnect, Packet, PublishRef, QoS, ReasonCode, Secret, Version};

use crate::mqtt_connection::{Connection, Result, Server, failed};

/// The most messages without acknowledgement, whatever the server allows.
const MAX_WINDOW: u16 = 64;
/// Bytes that are collected before they are sent.
const WRITE_AT: usize = 16 * 1024;
const KEEP_ALIVE_S: u16 = 60;

/// A connected client.
pub struct MqttClient {
    connection: Connection,
    last_id: u16,
    unacknowledged: u16,
    window: u16,
}

impl MqttClient {
    /// Connects and waits for the server's consent.
    pub async fn connect(server: &Server, username: &str, password: &str) -> Result<Self> {
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: KEEP_ALIVE_S,
            client_id: username.to_owned(),
            will: None,
            username: Some(username.to_owned()),
            password: Some(Secret(Bytes::copy_from_slice(password.as_bytes()))),
            properties: None,
        };
        let (connection, answer) = Connection::open(server, connect).await?;
        if answer.reason != ReasonCode::Success {
            return Err(failed(&format!("{username} is refused"), answer.reason));
        }
        let allowed = answer.properties.and_then(|properties| properties.receive_maximum);
        let window = allowed.map_or(MAX_WINDOW, |allowed| u16::from(allowed).min(MAX_WINDOW));
        Ok(Self { connection, last_id: 0, unacknowledged: 0, window })
    }

    /// Sends a message at QoS 1. Waits while the window is full, so it also learns of earlier refusals.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        while self.unacknowledged >= self.window {
            self.connection.flush().await?;
            self.acknowledgement().await?;
        }
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let publish = PublishRef {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_id: NonZeroU16::new(self.last_id),
            payload,
            properties: None,
            message_expiry_s: None,
            topic_alias: None,
            subscription_ids: &[],
        };
        self.connection.put_publish(&publish)?;
        self.unacknowledged += 1;
        if self.connection.unsent() >= WRITE_AT { self.connection.flush().await } else { Ok(()) }
    }

    /// Returns when every message is acknowledged.
    pub async fn settle(&mut self) -> Result<()> {
        self.connection.flush().await?;
        while self.unacknowledged > 0 {
            self.acknowledgement().await?;
        }
        Ok(())
    }

    /// Keeps an idle session alive. Call it more often than once in 60 s when nothing is published.
    pub async fn ping(&mut self) -> Result<()> {
        self.connection.put(&Packet::PingReq)?;
        self.connection.flush().await?;
        loop {
            match self.connection.answer().await? {
                Packet::PingResp => return Ok(()),
                packet => self.take(packet)?,
            }
        }
    }

    /// Ends the session.
    pub async fn disconnect(mut self) -> Result<()> {
        self.settle().await?;
        let last = Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: None });
        self.connection.close(&last).await
    }

    async fn acknowledgement(&mut self) -> Result<()> {
        let packet = self.connection.answer().await?;
        self.take(packet)
    }

    fn take(&mut self, packet: Packet) -> Result<()> {
        match packet {
            Packet::PubAck(Ack { reason, .. }) if reason.is_error() => {
                Err(failed("a message is refused", reason))
            }
            Packet::PubAck(_) => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                Ok(())
            }
            Packet::PingResp => Ok(()),
            Packet::Disconnect(end) => Err(failed("the server ended the session", end.reason)),
            other => Err(failed("unexpected packet", other.packet_type())),
        }
    }
}

#[cfg(test)]
mod tests;
