//! Where sessions begin and end: clean starts, takeovers, expiry, goodbyes; and what messages and subscriptions become of it.

use std::num::NonZeroU32;
use std::time::Duration;

use drover_mqtt_codec::{
    Connect, ConnectProperties, Publish, PublishProperties, QoS, ReasonCode, Subscription, Version,
};

use crate::clients::{delayed, disconnect, persistent, qos2, will, with, with_will};
use crate::server::{Server, allow_anonymous, anonymous, publish, subscription, with_properties};

const BOTH: [Version; 2] = [Version::V4, Version::V5];

/// Starts cleanly, and asks for a session of so many seconds.
fn lasting(session_expiry_s: u32) -> Connect {
    let properties =
        ConnectProperties { session_expiry_s: Some(session_expiry_s), ..ConnectProperties::default() };
    with(anonymous(Version::V5, "c"), properties)
}

#[tokio::test]
async fn a_session_that_ends_with_its_connection_is_not_there_for_the_one_that_takes_over() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut first = server.anonymous(version, "c").await;
        first.subscribe("a", QoS::AtLeastOnce).await;
        let (mut second, is_present) = server.persistent(version, "c").await;
        assert!(!is_present);
        first.expect_end(ReasonCode::SessionTakenOver).await;
        server.publishes([publish("a", Some(1), b"")]).await;
        second.expect_nothing().await;
        second.leave().await;
        server.anonymous(version, "c").await.leave().await;
    }
}

#[tokio::test]
async fn whoever_takes_over_a_session_that_stays_gets_what_was_not_acknowledged() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let (mut first, _) = server.persistent(version, "c").await;
        first.subscribe("a", QoS::ExactlyOnce).await;
        server.publishes([publish("a", Some(1), b"1"), qos2("a", 2, b"2")]).await;
        let sent = [first.expect_publish().await, first.expect_publish().await];
        let (mut second, is_present) = server.persistent(version, "c").await;
        assert!(is_present);
        first.expect_end(ReasonCode::SessionTakenOver).await;
        for before in sent {
            assert_eq!(second.receive(&before.payload).await, Publish { dup: true, ..before });
        }
        second.leave().await;
        server.anonymous(version, "c").await.leave().await;
    }
}

#[tokio::test]
async fn a_clean_start_leaves_nothing_of_the_session_before() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let (mut client, is_present) = server.persistent(version, "c").await;
        assert!(!is_present);
        client.subscribe("a", QoS::AtLeastOnce).await;
        client.publish(qos2("b", 1, b"")).await;
        client.expect_pubrec(1).await;
        client.leave().await;
        server.publishes([publish("a", Some(1), b"waits")]).await;
        let mut client = server.tcp().await;
        let answer = client.connect(Connect { clean_start: true, ..persistent(version, "c") }).await;
        assert!(!answer.session_present);
        server.publishes([publish("a", Some(1), b"new")]).await;
        client.expect_nothing().await;
        let mut other = server.anonymous(version, "other").await;
        other.subscribe("b", QoS::AtMostOnce).await;
        // Its packet id means a new message.
        client.publish(qos2("b", 1, b"again")).await;
        client.expect_pubrec(1).await;
        other.receive(b"again").await;
        client.leave().await;
        server.anonymous(version, "c").await.leave().await;
        let (mut client, is_present) = server.persistent(version, "c").await;
        assert!(!is_present, "a session of a clean session ends with its connection");
        client.leave().await;
        server.anonymous(version, "c").await.leave().await;
    }
}

#[tokio::test]
async fn a_session_lasts_as_long_as_it_was_asked_to_and_no_longer() {
    let server = Server::start(allow_anonymous).await;
    for (expiry_s, away_s, stays) in
        [(1_000, 500, true), (1_000, 1_001, false), (u32::MAX, 1_000_000, true), (0, 0, false)]
    {
        let mut client = server.tcp().await;
        client.connect(lasting(expiry_s)).await;
        client.subscribe("a", QoS::AtLeastOnce).await;
        client.leave().await;
        server.publishes([publish("a", Some(1), b"x")]).await;
        server.advance(Duration::from_secs(away_s));
        let mut client = server.tcp().await;
        let answer = client.connect(Connect { clean_start: false, ..lasting(expiry_s) }).await;
        assert_eq!(answer.session_present, stays, "{expiry_s}");
        if stays {
            client.receive(b"x").await;
        }
        client.expect_nothing().await;
        client.leave_with(&disconnect(ReasonCode::Success, Some(0))).await;
    }
}

#[tokio::test]
async fn the_expiry_counts_from_the_end_of_the_connection() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.tcp().await;
    client.connect(lasting(1_000)).await;
    server.advance(Duration::from_secs(10_000));
    client.expect_nothing().await;
    client.leave().await;
    server.advance(Duration::from_secs(500));
    let mut client = server.tcp().await;
    assert!(client.connect(Connect { clean_start: false, ..lasting(1_000) }).await.session_present);
}

