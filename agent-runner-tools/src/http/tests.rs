//! The HTTP tools against real servers on loopback.

mod contract;
mod environment;
mod wire;

use std::{net::SocketAddr, time::Duration};

use agent_runner_core::{
    testing::tool_contract::cx,
    tool::{EffectPolicy, Tool, ToolError, ToolErrorKind, Typed},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, method, path},
};

use super::*;

fn client(addresses: &[SocketAddr]) -> HttpClient {
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    HttpClient::new(HttpAllow::parse(&list.join(",")).unwrap()).unwrap()
}

async fn get(client: &HttpClient, url: &str) -> Result<Value, ToolError> {
    let tool = Typed::new(HttpGet::new(client.clone()));
    tool.call(json!({ "url": url }), &cx("1")).await.map(|output| output.value)
}

async fn post(client: &HttpClient, arguments: Value) -> Result<Value, ToolError> {
    HttpPost::new(client.clone()).call(arguments, &cx("1")).await.map(|output| output.value)
}

async fn server(template: ResponseTemplate) -> (MockServer, HttpClient) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(template).mount(&server).await;
    let client = client(&[*server.address()]);
    (server, client)
}

#[tokio::test]
async fn a_listed_server_is_read() {
    let template = ResponseTemplate::new(200).set_body_raw("grüße", "text/plain; charset=utf-8");
    let (server, client) = server(template).await;
    let output = get(&client, &format!("{}/a?b=c", server.uri())).await.unwrap();
    assert_eq!(
        output,
        json!({"status": 200, "content_type": "text/plain; charset=utf-8", "body": "grüße"})
    );
}

#[tokio::test]
async fn a_request_carries_what_was_asked_for_and_no_more() {
    let (server, client) = server(ResponseTemplate::new(204)).await;
    let tool = Typed::new(HttpGet::new(client));
    let headers = json!({"Accept": "application/json", "Accept-Language": "de"});
    tool.call(json!({"url": server.uri(), "headers": headers}), &cx("1")).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let mut sent: Vec<_> = requests[0]
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    sent.sort();
    let agent = format!("user-agent: agent-runner/{}", env!("CARGO_PKG_VERSION"));
    let host = format!("host: {}", server.address());
    assert_eq!(
        sent,
        [
            "accept-encoding: identity",
            "accept-language: de",
            "accept: application/json",
            &host,
            &agent
        ]
    );
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_denied_with_what_the_operator_sets() {
    let (server, _) = server(ResponseTemplate::new(200)).await;
    let elsewhere = client(&["127.0.0.1:1".parse().unwrap()]);
    let nothing = client(&[]);
    let port = server.address().port();
    for client in [elsewhere, nothing] {
        for host in
            [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "example.com:443".to_owned()]
        {
            let scheme = if host.ends_with(":443") { "https" } else { "http" };
            let url = format!("{scheme}://{host}/");
            for error in [
                get(&client, &url).await.unwrap_err(),
                post(&client, json!({"url": url, "text": "x"})).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ToolErrorKind::Denied);
                assert!(!error.effect_possible());
                let said = error.for_model();
                assert!(said.contains(&host) && said.contains("AGENT_RUNNER_HTTP_ALLOW"), "{said}");
            }
        }
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_url_that_hides_something_is_refused_before_it_is_parsed() {
    let (server, client) = server(ResponseTemplate::new(200)).await;
    let host = server.address();
    let long = format!("http://{host}/{}", "x".repeat(8 * 1024));
    for (url, kind) in [
        (format!("http://user@{host}/"), ToolErrorKind::Denied),
        (format!("http://user:password@{host}/"), ToolErrorKind::Denied),
        (format!("http://:password@{host}/"), ToolErrorKind::Denied),
        (format!("http://{host}@evil.test/"), ToolErrorKind::Denied),
        (format!("http://evil.test\\@{host}/"), ToolErrorKind::Denied),
        (format!("ftp://{host}/"), ToolErrorKind::Denied),
        ("file:///etc/passwd".to_owned(), ToolErrorKind::Denied),
        ("data:text/plain,x".to_owned(), ToolErrorKind::Denied),
        (format!("ht\ttp://{host}/"), ToolErrorKind::InvalidArgs),
        (format!("http://{host}/\r\nX: y"), ToolErrorKind::InvalidArgs),
        (format!(" http://{host}/"), ToolErrorKind::InvalidArgs),
        (format!("http://{host}/\u{0}"), ToolErrorKind::InvalidArgs),
        ("/relative".to_owned(), ToolErrorKind::InvalidArgs),
        ("http://".to_owned(), ToolErrorKind::InvalidArgs),
        (String::new(), ToolErrorKind::InvalidArgs),
        (long, ToolErrorKind::InvalidArgs),
    ] {
        let error = get(&client, &url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {error}", url.escape_debug());
        assert!(!error.for_model().contains("password@"), "{error}");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let server = MockServer::start().await;
    Mock::given(path("/target"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let target = format!("{}/target", server.uri());
    for status in [301, 302, 303, 307, 308] {
        let template = ResponseTemplate::new(status).insert_header("location", target.as_str());
        Mock::given(path(format!("/{status}"))).respond_with(template).mount(&server).await;
        let client = client(&[*server.address()]);
        let url = format!("{}/{status}", server.uri());
        let output = get(&client, &url).await.unwrap();
        assert_eq!((&output["status"], &output["location"]), (&json!(status), &json!(target)));
        let output = post(&client, json!({ "url": url })).await.unwrap();
        assert_eq!((&output["status"], &output["location"]), (&json!(status), &json!(target)));
    }
}

#[tokio::test]
async fn an_error_status_is_an_answer_for_the_model() {
    for status in [400, 404, 429, 500, 503] {
        let template = ResponseTemplate::new(status).set_body_string("why");
        let (server, client) = server(template).await;
        let read = get(&client, &server.uri()).await.unwrap();
        assert_eq!((&read["status"], &read["body"]), (&json!(status), &json!("why")));
        let sent = post(&client, json!({ "url": server.uri() })).await.unwrap();
        assert_eq!((&sent["status"], &sent["body"]), (&json!(status), &json!("why")));
    }
}

#[tokio::test]
async fn a_get_that_is_asked_to_wait_says_for_how_long() {
    for status in [429, 503] {
        let template = ResponseTemplate::new(status).insert_header("retry-after", "7");
        let (server, client) = server(template).await;
        let error = get(&client, &server.uri()).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::RateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        // A POST had its answer; whether to send another is not for the tool to decide.
        let sent = post(&client, json!({ "url": server.uri() })).await.unwrap();
        assert_eq!(sent["status"], status);
    }
    for odd in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "99999999999", "soon"] {
        let template = ResponseTemplate::new(429).insert_header("retry-after", odd);
        let (server, client) = server(template).await;
        assert_eq!(get(&client, &server.uri()).await.unwrap()["status"], 429, "{odd}");
    }
}

#[tokio::test]
async fn a_body_up_to_the_limit_is_read_and_a_larger_one_is_not() {
    let limit = 1024 * 1024;
    let (at, client) = server(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; limit])).await;
    let output = get(&client, &at.uri()).await.unwrap();
    assert_eq!(output["body"].as_str().unwrap().len(), limit);
    let output = post(&client, json!({ "url": at.uri() })).await.unwrap();
    assert_eq!(output.get("truncated"), None);

    let (above, client) =
        server(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; limit + 1])).await;
    let error = get(&client, &above.uri()).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::TooLarge);
    assert!(error.for_model().contains("1048576"), "{error}");
    let output = post(&client, json!({ "url": above.uri() })).await.unwrap();
    assert_eq!((&output["status"], &output["truncated"]), (&json!(200), &json!(true)));
    assert_eq!(output["body"].as_str().unwrap().len(), limit);
}

