//! The feed as integrators follow it: records in by the log, answers and cursors out by gRPC.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use drover_backbone::{Offset, Shard, Stream};
use drover_model::{ManualClock, Timestamp};
use drover_proto::RecordRef;
use drover_proto::backbone::v1::Channel;
use drover_proto::stream::v1::feed_client::FeedClient;
use drover_proto::stream::v1::subscribe_response::Kind;
use drover_proto::stream::v1::{self as proto, SubscribeRequest, SubscribeResponse, value};
use drover_rpc::{Link, request};
use drover_runtime::Env;
use drover_stream::Config;
use drover_testkit::{environment, eventually, tenant};
use tonic::{Code, Status, Streaming};

/// 2026-11-24T19:00:00Z.
const NOW_US: i64 = 1_795_546_800_000_000;
const SHARD: Shard = Shard(0);
/// A hanging test fails after this.
const PATIENCE: Duration = Duration::from_secs(60);
/// A payload of which some twenty fill a file of the log.
const LARGE: usize = 50_000;

struct World {
    env: Env,
    client: FeedClient<Link>,
    sent: i64,
    _directory: tempfile::TempDir,
}

/// A reader, which notes the cursor that it got last.
struct Follower {
    answers: Streaming<SubscribeResponse>,
    cursor: String,
}

fn config() -> Config {
    let defaults: Config = toml::from_str(drover_stream::DEFAULTS).unwrap();
    Config { flush_interval_s: 3_600, ..defaults }
}

impl World {
    async fn start() -> Self {
        Self::start_with(config()).await
    }

    async fn start_with(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_micros(NOW_US));
        let env = environment(directory.path(), &clock).await;
        drover_stream::build(config, &env).await.unwrap().start(&env);
        env.health.ready().await;
        let client = FeedClient::new(env.peers.link("stream"));
        Self { env, client, sent: 0, _directory: directory }
    }

    /// Sends records, each a tenant, a device, a channel and a payload, close together.
    async fn send_all(&mut self, records: &[(&str, &str, Channel, &str)]) {
        let mut tickets = Vec::new();
        for &(tenant, device, channel, payload) in records {
            self.sent += 1;
            let record = RecordRef {
                tenant,
                device,
                channel,
                content_type: "",
                payload: payload.as_bytes(),
                received_us: NOW_US + self.sent,
                topic: "",
                traceparent: "",
                session: 0,
                packet_id: 0,
            };
            tickets.push(self.env.producer.append(Stream::Telemetry, &record).unwrap());
        }
        for mut ticket in tickets {
            ticket.durable().await.unwrap();
        }
    }

    async fn measure(&mut self, device: &str, payload: &str) {
        self.send_all(&[("default", device, Channel::Telemetry, payload)]).await;
    }

    /// Sends numbered measurements, each in a frame of its own.
    async fn count(&mut self, numbers: std::ops::Range<u32>, padding: usize) {
        for n in numbers {
            let padding = "x".repeat(padding);
            self.measure("pump", &format!(r#"{{"n": {n}, "padding": "{padding}"}}"#)).await;
        }
    }

    async fn subscribe_as(&self, of: &str, asked: SubscribeRequest) -> Result<Follower, Status> {
        let cursor = asked.cursor.clone();
        let answers = self.client.clone().subscribe(request(&tenant(of), asked)).await?.into_inner();
        Ok(Follower { answers, cursor })
    }

    /// A reader that has got its first position.
    async fn subscribe(&self, asked: SubscribeRequest) -> Follower {
        let mut follower = self.subscribe_as("default", asked).await.unwrap();
        assert!(matches!(follower.next().await, Kind::Position(_)));
        follower
    }

    async fn from(&self, cursor: &str) -> Follower {
        self.subscribe(SubscribeRequest { cursor: cursor.to_owned(), ..SubscribeRequest::default() }).await
    }

    async fn acknowledge(&self, group: &str, cursor: &str) -> Result<(), Status> {
        let done = proto::AcknowledgeRequest { group: group.into(), cursor: cursor.into() };
        self.client.clone().acknowledge(request(&tenant("default"), done)).await.map(drop)
    }

    async fn groups(&self) -> Vec<proto::FeedGroup> {
        let all = request(&tenant("default"), proto::ListGroupsRequest::default());
        self.client.clone().list_groups(all).await.unwrap().into_inner().groups
    }

    /// Has the log forget what lies in whole files below an offset.
    async fn truncate(&self, below: u64) {
        let before = self.env.log.stats().segments;
        self.env.log.truncate(Stream::Telemetry, SHARD, Offset(below));
        eventually("files of the log are gone", async || {
            (self.env.log.stats().segments < before).then_some(())
        })
        .await;
    }

    fn shows(&self, line: &str) -> bool {
        self.env.metrics.encode().lines().any(|shown| shown == line)
    }
}

impl Follower {
    async fn answer(&mut self) -> Result<Kind, Status> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.unwrap()?;
        let answer = answer.unwrap_or_else(|| panic!("the answers ended"));
        self.cursor = answer.cursor;
        Ok(answer.kind.unwrap())
    }

    async fn next(&mut self) -> Kind {
        self.answer().await.unwrap()
    }

    /// The next answer as a line.
    async fn line(&mut self) -> String {
        match self.next().await {
            Kind::Position(_) => "position".to_owned(),
            Kind::Gap(gap) => format!("gap {} {}", gap.frames, gap.until_us - NOW_US),
            Kind::Event(event) => format!("{} {} {}", event.device, event.ts_us - NOW_US, event.json),
            Kind::Measurement(measured) => {
                let value = |(key, value): (String, proto::Value)| match value.kind.unwrap() {
                    value::Kind::Number(number) => format!(" {key}={number}"),
                    value::Kind::Truth(truth) => format!(" {key}={truth}"),
                    value::Kind::Text(text) => format!(" {key}={}", text.get(..1).unwrap_or_default()),
                };
                let values: String = measured.values.into_iter().map(value).collect();
                let (device, ts, flags) = (measured.device, measured.ts_us - NOW_US, measured.flags);
                format!("{device} {ts} {flags}{values}")
            }
        }
    }

    async fn lines(&mut self, count: usize) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push((self.line().await, self.cursor.clone()));
        }
        lines
    }

    /// The number of the next measurement; none for a gap.
    async fn number(&mut self) -> Option<u32> {
        match self.next().await {
            Kind::Measurement(mut measured) => match measured.values.remove("n")?.kind? {
                value::Kind::Number(number) => format!("{number}").parse().ok(),
                value::Kind::Truth(_) | value::Kind::Text(_) => None,
            },
            Kind::Position(_) | Kind::Event(_) | Kind::Gap(_) => None,
        }
    }
}

