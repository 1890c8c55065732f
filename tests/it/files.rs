//! Files of a project over the real service: bytes, conditions, ranges, refusals, and an agent that
//! changes them.

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::server::{Server, Site};

struct Place {
    _directory: tempfile::TempDir,
    _server: Server,
    client: Client,
    site: Site,
    project: String,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::new(directory.path());
        let server = site.start().await;
        let client = Client::new();
        let new = json!({"name": "p"});
        let made = client.post(site.url("/projects")).json(&new).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        let project = made["id"].as_str().unwrap().to_owned();
        Self { _directory: directory, _server: server, client, site, project }
    }

    fn url(&self, path: &str) -> String {
        self.site.url(&format!("/projects/{}/files{path}", self.project))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let mut request = self.client.request(method, self.url(path)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn post(&self, verb: &str, body: Value) -> (u16, Value) {
        let answer = self.client.post(self.url(verb)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

async fn refusal(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let problem: Value = answer.json().await.unwrap();
    (status, problem["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn bytes_go_in_and_out_with_conditions_and_ranges() {
    let place = Place::new().await;
    let bytes = "0123456789";
    let made = place.send(Method::PUT, "/d/a.bin", &[], bytes).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let tag = made.headers()["etag"].to_str().unwrap().to_owned();
    let again = place.send(Method::PUT, "/d/a.bin", &[("if-none-match", "*")], "x").await;
    assert_eq!(refusal(again).await, (412, "etag_mismatch".into()));
    let stale = place.send(Method::PUT, "/d/a.bin", &[("if-match", "\"00\"")], "x").await;
    assert_eq!(refusal(stale).await, (412, "etag_mismatch".into()));
    let whole = place.send(Method::GET, "/d/a.bin", &[], "").await;
    let headers = whole.headers().clone();
    assert_eq!(whole.text().await.unwrap(), bytes, "nothing of the refused is written");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["content-type"], "application/octet-stream");
    assert!(headers["content-disposition"].to_str().unwrap().starts_with("attachment;"));
    let part = place.send(Method::GET, "/d/a.bin", &[("range", "bytes=2-4")], "").await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
    assert_eq!(part.text().await.unwrap(), "234");
    let beyond = place.send(Method::GET, "/d/a.bin", &[("range", "bytes=10-")], "").await;
    assert_eq!(beyond.status().as_u16(), 416);
    let known = place.send(Method::GET, "/d/a.bin", &[("if-none-match", &tag)], "").await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let head = place.send(Method::HEAD, "/d/a.bin", &[], "").await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"10".parse().unwrap())
    );
    let changed = place.send(Method::PUT, "/d/a.bin", &[("if-match", &tag)], "new").await;
    assert_eq!(changed.status(), StatusCode::OK);
    let late = place.send(Method::DELETE, "/d/a.bin", &[("if-match", &tag)], "").await;
    assert_eq!(refusal(late).await, (412, "etag_mismatch".into()));
    let gone = place.send(Method::DELETE, "/d?recursive=true", &[], "").await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn files_are_listed_moved_copied_and_searched() {
    let place = Place::new().await;
    for path in ["/a.txt", "/d/b.txt", "/d/c.md"] {
        place.send(Method::PUT, path, &[], "hello\n").await;
    }
    assert_eq!(place.post(":mkdir", json!({"path": "e/f"})).await.1["created"], true);
    let copy = json!({"from": "a.txt", "to": "e/f/a.txt"});
    assert_eq!(place.post(":copy", copy).await.0, 200);
    assert_eq!(place.post(":move", json!({"from": "d", "to": "e/d"})).await.0, 200);
    let mut cursor = String::new();
    let mut paths = Vec::new();
    loop {
        let page =
            place.send(Method::GET, &format!("?recursive=true&limit=3{cursor}"), &[], "").await;
        let page: Value = page.json().await.unwrap();
        let items = page["items"].as_array().unwrap();
        paths.extend(items.iter().map(|item| item["path"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let want = ["a.txt", "e", "e/d", "e/d/b.txt", "e/d/c.md", "e/f", "e/f/a.txt"];
    assert_eq!(paths, want);
    let found = place.send(Method::GET, "?glob=**/*.md", &[], "").await;
    assert_eq!(found.json::<Value>().await.unwrap()["items"][0]["path"], "e/d/c.md");
    let (status, found) = place.post(":search", json!({"pattern": "^hel"})).await;
    assert_eq!((status, found["hits"].as_array().unwrap().len()), (200, 4));
    let typo = place.post(":search", json!({"patern": "x"})).await;
    assert_eq!((typo.0, &typo.1["errors"][0]["pointer"]), (422, &json!("/patern")));
}

#[tokio::test]
async fn nothing_leads_out_of_a_project() {
    let place = Place::new().await;
    place.send(Method::PUT, "/a", &[], "x").await;
    // As it is on the wire: clients shorten such paths before they send them.
    for path in
        ["/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2fetc/passwd", "/.git/config", "/.GIT/x"]
    {
        let (status, body) = raw(&place, path).await;
        assert_eq!(status, 403, "{path}: {body}");
        assert!(body.contains("path_escape"), "{path}: {body}");
    }
    for (path, status) in [("/gone", 404), ("/a/b", 409), ("/%00", 422), ("/a%0ab", 422)] {
        let (got, body) = raw(&place, path).await;
        assert_eq!(got, status, "{path}: {body}");
    }
    let length = 8 * 1024 * 1024 + 1;
    let (status, body) =
        exchange(&place, &format!("PUT {{}}/large HTTP/1.1\r\ncontent-length: {length}")).await;
    assert_eq!(status, 413, "{body}");
    let (status, moved) = place.post(":move", json!({"from": "a", "to": "../b"})).await;
    assert_eq!((status, &moved["code"]), (403, &json!("path_escape")));
    let quota = json!({"settings": {"files": {"bytes_max": 4}}});
    let at = place.site.url(&format!("/projects/{}", place.project));
    assert_eq!(place.client.patch(at).json(&quota).send().await.unwrap().status(), 200);
    let full = place.send(Method::PUT, "/b", &[], "12345").await;
    assert_eq!(refusal(full).await, (507, "quota".into()));
}

/// GET of a path exactly as it is written.
async fn raw(place: &Place, path: &str) -> (u16, String) {
    exchange(place, &format!("GET {{}}{path} HTTP/1.1")).await
}

/// Sends a head as it is, `{}` being the address of the project's files, and reads the answer.
async fn exchange(place: &Place, head: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let url = place.url("");
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = head.replace("{}", &format!("/{path}"));
    let request = format!("{head}\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn what_an_agent_writes_is_an_event_and_a_diff() {
    let place = Place::new().await;
    place.send(Method::PUT, "/old.txt", &[], "before\n").await;
    let run = json!({"goal": "x", "project_id": place.project, "model": "scripted/demo"});
    let run = place.client.post(place.site.url("/runs/wait?timeout=20")).json(&run);
    let run: Value = run.send().await.unwrap().json().await.unwrap();
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    let id = run["id"].as_str().unwrap();
    let events = place.site.url(&format!("/runs/{id}/events?types=file.written"));
    let events: Value = place.client.get(events).send().await.unwrap().json().await.unwrap();
    let written = &events["items"][0]["payload"];
    let path = written["path"].as_str().unwrap();
    let now = place.send(Method::GET, &format!("/{path}"), &[], "").await;
    let tag = now.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned();
    assert_eq!(written["sha256"], tag);
    let diff = place.send(Method::GET, &format!(":diff?run={id}"), &[], "").await;
    let diff: Value = diff.json().await.unwrap();
    assert_eq!(diff["files"][0]["path"], path);
    assert!(diff["diff"].as_str().unwrap().contains(&format!("+++ b/{path}")), "{diff}");
}