#[tokio::test]
async fn a_body_that_is_no_text_is_marked() {
    let (server, client) = server(ResponseTemplate::new(200).set_body_bytes(&b"a\xffb"[..])).await;
    let output = get(&client, &server.uri()).await.unwrap();
    assert_eq!((&output["body"], &output["lossy"]), (&json!("a\u{fffd}b"), &json!(true)));
}

#[tokio::test]
async fn a_post_sends_its_body_and_the_key_of_its_step() {
    let (server, client) = server(ResponseTemplate::new(201).set_body_string("made")).await;
    let url = server.uri();
    for arguments in [
        json!({"url": url, "json": {"a": [1, null]}}),
        json!({"url": url, "text": "plain"}),
        json!({ "url": url }),
    ] {
        assert_eq!(post(&client, arguments).await.unwrap(), json!({"status": 201, "body": "made"}));
    }
    let sent: Vec<_> = server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .map(|request| {
            let header = |name| request.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(header("idempotency-key"), Some(cx("1").idempotency_key));
            (header("content-type"), String::from_utf8(request.body.clone()).unwrap())
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        sent,
        [
            (some("application/json"), r#"{"a":[1,null]}"#.to_owned()),
            (some("text/plain; charset=utf-8"), "plain".to_owned()),
            (None, String::new()),
        ]
    );
}

#[tokio::test]
async fn a_post_that_makes_no_sense_is_not_sent() {
    let (server, client) = server(ResponseTemplate::new(200)).await;
    let large = "x".repeat(1024 * 1024 + 1);
    for (arguments, kind) in [
        (json!({"url": server.uri(), "json": 1, "text": "x"}), ToolErrorKind::InvalidArgs),
        (json!({"url": server.uri(), "text": large}), ToolErrorKind::TooLarge),
    ] {
        let error = post(&client, arguments).await.unwrap_err();
        assert_eq!((error.kind(), error.effect_possible()), (kind, false));
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

#[test]
fn a_post_has_one_of_three_policies() {
    let client = client(&[]);
    assert_eq!(HttpPost::new(client.clone()).info().policy, EffectPolicy::Ask);
    for policy in EffectPolicy::ALL {
        let tool = HttpPost::with_policy(client.clone(), policy);
        match policy {
            EffectPolicy::Ask | EffectPolicy::AtMostOnce | EffectPolicy::Idempotent => {
                assert_eq!(tool.unwrap().info().policy, policy);
            }
            EffectPolicy::Pure | EffectPolicy::Reconcile => {
                assert!(tool.unwrap_err().to_string().contains("choose `ask`"));
            }
        }
    }
}

#[test]
fn the_description_names_the_hosts_that_can_be_reached() {
    let open = client(&["127.0.0.1:9000".parse().unwrap()]);
    let said = |client| Typed::new(HttpGet::new(client)).info().spec.description.clone();
    assert!(said(open).contains("Allowed hosts: 127.0.0.1:9000."));
    assert!(said(client(&[])).contains("allowed no host"));
}

#[tokio::test]
async fn only_the_methods_of_the_tools_are_used() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200))
        .expect(1)
        .mount(&server)
        .await;
    let client = client(&[*server.address()]);
    assert_eq!(get(&client, &server.uri()).await.unwrap()["status"], 200);
    assert_eq!(post(&client, json!({"url": server.uri()})).await.unwrap()["status"], 200);
}