const MIXED: [(&str, &str, Channel, &str); 8] = [
    (
        "default",
        "pump",
        Channel::Telemetry,
        r#"[{"ts": 1000, "values": {"a": 1, "b": "x"}}, {"c": false}, {"ts": 1000, "values": {"d": 1.5}}]"#,
    ),
    ("acme", "pump", Channel::Telemetry, r#"{"a": 2}"#),
    ("default", "pump", Channel::Telemetry, "no json"),
    ("default", "fan", Channel::Event, r#"{"door": "open"}"#),
    ("default", "fan", Channel::Event, "[1]"),
    ("default", "fan", Channel::Telemetry, r#"[{"ts": 4102444800000, "values": {"a": 3}}, {"b": 4}]"#),
    ("default", "pump", Channel::Telemetry, "{}"),
    ("default", "pump", Channel::Telemetry, r#"{"e": 5}"#),
];

/// [`MIXED`] as the tenant `default` sees it.
fn seen() -> [String; 7] {
    [
        format!("pump {} 0 a=1 b=x", 1_000_000 - NOW_US),
        "pump 1 0 c=false".to_owned(),
        format!("pump {} 0 d=1.5", 1_000_000 - NOW_US),
        r#"fan 4 {"door": "open"}"#.to_owned(),
        "fan 6 1 a=3".to_owned(),
        "fan 6 0 b=4".to_owned(),
        "pump 8 0 e=5".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_what_is_stored_and_goes_on_behind_any_answer() {
    let mut world = World::start().await;
    let mut follower = world.from("").await;
    let begin = follower.cursor.clone();
    world.send_all(&MIXED).await;
    let lines = follower.lines(7).await;
    assert_eq!(lines.iter().map(|(line, _)| line.clone()).collect::<Vec<_>>(), seen());
    drop(follower);
    // Also from within a frame and within a record.
    let places = std::iter::once(&begin).chain(lines.iter().map(|(_, cursor)| cursor));
    for (done, cursor) in places.enumerate().take(7) {
        let mut again = world.from(cursor).await;
        assert_eq!(again.lines(7 - done).await, lines[done..], "after {done}");
    }
    let mut at_end = world.from(&lines[6].1).await;
    world.measure("pump", r#"{"f": 6}"#).await;
    assert_eq!(at_end.line().await, "pump 9 0 f=6");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_no_more_than_it_asked_for() {
    let mut world = World::start().await;
    let begin = world.from("").await.cursor;
    world.send_all(&MIXED).await;
    let of = |devices: &[&str], streams: &[proto::FeedStream], keys: &[&str]| SubscribeRequest {
        cursor: begin.clone(),
        group: String::new(),
        devices: devices.iter().map(ToString::to_string).collect(),
        streams: streams.iter().map(|stream| (*stream).into()).collect(),
        keys: keys.iter().map(ToString::to_string).collect(),
    };
    let (telemetry, events) = (proto::FeedStream::Telemetry, proto::FeedStream::Events);
    let seen = seen();
    for (asked, expected) in [
        (of(&["fan"], &[], &[]), &seen[3..6]),
        (of(&["fan"], &[telemetry], &[]), &seen[4..6]),
        (of(&[], &[events], &[]), &seen[3..4]),
        (of(&[], &[telemetry], &["d", "e"]), &[seen[2].clone(), seen[6].clone()]),
        (of(&["pump"], &[telemetry, events], &["b"]), &[seen[0].replace(" a=1", "")]),
    ] {
        let lines = world.subscribe(asked.clone()).await.lines(expected.len()).await;
        assert_eq!(lines.into_iter().map(|(line, _)| line).collect::<Vec<_>>(), expected, "{asked:?}");
    }
    let asked = SubscribeRequest { cursor: begin.clone(), ..SubscribeRequest::default() };
    let mut other = world.subscribe_as("acme", asked).await.unwrap();
    assert_eq!([other.line().await, other.line().await], ["position", "pump 2 0 a=2"]);
    let many = (0..257).map(|n| format!("d{n}")).collect();
    for (wrong, word) in [
        (SubscribeRequest { cursor: "AAAA".into(), ..SubscribeRequest::default() }, "cursor"),
        (SubscribeRequest { devices: vec!["a/b".into()], ..SubscribeRequest::default() }, "device id"),
        (SubscribeRequest { devices: many, ..SubscribeRequest::default() }, "256"),
        (SubscribeRequest { streams: vec![9], ..SubscribeRequest::default() }, "streams"),
        (SubscribeRequest { keys: vec!["/".into()], ..SubscribeRequest::default() }, "telemetry key"),
        (SubscribeRequest { group: ".".into(), ..SubscribeRequest::default() }, "group"),
    ] {
        let refused = world.subscribe_as("default", wrong).await.err().unwrap();
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(word), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_no_longer_has_is_a_gap_and_then_it_goes_on() {
    let mut world = World::start().await;
    let mut follower = world.from("").await;
    let begin = follower.cursor.clone();
    world.count(0..1, 0).await;
    assert_eq!(follower.number().await, Some(0));
    let first = follower.cursor.clone();
    drop(follower);
    world.count(1..60, LARGE).await;
    world.truncate(50).await;
    for (cursor, passed) in [(&begin, 0), (&first, 1)] {
        let mut late = world.from(cursor).await;
        let Kind::Gap(gap) = late.next().await else { panic!("no gap") };
        let (next, behind) = (late.number().await.unwrap(), late.cursor.clone());
        assert!((2..=50).contains(&next), "{next}");
        assert_eq!((gap.frames, gap.until_us - NOW_US), (u64::from(next - passed), i64::from(next) + 1));
        for n in next + 1..60 {
            assert_eq!(late.number().await, Some(n));
        }
        // Who has seen the gap is not told again.
        assert_eq!(world.from(&behind).await.number().await, Some(next + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_behind_the_end_is_that_of_another_log() {
    let mut one = World::start().await;
    one.count(0..3, 0).await;
    let cursor = one.from("").await.cursor;
    let mut other = World::start().await;
    let asked = SubscribeRequest { cursor, ..SubscribeRequest::default() };
    let mut follower = other.subscribe(asked).await;
    assert_eq!(follower.line().await, "gap 0 0");
    other.count(0..1, 0).await;
    assert_eq!(follower.number().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_let_go_and_goes_on_where_it_was() {
    let mut world = World::start().await;
    let mut slow = world.from("").await;
    world.count(0..100, LARGE).await;
    eventually("the slow reader is let go", async || {
        world.shows("drover_stream_feed_stalls_total 1").then_some(())
    })
    .await;
    // It holds no file: what is gone is a gap for it.
    world.truncate(90).await;
    let mut expected = 0;
    let next = loop {
        match slow.number().await {
            Some(number) => assert_eq!(number, expected),
            None => break slow.number().await.unwrap(),
        }
        expected += 1;
    };
    assert!(expected >= 32 && next > expected, "from {expected} to {next}");
    for n in next + 1..100 {
        assert_eq!(slow.number().await, Some(n));
    }
    assert!(world.shows("drover_stream_feed_gaps_total 1"));
}

#[tokio::test]
async fn a_quiet_reader_hears_of_its_place_from_time_to_time() {
    let mut world = World::start().await;
    let asked = SubscribeRequest { devices: vec!["quiet".into()], ..SubscribeRequest::default() };
    let mut follower = world.subscribe(asked.clone()).await;
    let begin = follower.cursor.clone();
    world.count(0..3, 0).await;
    tokio::time::pause();
    assert_eq!(follower.line().await, "position");
    tokio::time::resume();
    assert_ne!(follower.cursor, begin);
    world.measure("quiet", r#"{"a": 1}"#).await;
    let mut again = world.subscribe(SubscribeRequest { cursor: follower.cursor.clone(), ..asked }).await;
    assert_eq!(again.line().await, "quiet 4 0 a=1");
}

fn of_group(group: &str) -> SubscribeRequest {
    SubscribeRequest { group: group.into(), ..SubscribeRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_behind_what_it_acknowledged() {
    let mut world = World::start().await;
    let mut member = world.subscribe(of_group("etl")).await;
    world.count(0..6, 0).await;
    assert_eq!(member.number().await, Some(0));
    let zero = member.cursor.clone();
    assert_eq!(member.number().await, Some(1));
    world.acknowledge("etl", &member.cursor).await.unwrap();
    // An acknowledgement that comes late takes nothing back.
    world.acknowledge("etl", &zero).await.unwrap();
    assert_eq!(member.number().await, Some(2));
    drop(member);
    let mut member = world.subscribe(of_group("etl")).await;
    assert_eq!(member.number().await, Some(2), "it was not acknowledged");
    let listed = world.groups().await;
    assert!(listed.len() == 1 && listed[0].name == "etl" && listed[0].is_followed, "{listed:?}");
    let mut member = world.subscribe(SubscribeRequest { cursor: zero, ..of_group("etl") }).await;
    assert_eq!(member.number().await, Some(1), "a cursor sets the place");
    let mut member = world.subscribe(of_group("etl")).await;
    assert_eq!(member.number().await, Some(1), "and it stays set");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_follows_for_a_group_and_a_deleted_group_ends_it() {
    let mut world = World::start().await;
    let mut first = world.subscribe(of_group("etl")).await;
    let mut second = world.subscribe(of_group("etl")).await;
    assert_eq!(first.answer().await.unwrap_err().code(), Code::Aborted);
    world.count(0..1, 0).await;
    assert_eq!(second.number().await, Some(0));
    let delete = proto::DeleteGroupRequest { group: "etl".into() };
    let mut client = world.client.clone();
    client.delete_group(request(&tenant("default"), delete.clone())).await.unwrap();
    assert_eq!(second.answer().await.unwrap_err().code(), Code::NotFound);
    let again = client.delete_group(request(&tenant("default"), delete)).await;
    assert_eq!(again.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.acknowledge("etl", &second.cursor).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.groups().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_groups_are_bounded_by_tenant_and_in_all() {
    let bounds =
        Config { subscriptions: 4, subscriptions_per_tenant: 3, feed_groups_per_tenant: 2, ..config() };
    let world = World::start_with(bounds).await;
    let plain = SubscribeRequest::default;
    let mut ours = Vec::new();
    for _ in 0..3 {
        ours.push(world.subscribe(plain()).await);
    }
    let refused = world.subscribe_as("default", plain()).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("stream.subscriptions_per_tenant"), "{refused}");
    let _theirs = world.subscribe_as("acme", plain()).await.unwrap();
    let refused = world.subscribe_as("acme", plain()).await.err().unwrap();
    assert!(refused.message().ends_with("stream.subscriptions"), "{refused}");
    drop(ours);
    eventually("the places are free", async || world.shows("drover_stream_subscriptions 1").then_some(()))
        .await;
    for group in ["a", "b"] {
        world.subscribe(of_group(group)).await;
    }
    let refused = world.subscribe_as("default", of_group("c")).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("feed_groups_per_tenant"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_answers() {
    let world = World::start().await;
    let mut follower = world.from("").await;
    world.env.stop.begin_drain();
    assert_eq!(follower.answer().await.unwrap_err().code(), Code::Unavailable);
}
