//! Drover as a user of Rust's rumqttc meets it, with its clients of both versions.

use std::time::Duration;

use drover_testkit::Drover;
use tokio::time::timeout;

/// How long one message may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that wait in a client.
const REQUESTS: usize = 1_000;
/// Messages of each QoS.
const MESSAGES: u32 = 100;

mod v4 {
    pub use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS};

    pub fn persistent(options: &mut MqttOptions) {
        options.set_clean_session(false);
    }

    pub fn will(topic: &str) -> LastWill {
        LastWill::new(topic, "gone", QoS::AtLeastOnce, false)
    }
}

mod v5 {
    pub use rumqttc::v5::mqttbytes::QoS;
    pub use rumqttc::v5::mqttbytes::v5::{LastWill, Packet};
    pub use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

    pub fn persistent(options: &mut MqttOptions) {
        options.set_clean_start(false).set_session_expiry_interval(Some(600));
    }

    pub fn will(topic: &str) -> LastWill {
        LastWill::new(topic, "gone", QoS::AtLeastOnce, false, None)
    }
}

macro_rules! scenario {
    ($name:ident, $version:ident) => {
        mod $name {
            use super::$version::{
                AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, persistent, will,
            };
            use super::{Drover, MESSAGES, PATIENCE, REQUESTS, timeout};

            /// The next message: payload, QoS, and whether it was retained.
            async fn next(events: &mut EventLoop) -> (String, QoS, bool) {
                loop {
                    let event = timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
                    if let Event::Incoming(Packet::Publish(publish)) = event {
                        let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                        return (payload, publish.qos, publish.retain);
                    }
                }
            }

            /// Connects; whether the session was there.
            async fn connected(events: &mut EventLoop) -> bool {
                match timeout(PATIENCE, events.poll()).await.unwrap().unwrap() {
                    Event::Incoming(Packet::ConnAck(answer)) => answer.session_present,
                    other => panic!("{other:?}"),
                }
            }

            /// Goes on until so many messages of this client are acknowledged.
            async fn acknowledged(events: &mut EventLoop, count: u32) {
                let mut left = count;
                while left > 0 {
                    let event = timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
                    if matches!(event, Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) {
                        left -= 1;
                    }
                }
            }

            async fn subscribe(client: &AsyncClient, events: &mut EventLoop, filter: &str) {
                client.subscribe(filter, QoS::ExactlyOnce).await.unwrap();
                while !matches!(
                    timeout(PATIENCE, events.poll()).await.unwrap().unwrap(),
                    Event::Incoming(Packet::SubAck(_))
                ) {}
            }

            #[tokio::test]
            async fn all_promises_are_kept() {
                let server = Drover::start().await;
                let token = server.device("robot").await;
                let options = |id: &str| {
                    let mut options = MqttOptions::new(id, "127.0.0.1", server.port("mqtt"));
                    options.set_credentials("robot", &token);
                    options
                };
                let receiver = || {
                    let mut options = options("receiver");
                    persistent(&mut options);
                    options.set_last_will(will("dev/robot/will"));
                    AsyncClient::new(options, REQUESTS)
                };
                let (client, mut events) = receiver();
                assert!(!connected(&mut events).await);
                for filter in ["dev/robot/x", "dev/robot/will"] {
                    subscribe(&client, &mut events, filter).await;
                }
                let (sender, mut sending) = AsyncClient::new(options("sender"), REQUESTS);
                assert!(!connected(&mut sending).await);

                // Each QoS arrives, in order.
                for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    for n in 0..MESSAGES {
                        sender.publish("dev/robot/x", qos, false, n.to_string()).await.unwrap();
                    }
                    let receive = async {
                        for n in 0..MESSAGES {
                            assert_eq!(next(&mut events).await, (n.to_string(), qos, false));
                        }
                    };
                    tokio::join!(receive, acknowledged(&mut sending, MESSAGES));
                }

                // A client that is away: its will is sent, and what comes is kept for it.
                subscribe(&sender, &mut sending, "dev/robot/will").await;
                // A new rumqttc knows nothing of QoS 2 messages that the old one had half received, and fails: so this one ends them, which
                // come before this message in the order of the connection.
                client.publish("dev/robot/settled", QoS::AtLeastOnce, false, "").await.unwrap();
                acknowledged(&mut events, 1).await;
                drop((client, events));
                assert_eq!(next(&mut sending).await.0, "gone");
                for n in 0..MESSAGES {
                    sender.publish("dev/robot/x", QoS::ExactlyOnce, n == 0, n.to_string()).await.unwrap();
                }
                acknowledged(&mut sending, MESSAGES).await;
                let (client, mut events) = receiver();
                assert!(connected(&mut events).await);
                assert_eq!(next(&mut events).await.0, "gone");
                for n in 0..MESSAGES {
                    assert_eq!(next(&mut events).await, (n.to_string(), QoS::ExactlyOnce, false));
                }

                // What was retained comes to a new subscription.
                client.subscribe("dev/robot/x", QoS::AtLeastOnce).await.unwrap();
                assert_eq!(next(&mut events).await, ("0".to_owned(), QoS::AtLeastOnce, true));
                server.stop().await;
            }
        }
    };
}

scenario!(mqtt_3_1_1, v4);
scenario!(mqtt_5, v5);