#[tokio::test]
async fn a_goodbye_may_change_the_expiry_of_a_session_but_not_give_one_to_a_session_without() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.tcp().await;
    client.connect(lasting(0)).await;
    client.send(&disconnect(ReasonCode::Success, Some(10))).await;
    client.expect_end(ReasonCode::ProtocolError).await;
    for (asked_s, said_s, away_s, stays) in
        [(100, 0, 0, false), (100, 1_000, 500, true), (100, 10, 50, false)]
    {
        let mut client = server.tcp().await;
        client.connect(lasting(asked_s)).await;
        client.leave_with(&disconnect(ReasonCode::Success, Some(said_s))).await;
        server.advance(Duration::from_secs(away_s));
        let mut client = server.tcp().await;
        let answer = client.connect(Connect { clean_start: false, ..lasting(asked_s) }).await;
        assert_eq!(answer.session_present, stays, "{said_s}");
    }
}

#[tokio::test]
async fn what_waits_for_a_client_says_how_long_it_lasts_and_is_left_out_when_it_has_expired() {
    let server = Server::start(allow_anonymous).await;
    let expiring = |number, payload: &[u8], expiry_s| {
        let properties =
            PublishProperties { message_expiry_s: Some(expiry_s), ..PublishProperties::default() };
        with_properties(publish("a", Some(number), payload), properties)
    };
    for version in BOTH {
        let (mut client, _) = server.persistent(version, "c").await;
        client.subscribe("a", QoS::AtLeastOnce).await;
        client.leave().await;
        let messages =
            [expiring(1, b"short", 300), expiring(2, b"long", 1_000), publish("a", Some(3), b"lasting")];
        server.publishes(messages).await;
        server.advance(Duration::from_secs(400));
        let (mut client, _) = server.persistent(version, "c").await;
        let message = client.receive(b"long").await;
        if version == Version::V5 {
            let left = message.properties.unwrap().message_expiry_s.unwrap();
            assert!((500..=600).contains(&left), "{left}");
        }
        assert_eq!(client.receive(b"lasting").await.properties, None);
        client.expect_nothing().await;
        client.leave().await;
        server.anonymous(version, "c").await.leave().await;
    }
}

#[tokio::test]
async fn what_waits_for_a_client_keeps_its_identifiers_properties_and_order_over_a_restart() {
    let server = Server::start(allow_anonymous).await;
    let (mut client, _) = server.persistent(Version::V5, "c").await;
    for (filter, qos, id) in [("a/#", QoS::AtLeastOnce, 3), ("+/b", QoS::ExactlyOnce, 7)] {
        client.subscribe_all(vec![subscription(filter, qos)], Some(id)).await;
    }
    let options = Subscription { no_local: true, ..subscription("a/b", QoS::AtMostOnce) };
    client.subscribe_all(vec![options], None).await;
    client.leave().await;
    let user_properties: Vec<_> =
        [("b", "1"), ("a", "2"), ("b", "0")].map(|(name, value)| (name.into(), value.into())).to_vec();
    let properties = PublishProperties {
        user_properties: user_properties.clone(),
        content_type: Some("text/plain".into()),
        response_topic: Some("answers".into()),
        correlation_data: Some("42".into()),
        payload_is_utf8: Some(true),
        ..PublishProperties::default()
    };
    let messages = (1..=20).map(|number: u16| {
        let message = qos2("a/b", number, &number.to_be_bytes());
        with_properties(message, properties.clone())
    });
    server.publishes(messages).await;
    let server = server.restarted().await;
    let (mut client, is_present) = server.persistent(Version::V5, "c").await;
    assert!(is_present);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(client.expect_publish().await);
    }
    for (number, message) in (1..=20_u16).zip(waiting) {
        assert_eq!((&message.payload[..], message.qos), (&number.to_be_bytes()[..], QoS::ExactlyOnce));
        let mut got = *message.properties.unwrap();
        got.subscription_ids.sort();
        let ids: Vec<_> = got.subscription_ids.drain(..).map(NonZeroU32::get).collect();
        assert_eq!(ids, [3, 7]);
        assert_eq!(got, properties);
    }
}

#[tokio::test]
async fn a_session_that_ended_over_its_bound_is_over_after_a_kill_too() {
    for has_will in [true, false] {
        let server = Server::start(|config| {
            allow_anonymous(config);
            config.max_queued_bytes = 2_000;
        })
        .await;
        let mut client = server.tcp().await;
        let wish = lasting(1_000);
        client.connect(if has_will { with_will(wish, delayed(will("w"), 900)) } else { wish }).await;
        client.subscribe("a", QoS::AtLeastOnce).await;
        client.leave_with_will().await;
        server.publishes((1..9).map(|id| publish("a", Some(id), &[b'x'; 480]))).await;
        let server = server.restarted().await;
        let answer = server.tcp().await.connect(Connect { clean_start: false, ..lasting(1_000) }).await;
        assert!(!answer.session_present, "what was acknowledged is not in it; with will: {has_will}");
        if has_will {
            // A session that is over has no will left to wait for.
            let wills = async || (server.metric("wills_total") == Some(1)).then_some(());
            drover_testkit::eventually("its will is published", wills).await;
        }
    }
}
