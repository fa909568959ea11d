//! The listener over real sockets.

#[path = "../../tests/world/mod.rs"]
mod world;

use std::future::IntoFuture;
use std::net::SocketAddr;

use drover_testkit::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use world::World;

const HEALTH: &str = "GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWERED: &str = "HTTP/1.1 200 OK";

struct Running {
    world: World,
    address: SocketAddr,
    served: tokio::sync::oneshot::Receiver<anyhow::Result<()>>,
}

impl Running {
    fn shows(&self, line: &str) -> bool {
        self.world.env.metrics.encode().lines().any(|shown| shown == line)
    }
}

fn config(max_connections: usize) -> Config {
    Config {
        max_connections,
        max_connections_per_source: 2,
        max_requests: 8,
        max_live_streams: 8,
        max_grpc_calls: 8,
        websocket_origins: Vec::new(),
    }
}

async fn start(max_connections: usize) -> Running {
    let world = World::start().await;
    let config = config(max_connections);
    let router = crate::router(&config, &world.env);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server::new(&config, &world.env));
    let (done, served) = tokio::sync::oneshot::channel();
    world.env.tasks.track(async move {
        let _ = done.send(server.serve(listener, REST, router).await);
    });
    Running { world, address, served }
}

fn live_head() -> String {
    format!("GET /v1/topics/live HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", world::TOKEN)
}

async fn ask(stream: &mut TcpStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends_streams() {
    let running = start(8).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut idle, HEALTH).await;
    assert!(answer.starts_with(ANSWERED), "{answer}");
    let mut live = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut live, &live_head()).await;
    assert!(answer.contains("text/event-stream"), "{answer}");

    running.world.env.stop.begin_drain();
    running.served.into_future().await.unwrap().unwrap();
    let mut rest = Vec::new();
    live.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_connection_too_many_takes_the_place_of_the_one_that_is_idle_for_the_longest() {
    let running = start(3).await;
    let mut asked = TcpStream::connect(running.address).await.unwrap();
    ask(&mut asked, HEALTH).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut live = TcpStream::connect(running.address).await.unwrap();
    ask(&mut live, &live_head()).await;
    // Both are idle now, but the first one asks once more.
    eventually("three connections are open", async || {
        running.shows("drover_api_connections 3").then_some(())
    })
    .await;
    ask(&mut asked, HEALTH).await;
    let mut late = TcpStream::connect(running.address).await.unwrap();
    ask(&mut late, HEALTH).await;
    assert_eq!(rest(&mut silent).await, b"");
    ask(&mut asked, HEALTH).await;
    assert!(running.shows("drover_api_connections_displaced_total 1"));
}

#[tokio::test]
async fn a_connection_too_many_waits_while_all_others_have_requests_in_work() {
    let running = start(1).await;
    let mut live = TcpStream::connect(running.address).await.unwrap();
    ask(&mut live, &live_head()).await;
    let mut late = TcpStream::connect(running.address).await.unwrap();
    let answer = ask(&mut late, HEALTH);
    let mut answer = std::pin::pin!(answer);
    assert!(tokio::time::timeout(END_INTERVAL * 2, answer.as_mut()).await.is_err());
    drop(live);
    let answer = answer.await;
    assert!(answer.starts_with(ANSWERED), "{answer}");
    assert!(running.shows("drover_api_connections_displaced_total 0"));
}

/// Lets time pass for the server. While the clock stands it would jump whenever nobody has anything to do, also in the middle of a
/// request.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Reads until the server closes; whatever came until then.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A close with bytes unread is a reset.
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

#[tokio::test]
async fn a_connection_that_never_says_anything_is_closed() {
    let running = start(8).await;
    tokio::time::pause();
    // The preface of HTTP/2 is no request either.
    for start in ["", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut silent = TcpStream::connect(running.address).await.unwrap();
        silent.write_all(start.as_bytes()).await.unwrap();
        rest(&mut silent).await;
    }
    assert!(running.shows("drover_api_connections_silent_total 2"));
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let running = start(8).await;
    tokio::time::pause();
    // The preface of HTTP/2 too: until it is whole, neither protocol has begun.
    for head in ["GET /v1/health HTTP/1.1\r\nHost: a\r\nX-Slow: ", "PRI * HTTP/2.0"] {
        let mut slow = TcpStream::connect(running.address).await.unwrap();
        let mut bytes = head.bytes().chain(std::iter::repeat(b'a'));
        let cut = loop {
            let written = slow.write_all(&[bytes.next().unwrap()]).await;
            let answer = tokio::time::timeout(Duration::from_secs(1), rest(&mut slow)).await;
            if written.is_err() || answer.is_ok() {
                break answer.unwrap_or_default();
            }
        };
        assert_eq!(cut, b"", "{head}");
    }
    assert!(running.shows("drover_api_connections_silent_total 2"));
}

#[tokio::test]
async fn a_connection_stays_between_requests_until_it_is_idle_for_too_long() {
    let running = start(8).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..4 {
        let answer = ask(&mut stream, HEALTH).await;
        assert!(answer.starts_with(ANSWERED), "{answer}");
        pass(REST.idle_timeout * 3 / 4).await;
    }
    tokio::time::pause();
    assert_eq!(rest(&mut stream).await, b"");
    assert!(running.shows("drover_api_connections_silent_total 0"));
}

#[tokio::test]
async fn a_stream_that_is_open_is_not_silent() {
    let running = start(8).await;
    let mut live = TcpStream::connect(running.address).await.unwrap();
    ask(&mut live, &live_head()).await;
    pass(REST.idle_timeout * 10).await;
    tokio::time::pause();
    let mut byte = [0];
    assert_eq!(live.read(&mut byte).await.unwrap(), 1);
}

#[tokio::test]
async fn a_source_with_too_many_connections_gets_no_further_one() {
    let running = start(8).await;
    let server = Server::new(&config(8), &running.world.env);
    let ours = std::net::IpAddr::from([192, 0, 2, 1]);
    let _places = [server.place(ours).unwrap(), server.place(ours).unwrap()];
    assert!(server.place(ours).is_err());
    assert!(running.shows("drover_api_connections_refused_total 1"));
    // This machine's own are not counted: there may be a proxy.
    let mut many = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        ask(&mut stream, HEALTH).await;
        many.push(stream);
    }
    assert!(running.shows("drover_api_connections 4"));
}
