//! The server on a socket: what a client can and cannot hold on to.

use std::{net::SocketAddr, time::Duration};

use agent_runner_core::testing::Turn;
use agent_runner_http::{ApiOptions, serve};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, Service, Setup};

struct Server {
    service: Service,
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start(options: ApiOptions) -> Server {
    let mut setup = Setup::new([Turn::text("done")]);
    setup.options = options;
    let service = setup.idle();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, service.api.clone(), shutdown.clone()));
    Server { service, address, shutdown, task }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) -> Duration {
        let begun = Instant::now();
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        begun.elapsed()
    }
}

/// Everything until the server closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("an end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `end` was seen.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut bytes: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    // Searches what is new only: some streams are long.
    let mut searched = 0;
    while !bytes[searched..].windows(end.len()).any(|window| window == end.as_bytes()) {
        searched = bytes.len().saturating_sub(end.len());
        let read = tokio::time::timeout(PATIENCE, socket.read(&mut buffer)).await.expect("bytes");
        let read = read.unwrap();
        let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(300)..]);
        assert!(read > 0, "the server closed after: {tail}");
        bytes.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = start(ApiOptions::default()).await;
    let mut socket = server.connect().await;
    for _ in 0..3 {
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let answer = read_until(&mut socket, "[]}").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_cut_and_a_quiet_connection_lives_longer() {
    let server = start(ApiOptions {
        header_read_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(1_500),
        ..ApiOptions::default()
    })
    .await;
    let begun = Instant::now();
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHos").await.unwrap();
    assert_eq!(rest(&mut slow).await, "");
    assert!(begun.elapsed() < Duration::from_millis(1_400), "{:?}", begun.elapsed());

    let begun = Instant::now();
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    assert!(begun.elapsed() < Duration::from_millis(1_400), "{:?}", begun.elapsed());

    let mut kept = server.connect().await;
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut kept, "[]}").await;
    let begun = Instant::now();
    assert_eq!(rest(&mut kept).await, "");
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?}", begun.elapsed());

    let mut again = server.connect().await;
    again.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut again, "[]}").await;
    let begun = Instant::now();
    again.write_all(b"GET /heal").await.unwrap();
    assert_eq!(rest(&mut again).await, "");
    assert!(begun.elapsed() < Duration::from_millis(1_400), "the second head is bounded as well");
    server.stop().await;
}

#[tokio::test]
async fn large_heads_and_bodies_are_refused_with_a_problem() {
    let server = start(ApiOptions::default()).await;
    for (head, status, code) in [
        (format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(17 * 1024)), 431, "headers_too_large"),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9 * 1024)), 414, "uri_too_long"),
        ("POST /runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n\r\n".to_owned(), 413, "too_large"),
    ] {
        let mut socket = server.connect().await;
        socket.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut socket, "\"errors\"").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains(code), "{answer}");
    }
    let mut socket = server.connect().await;
    let fields: String = (0..300).map(|n| format!("X-{n}: 1\r\n")).collect();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut socket = server.connect().await;
    socket.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await.unwrap();
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn an_address_gets_so_many_connections_and_no_more() {
    let server = start(ApiOptions { connections_per_ip_max: 2, ..ApiOptions::default() }).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for socket in [&mut first, &mut second] {
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(socket, "[]}").await;
    }
    let mut third = server.connect().await;
    let refused = rest(&mut third).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("overloaded"), "{refused}");
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    rest(&mut first).await;
    // The place is free once the server has seen the end of its own side.
    let begun = Instant::now();
    loop {
        let mut again = server.connect().await;
        let asked =
            again.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        if asked.is_ok() && rest(&mut again).await.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the place is never given back");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_stream_is_cut_and_others_are_not() {
    let server =
        start(ApiOptions { write_timeout: Duration::from_millis(300), ..ApiOptions::default() })
            .await;
    let id = server.service.create(&json!({"goal": "g"})).await;
    // More than the socket buffers of both sides hold.
    let text = "x".repeat(200_000);
    for n in 0..60 {
        let body = json!({"text": text, "id": format!("m{n}")});
        let sent = server.service.post(&format!("/runs/{id}/directive"), &body).await;
        assert_eq!(sent.status, 201);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(server.address).await.unwrap();
    let ask = format!("GET /runs/{id}/events/stream HTTP/1.1\r\nHost: x\r\n\r\n");
    deaf.write_all(ask.as_bytes()).await.unwrap();
    deaf.readable().await.unwrap();
    let mut reader = server.connect().await;
    reader.write_all(ask.as_bytes()).await.unwrap();
    read_until(&mut reader, "id: 61\n").await;
    // Longer than the server waits for a client that takes nothing.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let got = rest(&mut deaf).await;
    assert!(!got.contains("id: 61\n"), "the stream was cut before its end");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_lets_streams_go_and_takes_nobody_new() {
    let server = start(ApiOptions::default()).await;
    let id = server.service.create(&json!({"goal": "g"})).await;
    let mut stream = server.connect().await;
    let ask = format!("GET /runs/{id}/events/stream HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    read_until(&mut stream, "run.queued").await;
    let mut quiet = server.connect().await;
    quiet.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut quiet, "[]}").await;
    let address = server.address;
    let took = server.stop().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let end = rest(&mut stream).await;
    assert!(end.contains("event: stream.closing"), "{end}");
    assert!(end.ends_with("0\r\n\r\n"), "the answer is complete: {end}");
    assert_eq!(rest(&mut quiet).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}
