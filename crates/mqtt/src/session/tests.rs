//! The bounds of a queue.

use drover_model::TenantId;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a test vouches for its tenant")]
fn session(messages: usize, bytes: usize) -> Session {
    let tenant = Tenant::authenticated(TenantId::parse("default").unwrap());
    Session::new(Client::Anonymous(tenant), "".into(), QueueBounds { messages, bytes })
}

fn delivery(qos: QoS, bytes: usize) -> Delivery {
    Delivery { message: Arc::new(Message::new("t", &vec![0; bytes], qos, 0)), qos, subscription_ids: None }
}

#[test]
fn a_full_queue_drops_qos_0_and_ends_the_session_at_qos_1() {
    let session = session(2, 1_000);
    assert_eq!(session.deliver(delivery(QoS::AtMostOnce, 1)), Delivered::Queued);
    assert_eq!(session.deliver(delivery(QoS::AtMostOnce, 1)), Delivered::Queued);
    assert_eq!(session.deliver(delivery(QoS::AtMostOnce, 1)), Delivered::Dropped);
    assert_eq!(session.ending(), None);
    assert_eq!(session.deliver(delivery(QoS::AtLeastOnce, 1)), Delivered::Ended);
    assert_eq!(session.ending(), Some(Ending::QueueFull));
}

#[test]
fn bytes_bound_a_queue_too_and_are_given_back() {
    let session = session(100, 100);
    assert_eq!(session.deliver(delivery(QoS::AtMostOnce, 60)), Delivered::Queued);
    assert_eq!(session.deliver(delivery(QoS::AtMostOnce, 60)), Delivered::Dropped);
    assert!(session.next(|_| false).is_none());
    assert!(session.next(|_| true).is_some());
    assert_eq!(session.deliver(delivery(QoS::AtMostOnce, 60)), Delivered::Queued);
}
