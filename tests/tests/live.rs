//! The live stream as applications watch it: by server-sent events, by WebSocket and by `drover tail`, over kills and restarts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::time::Duration;

use drover_testkit::{DataDirectory, Drover, eventually};
use drover_tests::ordinary_clients::{Login, mosquitto, mosquitto_command};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long one event may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An event: its name and its data. One that only has an id is left out.
type Event = (String, Value);

/// A stream of server-sent events.
struct Live {
    response: Response,
    rest: String,
    last_id: String,
}

impl Live {
    async fn open(server: &Drover, query: &str, last_id: &str) -> Self {
        Self::open_as(server, (server.token(), "default"), query, last_id).await
    }

    async fn open_as(server: &Drover, (token, tenant): (&str, &str), query: &str, last_id: &str) -> Self {
        let request = reqwest::Client::new().get(format!("{}/v1/live{query}", server.url()));
        let mut request = request.bearer_auth(token).header("x-drover-tenant", tenant);
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut live = Self { response, rest: String::new(), last_id: last_id.to_owned() };
        let place = live.block().await.unwrap();
        assert_eq!(live.take(&place), None);
        live
    }

    /// The next event; none when the stream is over, however it ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if let Some(event) = self.take(&block) {
                return Some(event);
            }
        }
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let block = block.to_owned();
                self.rest = rest.to_owned();
                return Some(block);
            }
            let piece = timeout(PATIENCE, self.response.chunk()).await.unwrap().ok()??;
            self.rest.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    fn take(&mut self, block: &str) -> Option<Event> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if let Some(id) = field("id") {
            id.clone_into(&mut self.last_id);
        }
        Some((field("event")?.to_owned(), serde_json::from_str(field("data")?).unwrap()))
    }
}

/// Sends lines through one connection, each a message; success means that every one was acknowledged.
async fn send(server: &Drover, (device, token): (&str, &str), lines: String) -> bool {
    let login = Login { username: device, password: token, tls: false };
    let mut command = mosquitto_command("mosquitto_pub", server, &login);
    command.args(["-q", "1", "-t", "v1/telemetry", "-l"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut sender = command.spawn().unwrap();
    let mut input = sender.stdin.take().unwrap();
    // The server may be killed meanwhile.
    let _ = input.write_all(lines.as_bytes()).await;
    drop(input);
    sender.wait().await.unwrap().success()
}

fn numbered(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|n| format!("{{\"n\": {n}}}\n")).collect()
}

fn number(event: &Event) -> u64 {
    assert_eq!(event.0, "telemetry", "{event:?}");
    event.1["values"]["n"].as_u64().unwrap()
}

/// The numbers that are stored, in their order.
async fn stored(server: &Drover, device: &str) -> Vec<u64> {
    eventually("nothing is pending", async || {
        let (status, ledger) = server.call(Method::GET, "/v1/ledger", None).await;
        (status == 200 && ledger["pending"] == json!(0)).then_some(())
    })
    .await;
    let range = server.get(&format!("/v1/devices/{device}/telemetry?keys=n&limit=10000")).await;
    let samples = range["series"]["n"].as_array().unwrap().iter();
    samples.map(|sample| sample["value"].as_u64().unwrap()).collect()
}

async fn metrics(server: &Drover) -> String {
    reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_stream_goes_on_over_a_kill_without_loss_and_without_repetition() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump").await;
    let mut live = Live::open(&server, "?streams=telemetry", "").await;
    let mut got = Vec::new();
    // The server is killed while messages come, three times.
    let mut server = server;
    for life in 0..3 {
        let (first, enough) = (life * 3_000, got.len() + 300);
        let (_, directory) = tokio::join!(
            send_by(server.address("mqtt").to_owned(), token.clone(), numbered(first..first + 3_000)),
            async {
                while got.len() < enough {
                    got.push(number(&live.next().await.unwrap()));
                }
                server.kill().await
            }
        );
        while let Some(event) = live.next().await {
            got.push(number(&event));
        }
        server = Drover::start_in(directory, &[]).await;
        live = Live::open(&server, "?streams=telemetry", &live.last_id).await;
    }
    assert!(send(&server, ("pump", &token), numbered(9_000..9_050)).await);
    while got.last() != Some(&9_049) {
        got.push(number(&live.next().await.unwrap()));
    }
    assert_eq!(got, stored(&server, "pump").await);
    server.stop().await;
}

/// As [`send`], to a server that others own meanwhile.
async fn send_by(address: String, token: String, lines: String) -> bool {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut command = tokio::process::Command::new("mosquitto_pub");
    command.args(["-h", host, "-p", port, "-u", "pump", "-P", &token, "-q", "1", "-t", "v1/telemetry", "-l"]);
    let mut sender = command.stdin(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut input = sender.stdin.take().unwrap();
    let _ = input.write_all(lines.as_bytes()).await;
    drop(input);
    // A client whose server was killed would go on trying for ever.
    timeout(Duration::from_secs(3), sender.wait()).await.is_ok_and(|ended| ended.unwrap().success())
}

#[tokio::test]
async fn a_stream_has_what_was_asked_for_of_its_own_tenant() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    server.call(Method::POST, "/v1/tenants", Some(json!({"id": "acme"}))).await;
    let (pump, fan) = (server.device("pump").await, server.device("fan").await);
    let mut all = Live::open(&server, "", "").await;
    let mut some = Live::open(&server, "?devices=fan&keys=b,c", "").await;
    let mut theirs = Live::open_as(&server, (server.token(), "acme"), "", "").await;
    assert!(send(&server, ("pump", &pump), "{\"a\": 1, \"b\": 2}\n".to_owned()).await);
    assert!(
        send(&server, ("fan", &fan), "{\"a\": 1}\n{\"a\": 1, \"b\": 3}\nno json\n{\"c\": true}\n".to_owned())
            .await
    );
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let (event, data) = all.next().await.unwrap();
        // Devices also come and go.
        if event == "telemetry" {
            assert!(data["ts"].as_i64().unwrap() > 1_700_000_000_000, "{data}");
            seen.push(json!([data["device"], data["values"]]));
        }
    }
    assert_eq!(
        json!(seen),
        json!([["pump", {"a": 1, "b": 2}], ["fan", {"a": 1}], ["fan", {"a": 1, "b": 3}], ["fan", {"c": true}]])
    );
    let mut filtered = Vec::new();
    while filtered.len() < 2 {
        let (event, data) = some.next().await.unwrap();
        if event == "telemetry" {
            filtered.push(data["values"].clone());
        }
    }
    assert_eq!(json!(filtered), json!([{"b": 3}, {"c": true}]));
    server.signal("TERM");
    assert_eq!(theirs.next().await, None, "another tenant has seen nothing");
}

