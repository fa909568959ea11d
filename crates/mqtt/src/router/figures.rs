//! What a million subscriptions and a hundred thousand retained messages take. Printed, not asserted:
//! `cargo test --release -p drover-mqtt --lib a_million_sub -- --ignored --nocapture`, each test in a process of its own.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::retained::Retained;

const FILTERS: u32 = 1_000_000;

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096
}

fn member(number: u32, session: &Arc<()>) -> Member<Arc<()>> {
    Member { number: number.into(), session: session.clone(), options: Options::default() }
}

/// Numbers that follow no order, the same ones each time.
fn shuffled(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |number| u32::try_from(u64::from(number) * 617_351 % u64::from(count)).unwrap_or(0))
}

/// Subscribes sessions to what `filters` says for each; prints room and time.
fn fill<const N: usize>(name: &str, sessions: u32, filters: impl Fn(u32) -> [String; N]) -> Tree<Arc<()>> {
    let (before, session) = (resident(), Arc::new(()));
    let mut tree = Tree::default();
    let (mut all, mut longest) = (Duration::ZERO, Duration::ZERO);
    for number in 0..sessions {
        for filter in filters(number) {
            let start = Instant::now();
            tree.subscribe(&filter, member(number, &session));
            all += start.elapsed();
            longest = longest.max(start.elapsed());
        }
    }
    let bytes = (resident() - before) / tree.len();
    let each = all / u32::try_from(tree.len()).unwrap_or(u32::MAX);
    println!("{name}: {} subscriptions, {bytes} B each, {each:?} each, longest {longest:?}", tree.len());
    tree
}

/// Prints the time of matching topics that `topic` makes of numbers.
fn look_up(name: &str, tree: &Tree<Arc<()>>, topic: impl Fn(u32) -> String) {
    let topics: Vec<_> = shuffled(FILTERS).take(300_000).map(topic).collect();
    let (mut hits, mut found) = (Vec::new(), 0);
    let start = Instant::now();
    for topic in &topics {
        tree.matching(topic, 0, &mut hits);
        found += black_box(&hits).len();
    }
    let each = start.elapsed() / 300_000;
    println!("  {name}: {each:?} a topic, {:.1} hits", f64::from(u32::try_from(found).unwrap()) / 300_000.0);
}

#[test]
#[ignore = "prints figures"]
fn a_million_subscriptions() {
    let mut tree = fill("site/{n}/line/+/temp", FILTERS, |n| [format!("site/{n}/line/+/temp")]);
    look_up("hit", &tree, |n| format!("site/{n}/line/{}/temp", n % 7));
    look_up("miss at the end", &tree, |n| format!("site/{n}/line/{}/pressure", n % 7));
    look_up("miss at the site", &tree, |n| format!("site/x{n}/line/1/temp"));
    let session = Arc::new(());
    for filter in ["#", "site/#", "site/+/line/#", "+/+/+/+/temp", "site/+/line/1/temp", "site/+/+/2/+"] {
        tree.subscribe(filter, member(FILTERS + 1, &session));
    }
    look_up("hit, with six wide wildcards of one session", &tree, |n| {
        format!("site/{n}/line/{}/temp", n % 7)
    });
    let start = Instant::now();
    for n in shuffled(FILTERS) {
        tree.unsubscribe(&format!("site/{n}/line/+/temp"), n.into());
    }
    println!("  unsubscribe: {:?} each, {} left", start.elapsed() / FILTERS, tree.len());
}

#[test]
#[ignore = "prints figures"]
fn a_million_sessions_with_five_subscriptions() {
    let tree = fill("5 a session, one of them everyone's", FILTERS, |n| {
        let own = ["cmd/#", "config", "state/+", "ota/+/chunk"].map(|end| format!("dev/device-{n:07}/{end}"));
        let [a, b, c, d] = own;
        [a, b, c, d, "broadcast/line/7".to_owned()]
    });
    look_up("hit", &tree, |n| format!("dev/device-{n:07}/state/7"));
    let mut hits = Vec::new();
    let start = Instant::now();
    tree.matching("broadcast/line/7", 0, &mut hits);
    println!("  everyone: {:?} a hit", start.elapsed() / FILTERS);
}

#[test]
#[ignore = "prints figures"]
fn a_crowd_of_wildcards() {
    // Each of the 2^16 filters of 16 levels that are `a` or `+`, and one level more that no topic has.
    let filter = |n: u32| {
        let levels: Vec<_> = (0..16).map(|bit| if n >> bit & 1 == 0 { "a" } else { "+" }).collect();
        [format!("{}/end", levels.join("/"))]
    };
    let tree = fill("{a,+}^16/end", 1 << 16, filter);
    let mut hits = Vec::new();
    let start = Instant::now();
    tree.matching(&["a"; 17].join("/"), 0, &mut hits);
    println!("  a topic that leads to all of them and matches none: {:?}", start.elapsed());
}

#[test]
#[ignore = "prints figures"]
fn a_hundred_thousand_retained_messages() {
    struct Message {
        _topic: Box<str>,
        _payload: Vec<u8>,
        _received: [u64; 4],
    }
    let (before, count) = (resident(), 100_000);
    let mut retained = Retained::default();
    for n in 0..count {
        let topic = format!("site/{}/line/{}/temp", n / 100, n % 100);
        let message = Message { _topic: topic.as_str().into(), _payload: vec![1; 100], _received: [0; 4] };
        retained.set(&topic, Arc::new(message));
    }
    let bytes = (resident() - before) / retained.len();
    println!("{count} retained messages of 100 B: {bytes} B each with the message");
    for filter in ["site/7/line/7/temp", "site/7/#", "site/7/line/+/temp", "site/+/line/7/temp", "#"] {
        let mut found = Vec::new();
        let start = Instant::now();
        retained.matching(filter, &mut found);
        println!("  {filter}: {:?}, {} found", start.elapsed(), found.len());
    }
    let start = Instant::now();
    retained.retain(|_, _| true);
    println!("  sweep: {:?}", start.elapsed());
}
