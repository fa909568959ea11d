//! The stream service as gateways feed it and services ask it: records in by the log, answers out by gRPC.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use drover_backbone::Stream;
use drover_model::{ManualClock, Timestamp};
use drover_proto::RecordRef;
use drover_proto::backbone::v1::{Channel, RefusedCounts};
use drover_proto::stream::v1::erasures_client::ErasuresClient;
use drover_proto::stream::v1::retention_client::RetentionClient;
use drover_proto::stream::v1::telemetry_client::TelemetryClient;
use drover_proto::stream::v1::value::Kind;
use drover_proto::stream::v1::{self as proto};
use drover_rpc::{Link, request};
use drover_runtime::Env;
use drover_stream::Config;
use drover_testkit::{environment, eventually, tenant};
use prost::Message as _;

/// 2026-11-24T19:00:00Z.
const NOW_US: i64 = 1_795_546_800_000_000;

/// The lists that come in pages.
#[derive(Debug, Clone, Copy)]
enum List {
    Latest,
    Events,
    DeadLetters,
}

/// One life of the service, with threads of its own that end with it.
struct World {
    directory: tempfile::TempDir,
    threads: Threads,
    env: Env,
    client: TelemetryClient<Link>,
    sent: i64,
}

/// Threads that end without being waited for, which async code may not do.
struct Threads(Option<tokio::runtime::Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

fn config() -> Config {
    Config {
        flush_points: 1_000,
        flush_bytes: 1 << 20,
        flush_interval_s: 3_600,
        max_future_s: 300,
        max_points_per_message: 100,
        max_text_bytes: 65_536,
        max_keys_per_device: 20,
        max_latest_text_bytes_per_device: 100_000,
        dead_letters_per_tenant: 10,
        dead_letters_bytes_per_tenant: 1 << 20,
        events_per_tenant: 10,
        events_bytes_per_tenant: 1 << 20,
        retention_days: 0,
        compact_files: 8,
        query_memory_bytes: 64 << 20,
        query_timeout_s: 60,
        query_max_rows: 100_000,
        queries: 2,
        subscriptions: 5,
        subscriptions_per_tenant: 4,
        feed_groups_per_tenant: 2,
    }
}

impl World {
    async fn start() -> Self {
        Self::open(tempfile::tempdir().unwrap(), 0).await
    }

    async fn open(directory: tempfile::TempDir, sent: i64) -> Self {
        Self::open_with(directory, sent, config()).await
    }

    async fn open_with(directory: tempfile::TempDir, sent: i64, config: Config) -> Self {
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let path = directory.path().to_owned();
        let env = threads.spawn(async move {
            let clock = ManualClock::at(Timestamp::from_micros(NOW_US));
            let env = environment(&path, &clock).await;
            drover_stream::build(config, &env).await.unwrap().start(&env);
            // Ready is when everything that an earlier life left in the log is applied.
            env.health.ready().await;
            env
        });
        let env = env.await.unwrap();
        let client = TelemetryClient::new(env.peers.link("stream"));
        Self { directory, threads: Threads(Some(threads)), env, client, sent }
    }

    /// Ends as a crash does: nothing is flushed. The log keeps what it took.
    async fn crash(self) -> Self {
        let Self { directory, mut threads, env, client, sent } = self;
        drop((env, client));
        tokio::task::spawn_blocking(move || drop(threads.0.take())).await.unwrap();
        Self::open(directory, sent).await
    }

    /// Ends as SIGTERM does.
    async fn stop_and_start(self) -> Self {
        self.env.producer.flush().await.unwrap();
        self.env.stop.begin_finish();
        self.env.tasks.ended().await;
        self.crash().await
    }

    async fn send(&mut self, tenant: &str, device: &str, channel: Channel, payload: &[u8]) {
        self.sent += 1;
        let record = RecordRef {
            tenant,
            device,
            channel,
            content_type: "",
            payload,
            received_us: NOW_US + self.sent,
            topic: "",
            traceparent: "",
            session: 0,
            packet_id: 0,
        };
        self.env.producer.append(Stream::Telemetry, &record).unwrap().durable().await.unwrap();
    }

    async fn measure(&mut self, device: &str, payload: &str) {
        self.send("default", device, Channel::Telemetry, payload.as_bytes()).await;
    }

    async fn ledger(&self, of: &str) -> proto::GetLedgerResponse {
        let mut client = self.client.clone();
        client.get_ledger(request(&tenant(of), proto::GetLedgerRequest {})).await.unwrap().into_inner()
    }

    /// Waits until everything that was accepted is applied.
    async fn settled(&self) -> proto::GetLedgerResponse {
        eventually("the ledger has nothing pending", async || {
            let ledger = self.ledger("default").await;
            (ledger.pending == 0 && ledger.accepted > 0).then_some(ledger)
        })
        .await
    }

    async fn samples(&self, of: &str, device: &str, key: &str) -> Vec<proto::Sample> {
        let query = proto::RangeRequest {
            device: device.into(),
            keys: vec![key.into()],
            from_us: 0,
            to_us: i64::MAX,
            ..proto::RangeRequest::default()
        };
        let answer = self.client.clone().range(request(&tenant(of), query)).await.unwrap().into_inner();
        assert_eq!(answer.incomplete, Vec::<String>::new());
        answer.series.into_iter().flat_map(|series| series.samples).collect()
    }

    async fn numbers(&self, device: &str, key: &str) -> Vec<f64> {
        let number = |sample: &proto::Sample| match sample.value.as_ref()?.kind.as_ref()? {
            Kind::Number(number) => Some(*number),
            Kind::Truth(_) | Kind::Text(_) => None,
        };
        self.samples("default", device, key).await.iter().filter_map(number).collect()
    }

    /// How many items the page has, and the token of the next one.
    async fn page(&self, list: List, page_size: u32, token: &str) -> Result<(usize, String), tonic::Status> {
        let (mut client, tenant, page_token) = (self.client.clone(), tenant("default"), token.to_owned());
        Ok(match list {
            List::Latest => {
                let query = proto::ListLatestRequest { page_size, page_token };
                let page = client.list_latest(request(&tenant, query)).await?.into_inner();
                (page.devices.len(), page.next_page_token)
            }
            List::Events => {
                let query = proto::ListEventsRequest { device: "pump-0".into(), page_size, page_token };
                let page = client.list_events(request(&tenant, query)).await?.into_inner();
                (page.events.len(), page.next_page_token)
            }
            List::DeadLetters => {
                let query = proto::ListDeadLettersRequest { page_size, page_token };
                let page = client.list_dead_letters(request(&tenant, query)).await?.into_inner();
                (page.dead_letters.len(), page.next_page_token)
            }
        })
    }

    /// Erases what a device measured: all of it when no key is named.
    async fn erase(&self, device: &str, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let message = proto::EraseTelemetryRequest { device: device.into(), keys };
        let mut client = ErasuresClient::new(self.env.peers.link("stream"));
        client.erase_telemetry(request(&tenant("default"), message)).await.unwrap();
    }

    async fn dead_letters(&self, token: &str, size: u32) -> proto::ListDeadLettersResponse {
        let query = proto::ListDeadLettersRequest { page_size: size, page_token: token.into() };
        self.client.clone().list_dead_letters(request(&tenant("default"), query)).await.unwrap().into_inner()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_is_read_back_with_the_time_of_arrival_or_its_own() {
    let mut world = World::start().await;
    world.measure("pump", r#"{"t": 21.5, "on": true, "state": "ok"}"#).await;
    world.measure("pump", r#"{"ts": 1000, "values": {"t": 1}}"#).await;
    let ledger = world.settled().await;
    assert_eq!((ledger.accepted, ledger.stored, ledger.dead_lettered), (2, 2, 0));
    let samples = world.samples("default", "pump", "t").await;
    assert_eq!(samples.iter().map(|sample| sample.ts_us).collect::<Vec<_>>(), [1_000_000, NOW_US + 1]);
    assert_eq!(world.numbers("pump", "t").await, [1.0, 21.5]);
    let query = proto::LatestRequest { device: "pump".into(), page_token: String::new() };
    let latest = world.client.latest(request(&tenant("default"), query)).await.unwrap().into_inner();
    let keys: Vec<_> = latest.values.iter().map(|value| value.key.as_str()).collect();
    assert_eq!(keys, ["on", "state", "t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_too_far_ahead_is_replaced_and_flagged() {
    let mut world = World::start().await;
    let soon = NOW_US / 1_000 + 299_000;
    world.measure("pump", &format!(r#"{{"ts": {soon}, "values": {{"soon": 1}}}}"#)).await;
    world.measure("pump", r#"{"ts": 253402300799000, "values": {"year9999": 1}}"#).await;
    world.settled().await;
    let soon_sample = &world.samples("default", "pump", "soon").await[0];
    assert_eq!((soon_sample.ts_us, soon_sample.flags), (soon * 1_000, 0));
    let late = &world.samples("default", "pump", "year9999").await[0];
    assert_eq!((late.ts_us, late.flags), (NOW_US + 2, 1));
    assert!(world.env.metrics.encode().contains("drover_stream_times_replaced_total 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_kept_with_reason_and_bytes_and_the_device_is_told() {
    let mut world = World::start().await;
    let mut told = world.env.live.subscribe("downlink.default.pump", None);
    world.measure("pump", r#"{"t": 1e999}"#).await;
    world.send("default", "pump", Channel::Event, b"[1]").await;
    let ledger = world.settled().await;
    assert_eq!((ledger.accepted, ledger.stored, ledger.dead_lettered), (2, 0, 2));
    let letters = world.dead_letters("", 0).await.dead_letters;
    assert_eq!(letters.len(), 2);
    assert_eq!((letters[0].topic.as_str(), &letters[0].payload[..]), ("v1/events", &b"[1]"[..]));
    assert_eq!((letters[1].device.as_str(), letters[1].topic.as_str()), ("pump", "v1/telemetry"));
    assert_eq!(&letters[1].payload[..], br#"{"t": 1e999}"#);
    assert!(!letters[1].reason.is_empty());
    let message = tokio::time::timeout(Duration::from_secs(60), told.next()).await.unwrap().unwrap();
    let text = String::from_utf8(message.payload.to_vec()).unwrap();
    assert!(text.starts_with("v1/errors\0{\"reason\":"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_come_in_pages_and_the_oldest_go_first() {
    let mut world = World::start().await;
    for number in 0..15 {
        world.measure("pump", &format!("broken {number}")).await;
    }
    world.settled().await;
    let first = world.dead_letters("", 9).await;
    assert_eq!(first.dead_letters.len(), 9);
    assert_eq!(&first.dead_letters[0].payload[..], b"broken 14");
    let second = world.dead_letters(&first.next_page_token, 9).await;
    assert_eq!(&second.dead_letters[0].payload[..], b"broken 5");
    let world = world.stop_and_start().await;
    assert_eq!(world.dead_letters("", 0).await.dead_letters.len(), 10);
    assert_eq!(world.ledger("default").await.dead_lettered, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_ranges_end_by_bytes_and_go_on() {
    let roomy = Config {
        max_keys_per_device: 100,
        max_latest_text_bytes_per_device: 10_000_000,
        dead_letters_bytes_per_tenant: 100_000_000,
        events_bytes_per_tenant: 100_000_000,
        ..config()
    };
    let mut world = World::open_with(tempfile::tempdir().unwrap(), 0, roomy).await;
    let long = "x".repeat(1_000_000);
    for _ in 0..10 {
        world.measure("pump-0", &format!("broken {long}")).await;
        world.send("default", "pump-0", Channel::Event, format!("{{\"e\": \"{long}\"}}").as_bytes()).await;
    }
    let short = "x".repeat(60_000);
    let texts: Vec<String> = (0..100).map(|key| format!("\"k{key:03}\": \"{short}\"")).collect();
    for texts in texts.chunks(10) {
        world.measure("pump-0", &format!("{{{}}}", texts.join(","))).await;
    }
    world.settled().await;
    for list in [List::Events, List::DeadLetters] {
        let (first, token) = world.page(list, 1_000, "").await.unwrap();
        let (second, token) = world.page(list, 1_000, &token).await.unwrap();
        let (third, token) = world.page(list, 1_000, &token).await.unwrap();
        assert_eq!(([first, second, third], token.as_str()), ([3, 3, 3], token.as_str()), "{list:?}");
        assert_eq!(world.page(list, 1_000, &token).await.unwrap(), (1, String::new()), "{list:?}");
    }
    let mut client = world.client.clone();
    let (mut keys, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let query = proto::LatestRequest { device: "pump-0".into(), page_token };
        let page = client.latest(request(&tenant("default"), query)).await.unwrap().into_inner();
        keys.extend(page.values.into_iter().map(|value| value.key));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(keys.is_sorted());
    assert_eq!((keys.len(), pages), (100, 2));
    let (mut texts, mut page_token, mut pages) = (0, String::new(), 0);
    loop {
        let query = proto::RangeRequest {
            device: "pump-0".into(),
            to_us: i64::MAX,
            page_token,
            ..Default::default()
        };
        let page = client.range(request(&tenant("default"), query)).await.unwrap().into_inner();
        texts += page.series.iter().map(|series| series.samples.len()).sum::<usize>();
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((texts, pages), (100, 2));
    let query =
        proto::RangeRequest { page_token: "AAAA".into(), to_us: 1, device: "p".into(), ..Default::default() };
    let refused = client.range(request(&tenant("default"), query)).await.unwrap_err();
    assert!(refused.message().starts_with("page_token"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_ends_without_an_empty_page_and_refuses_wrong_sizes_and_tokens_in_the_same_words() {
    let mut world = World::start().await;
    for number in 0..4 {
        world.measure(&format!("pump-{number}"), r#"{"t": 1}"#).await;
        world.send("default", "pump-0", Channel::Event, b"{}").await;
        world.measure("pump-0", "broken").await;
    }
    world.settled().await;
    // A position of another list, no position, not even a token.
    for (size, token, expected) in [
        (2, "", Ok(())),
        (10_001, "", Err("page_size is 10001; use 1 to")),
        (0, "eCB5", Err("page_token is not one that this list gave out")),
        (0, "%", Err("page_token is not one that this list gave out")),
    ] {
        for list in [List::Latest, List::Events, List::DeadLetters] {
            match (world.page(list, size, token).await, expected) {
                (Ok((items, next)), Ok(())) => {
                    assert_eq!(items, 2, "{list:?}");
                    let (items, next) = world.page(list, size, &next).await.unwrap();
                    assert_eq!((items, next.as_str()), (2, ""), "{list:?}");
                }
                (Err(refused), Err(expected)) => {
                    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
                    assert!(refused.message().starts_with(expected), "{list:?}: {refused}");
                }
                (answer, _) => panic!("{list:?} with {size} and {token:?}: {answer:?}"),
            }
        }
    }
    for list in [List::Events, List::DeadLetters] {
        // The token of the list of devices.
        let (_, token) = world.page(List::Latest, 1, "").await.unwrap();
        assert!(world.page(list, 0, &token).await.unwrap_err().message().starts_with("page_token is"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_read_from_text_and_a_text_that_is_none_is_told() {
    let mut world = World::start().await;
    world.measure("pump", r#"{"ts": "2026-11-24T18:00:00Z", "values": {"t": 1}}"#).await;
    world.measure("pump", r#"{"ts": "yesterday", "values": {"t": 2}}"#).await;
    let ledger = world.settled().await;
    assert_eq!((ledger.stored, ledger.dead_lettered), (1, 1));
    assert_eq!(world.samples("default", "pump", "t").await[0].ts_us, NOW_US - 3_600_000_000);
    let letters = world.dead_letters("", 0).await.dead_letters;
    assert!(letters[0].reason.starts_with("\"ts\" is \"yesterday\""), "{}", letters[0].reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_after_a_crash_neither_loses_nor_doubles() {
    let mut world = World::start().await;
    let mut expected = Vec::new();
    for round in 0..4 {
        for number in 0..600 {
            world.measure("pump", &format!(r#"{{"n": {}}}"#, round * 600 + number)).await;
            expected.push(f64::from(round * 600 + number));
        }
        world.send("default", "pump", Channel::Event, b"{\"door\": \"open\"}").await;
        world.measure("pump", "broken").await;
        world.settled().await;
        world = world.crash().await;
        let ledger = world.settled().await;
        let rounds = u64::try_from(round + 1).unwrap();
        assert_eq!((ledger.stored, ledger.dead_lettered), (601 * rounds, rounds));
        assert_eq!(ledger.accepted, 602 * rounds);
        assert_eq!(world.numbers("pump", "n").await, expected);
        let query = proto::ListEventsRequest { device: "pump".into(), ..proto::ListEventsRequest::default() };
        let events = world.client.list_events(request(&tenant("default"), query)).await.unwrap().into_inner();
        assert_eq!(events.events.len() as u64, rounds);
        assert_eq!(world.dead_letters("", 0).await.dead_letters.len() as u64, rounds);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_nothing_to_replay() {
    let mut world = World::start().await;
    for number in 0..10 {
        world.measure("pump", &format!(r#"{{"n": {number}}}"#)).await;
    }
    let world = world.stop_and_start().await;
    assert_eq!(world.numbers("pump", "n").await.len(), 10);
    assert!(world.directory.path().join("points").read_dir().unwrap().count() > 0);
    assert!(world.env.metrics.encode().contains("drover_stream_records_total 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_equal_names_never_meet() {
    let mut world = World::start().await;
    world.measure("pump", r#"{"t": 1}"#).await;
    world.send("other", "pump", Channel::Telemetry, br#"{"t": 2}"#).await;
    world.send("other", "pump", Channel::Telemetry, b"broken").await;
    eventually("both are applied", async || {
        let (mine, theirs) = (world.ledger("default").await, world.ledger("other").await);
        (mine.stored == 1 && theirs.stored == 1 && theirs.dead_lettered == 1).then_some(())
    })
    .await;
    assert_eq!(world.numbers("pump", "t").await, [1.0]);
    assert_eq!(world.samples("other", "pump", "t").await.len(), 1);
    assert_eq!(world.dead_letters("", 0).await.dead_letters.len(), 0);
    assert_eq!(world.ledger("default").await.dead_lettered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_messages_are_counted_apart_and_kept() {
    let mut world = World::start().await;
    let counts = RefusedCounts { by_reason: [("not_allowed".to_owned(), 3)].into() };
    world.send("default", "", Channel::Refused, &counts.encode_to_vec()).await;
    world.measure("pump", r#"{"t": 1}"#).await;
    let ledger = world.settled().await;
    assert_eq!((ledger.accepted, ledger.stored, ledger.refused["not_allowed"]), (1, 1, 3));
    let world = world.stop_and_start().await;
    assert_eq!(world.ledger("default").await.refused["not_allowed"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_too_many_keys_is_told_and_nothing_else_stops() {
    let mut world = World::start().await;
    let keys = |range: std::ops::Range<u32>| {
        let members: Vec<_> = range.map(|key| format!(r#""k{key}":{key}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    world.measure("pump", &keys(0..15)).await;
    world.measure("pump", &keys(14..21)).await;
    world.measure("pump", &keys(10..20)).await;
    world.measure("pump", r#"{"one-more":1}"#).await;
    world.measure("fan", r#"{"one-more":1}"#).await;
    let ledger = world.settled().await;
    assert_eq!((ledger.accepted, ledger.stored, ledger.dead_lettered), (5, 3, 2));
    assert!(world.env.metrics.encode().contains("drover_stream_over_device_bounds_total 2"));
    assert_eq!(world.numbers("pump", "k14").await.len(), 2, "all of a record or nothing");
    assert_eq!(world.numbers("fan", "one-more").await, [1.0]);
    let reason = world.dead_letters("", 1).await.dead_letters[0].reason.clone();
    assert_eq!(
        reason,
        "the device would have more than 20 keys; use fewer keys, or raise stream.max_keys_per_device"
    );
    // What is known of the device outlives its points in memory, and a crash.
    let mut world = world.crash().await;
    assert_eq!(world.settled().await.dead_lettered, 2);
    for life in 0..2 {
        world.measure("pump", &keys(0..20)).await;
        world.measure("pump", r#"{"one-more":1}"#).await;
        let ledger = world.settled().await;
        assert_eq!((ledger.stored, ledger.dead_lettered), (4 + life, 3 + life));
        world = world.stop_and_start().await;
    }
    assert_eq!(world.samples("default", "pump", "one-more").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_too_much_text_is_told_and_may_still_replace_what_it_has() {
    let mut world = World::start().await;
    let text = |key: &str, bytes: usize| format!(r#"{{"{key}":"{}"}}"#, "x".repeat(bytes));
    for (key, bytes) in [("a", 60_000), ("b", 60_000), ("a", 30_000), ("b", 65_536), ("c", 65_537)] {
        world.measure("pump", &text(key, bytes)).await;
    }
    world.measure("fan", &text("a", 60_000)).await;
    let ledger = world.settled().await;
    assert_eq!((ledger.accepted, ledger.stored, ledger.dead_lettered), (6, 4, 2));
    let reasons: Vec<_> =
        world.dead_letters("", 2).await.dead_letters.into_iter().map(|letter| letter.reason).collect();
    assert_eq!(
        reasons,
        [
            "\"c\" has more than 65536 bytes of text",
            "the latest values of the device would have more than 100000 bytes of text; send less text, or raise \
             stream.max_latest_text_bytes_per_device",
        ]
    );
    let mut world = world.stop_and_start().await;
    world.measure("pump", &text("c", 5_000)).await;
    assert_eq!(world.settled().await.dead_lettered, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_points_with_much_text_are_written_before_they_fill_the_memory() {
    let mut world = World::start().await;
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(60_000));
    for _ in 0..20 {
        world.measure("pump", &text).await;
    }
    eventually("a file is there", async || {
        world.env.metrics.encode().contains("drover_stream_commits_total 1").then_some(())
    })
    .await;
    // The file may have been written before the last messages were read.
    assert_eq!(world.settled().await.stored, 20);
    assert_eq!(world.samples("default", "pump", "a").await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_dead_letters_have_a_bound_in_bytes_and_the_oldest_go_first() {
    let mut world = World::start().await;
    let padding = "x".repeat(200_000);
    for number in 0..8 {
        let event = format!(r#"{{"number":{number},"padding":"{padding}"}}"#);
        world.send("default", "pump", Channel::Event, event.as_bytes()).await;
        world.measure("pump", &format!("broken {number} {padding}")).await;
    }
    world.send("other", "pump", Channel::Telemetry, b"broken").await;
    for (life, number) in [(0, 7), (1, 8)] {
        assert_eq!(world.settled().await.accepted, 16 + 2 * life);
        let letters = world.dead_letters("", 0).await.dead_letters;
        assert_eq!(letters.len(), 5);
        assert!(letters[0].payload.starts_with(format!("broken {number} x").as_bytes()));
        let query = proto::ListEventsRequest { device: "pump".into(), ..proto::ListEventsRequest::default() };
        let events = world.client.list_events(request(&tenant("default"), query)).await.unwrap().into_inner();
        assert_eq!(events.events.len(), 5);
        assert!(events.events[0].json.starts_with(&format!(r#"{{"number":{number},"#)));
        world = world.stop_and_start().await;
        let event = format!(r#"{{"number":8,"padding":"{padding}"}}"#);
        world.send("default", "pump", Channel::Event, event.as_bytes()).await;
        world.measure("pump", &format!("broken 8 {padding}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_at_once_and_stays_gone_over_crashes_while_later_points_show() {
    let mut world = World::start().await;
    for _ in 0..2 {
        world.measure("pump-0", r#"{"ts": 1795546800000, "a": 1, "b": 2}"#).await;
        world.measure("other", r#"{"ts": 1795546800000, "a": 1}"#).await;
        world.send("default", "pump-0", Channel::Event, b"{\"event\": 1}").await;
        world = world.stop_and_start().await;
    }
    world.measure("pump-0", r#"{"ts": 1795546801000, "a": 3, "b": 4}"#).await;
    world.erase("pump-0", &["a"]).await;
    assert_eq!((world.numbers("pump-0", "a").await, world.numbers("pump-0", "b").await.len()), (vec![], 2));
    assert_eq!(world.page(List::Events, 10, "").await.unwrap().0, 2);
    world.erase("pump-0", &[]).await;
    world.measure("pump-0", r#"{"ts": 1795546799000, "b": 5}"#).await;
    let ledger = world.settled().await;
    assert_eq!((ledger.accepted, ledger.stored), (8, 8), "an erasure is no message");
    for end in ["none", "crash", "crash", "stop", "crash"] {
        world = match end {
            "crash" => world.crash().await,
            "stop" => world.stop_and_start().await,
            _ => world,
        };
        assert_eq!(world.numbers("pump-0", "a").await, Vec::<f64>::new(), "{end}");
        assert_eq!(world.numbers("pump-0", "b").await, [5.0], "{end}");
        assert_eq!(world.numbers("other", "a").await, [1.0], "{end}");
        assert_eq!(world.page(List::Events, 10, "").await.unwrap().0, 0, "{end}");
        let latest = proto::LatestRequest { device: "pump-0".into(), page_token: String::new() };
        let latest = world.client.clone().latest(request(&tenant("default"), latest)).await.unwrap();
        let latest = latest.into_inner().values;
        assert_eq!(latest.iter().map(|value| value.key.as_str()).collect::<Vec<_>>(), ["b"], "{end}");
    }
    let refused = proto::EraseTelemetryRequest { device: "pump-0".into(), keys: vec!["not a key".into()] };
    let mut client = ErasuresClient::new(world.env.peers.link("stream"));
    let error = client.erase_telemetry(request(&tenant("default"), refused)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_retention_hide_at_once_and_hold_after_a_start() {
    let mut world = World::start().await;
    let day_us = 86_400_000_000;
    for age in [0, 3, 30] {
        let ts = (NOW_US - age * day_us) / 1_000;
        world.measure("pump", &format!(r#"{{"ts": {ts}, "values": {{"a": 1, "debug.b": 2}}}}"#)).await;
    }
    world.settled().await;
    let mut client = RetentionClient::new(world.env.peers.link("stream"));
    let rule = |keys: &str, days| proto::RetentionRule { keys: keys.into(), days };
    let set =
        |rules: Vec<proto::RetentionRule>| request(&tenant("default"), proto::SetRetentionRequest { rules });
    client.set_retention(set(vec![rule("", 7), rule("debug.*", 1)])).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.numbers("pump", "a").await.len(), 2);
        assert_eq!(world.numbers("pump", "debug.b").await.len(), 1);
        world = world.crash().await;
    }
    let mut client = RetentionClient::new(world.env.peers.link("stream"));
    let kept = client.get_retention(request(&tenant("default"), proto::GetRetentionRequest {})).await;
    let kept = kept.unwrap().into_inner();
    assert_eq!((kept.rules, kept.default_days), (vec![rule("debug.*", 1), rule("", 7)], 0));
    for wrong in [vec![rule("a b", 1)], vec![rule("a", 1), rule("a", 2)], vec![rule("a", 40_000)]] {
        let error = client.set_retention(set(wrong)).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
    }
}
