//! Start and stop: order of the drain, deadlines, failing tasks.

use std::sync::Mutex;

use drover_backbone::{Shard, Stream};
use drover_proto::{RecordRef, backbone::v1::Channel};

use super::*;
use crate::{Layers, Sources};

/// What happened, in order.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Vec<&'static str>>>);

impl Story {
    fn tell(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
}

fn record() -> RecordRef<'static> {
    RecordRef {
        tenant: "default",
        device: "pump",
        channel: Channel::Telemetry,
        content_type: "",
        payload: b"{}",
        received_us: 1,
        topic: "",
        traceparent: "",
        session: 0,
        packet_id: 0,
    }
}

/// Every listener off but `api`, at any free port.
fn program(folder: &tempfile::TempDir, more: &[(&str, &str)]) -> Program {
    let off = ["MQTT", "MQTTS", "WS", "GRPC"].map(|name| (format!("DROVER_LISTEN__{name}"), String::new()));
    let small = [("DROVER_LISTEN__API", "127.0.0.1:0"), ("DROVER_LOG__SEGMENT_BYTES", "4_194_304")];
    let given = small.iter().chain(more).map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let variables = off.into_iter().chain(given).collect();
    let layers = Layers::load(Sources { variables, ..Sources::default() }).unwrap();
    Program::new(Settings::read(&layers).unwrap(), folder.path().join("data"))
}

#[tokio::test]
async fn listeners_drain_then_the_log_is_flushed_then_tasks_finish() {
    let folder = tempfile::tempdir().unwrap();
    let (story, stop) = (Story::default(), Stop::default());
    let addresses = folder.path().join("data/addresses.json");
    let build = |env: Env| {
        let story = story.clone();
        async move {
            let (log, producer) = (env.log.clone(), env.producer.clone());
            let (drain, finish) = (env.stop.clone(), env.stop.clone());
            let (listener_story, task_story) = (story.clone(), story.clone());
            let listener = move |_: TcpListener| async move {
                drain.drain().await;
                producer.append(Stream::Telemetry, &record()).unwrap();
                listener_story.tell("drained");
                Ok(())
            };
            let task = async move {
                finish.finish().await;
                assert_eq!(
                    log.end(Stream::Telemetry, Shard(0)).0,
                    1,
                    "flushed before tasks are asked to finish"
                );
                task_story.tell("finished");
                Ok(())
            };
            Ok(vec![Part::new("test").listen("api", listener).task("work", task)])
        }
    };
    let announce = |announcement: &Announcement| {
        assert!(announcement.addresses["api"].port() != 0);
        assert!(addresses.exists());
        story.tell("announced");
        stop.begin_drain();
    };
    run(program(&folder, &[]), stop.clone(), build, announce).await.unwrap();
    assert_eq!(*story.0.lock().unwrap(), ["announced", "drained", "finished"]);
    assert!(!addresses.exists());
    DataDir::open(&folder.path().join("data")).unwrap();
}

#[tokio::test]
async fn a_task_that_fails_stops_the_process_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let build = |_: Env| async { Ok(vec![Part::new("test").task("work", async { bail!("no more ink") })]) };
    let error = run(program(&folder, &[]), Stop::default(), build, |_| {}).await.unwrap_err();
    assert_eq!(format!("{error:#}"), "work failed: part test: no more ink");
}

#[tokio::test]
async fn what_does_not_leave_or_finish_is_given_up_at_its_deadline_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::default();
    let never = |_: TcpListener| std::future::pending();
    let build = |_: Env| async move {
        Ok(vec![Part::new("test").listen("api", never).task("work", std::future::pending())])
    };
    let announce = |_: &Announcement| stop.begin_drain();
    let mut impatient = program(&folder, &[]);
    impatient.settings.stop = StopSettings { drain_timeout_s: 0, finish_timeout_s: 0 };
    let error = run(impatient, stop.clone(), build, announce).await.unwrap_err();
    assert!(
        error.to_string().starts_with("not finished in 0 s: ") && error.to_string().contains("work"),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_in_use_keeps_the_process_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let program = program(&folder, &[("DROVER_LISTEN__API", &address)]);
    let build = |_: Env| async { panic!("nothing is built") };
    let error = run(program, Stop::default(), build, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("is in use (try --listen-api"), "{error}");
}

#[tokio::test]
async fn the_log_tells_its_health_and_figures() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::default();
    let build = |env: Env| async move {
        env.health.ready().await;
        assert_eq!(env.health.snapshot().into_iter().collect::<Vec<_>>(), [("log", crate::Status::Ok)]);
        let text = env.metrics.encode();
        for line in ["drover_log_records_total 0\n", "drover_log_sync_seconds_bucket{le=\"+Inf\"}"] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        Ok(Vec::new())
    };
    run(program(&folder, &[]), stop.clone(), build, |_| stop.begin_drain()).await.unwrap();
}