#[tokio::test]
async fn a_place_that_the_log_no_longer_has_is_a_gap() {
    if !mosquitto() {
        return;
    }
    let starter = ["env", "DROVER_LOG__SEGMENT_BYTES=65536", "DROVER_STREAM__FLUSH_INTERVAL_S=1"];
    let server = Drover::start_by(&starter, DataDirectory::new(), &[]).await;
    let token = server.device("pump").await;
    let mut live = Live::open(&server, "?streams=telemetry", "").await;
    assert!(send(&server, ("pump", &token), numbered(0..1)).await);
    assert_eq!(number(&live.next().await.unwrap()), 0);
    let padding = "x".repeat(1_000);
    let mut sent = 1;
    let (gap, mut late) = eventually("the log is truncated", async || {
        let lines = (sent..sent + 100).map(|n| format!("{{\"n\": {n}, \"padding\": \"{padding}\"}}\n"));
        assert!(send(&server, ("pump", &token), lines.collect()).await);
        sent += 100;
        let mut late = Live::open(&server, "?streams=telemetry", &live.last_id).await;
        let (event, data) = late.next().await?;
        (event == "gap").then_some((data, late))
    })
    .await;
    assert!(gap["frames"].as_u64().unwrap() > 0 && gap["until"].as_i64().unwrap() > 0, "{gap}");
    let mut next = number(&late.next().await.unwrap());
    assert!(next > 1);
    while next < sent - 1 {
        next += 1;
        assert_eq!(number(&late.next().await.unwrap()), next);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_everything_later() {
    if !mosquitto() {
        return;
    }
    const MESSAGES: u64 = 3_000;
    let server = Drover::start().await;
    let token = server.device("pump").await;
    let mut live = Live::open(&server, "?streams=telemetry", "").await;
    let padding = "x".repeat(5_000);
    let lines = (0..MESSAGES).map(|n| format!("{{\"n\": {n}, \"padding\": \"{padding}\"}}\n")).collect();
    assert!(send(&server, ("pump", &token), lines).await);
    eventually("the reader is let go", async || {
        (!metrics(&server).await.contains("drover_stream_feed_stalls_total 0\n")).then_some(())
    })
    .await;
    for n in 0..MESSAGES {
        assert_eq!(number(&live.next().await.unwrap()), n);
    }
    server.stop().await;
}

#[tokio::test]
async fn tail_misses_nothing_while_the_server_is_killed_and_starts_again() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump").await;
    let mut command =
        server.command_line(&["tail", "--streams", "telemetry", "--count", "400", "-o", "json"]);
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    eventually("tail watches", async || {
        metrics(&server).await.contains("drover_stream_subscriptions 1").then_some(())
    })
    .await;
    let mut server = server;
    for life in 0..4 {
        assert!(send(&server, ("pump", &token), numbered(life * 100..(life + 1) * 100)).await);
        server = Drover::start_in(server.kill().await, &[]).await;
    }
    for n in 0..400 {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(message["values"]["n"], json!(n), "{message}");
    }
    assert!(tail.wait().await.unwrap().success());
    server.stop().await;
}

type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket with headers of its own.
async fn web_socket(
    server: &Drover,
    query: &str,
    headers: &[(&'static str, String)],
) -> Result<Socket, Error> {
    let stream = TcpStream::connect(server.address("api")).await.unwrap();
    let mut request = format!("ws://{}/v1/live{query}", server.address("api")).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (socket, response) = client_async(request, stream).await?;
    let offers = headers.iter().any(|(name, _)| *name == "sec-websocket-protocol");
    let agreed = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
    assert_eq!(agreed, offers.then_some("drover.live.v1"));
    Ok(socket)
}

/// The next message, as JSON.
async fn message(socket: &mut Socket) -> Value {
    loop {
        match timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Why the server closes, when it does.
async fn goodbye(mut socket: Socket) -> (CloseCode, String) {
    loop {
        match timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Close(Some(frame)) => return (frame.code, frame.reason.to_string()),
            Message::Close(None) => panic!("no reason"),
            _ => {}
        }
    }
}

fn as_page(token: &str) -> (&'static str, String) {
    ("sec-websocket-protocol", format!("drover.live.v1, bearer.{token}"))
}

#[tokio::test]
async fn a_web_socket_has_the_same_and_goes_on_with_a_cursor() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump").await;
    let mut page = web_socket(&server, "?streams=telemetry", &[as_page(server.token())]).await.unwrap();
    let begin = message(&mut page).await;
    assert_eq!((&begin["event"], begin.get("data")), (&json!("position"), None));
    assert!(send(&server, ("pump", &token), numbered(0..3)).await);
    for n in 0..3 {
        let telemetry = message(&mut page).await;
        assert_eq!(telemetry["event"], json!("telemetry"));
        assert_eq!(telemetry["data"]["values"], json!({"n": n}));
        let cursor = telemetry["id"].as_str().unwrap();
        let header = [("authorization", format!("Bearer {}", server.token()))];
        let query = format!("?streams=telemetry&cursor={cursor}");
        if n < 2 {
            let mut again = web_socket(&server, &query, &header).await.unwrap();
            assert_eq!(message(&mut again).await["id"], json!(cursor));
            assert_eq!(message(&mut again).await["data"]["values"], json!({"n": n + 1}));
        }
    }
    server.signal("TERM");
    assert_eq!(goodbye(page).await.0, CloseCode::Away);
    assert!(server.ended().await.success());
}

/// The status and the problem with which a handshake is refused.
async fn refusal(server: &Drover, headers: &[(&'static str, String)]) -> (u16, String) {
    match web_socket(server, "", headers).await {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status().as_u16(), String::from_utf8_lossy(&body).into_owned())
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn a_web_socket_is_for_who_may_and_for_pages_that_may() {
    let origins = r#"DROVER_API__WEBSOCKET_ORIGINS=["https://app.example"]"#;
    let server = Drover::start_by(&["env", origins], DataDirectory::new(), &[]).await;
    let origin = |origin: &str| ("origin", origin.to_owned());
    assert_eq!(refusal(&server, &[]).await.0, 401);
    assert_eq!(refusal(&server, &[as_page("wrong")]).await.0, 401);
    let (status, problem) =
        refusal(&server, &[as_page(server.token()), origin("https://evil.example")]).await;
    assert!(status == 403 && problem.contains("api.websocket_origins"), "{problem}");
    let alone = ("sec-websocket-protocol", format!("bearer.{}", server.token()));
    let (status, problem) = refusal(&server, &[alone]).await;
    assert!(status == 400 && problem.contains("drover.live.v1"), "{problem}");
    let mut page =
        web_socket(&server, "", &[as_page(server.token()), origin("https://app.example")]).await.unwrap();
    assert_eq!(message(&mut page).await["event"], json!("position"));
    // It only listens.
    page.send(Message::text("hello")).await.unwrap();
    assert_eq!(goodbye(page).await.0, CloseCode::Policy);
    let mut loud = web_socket(&server, "", &[as_page(server.token())]).await.unwrap();
    loud.send(Message::binary(vec![0; 10_000])).await.unwrap();
    assert_eq!(goodbye(loud).await.0, CloseCode::Size);
    server.stop().await;
}

#[tokio::test]
async fn the_streams_of_a_deleted_key_end() {
    let server = Drover::start().await;
    let key = json!({"id": "board", "scopes": ["api:read"]});
    let (_, key) = server.call(Method::POST, "/v1/api-keys", Some(key)).await;
    let secret = key["secret"].as_str().unwrap();
    let mut live = Live::open_as(&server, (secret, "default"), "", "").await;
    let socket = web_socket(&server, "", &[as_page(secret)]).await.unwrap();
    let other = web_socket(&server, "", &[as_page(server.token())]).await.unwrap();
    server.call(Method::DELETE, "/v1/api-keys/board", None).await;
    let (code, reason) = goodbye(socket).await;
    assert!(code == CloseCode::Policy && reason.contains("API key"), "{reason}");
    while live.next().await.is_some() {}
    assert_eq!(refusal(&server, &[as_page(secret)]).await.0, 401);
    server.signal("TERM");
    assert_eq!(goodbye(other).await.0, CloseCode::Away);
}

#[tokio::test]
async fn an_upgrade_that_the_connection_does_not_name_is_an_ordinary_request() {
    let server = Drover::start().await;
    let mut stream = TcpStream::connect(server.address("api")).await.unwrap();
    let head = format!(
        "GET /v1/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        server.token()
    );
    // Without `Connection: Upgrade` the others mean nothing.
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    server.stop().await;
}
