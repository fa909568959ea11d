//! What clients commonly say: sessions that stay, goodbyes, wills, and the steps of QoS 2.

use drover_mqtt_codec::{
    Ack, Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, Publish, QoS, ReasonCode,
    Version, Will, WillProperties,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::server::{Device, Server, anonymous, id, publish};

/// Asks for a session that outlives its connection by a thousand seconds, in 3.1.1 for ever.
pub fn persistent(version: Version, client_id: &str) -> Connect {
    let properties = ConnectProperties { session_expiry_s: Some(1_000), ..ConnectProperties::default() };
    Connect { clean_start: false, ..with(anonymous(version, client_id), properties) }
}

/// MQTT 3.1.1 leaves them out.
pub fn with(connect: Connect, properties: ConnectProperties) -> Connect {
    Connect { properties: Some(Box::new(properties)), ..connect }
}

/// `qos` 1 and not retained.
pub fn will(topic: &str) -> Will {
    Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: topic.into(),
        payload: "gone".into(),
        properties: None,
    }
}

pub fn delayed(will: Will, delay_s: u32) -> Will {
    let properties = WillProperties { will_delay_s: Some(delay_s), ..WillProperties::default() };
    Will { properties: Some(Box::new(properties)), ..will }
}

pub fn with_will(connect: Connect, will: Will) -> Connect {
    Connect { will: Some(Box::new(will)), ..connect }
}

pub fn qos2(topic: &str, packet_id: u16, payload: &[u8]) -> Publish {
    Publish { qos: QoS::ExactlyOnce, ..publish(topic, Some(packet_id), payload) }
}

pub fn retained(publish: Publish) -> Publish {
    Publish { retain: true, ..publish }
}

/// A DISCONNECT with an expiry, if any.
pub fn disconnect(reason: ReasonCode, session_expiry_s: Option<u32>) -> Packet {
    let properties = DisconnectProperties { session_expiry_s, ..DisconnectProperties::default() };
    Packet::Disconnect(Disconnect {
        reason,
        properties: session_expiry_s.is_some().then(|| Box::new(properties)),
    })
}

impl Server {
    /// A connected client with a session that outlives its connection, and whether the session was there before.
    pub async fn persistent(&self, version: Version, client_id: &str) -> (Device<TcpStream>, bool) {
        let mut device = self.tcp().await;
        let answer = device.connect(persistent(version, client_id)).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        (device, answer.session_present)
    }

    /// Publishes at QoS 1 as another client, and waits until it is acknowledged.
    pub async fn publishes(&self, messages: impl IntoIterator<Item = Publish>) {
        let mut publisher = self.anonymous(Version::V5, "another").await;
        for message in messages {
            publisher.publish_safely(message).await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Device<S> {
    /// Says goodbye; when it returns, the server knows.
    pub async fn leave(&mut self) {
        self.leave_with(&disconnect(ReasonCode::Success, None)).await;
    }

    /// Leaves so that the will is due; when it returns, the server knows.
    pub async fn leave_with_will(&mut self) {
        self.leave_with(&disconnect(ReasonCode::DisconnectWithWill, None)).await;
    }

    pub async fn leave_with(&mut self, goodbye: &Packet) {
        self.send(goodbye).await;
        assert_eq!(self.next().await, None);
    }

    /// Publishes, and takes part to the end of its QoS.
    pub async fn publish_safely(&mut self, message: Publish) {
        let (qos, packet_id) = (message.qos, message.packet_id);
        self.publish(message).await;
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                self.expect_puback(packet_id.get()).await;
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                self.expect_pubrec(packet_id.get()).await;
                self.release(packet_id.get()).await;
            }
            _ => self.expect_nothing().await,
        }
    }

    /// PUBREL, and PUBCOMP is the answer.
    pub async fn release(&mut self, packet_id: u16) {
        let ack = Ack::success(id(packet_id));
        self.send(&Packet::PubRel(ack.clone())).await;
        assert_eq!(self.next().await, Some(Packet::PubComp(ack)));
    }

    /// The next packet is a message with this payload, and is acknowledged to the end of its QoS.
    pub async fn receive(&mut self, payload: impl AsRef<[u8]>) -> Publish {
        let message = self.expect_publish().await;
        assert_eq!(message.payload, payload.as_ref());
        match (message.qos, message.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => self.send(&Packet::PubAck(Ack::success(packet_id))).await,
            (QoS::ExactlyOnce, Some(packet_id)) => {
                self.send(&Packet::PubRec(Ack::success(packet_id))).await;
                assert_eq!(self.next().await, Some(Packet::PubRel(Ack::success(packet_id))));
                self.send(&Packet::PubComp(Ack::success(packet_id))).await;
            }
            _ => {}
        }
        message
    }

    /// The next packet is a PUBREC with this id; its reason.
    pub async fn expect_pubrec(&mut self, packet_id: u16) -> ReasonCode {
        match self.next().await {
            Some(Packet::PubRec(ack)) => {
                assert_eq!(ack.packet_id, id(packet_id));
                ack.reason
            }
            other => panic!("{other:?}"),
        }
    }

    /// Says that nothing is wrong with a message.
    pub async fn acknowledge(&mut self, message: &Publish) {
        let ack = Ack::success(message.packet_id.unwrap());
        self.send(&if message.qos == QoS::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) })
            .await;
    }

    /// Says that something is wrong with a message.
    pub async fn refuse(&mut self, message: &Publish) {
        let packet_id = message.packet_id.unwrap();
        let ack = Ack { packet_id, reason: ReasonCode::UnspecifiedError, properties: None };
        self.send(&if message.qos == QoS::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) })
            .await;
    }
}
