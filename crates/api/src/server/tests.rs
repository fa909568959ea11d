//! The listener over real sockets.

#[path = "../../tests/world/mod.rs"]
mod world;

use std::future::IntoFuture;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use world::World;

struct Running {
    world: World,
    address: SocketAddr,
    served: tokio::sync::oneshot::Receiver<anyhow::Result<()>>,
}

async fn start(max_connections: usize) -> Running {
    let world = World::start().await;
    let config = crate::Config { max_connections, max_requests: 8, max_live_streams: 8 };
    let router = crate::router(&config, &world.env);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(max_connections, &world.env);
    let (done, served) = tokio::sync::oneshot::channel();
    world.env.tasks.track(async move {
        let _ = done.send(server.serve(listener, router).await);
    });
    Running { world, address, served }
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
    let answer = ask(&mut idle, "GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let mut live = TcpStream::connect(running.address).await.unwrap();
    let head = format!("GET /v1/live HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", world::TOKEN);
    let answer = ask(&mut live, &head).await;
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
async fn a_connection_too_many_waits_until_another_closes() {
    let running = start(1).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    ask(&mut first, "GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut second = TcpStream::connect(running.address).await.unwrap();
    drop(first);
    let answer = ask(&mut second, "GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
