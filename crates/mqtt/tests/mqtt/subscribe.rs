//! SUBSCRIBE, UNSUBSCRIBE, and who hears whom.

use drover_mqtt_codec::{Packet, QoS, ReasonCode, Subscription, Unsubscribe, Version};

use crate::server::{Server, allow_anonymous, id, publish, subscription};

#[tokio::test]
async fn devices_reach_their_own_topics_only() {
    let server = Server::start(|_| {}).await;
    let cases = [
        ("v1/#", ReasonCode::GrantedQos2),
        ("v1/commands/+/+", ReasonCode::GrantedQos2),
        ("dev/pump/#", ReasonCode::GrantedQos2),
        ("dev/pump/a/+", ReasonCode::GrantedQos2),
        ("dev/pump", ReasonCode::GrantedQos2),
        ("dev/+/a", ReasonCode::NotAuthorized),
        ("dev/fan/a", ReasonCode::NotAuthorized),
        ("#", ReasonCode::NotAuthorized),
        ("+/telemetry", ReasonCode::NotAuthorized),
        ("$share/g/dev/pump/a", ReasonCode::GrantedQos2),
        ("$share/g/v1/errors", ReasonCode::SharedSubscriptionsNotSupported),
        ("a/#/b", ReasonCode::TopicFilterInvalid),
        ("a+", ReasonCode::TopicFilterInvalid),
        ("", ReasonCode::TopicFilterInvalid),
    ];
    for version in [Version::V4, Version::V5] {
        let mut device = server.device(version, "pump").await;
        let asked = cases.iter().map(|(filter, _)| subscription(filter, QoS::ExactlyOnce)).collect();
        let got = device.subscribe_all(asked, None).await;
        for ((filter, expected), got) in cases.iter().zip(got) {
            let v4 = version == Version::V4 && expected.is_error();
            assert_eq!(got, if v4 { ReasonCode::UnspecifiedError } else { *expected }, "{filter}");
        }
    }
}

#[tokio::test]
async fn denied_filters_are_refused_with_the_set_code() {
    for (code, expected) in
        [(0x87, ReasonCode::NotAuthorized), (0x83, ReasonCode::ImplementationSpecificError)]
    {
        let server = Server::start(|config| {
            allow_anonymous(config);
            config.anonymous.deny = vec!["secret/#".into()];
            config.anonymous.deny_code = code;
        })
        .await;
        let mut new = server.anonymous(Version::V5, "n").await;
        assert_eq!(new.subscribe("secret/a", QoS::AtMostOnce).await, expected);
        assert_eq!(new.subscribe("other", QoS::AtMostOnce).await, ReasonCode::Success);
        let mut old = server.anonymous(Version::V4, "o").await;
        assert_eq!(old.subscribe("secret/a", QoS::AtMostOnce).await, ReasonCode::UnspecifiedError);
    }
}

#[tokio::test]
async fn unsubscribing_ends_delivery() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    client.subscribe("a", QoS::AtMostOnce).await;
    let filters = vec!["a".into(), "never".into(), "a/#/b".into()];
    client.send(&Packet::Unsubscribe(Unsubscribe { packet_id: id(4), filters, properties: None })).await;
    let Some(Packet::UnsubAck(answer)) = client.next().await else { panic!("no UNSUBACK") };
    let expected = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted, ReasonCode::TopicFilterInvalid];
    assert_eq!(answer.reasons, expected);
    client.publish(publish("a", None, b"")).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn overlapping_subscriptions_deliver_once() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    client.subscribe_all(vec![subscription("a/#", QoS::AtMostOnce)], Some(1)).await;
    client.subscribe_all(vec![subscription("a/b", QoS::AtLeastOnce)], Some(2)).await;
    client.publish(publish("a/b", Some(1), b"")).await;
    client.expect_puback(1).await;
    let received = client.expect_publish().await;
    let mut ids = received.properties.unwrap().subscription_ids;
    ids.sort();
    assert_eq!((received.qos, ids.len()), (QoS::AtLeastOnce, 2));
    client.expect_nothing().await;
}

#[tokio::test]
async fn no_local_and_dollar_topics_stay_away() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    client
        .subscribe_all(vec![Subscription { no_local: true, ..subscription("a", QoS::AtMostOnce) }], None)
        .await;
    client.subscribe("+/x", QoS::AtMostOnce).await;
    client.publish(publish("a", None, b"")).await;
    client.publish(publish("$a/x", None, b"")).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn tenants_with_equal_names_never_meet() {
    let server = Server::start(|_| {}).await;
    let mut here = server.device(Version::V5, "pump").await;
    let mut there = server.device(Version::V5, "pump@acme").await;
    for device in [&mut here, &mut there] {
        assert_eq!(device.subscribe("dev/pump/#", QoS::AtMostOnce).await, ReasonCode::Success);
    }
    here.publish(publish("dev/pump/x", Some(1), b"here")).await;
    here.expect_puback(1).await;
    assert_eq!(&here.expect_publish().await.payload[..], b"here");
    there.expect_nothing().await;
}

#[tokio::test]
async fn a_hundred_thousand_filters_of_one_client_meet_their_bound() {
    let server = Server::start(allow_anonymous).await;
    for (version, refusal) in
        [(Version::V4, ReasonCode::UnspecifiedError), (Version::V5, ReasonCode::QuotaExceeded)]
    {
        let mut client = server.anonymous(version, "c").await;
        let mut granted = 0;
        for chunk in 0..100 {
            let asked =
                (0..1_000).map(|n| subscription(&format!("f/{chunk}/{n}"), QoS::AtMostOnce)).collect();
            for reason in client.subscribe_all(asked, None).await {
                match reason {
                    ReasonCode::Success => granted += 1,
                    other => assert_eq!(other, refusal),
                }
            }
        }
        assert_eq!(granted, 1_000);
        // One that is there may be asked for again, and one that goes makes room.
        assert_eq!(client.subscribe("f/0/0", QoS::AtMostOnce).await, ReasonCode::Success);
        let filters = vec!["f/0/1".into()];
        client.send(&Packet::Unsubscribe(Unsubscribe { packet_id: id(4), filters, properties: None })).await;
        assert!(matches!(client.next().await, Some(Packet::UnsubAck(_))));
        assert_eq!(client.subscribe("new", QoS::AtMostOnce).await, ReasonCode::Success);
        assert_eq!(client.subscribe("newer", QoS::AtMostOnce).await, refusal);
    }
}

#[tokio::test]
async fn a_filter_with_too_many_levels_is_refused() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    let deep = vec!["a"; 129].join("/");
    assert_eq!(client.subscribe(&deep, QoS::AtMostOnce).await, ReasonCode::TopicFilterInvalid);
}
