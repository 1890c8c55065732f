//! The guard against real servers on loopback, against names that lie, and in a network of its
//! own whose addresses are public ones.

mod bodies;
mod names;
mod namespace;
mod redirects;
mod urls;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use futures::future::BoxFuture;
use reqwest::{Method, header::HeaderMap};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::HttpAllow;

/// A client that also reaches these.
fn client(listed: &[SocketAddr]) -> GuardedClient {
    limited(listed, NetLimits::default())
}

fn limited(listed: &[SocketAddr], limits: NetLimits) -> GuardedClient {
    let list: Vec<String> = listed.iter().map(ToString::to_string).collect();
    let reach = Reach::Open(HttpAllow::parse(&list.join(",")).unwrap());
    GuardedClient::new(reach, limits, "test/1").unwrap()
}

async fn get(client: &GuardedClient, url: &str) -> Result<NetResponse, ToolError> {
    let request = NetRequest {
        method: Method::GET,
        target: client.target(url)?,
        headers: HeaderMap::new(),
        body: None,
    };
    client.send(request, &CancellationToken::new()).await
}

fn assert_blocked<T>(result: Result<T, ToolError>, what: &str) {
    assert!(!refusal(result, what).effect_possible(), "{what}");
}

/// The same for what a server that was asked redirects to.
fn assert_blocked_after<T>(result: Result<T, ToolError>, what: &str) {
    assert!(refusal(result, what).effect_possible(), "{what}");
}

fn refusal<T>(result: Result<T, ToolError>, what: &str) -> ToolError {
    let Err(error) = result else { panic!("{what} was let through") };
    assert_eq!((error.kind(), error.code()), (ToolErrorKind::Denied, "blocked_target"), "{what}");
    error
}

/// A server that answers every connection with these bytes, counts them, and then says no more.
async fn raw(answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (count, answer) = (Arc::clone(&asked), answer.into());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                // Open until the client has had enough.
                let _ = stream.read(&mut request).await;
            });
        }
    });
    (address, asked)
}
