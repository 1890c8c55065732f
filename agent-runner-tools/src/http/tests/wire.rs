//! What happens when the connection does not behave.

use std::error::Error;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::*;

const SECRET: &str = "token=do-not-tell";

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads a request up to the end of its head.
async fn head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        seen.extend(byte);
    }
}

/// Nothing that is shown or logged holds the URL's query.
fn keeps_the_secret(error: &ToolError) {
    let mut shown = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        shown.push_str(&inner.to_string());
        cause = inner.source();
    }
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let (listener, address) = listener().await;
    drop(listener);
    let client = client(&[address]);
    let url = format!("http://{address}/?{SECRET}");
    for error in [
        get(&client, &url).await.unwrap_err(),
        post(&client, json!({"url": url, "text": "x"})).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.effect_possible()), (ToolErrorKind::Network, false));
        assert!(error.for_model().contains(&address.to_string()), "{error}");
        keeps_the_secret(&error);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_may_have_had_its_effect() {
    let (listener, address) = listener().await;
    let serve = tokio::spawn(async move {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
    });
    let client = client(&[address]);
    for _ in 0..2 {
        let url = format!("http://{address}/?{SECRET}");
        let error = post(&client, json!({ "url": url })).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect_possible()),
            (ToolErrorKind::Network, true),
            "{error}"
        );
        keeps_the_secret(&error);
    }
    serve.await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_may_have_acted() {
    let (listener, address) = listener().await;
    let serve = tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
            open.push(stream);
        }
        open
    });
    let allow = HttpAllow::parse(&address.to_string()).unwrap();
    let client = HttpClient::with_timeout(allow, Duration::from_millis(200)).unwrap();
    for _ in 0..2 {
        let url = format!("http://{address}/?{SECRET}");
        let error = post(&client, json!({ "url": url })).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect_possible()),
            (ToolErrorKind::Timeout, true),
            "{error}"
        );
        keeps_the_secret(&error);
    }
    serve.await.unwrap();
}

#[tokio::test]
async fn cancelling_closes_the_connection() {
    let (listener, address) = listener().await;
    let (ask, asked) = oneshot::channel();
    let serve = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        ask.send(()).unwrap();
        stream.read(&mut [0; 16]).await
    });
    let cx = cx("1");
    let cancel = cx.cancel.clone();
    let call = tokio::spawn(async move {
        let tool = HttpPost::new(client(&[address]));
        tool.call(json!({"url": format!("http://{address}/")}), &cx).await
    });
    asked.await.unwrap();
    cancel.cancel();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.effect_possible()), (ToolErrorKind::Cancelled, true));
    assert_eq!(serve.await.unwrap().unwrap_or(0), 0, "the server sees the end of the connection");
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await.unwrap();
    });
    let error = get(&client(&[address]), &format!("http://{address}/")).await.unwrap_err();
    assert_eq!((error.kind(), error.effect_possible()), (ToolErrorKind::Network, true));
}
