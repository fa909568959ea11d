//! Traces of a running server, as an OpenTelemetry collector receives them: one of a message from its PUBLISH to the store, and one
//! of a request.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use drover_testkit::{DataDirectory, Drover, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// How long one message may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// What must appear in no span.
const PAYLOAD: &str = "{\"temperature\": 21.53125}";

/// Attributes as text, by name.
type Attributes = BTreeMap<String, String>;

/// What arrived at a collector: spans, and the resource of each.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(Span, Attributes)>>>);

impl Collector {
    /// Starts one; also its endpoint.
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, endpoint)
    }

    fn of_trace(&self, trace: &str) -> Vec<(Span, Attributes)> {
        let all = self.0.lock().unwrap().clone();
        all.into_iter().filter(|(span, _)| hex(&span.trace_id) == trace).collect()
    }

    /// The span of this name in a trace, once it is there.
    async fn span(&self, trace: &str, name: &str) -> (Span, Attributes) {
        eventually(&format!("the span {name} has arrived"), async || {
            self.of_trace(trace).into_iter().find(|(span, _)| span.name == name)
        })
        .await
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for spans in request.resource_spans {
        let resource = spans.resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default();
        let spans = spans.scope_spans.into_iter().flat_map(|spans| spans.spans);
        collector.0.lock().unwrap().extend(spans.map(|span| (span, resource.clone())));
    }
}

fn attributes(pairs: &[KeyValue]) -> Attributes {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        AnyValue::StringValue(text) => Some(text.clone()),
        AnyValue::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair).unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that sends traces to this endpoint, of what asks for it only.
async fn server(endpoint: &str) -> Drover {
    let directory = DataDirectory::new();
    fs::create_dir_all(directory.path()).unwrap();
    let settings = format!("[runtime]\notlp_endpoint = \"{endpoint}\"\ntrace_ratio = 0\n");
    fs::write(directory.path().join("drover.toml"), settings).unwrap();
    Drover::start_in(directory, &[]).await
}

/// Publishes as a device with these values of the user property `traceparent`, and waits for every PUBACK.
async fn publish(server: &Drover, device: &str, contexts: &[Option<String>]) {
    let token = server.device(device).await;
    let mut options = MqttOptions::new(device, "127.0.0.1", server.port("mqtt"));
    options.set_credentials(device, &token);
    let (client, mut events) = AsyncClient::new(options, 10);
    for context in contexts {
        let named = context.iter().map(|context| ("traceparent".to_owned(), context.clone()));
        let properties =
            PublishProperties { user_properties: named.collect(), ..PublishProperties::default() };
        let qos = QoS::AtLeastOnce;
        client.publish_with_properties("v1/telemetry", qos, false, PAYLOAD, properties).await.unwrap();
        acknowledged(&mut events).await;
    }
    client.disconnect().await.unwrap();
}

async fn acknowledged(events: &mut EventLoop) {
    loop {
        if let Event::Incoming(Packet::PubAck(_)) = timeout(PATIENCE, events.poll()).await.unwrap().unwrap() {
            return;
        }
    }
}

/// Spans by what became of them.
async fn counted(server: &Drover, outcome: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    let name = format!("drover_traces_spans_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_message_with_a_trace_context_is_traced_from_its_publish_to_the_store() {
    let (collector, endpoint) = Collector::start().await;
    let server = server(&endpoint).await;
    publish(&server, "pump", &[Some(format!("00-{TRACE}-{PARENT}-01"))]).await;

    let (receive, resource) = collector.span(TRACE, "receive").await;
    let (append, _) = collector.span(TRACE, "log append").await;
    let (store, _) = collector.span(TRACE, "store").await;
    assert_eq!(hex(&receive.parent_span_id), PARENT);
    assert_eq!(append.parent_span_id, receive.span_id);
    assert_eq!(store.parent_span_id, append.span_id);
    for span in [&receive, &append, &store] {
        assert!(span.start_time_unix_nano < span.end_time_unix_nano, "{span:?}");
        assert!(span.start_time_unix_nano >= receive.start_time_unix_nano / 1_000 * 1_000, "{span:?}");
    }
    assert_eq!(resource["service.name"], "drover");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["service.instance.id"].len(), 32);

    let said = attributes(&receive.attributes);
    assert_eq!(said["messaging.destination.name"], "v1/telemetry");
    assert_eq!(said["messaging.message.body.size"], PAYLOAD.len().to_string());
    assert_eq!((&*said["tenant.id"], &*said["device.id"]), ("default", "pump"));
    assert_eq!(attributes(&append.attributes)["outcome"], "durable");
    assert_eq!(attributes(&store.attributes)["outcome"], "stored");
    let all = format!("{:?}", collector.of_trace(TRACE));
    assert!(!all.contains("21.53125") && !all.contains("drv_"), "{all}");
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_ask_for_it_or_says_no_is_not_traced() {
    let (collector, endpoint) = Collector::start().await;
    let server = server(&endpoint).await;
    let other = "1".repeat(32);
    let contexts = [
        None,
        Some(format!("00-{TRACE}-{PARENT}-00")),
        Some("nonsense".to_owned()),
        Some(format!("00-{}-{PARENT}-01", "0".repeat(32))),
        Some(format!("00-{other}-{PARENT}-01")),
    ];
    publish(&server, "pump", &contexts).await;
    collector.span(&other, "store").await;
    server.stop().await;
    let names: Vec<String> = collector.0.lock().unwrap().iter().map(|(span, _)| span.name.clone()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn a_request_with_a_trace_context_has_a_span_with_route_and_status() {
    let (collector, endpoint) = Collector::start().await;
    let server = server(&endpoint).await;
    let url = format!("{}/v1/devices/nobody?secret=1", server.url());
    let request = reqwest::Client::new().get(url).bearer_auth(server.token());
    let answer = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).send().await.unwrap();
    let (span, _) = collector.span(TRACE, "GET /v1/devices/{id}").await;
    assert_eq!(hex(&span.parent_span_id), PARENT);
    let said = attributes(&span.attributes);
    assert_eq!(said["http.response.status_code"], answer.status().as_u16().to_string());
    assert_eq!(said["http.route"], "/v1/devices/{id}");
    let all = format!("{span:?}");
    assert!(!all.contains("nobody") && !all.contains("secret") && !all.contains(server.token()), "{all}");
    eventually("the span is counted", async || (counted(&server, "sent").await == 1).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let server = server(&endpoint).await;
    publish(&server, "pump", &[Some(format!("00-{TRACE}-{PARENT}-01"))]).await;
    eventually("the message is stored", async || {
        (server.get("/v1/ledger").await["stored"] == serde_json::json!(1)).then_some(())
    })
    .await;
    eventually("three spans are given up", async || (counted(&server, "failed").await == 3).then_some(()))
        .await;
    let log = server.log();
    assert_eq!(log.matches("traces can't be sent").count(), 1, "{log}");
    server.stop().await;
}
