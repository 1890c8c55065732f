//! Answers of a server on this machine: through the guard, and with a bare client.

use std::time::{Duration, Instant};

use agent_runner::tools::{
    http::HttpAllow,
    net::{GuardedClient, NetLimits, NetRequest, Reach},
};
use reqwest::{Client, Method, header::HeaderMap};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use crate::{median, report};

const REQUESTS: u32 = 2_000;
const ROUNDS: usize = 9;

/// A server that answers every request on a connection with the same page.
async fn serve(size: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {size}\r\n\r\n");
    let answer: &'static [u8] = Box::leak([head.as_bytes(), &vec![b'a'; size]].concat().into());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                while stream.read(&mut request).await.unwrap_or(0) > 0 {
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    host
}

async fn guarded(client: &GuardedClient, url: &str, size: usize) -> Duration {
    let cancel = CancellationToken::new();
    let began = Instant::now();
    for _ in 0..REQUESTS {
        let request = NetRequest {
            method: Method::GET,
            target: client.target(url).unwrap(),
            headers: HeaderMap::new(),
            body: None,
        };
        assert_eq!(client.send(request, &cancel).await.unwrap().body.len(), size);
    }
    began.elapsed()
}

async fn bare(client: &Client, url: &str, size: usize) -> Duration {
    let began = Instant::now();
    for _ in 0..REQUESTS {
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap().len(), size);
    }
    began.elapsed()
}

pub(crate) async fn run() {
    for (size, name) in [(10 * 1_024, "10 KiB"), (1024 * 1024, "1 MiB")] {
        let host = serve(size).await;
        let url = format!("http://{host}/");
        let reach = Reach::Open(HttpAllow::parse(&host).unwrap());
        let guard = GuardedClient::new(reach, NetLimits::default(), "bench/1").unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floor.push(bare(&client, &url, size).await);
            ours.push(guarded(&guard, &url, size).await);
        }
        report(
            &format!("a page of {name} through the guard"),
            median(ours),
            median(floor),
            REQUESTS,
        );
    }
}
