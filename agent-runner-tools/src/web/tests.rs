//! The web tools against real servers on loopback, which the operator lists.

mod contract;
mod hostile;
mod polite;

use std::{num::NonZeroU32, sync::Arc};

use agent_runner_core::{
    testing::tool_contract::cx,
    time::SystemClock,
    tool::{Tool, ToolError, ToolErrorKind, ToolOutput, Typed},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;
use crate::{
    http::HttpAllow,
    net::{GuardedClient, NetLimits, Reach},
};

const QUICK: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

fn options() -> WebOptions {
    WebOptions { per_second: QUICK, burst: QUICK, ..WebOptions::default() }
}

fn web_of(server: &MockServer, options: WebOptions) -> Web {
    let reach = Reach::Open(HttpAllow::parse(&server.address().to_string()).unwrap());
    let client = GuardedClient::new(reach, NetLimits::default(), "test/1").unwrap();
    Web::new(client, Arc::new(SystemClock), options)
}

async fn serve(at: &str, body: &str, media_type: &str) -> (MockServer, Web) {
    let server = MockServer::start().await;
    let template = ResponseTemplate::new(200).set_body_raw(body, media_type);
    Mock::given(path(at)).respond_with(template).mount(&server).await;
    let web = web_of(&server, options());
    (server, web)
}

async fn fetch(web: &Web, arguments: Value) -> Result<ToolOutput, ToolError> {
    Typed::new(WebFetch::new(web.clone())).call(arguments, &cx("1")).await
}

async fn extract(web: &Web, arguments: Value) -> Result<Value, ToolError> {
    let tool = Typed::new(WebExtract::new(web.clone()));
    tool.call(arguments, &cx("1")).await.map(|output| output.value)
}

const ARTICLE: &str = r#"<!doctype html><html><head><title>On  Boats</title></head><body>
<nav><a href="/home">Home</a><a href="javascript:alert(1)">No</a></nav>
<article><h1>On Boats</h1>
<p>A boat is a <b>small</b> vessel that is meant for water, and it has carried people for a very long time, over rivers, lakes and seas.</p>
<p>See <a href="sails#top">how sails work</a>, which is a longer story that this page does not tell, for it is about boats and nothing else.</p>
<p>People who build boats think about weight, balance, and the shape of the hull before they think of anything else.</p>
</article><script>track("you")</script></body></html>"#;

#[tokio::test]
async fn a_page_is_read_as_markdown_with_where_it_came_from() {
    let (server, web) = serve("/boats", ARTICLE, "text/html; charset=utf-8").await;
    let url = format!("{}/boats", server.uri());
    let output = fetch(&web, json!({"url": url, "links": true})).await.unwrap();
    assert_eq!(output.untrusted.as_deref(), Some("web:127.0.0.1"));
    let value = output.value;
    assert_eq!(value["status"], 200);
    assert_eq!(value["title"], "On Boats");
    let content = value["content"].as_str().unwrap();
    assert!(content.contains("A boat is a **small** vessel"), "{content}");
    assert!(!content.contains("Home") && !content.contains("track"), "{content}");
    let links = json!([
        {"url": format!("{}/home", server.uri()), "text": "Home"},
        {"url": format!("{}/sails", server.uri()), "text": "how sails work"},
    ]);
    assert_eq!(value["links"], links);
    let source = &value["source"];
    assert_eq!((&source["url"], &source["final_url"]), (&json!(url), &json!(url)));
    assert_eq!(source["ip"], "127.0.0.1");
    assert_eq!(source["sha256"].as_str().unwrap().len(), 64);
    let at: jiff::Timestamp = source["fetched_at"].as_str().unwrap().parse().unwrap();
    assert!(at.duration_since(jiff::Timestamp::now()).unsigned_abs().as_secs() < 60);
}

#[tokio::test]
async fn a_page_is_shown_as_it_was_asked_for() {
    let (server, web) = serve("/boats", ARTICLE, "text/html").await;
    let url = format!("{}/boats", server.uri());
    let whole = fetch(&web, json!({"url": url, "whole": true})).await.unwrap().value;
    assert!(whole["content"].as_str().unwrap().contains("Home"));
    let text = fetch(&web, json!({"url": url, "format": "text"})).await.unwrap().value;
    let text = text["content"].as_str().unwrap();
    assert!(text.contains("A boat is a small vessel") && !text.contains("**"), "{text}");
    let raw = fetch(&web, json!({"url": url, "format": "raw"})).await.unwrap().value;
    assert_eq!(raw["content"], ARTICLE);
    let head = fetch(&web, json!({"url": url, "method": "HEAD"})).await.unwrap().value;
    assert_eq!((&head["status"], head.get("content")), (&json!(200), None));
}

#[tokio::test]
async fn a_page_is_decoded_as_it_says() {
    let latin = b"<meta charset=\"windows-1252\"><p>na\xefve caf\xe9</p>".to_vec();
    for (body, media_type) in [
        (latin.clone(), "text/html"),
        (b"na\xefve caf\xe9".to_vec(), "text/plain; charset=\"iso-8859-1\""),
        ("\u{feff}na\u{ef}ve caf\u{e9}".as_bytes().to_vec(), "text/plain; charset=latin1"),
    ] {
        let server = MockServer::start().await;
        let template = ResponseTemplate::new(200).set_body_raw(body, media_type);
        Mock::given(path("/")).respond_with(template).mount(&server).await;
        let web = web_of(&server, options());
        let value = fetch(&web, json!({"url": server.uri()})).await.unwrap().value;
        assert_eq!(value["content"], "naïve café", "{media_type}");
    }
}

#[tokio::test]
async fn what_is_no_text_is_kept_or_refused() {
    let (server, web) = serve("/a.png", "\u{1}\u{2}", "image/png").await;
    let url = format!("{}/a.png", server.uri());
    let error = fetch(&web, json!({"url": url})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::InvalidArgs);
    assert!(error.for_model().contains("save_as"), "{error}");
    // This call belongs to no run, which has nowhere to keep it.
    let error = fetch(&web, json!({"url": url, "save_as": "a.png"})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Conflict);
}

#[tokio::test]
async fn parts_of_a_page_are_picked() {
    let (server, web) = serve("/boats", ARTICLE, "text/html").await;
    let url = format!("{}/boats", server.uri());
    let found = extract(&web, json!({"url": url, "css": "article h1, b"})).await.unwrap();
    assert_eq!((&found["matches"], &found["more"]), (&json!(["On Boats", "small"]), &json!(false)));
    let arguments = json!({"url": url, "css": "a", "attribute": "href", "limit": 1});
    let found = extract(&web, arguments).await.unwrap();
    assert_eq!((&found["matches"], &found["more"]), (&json!(["/home"]), &json!(true)));
    let found = extract(&web, json!({"url": url, "links": true})).await.unwrap();
    assert_eq!(found["matches"].as_array().unwrap().len(), 2);
    assert_eq!(found["source"]["ip"], "127.0.0.1");
}

#[tokio::test]
async fn parts_of_json_are_picked() {
    let body = r#"{"items": [{"name": "a/b", "n": 1}, {"name": "c", "n": 2}]}"#;
    let (server, web) = serve("/x", body, "application/vnd.api+json").await;
    let url = format!("{}/x", server.uri());
    let found = extract(&web, json!({"url": url, "pointer": "/items/0/name"})).await.unwrap();
    assert_eq!(found["matches"], json!(["a/b"]));
    let query = json!({"url": url, "jsonpath": "$.items[?@.n > 1].name"});
    assert_eq!(extract(&web, query).await.unwrap()["matches"], json!(["c"]));
    let query = json!({"url": url, "jsonpath": "$..name", "limit": 1});
    let found = extract(&web, query).await.unwrap();
    assert_eq!((&found["matches"], &found["more"]), (&json!(["a/b"]), &json!(true)));
    let missing = extract(&web, json!({"url": url, "pointer": "/nothing"})).await.unwrap_err();
    assert_eq!(missing.kind(), ToolErrorKind::NotFound);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_words() {
    let (server, web) = serve("/boats", ARTICLE, "text/html").await;
    let url = format!("{}/boats", server.uri());
    for arguments in [
        json!({"url": url}),
        json!({"url": url, "css": "a", "links": true}),
        json!({"url": url, "links": true, "attribute": "href"}),
        json!({"url": url, "css": "a[", "limit": 5}),
        json!({"url": url, "css": "a", "limit": 0}),
        json!({"url": url, "css": "a".repeat(400)}),
        json!({"url": url, "css": "a:has(b):has(c)"}),
        json!({"url": url, "pointer": "/a"}),
        json!({"url": url, "jsonpath": "$.a"}),
    ] {
        let error = extract(&web, arguments.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs, "{arguments}");
    }
    let (server, web) = serve("/x", "{}", "application/json").await;
    let url = format!("{}/x", server.uri());
    for arguments in [
        json!({"url": url, "jsonpath": "$..a..b..c"}),
        json!({"url": url, "jsonpath": "items"}),
        json!({"url": url, "pointer": "items"}),
        json!({"url": url, "css": "a"}),
    ] {
        let error = extract(&web, arguments.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs, "{arguments}");
    }
}

#[tokio::test]
async fn a_body_is_posted_once_and_its_answer_shown() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(201).set_body_raw(r#"{"id": 7}"#, "application/json");
    Mock::given(method("POST"))
        .and(header("content-type", "application/json"))
        .respond_with(answer)
        .expect(1)
        .mount(&server)
        .await;
    let tool = Typed::new(WebPost::new(web_of(&server, options())));
    let arguments = json!({"url": server.uri(), "body": "{}"});
    let output = tool.call(arguments, &cx("1")).await.unwrap();
    assert_eq!(
        (&output.value["status"], &output.value["content"]),
        (&json!(201), &json!("{\"id\": 7}"))
    );
    assert_eq!(output.untrusted.as_deref(), Some("web:127.0.0.1"));
}
