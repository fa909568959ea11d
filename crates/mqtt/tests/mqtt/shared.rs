//! Shared subscriptions (MQTT 5, 4.8.2): who gets a message, and what becomes of one whose member refuses it or goes away.

use std::num::{NonZeroU16, NonZeroU32};

use drover_mqtt_codec::{Ack, Packet, QoS, ReasonCode, Unsubscribe, Version};
use drover_testkit::eventually;
use tokio::net::TcpStream;

use crate::clients::{disconnect, qos2, will, with_will};
use crate::server::{Device, Server, allow_anonymous, anonymous, id, publish};

async fn member(server: &Server, name: &str, filter: &str, qos: QoS) -> Device<TcpStream> {
    let (mut member, _) = server.persistent(Version::V5, name).await;
    assert!(!member.subscribe(filter, qos).await.is_error());
    member
}

#[tokio::test]
async fn every_group_gets_a_message_once_beside_ordinary_subscriptions() {
    let server = Server::start(allow_anonymous).await;
    let mut both = member(&server, "both", "$share/one/a", QoS::AtMostOnce).await;
    both.subscribe("$share/two/+", QoS::AtMostOnce).await;
    let mut ordinary = member(&server, "ordinary", "a", QoS::AtMostOnce).await;
    server.publishes([publish("a", Some(1), b"1")]).await;
    both.receive(b"1").await;
    both.receive(b"1").await;
    both.expect_nothing().await;
    ordinary.receive(b"1").await;
    ordinary.expect_nothing().await;
}

#[tokio::test]
async fn a_member_gets_messages_at_the_qos_that_it_was_granted() {
    let server = Server::start(allow_anonymous).await;
    let mut members = Vec::new();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        members.push((member(&server, &format!("{qos:?}"), "$share/g/a", qos).await, qos));
    }
    server.publishes((1..=3).map(|number| qos2("a", number, b"x"))).await;
    for (member, qos) in &mut members {
        assert_eq!(member.receive(b"x").await.qos, *qos);
        member.expect_nothing().await;
    }
}

#[tokio::test]
async fn wildcards_work_in_shared_filters_and_a_leading_one_leaves_dollar_topics_alone() {
    let server = Server::start(allow_anonymous).await;
    for (filter, topic, matches) in [
        ("$share/g/+/b", "a/b", true),
        ("$share/g/#", "a/b", true),
        ("$share/g/a/#", "a", true),
        ("$share/g//a", "/a", true),
        ("$share/g/+/b", "$a/b", false),
        ("$share/g/#", "$a/b", false),
        ("$share/g/$a/+", "$a/b", true),
        // The filter of a shared subscription is no topic.
        ("$share/g/a", "$share/g/a", false),
    ] {
        let mut member = server.anonymous(Version::V5, "m").await;
        assert_eq!(member.subscribe(filter, QoS::AtMostOnce).await, ReasonCode::Success);
        server.publishes([publish(topic, Some(1), b"x")]).await;
        if matches {
            member.receive(b"x").await;
        }
        member.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_shared_filter_needs_a_name_without_wildcards_and_a_filter() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    for filter in
        ["$share//a", "$share/g+/a", "$share/#/a", "$share/+/a", "$share/g/", "$share/g", "$share/g/a#"]
    {
        let reason = client.subscribe(filter, QoS::AtMostOnce).await;
        assert_eq!(reason, ReasonCode::TopicFilterInvalid, "{filter}");
    }
}

#[tokio::test]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    client.send_bytes(b"\x82\x10\0\x01\0\0\x0a$share/g/a\x04").await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

#[tokio::test]
async fn a_qos_2_message_stays_with_the_member_that_it_was_sent_to() {
    let server = Server::start(allow_anonymous).await;
    let mut first = member(&server, "first", "$share/g/a", QoS::ExactlyOnce).await;
    server.publishes([qos2("a", 1, b"1")]).await;
    let sent = first.expect_publish().await;
    let mut second = member(&server, "second", "$share/g/a", QoS::ExactlyOnce).await;
    first.leave().await;
    second.expect_nothing().await;
    let (mut first, _) = server.persistent(Version::V5, "first").await;
    let again = first.expect_publish().await;
    assert_eq!((again.packet_id, again.dup, &again.payload[..]), (sent.packet_id, true, &b"1"[..]));
    // Nor does it go to another one when the session ends.
    first.leave_with(&disconnect(ReasonCode::Success, Some(0))).await;
    second.expect_nothing().await;
    server.publishes([qos2("a", 2, b"2")]).await;
    second.receive(b"2").await;
}

#[tokio::test]
async fn a_message_that_a_member_refuses_goes_to_no_other() {
    let server = Server::start(allow_anonymous).await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut members = [
            member(&server, "first", "$share/g/a", qos).await,
            member(&server, "second", "$share/g/a", qos).await,
        ];
        server.publishes([qos2("a", 1, b"1"), qos2("a", 2, b"2")]).await;
        for member in &mut members {
            let message = member.expect_publish().await;
            member.refuse(&message).await;
        }
        for member in &mut members {
            member.expect_nothing().await;
            member.leave_with(&disconnect(ReasonCode::Success, Some(0))).await;
        }
    }
}

