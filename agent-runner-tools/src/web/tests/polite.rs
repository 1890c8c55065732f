//! robots.txt, turns, and what is asked again.

use std::time::{Duration, Instant};

use super::*;
use crate::web::pace::Pace;

async fn with_robots(answer: ResponseTemplate) -> (MockServer, Web) {
    let server = MockServer::start().await;
    Mock::given(path("/robots.txt")).respond_with(answer).mount(&server).await;
    let page = ResponseTemplate::new(200).set_body_raw("hello", "text/plain");
    Mock::given(method("GET")).respond_with(page).with_priority(9).mount(&server).await;
    let web = web_of(&server, options());
    (server, web)
}

async fn asked(server: &MockServer, at: &str) -> usize {
    let requests = server.received_requests().await.unwrap();
    requests.iter().filter(|request| request.url.path() == at).count()
}

#[tokio::test]
async fn what_robots_txt_asks_for_is_kept_to_and_asked_once() {
    let rules = "User-agent: *\nDisallow: /all\n\nUser-agent: agent-runner\nDisallow: /private\n";
    let answer = ResponseTemplate::new(200).set_body_raw(rules, "text/plain");
    let (server, web) = with_robots(answer).await;
    let at = |path: &str| json!({"url": format!("{}{path}", server.uri())});
    fetch(&web, at("/open")).await.unwrap();
    fetch(&web, at("/all")).await.unwrap();
    let error = fetch(&web, at("/private/x")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ToolErrorKind::Denied, "robots_txt"));
    assert!(!error.effect_possible());
    assert_eq!(asked(&server, "/robots.txt").await, 1);
    assert_eq!(asked(&server, "/private/x").await, 0);
    // An operator who may read there says so.
    let web = web_of(&server, WebOptions { robots: false, ..options() });
    fetch(&web, at("/private/x")).await.unwrap();
    assert_eq!(asked(&server, "/robots.txt").await, 1);
}

#[tokio::test]
async fn a_host_without_the_file_is_open_and_one_in_trouble_is_not() {
    for (status, open) in [(404, true), (403, true), (500, false), (503, false), (429, false)] {
        let (server, web) = with_robots(ResponseTemplate::new(status)).await;
        let result = fetch(&web, json!({"url": server.uri()})).await;
        assert_eq!(result.is_ok(), open, "{status}");
        assert_eq!(asked(&server, "/").await, usize::from(open), "{status}");
    }
}

#[tokio::test]
async fn robots_txt_goes_through_the_guard_too() {
    let away = ResponseTemplate::new(302).insert_header("location", "http://169.254.169.254/");
    let (server, web) = with_robots(away).await;
    let error = fetch(&web, json!({"url": server.uri()})).await.unwrap_err();
    assert_eq!(error.code(), "blocked_target");
    assert_eq!(asked(&server, "/").await, 0);
}

#[tokio::test]
async fn a_redirect_is_asked_about_at_robots_txt_too() {
    let rules =
        ResponseTemplate::new(200).set_body_raw("User-agent: *\nDisallow: /b", "text/plain");
    let (server, web) = with_robots(rules).await;
    let go = ResponseTemplate::new(302).insert_header("location", "/b");
    Mock::given(path("/a")).respond_with(go).mount(&server).await;
    let error = fetch(&web, json!({"url": format!("{}/a", server.uri())})).await.unwrap_err();
    assert_eq!(error.code(), "robots_txt");
    assert_eq!(asked(&server, "/b").await, 0);
}

#[tokio::test]
async fn what_is_fresh_is_not_asked_again_and_what_is_stale_is_confirmed() {
    let server = MockServer::start().await;
    let page = |cache: &str| {
        ResponseTemplate::new(200)
            .insert_header("cache-control", cache)
            .insert_header("etag", "\"v1\"")
            .set_body_raw("hello", "text/plain")
    };
    Mock::given(path("/fresh")).respond_with(page("max-age=600")).mount(&server).await;
    Mock::given(path("/private")).respond_with(page("no-store")).mount(&server).await;
    let same = ResponseTemplate::new(304).insert_header("etag", "\"v1\"");
    Mock::given(path("/stale"))
        .and(header("if-none-match", "\"v1\""))
        .respond_with(same)
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(path("/stale")).respond_with(page("no-cache")).mount(&server).await;
    let web = web_of(&server, options());
    for (at, times) in [("/fresh", 1), ("/stale", 2), ("/private", 2)] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let url = format!("{}{at}", server.uri());
            seen.push(fetch(&web, json!({"url": url})).await.unwrap().value);
        }
        assert_eq!(seen[0]["content"], "hello");
        assert_eq!(seen[0]["content"], seen[1]["content"], "{at}");
        assert_eq!(seen[0]["source"]["sha256"], seen[1]["source"]["sha256"], "{at}");
        assert_eq!(asked(&server, at).await, times, "{at}");
    }
}

#[tokio::test]
async fn a_host_that_asks_to_wait_is_an_error_that_says_how_long() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "7");
    Mock::given(path("/")).respond_with(busy).mount(&server).await;
    let web = web_of(&server, options());
    let error = fetch(&web, json!({"url": server.uri()})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::RateLimited);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_host_is_asked_only_so_often_and_another_one_at_once() {
    let five = NonZeroU32::new(5).unwrap();
    let pace = Pace::new(five, NonZeroU32::MIN, Duration::from_secs(5));
    let began = Instant::now();
    for _ in 0..3 {
        pace.turn("a.example").await.unwrap();
    }
    // Three turns at five a second, of which the first is free.
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
    pace.turn("b.example").await.unwrap();

    let pace = Pace::new(NonZeroU32::MIN, NonZeroU32::MIN, Duration::from_millis(10));
    pace.turn("a.example").await.unwrap();
    let error = pace.turn("a.example").await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::RateLimited);
    assert!(error.retry_after().is_some());
}
