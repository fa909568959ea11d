//! A naive broker against the real one under random operations of several clients: connections with sessions of both kinds, in both
//! versions, lost and taken over; subscriptions and messages of every kind; acknowledgements that are held back; checkpoints; and kills
//! of the server. Whatever the clients of the real one receive must be what the naive one says.
//!
//! `PROPTEST_CASES` sets how many cases are tried. Cases that failed once stand in
//! `tests/proptest-regressions` and are tried first.

mod broker;
mod driver;
mod operation;

use drover_mqtt_codec::{QoS, RetainHandling, Version};
use proptest::prelude::*;

use self::broker::{Subscription, Wish};
use self::driver::Driver;
use self::operation::{Op, Publication, operations};

/// Cases of a usual run.
const CASES: u32 = 30;

#[expect(clippy::disallowed_methods, reason = "the variable of proptest itself")]
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    ProptestConfig { cases, max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

fn run(operations: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut driver = Driver::start().await;
        for operation in operations {
            driver.run(operation).await;
        }
        driver.finish().await;
    });
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn clients_receive_what_a_naive_broker_would_send(operations in operations()) {
        run(&operations);
    }
}

/// More than three pages of the database, twice: at QoS 1 and 2, through checkpoints, kills and small windows.
#[test]
fn queues_that_are_left_to_the_database_come_back_page_by_page() {
    let connect = |client, window| {
        let wish = Wish { version: Version::V5, clean_start: false, persistent: true, window, will: None };
        Op::Connect { client, wish, will: None }
    };
    let flood = |qos| {
        let publication = Publication { topic: "a", qos, retain: false, empty: false, held: false };
        Op::Flood { client: 0, count: 1_700, publication }
    };
    let kill = |flush| Op::Kill { flush, unanswered: None };
    let acknowledge = |which| Op::Acknowledge { client: 1, which };
    let subscription = Subscription { retain_handling: RetainHandling::DontSend, ..Subscription::all("a") };
    let mut operations = vec![
        connect(0, 10),
        connect(1, 10),
        Op::Subscribe { client: 1, subscription },
        Op::Leave { client: 1, goodbye: true },
        flood(QoS::ExactlyOnce),
        Op::Checkpoint,
        flood(QoS::AtLeastOnce),
        connect(1, 3),
    ];
    operations.extend([2, 0, 1, 1, 0].map(acknowledge));
    operations.extend([kill(true), connect(0, 10), connect(1, 700)]);
    operations.extend((0..40).map(|which| acknowledge(which * 7)));
    operations.extend([Op::Checkpoint, flood(QoS::AtLeastOnce), kill(false), Op::Checkpoint, kill(false)]);
    operations.push(connect(1, 1_000));
    run(&operations);
}