#[tokio::test]
async fn members_that_are_away_are_passed_over_while_another_is_connected() {
    let server = Server::start(allow_anonymous).await;
    let mut away = member(&server, "away", "$share/g/a", QoS::AtLeastOnce).await;
    away.leave().await;
    let mut here = member(&server, "here", "$share/g/a", QoS::AtLeastOnce).await;
    server.publishes((1..=4).map(|number| publish("a", Some(number), b"x"))).await;
    for _ in 0..4 {
        here.receive(b"x").await;
    }
    here.expect_nothing().await;
    here.leave().await;
    // With nobody there, a message waits for one of them.
    server.publishes([publish("a", Some(5), b"waits")]).await;
    let mut waiting = 0;
    for name in ["away", "here"] {
        let (mut member, is_present) = server.persistent(Version::V5, name).await;
        assert!(is_present);
        member.send(&Packet::PingReq).await;
        loop {
            match member.next().await {
                Some(Packet::PingResp) => break,
                Some(Packet::Publish(message)) => {
                    member.send(&Packet::PubAck(Ack::success(message.packet_id.unwrap()))).await;
                    waiting += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        member.expect_nothing().await;
    }
    assert_eq!(waiting, 1);
}

#[tokio::test]
async fn a_member_without_room_is_passed_over_and_ends_only_when_no_other_has_room() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_queued_bytes = 60;
    })
    .await;
    let mut full = member(&server, "full", "$share/g/a", QoS::AtLeastOnce).await;
    let mut other = member(&server, "other", "$share/g/a", QoS::AtLeastOnce).await;
    let message = |number| publish("a", Some(number), &[b'x'; 50]);
    server.publishes([message(1)]).await;
    let unacknowledged = full.expect_publish().await;
    for number in 2..=5 {
        server.publishes([message(number)]).await;
        other.receive(&[b'x'; 50]).await;
    }
    other.leave().await;
    // Who is away has room.
    server.publishes([message(6)]).await;
    full.send(&Packet::PubAck(Ack::success(unacknowledged.packet_id.unwrap()))).await;
    full.expect_nothing().await;
    let (mut other, _) = server.persistent(Version::V5, "other").await;
    other.expect_publish().await;
    server.publishes([message(7)]).await;
    full.expect_publish().await;
    // Now nobody has: as ever, publishers wait for no session.
    server.publishes([message(8), message(9)]).await;
    for member in [&mut full, &mut other] {
        member.expect_end(ReasonCode::QuotaExceeded).await;
    }
}

#[tokio::test]
async fn what_a_member_had_not_received_goes_to_another_when_its_session_ends() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_inflight = NonZeroU16::MIN;
    })
    .await;
    for end in ["goodbye", "clean start"] {
        let mut first = member(&server, "first", "$share/g/a", QoS::ExactlyOnce).await;
        first.subscribe("mine", QoS::AtLeastOnce).await;
        server
            .publishes([publish("a", Some(1), b"1"), qos2("a", 2, b"2"), publish("mine", Some(3), b"3")])
            .await;
        assert_eq!(first.expect_publish().await.payload, &b"1"[..]);
        let mut second = member(&server, "second", "$share/g/a", QoS::ExactlyOnce).await;
        match end {
            "goodbye" => first.leave_with(&disconnect(ReasonCode::Success, Some(0))).await,
            _ => drop(server.anonymous(Version::V5, "first").await),
        }
        for payload in [b"1", b"2"] {
            assert!(!second.receive(payload).await.dup);
        }
        second.expect_nothing().await;
        second.leave_with(&disconnect(ReasonCode::Success, Some(0))).await;
    }
    assert_eq!(server.metric("handed_on_total"), Some(4));
}

