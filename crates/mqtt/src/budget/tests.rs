//! The arithmetic of budgets, by a clock of the tests.

use drover_model::DeviceId;

use super::*;

const MS: u64 = 1_000_000;
const S: u64 = NS_PER_S;

fn bucket(per_s: u32, burst_s: u32) -> Arc<Bucket> {
    Bucket::new(("test", Unit::Messages), per_s, burst_s).unwrap()
}

/// Uses tokens and settles at once.
fn take(draw: &mut Draw, tokens: u64, now_ns: u64) -> Option<u64> {
    draw.charge(tokens);
    draw.settle(now_ns)
}

#[test]
fn a_burst_passes_at_once_and_what_follows_waits_until_it_is_paid_for() {
    let mut draw = Draw::new(bucket(10, 2));
    for _ in 0..20 {
        assert_eq!(take(&mut draw, 1, 5 * S), None);
    }
    // One on credit, and a share of one for afterwards.
    assert_eq!(take(&mut draw, 1, 5 * S), Some(5 * S + 200 * MS));
    assert_eq!(take(&mut draw, 1, 5 * S + 200 * MS), None);
    assert_eq!(take(&mut draw, 1, 5 * S + 200 * MS), Some(5 * S + 400 * MS));
    // After a long silence it is full, and not more than that.
    for _ in 0..21 {
        assert_eq!(take(&mut draw, 1, 100 * S), None);
    }
    assert!(take(&mut draw, 1, 100 * S).is_some());
}

#[test]
fn a_message_that_is_longer_than_the_bucket_passes_and_is_paid_for_afterwards() {
    let mut draw = Draw::new(bucket(1_000, 1));
    assert_eq!(take(&mut draw, 10_000, 0), Some(9 * S + 10 * MS));
}

#[test]
fn what_is_read_together_is_settled_together_but_for_more_than_a_share() {
    let mut draw = Draw::new(bucket(1_000, 1));
    let settled_at = (1..=30).find(|_| draw.charge(1));
    assert_eq!(settled_at, Some(11), "a share is ten");
    assert_eq!((draw.settle(0), draw.settle(0)), (None, None));
    assert_eq!(draw.bucket.paid_ns.load(Ordering::Relaxed), 11 * MS);
}

/// Clients that always have something to send, with timers that are up to `late_ns` late; what each of them has sent.
fn flood(bucket: &Arc<Bucket>, clients: usize, seconds: u64, late_ns: u64) -> Vec<u64> {
    let mut draws: Vec<_> = (0..clients).map(|_| (Draw::new(bucket.clone()), 0, 0)).collect();
    let mut now_ns = 0;
    while now_ns < seconds * S {
        for (draw, ready_ns, sent) in &mut draws {
            while *ready_ns <= now_ns {
                *sent += 1;
                *ready_ns = take(draw, 1, now_ns).unwrap_or(0);
            }
        }
        now_ns += late_ns;
    }
    draws.into_iter().map(|(_, _, sent)| sent).collect()
}

#[test]
fn those_who_share_a_bucket_get_the_same_and_together_its_rate() {
    for (per_s, clients) in [(20, 3), (1_000, 2), (1_000, 50), (50_000, 2), (50_000, 7), (200_000, 3)] {
        let sent = flood(&bucket(per_s, 1), clients, 100, MS);
        let sum: u64 = sent.iter().sum();
        let expected = u64::from(per_s) * 101;
        let shares = u64::try_from(clients).unwrap() * u64::from(per_s / 100).max(1) * 2;
        assert!(sum.abs_diff(expected) <= shares, "{per_s}/s, {clients} clients: {sum}");
        // The first takes the burst, which is a hundredth of all.
        let (least, most) = (sent.iter().skip(1).min(), sent.iter().skip(1).max());
        let (least, most) = (*least.unwrap(), *most.unwrap());
        assert!(most - least <= most / 20 + 2, "{per_s}/s, {clients} clients: {sent:?}");
        assert!(sent[0] <= most + u64::from(per_s) + shares, "{per_s}/s, {clients} clients: {sent:?}");
    }
}

#[test]
fn timers_that_are_late_cost_no_throughput() {
    let sum: u64 = flood(&bucket(10_000, 1), 4, 100, 37 * MS).iter().sum();
    assert!(sum.abs_diff(1_010_000) < 5_000, "{sum}");
}

#[test]
fn one_message_now_and_then_waits_for_one_share_of_each_flooding_client_at_most() {
    let bucket = bucket(1_000, 1);
    let mut flooding: Vec<_> = (0..20).map(|_| (Draw::new(bucket.clone()), 0)).collect();
    for ms in 0..10_000 {
        for (draw, ready_ns) in &mut flooding {
            while *ready_ns <= ms * MS {
                *ready_ns = take(draw, 1, ms * MS).unwrap_or(0);
            }
        }
    }
    let now_ns = 10_000 * MS;
    let ready_ns = take(&mut Draw::new(bucket), 1, now_ns).unwrap();
    // A message and a share of ten of each of 21.
    assert!(ready_ns <= now_ns + 21 * 11 * MS, "{}", (ready_ns - now_ns) / MS);
}

#[test]
fn connects_beyond_the_rate_are_refused_until_there_is_a_token() {
    let bucket = bucket(2, 2);
    assert_eq!((0..10).filter(|_| bucket.try_draw(7 * S)).count(), 4);
    assert!(!bucket.try_draw(7 * S + 499 * MS));
    assert!(bucket.try_draw(7 * S + 500 * MS));
}

fn buckets(client: u32, tenant: u32) -> Buckets {
    let config = config::Budget {
        client_messages_per_s: client,
        client_bytes_per_s: 0,
        tenant_messages_per_s: tenant,
        tenant_bytes_per_s: 0,
        tenant_connects_per_s: 0,
        burst_s: 1.try_into().unwrap(),
    };
    Buckets::new(config, Instant::now())
}

fn metrics() -> Metrics {
    Metrics::register(&mut prometheus_client::registry::Registry::default())
}

#[tokio::test(start_paused = true)]
async fn a_device_that_comes_back_owes_what_it_owed_until_it_is_paid_for() {
    let (buckets, metrics) = (buckets(1, 0), metrics());
    let owner = Owner::Device(DeviceId::parse("pump").unwrap());
    let mut account = buckets.account(&owner, &metrics).unwrap();
    for _ in 0..3 {
        account.charge(true, 100, &metrics);
    }
    account.settle(&metrics);
    assert!(account.is_waiting());
    // Another connection of it at the same time waits, too; another client does not.
    assert!(buckets.account(&owner, &metrics).unwrap().is_waiting());
    assert!(!buckets.account(&Owner::Anonymous, &metrics).unwrap().is_waiting());
    drop(account);
    buckets.sweep();
    assert_eq!(buckets.devices.lock().len(), 1, "it still owes");
    let mut account = buckets.account(&owner, &metrics).unwrap();
    assert_eq!(metrics.budget_waiting.get(), 1);
    std::future::poll_fn(|cx| account.poll_wait(cx)).await;
    assert!(!account.is_waiting());
    assert_eq!(metrics.budget_waiting.get(), 0);
    drop(account);
    tokio::time::advance(Duration::from_secs(1)).await;
    buckets.sweep();
    assert!(buckets.devices.lock().is_empty());
}

#[tokio::test]
async fn without_rates_there_is_no_account() {
    let buckets = buckets(0, 0);
    assert!(buckets.account(&Owner::Anonymous, &metrics()).is_none() && buckets.may_connect());
}
