//! Redirects go through the same door.

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderValue};

use super::*;
use crate::net::address::closed_addresses;

fn to(location: &str, status: u16) -> String {
    format!(
        "HTTP/1.1 {status} Go\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

#[tokio::test]
async fn a_redirect_to_a_closed_address_is_not_followed() {
    for url in [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://localhost/",
        "http://2130706433/",
        "//10.0.0.1/",
        "file:///etc/passwd",
        "http://user:word@example.com/",
        "http://example.com:22/",
    ] {
        let (address, asked) = raw(to(url, 302)).await;
        let client = client(&[address]);
        let result = get(&client, &format!("http://{address}/")).await;
        assert_blocked_after(result, url);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn every_closed_address_is_refused_as_the_aim_of_a_redirect() {
    let client = client(&[]);
    let from = client.target("https://example.com/").unwrap();
    for address in closed_addresses() {
        let host = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let answer = reqwest::Response::from(
            http::Response::builder()
                .status(307)
                .header("location", format!("https://{host}/"))
                .body("")
                .unwrap(),
        );
        assert_blocked(client.redirected(&from, &answer), &host);
    }
    let down = http::Response::builder().status(302).header("location", "http://example.com/");
    let down = reqwest::Response::from(down.body("").unwrap());
    assert_blocked(client.redirected(&from, &down), "from https to http");
}

#[tokio::test]
async fn a_chain_of_redirects_ends() {
    let (address, asked) = raw(to("/again", 302)).await;
    let error = get(&client(&[address]), &format!("http://{address}/")).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network);
    assert!(error.to_string().contains("more than 5 redirects"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 6);
}

/// A server that says what it was asked, and one that redirects to it.
async fn pair(status: u16) -> (wiremock::MockServer, wiremock::MockServer) {
    let aim = wiremock::MockServer::start().await;
    let first = wiremock::MockServer::start().await;
    let answer = wiremock::ResponseTemplate::new(200);
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&aim).await;
    let go = wiremock::ResponseTemplate::new(status).insert_header("location", aim.uri());
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(go).mount(&first).await;
    (first, aim)
}

async fn send(
    first: &wiremock::MockServer,
    aim: &wiremock::MockServer,
    method: Method,
) -> Result<NetResponse, ToolError> {
    let client = client(&[*first.address(), *aim.address()]);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"));
    headers.insert(COOKIE, HeaderValue::from_static("a=hunter2"));
    let body = (method == Method::POST).then(|| "hello".into());
    let target = client.target(&first.uri()).unwrap();
    client.send(NetRequest { method, target, headers, body }, &CancellationToken::new()).await
}

#[tokio::test]
async fn another_host_gets_no_credential() {
    let (first, aim) = pair(302).await;
    let answer = send(&first, &aim, Method::GET).await.unwrap();
    assert_eq!(answer.final_url.port(), Some(aim.address().port()));
    let asked = aim.received_requests().await.unwrap();
    assert!(!asked[0].headers.contains_key("authorization"));
    assert!(!asked[0].headers.contains_key("cookie"));
}

#[tokio::test]
async fn another_host_got_a_secret_in_a_header_of_another_name() {
    let (first, aim) = pair(302).await;
    let client = client(&[*first.address(), *aim.address()]);
    let mut headers = HeaderMap::new();
    for name in ["accept", "accept-language", "x-api-key", "private-token", "idempotency-key"] {
        headers.insert(name, HeaderValue::from_static("hunter2"));
    }
    let target = client.target(&first.uri()).unwrap();
    let request = NetRequest { method: Method::GET, target, headers, body: None };
    client.send(request, &CancellationToken::new()).await.unwrap();
    let asked = aim.received_requests().await.unwrap();
    for (name, goes) in [
        ("accept", true),
        ("accept-language", true),
        ("x-api-key", false),
        ("private-token", false),
        ("idempotency-key", false),
    ] {
        assert_eq!(asked[0].headers.contains_key(name), goes, "{name}");
    }
}

#[tokio::test]
async fn a_request_that_was_sent_was_said_not_to_have_happened() {
    // The first server has acted. Where it redirects to cannot undo that.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for url in ["http://169.254.169.254/".to_owned(), format!("http://{free}/")] {
        let (address, _) = raw(to(&url, 302)).await;
        let client = client(&[address, free]);
        let target = client.target(&format!("http://{address}/")).unwrap();
        let (method, headers) = (Method::POST, HeaderMap::new());
        let request = NetRequest { method, target, headers, body: Some("hello".into()) };
        let error = client.send(request, &CancellationToken::new()).await.unwrap_err();
        assert!(error.effect_possible(), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_post_becomes_a_get_or_goes_nowhere() {
    let (first, aim) = pair(303).await;
    send(&first, &aim, Method::POST).await.unwrap();
    let asked = aim.received_requests().await.unwrap();
    assert_eq!((asked[0].method.as_str(), asked[0].body.len()), ("GET", 0));

    let (first, aim) = pair(307).await;
    assert_blocked_after(send(&first, &aim, Method::POST).await, "a post to another host");
    assert!(aim.received_requests().await.unwrap().is_empty());
}