#[tokio::test]
async fn what_an_absent_member_has_in_the_database_goes_to_another_too() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.checkpoint_interval_s = NonZeroU32::MIN;
    })
    .await;
    member(&server, "first", "$share/g/a", QoS::ExactlyOnce).await.leave().await;
    let before = server.metric("checkpoints_total");
    server.publishes([publish("a", Some(1), b"1"), qos2("a", 2, b"2")]).await;
    eventually("a checkpoint", async || (server.metric("checkpoints_total") > before).then_some(())).await;
    let mut second = member(&server, "second", "$share/g/a", QoS::ExactlyOnce).await;
    server.anonymous(Version::V5, "first").await.leave().await;
    for payload in [b"1", b"2"] {
        second.receive(payload).await;
    }
    second.expect_nothing().await;
    server.flush().await;
    let server = server.restarted().await;
    let (mut second, is_present) = server.persistent(Version::V5, "second").await;
    assert!(is_present);
    second.expect_nothing().await;
    assert_eq!(server.metric("sessions"), Some(1));
}

/// As many messages as are sent, each for one of two members, who get half of them.
async fn share_alike(server: &Server, members: [&mut Device<TcpStream>; 2]) {
    server.publishes((1..=4).map(|number| publish("a", Some(number), b"x"))).await;
    for member in members {
        member.receive(b"x").await;
        member.receive(b"x").await;
        member.expect_nothing().await;
    }
}

#[tokio::test]
async fn members_that_come_back_or_are_taken_over_have_their_turn_again_also_after_a_restart() {
    let server = Server::start(allow_anonymous).await;
    let mut first = member(&server, "first", "$share/g/a", QoS::AtLeastOnce).await;
    let mut second = member(&server, "second", "$share/g/a", QoS::AtLeastOnce).await;
    share_alike(&server, [&mut first, &mut second]).await;
    first.leave().await;
    let (mut first, _) = server.persistent(Version::V5, "first").await;
    share_alike(&server, [&mut first, &mut second]).await;
    let (mut again, _) = server.persistent(Version::V5, "second").await;
    second.expect_end(ReasonCode::SessionTakenOver).await;
    share_alike(&server, [&mut first, &mut again]).await;
    first.leave().await;
    again.leave().await;
    // Nobody is told when acknowledgements are on disk.
    server.flush().await;
    let server = server.restarted().await;
    let (mut first, _) = server.persistent(Version::V5, "first").await;
    server.publishes([publish("a", Some(1), b"x")]).await;
    first.receive(b"x").await;
    let (mut second, is_present) = server.persistent(Version::V5, "second").await;
    assert!(is_present);
    share_alike(&server, [&mut first, &mut second]).await;
}

#[tokio::test]
async fn the_will_of_a_member_whose_session_ends_goes_to_another_of_its_group() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_queued_bytes = 1;
    })
    .await;
    let mut other = server.anonymous(Version::V5, "other").await;
    other.subscribe("$share/g/a", QoS::AtMostOnce).await;
    // Each twice: it does not matter whose turn it is.
    for end in ["lost", "taken over", "over its bound"].repeat(2) {
        let mut client = server.tcp().await;
        client.connect(with_will(anonymous(Version::V5, "c"), will("a"))).await;
        client.subscribe("$share/g/a", QoS::AtMostOnce).await;
        client.subscribe("b", QoS::AtLeastOnce).await;
        match end {
            "lost" => drop(client),
            "taken over" => drop(server.anonymous(Version::V5, "c").await),
            _ => server.publishes([publish("b", Some(1), b"1"), publish("b", Some(2), b"2")]).await,
        }
        other.receive(b"gone").await;
    }
}

#[tokio::test]
async fn a_member_that_unsubscribes_gets_nothing_more_and_the_last_one_takes_the_group_with_it() {
    let server = Server::start(allow_anonymous).await;
    let mut first = member(&server, "first", "$share/g/a", QoS::AtMostOnce).await;
    let mut second = member(&server, "second", "$share/g/a", QoS::AtMostOnce).await;
    let mut publisher = server.anonymous(Version::V5, "p").await;
    leave_group(&mut first).await;
    for number in 1..=2 {
        publisher.publish(publish("a", Some(number), b"x")).await;
        assert_eq!(publisher.expect_puback(number).await, ReasonCode::Success);
        second.receive(b"x").await;
    }
    first.expect_nothing().await;
    leave_group(&mut second).await;
    publisher.publish(publish("a", Some(3), b"x")).await;
    assert_eq!(publisher.expect_puback(3).await, ReasonCode::NoMatchingSubscribers);
    second.expect_nothing().await;
}

async fn leave_group(member: &mut Device<TcpStream>) {
    let filters = vec!["a".into(), "$share/h/a".into(), "$share/g/a".into()];
    member.send(&Packet::Unsubscribe(Unsubscribe { packet_id: id(4), filters, properties: None })).await;
    let Some(Packet::UnsubAck(answer)) = member.next().await else { panic!("no UNSUBACK") };
    let none = ReasonCode::NoSubscriptionExisted;
    assert_eq!(answer.reasons, [none, none, ReasonCode::Success]);
}
