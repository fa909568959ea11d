//! Live messages: patterns, groups, requests, slow subscribers.

use super::*;

fn payloads(subscription: &mut Subscription) -> Vec<Bytes> {
    std::iter::from_fn(|| subscription.try_next()).map(|message| message.payload).collect()
}

#[test]
fn wildcards_match_one_token_or_the_rest() {
    let live = Live::embedded();
    let mut exact = live.subscribe("telemetry.acme.pump", None);
    let mut one = live.subscribe("telemetry.*.pump", None);
    let mut rest = live.subscribe("telemetry.>", None);
    for subject in
        ["telemetry.acme.pump", "telemetry.beta.pump", "telemetry.acme.fan.x", "telemetry", "event.acme.pump"]
    {
        live.publish(subject, Bytes::copy_from_slice(subject.as_bytes()));
    }
    assert_eq!(payloads(&mut exact), ["telemetry.acme.pump"]);
    assert_eq!(payloads(&mut one), ["telemetry.acme.pump", "telemetry.beta.pump"]);
    assert_eq!(payloads(&mut rest), ["telemetry.acme.pump", "telemetry.beta.pump", "telemetry.acme.fan.x"]);
}

#[test]
fn a_subject_has_subscribers_until_the_last_is_dropped() {
    let live = Live::embedded();
    assert!(!live.has_subscribers("a.b"));
    let first = live.subscribe("a.*", None);
    let second = live.subscribe("a.*", Some("g"));
    assert!(live.has_subscribers("a.b") && !live.has_subscribers("a") && !live.has_subscribers("a.b.c"));
    drop(first);
    assert!(live.has_subscribers("a.b"));
    drop(second);
    assert!(!live.has_subscribers("a.b"));
    let _other = live.subscribe("b", None);
    assert!(!live.has_subscribers("a.b"));
}

#[test]
fn of_a_group_one_member_gets_each_message() {
    let live = Live::embedded();
    let mut members = [live.subscribe("jobs", Some("g")), live.subscribe("jobs", Some("g"))];
    let mut alone = live.subscribe("jobs", None);
    for _ in 0..10 {
        live.publish("jobs", Bytes::new());
    }
    assert_eq!(members.each_mut().map(|member| payloads(member).len()), [5, 5]);
    assert_eq!(payloads(&mut alone).len(), 10);
}

#[test]
fn a_slow_subscriber_loses_new_messages_and_knows_how_many() {
    let live = Live::embedded();
    let mut slow = live.subscribe("a", None);
    for number in 0..QUEUE_MESSAGES + 3 {
        live.publish("a", Bytes::from(number.to_string()));
    }
    assert_eq!(slow.lagged(), 3);
    let got = payloads(&mut slow);
    assert_eq!((got.len(), &got[0][..]), (QUEUE_MESSAGES, &b"0"[..]));
}

#[test]
fn a_full_member_of_a_group_passes_its_turn_on() {
    let live = Live::embedded();
    let slow = live.subscribe("a", Some("g"));
    let mut quick = live.subscribe("a", Some("g"));
    let mut got = 0;
    for _ in 0..3 * QUEUE_MESSAGES {
        live.publish("a", Bytes::new());
        got += payloads(&mut quick).len();
    }
    assert_eq!((got, slow.lagged()), (2 * QUEUE_MESSAGES, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_the_first_answer_or_says_why_not() {
    let live = Live::embedded();
    let second = Duration::from_secs(1);
    assert_eq!(live.request("ask", Bytes::new(), second).await, Err(LiveError::NoSubscribers));

    let mut answering = live.subscribe("ask", None);
    let answer = async {
        let message = answering.next().await.unwrap();
        assert!(message.wants_reply());
        message.reply(Bytes::from_static(b"first"));
        message.reply(Bytes::from_static(b"second"));
        answering.next().await.unwrap()
    };
    let ask = async {
        assert_eq!(live.request("ask", Bytes::new(), second).await, Ok(Bytes::from_static(b"first")));
        live.request("ask", Bytes::new(), second).await
    };
    let (kept, outcome) = tokio::join!(answer, ask);
    assert_eq!(outcome, Err(LiveError::Timeout));
    drop(kept);

    let drop_it = async { drop(answering.next().await) };
    let (outcome, ()) = tokio::join!(live.request("ask", Bytes::new(), second), drop_it);
    assert_eq!(outcome, Err(LiveError::NoReply));
}

#[test]
fn a_token_has_no_special_characters() {
    assert_eq!(token("pump-7"), "pump-7");
    assert_eq!(token("a.b *>%"), "a%2Eb%20%2A%3E%25");
}

#[tokio::test(start_paused = true)]
async fn an_awaited_message_is_waited_for_until_all_who_got_it_have_dropped_it() {
    let live = Live::embedded();
    let wait = || live.publish_and_wait("a.b", Bytes::new(), Duration::from_secs(5));
    assert_eq!(wait().await, Ok(()));
    let (mut one, mut other) = (live.subscribe("a.*", None), live.subscribe("a.b", None));
    let mut kept = None;
    let takes = async {
        drop(one.next().await);
        kept = other.next().await;
    };
    assert_eq!(tokio::join!(wait(), takes).0, Err(LiveError::Timeout));
    drop(kept);
    let takes = async {
        drop(one.next().await);
        drop(other);
    };
    assert_eq!(tokio::join!(wait(), takes).0, Ok(()));
    for _ in 0..QUEUE_MESSAGES {
        live.publish("a.x", Bytes::new());
    }
    assert_eq!(wait().await, Err(LiveError::Lost));
}
