//! Artifacts over the real service: up and down, ranges, an archive, and kills in between.

use std::{collections::BTreeSet, io::Read as _, time::Duration};

use agent_runner_core::blob::BlobStore as _;
use agent_runner_providers::ObjectBlobs;
use futures::StreamExt as _;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::server::{Site, client};

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A run that does not end by itself.
async fn waiting_run(client: &Client, site: &Site) -> String {
    let run = json!({"goal": "x", "start_at": "2099-01-01T00:00:00Z"});
    let run = client.post(site.url("/runs")).json(&run).send().await.unwrap();
    run.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn add(
    client: &Client,
    site: &Site,
    run: &str,
    query: &str,
    kind: &str,
    body: Vec<u8>,
) -> reqwest::Result<Response> {
    let url = site.url(&format!("/runs/{run}/artifacts?{query}"));
    client.post(url).header("content-type", kind).body(body).send().await
}

#[tokio::test]
async fn bytes_go_up_and_come_down_whole_in_pieces_and_packed() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::new(directory.path());
    let _server = site.start().await;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let run = waiting_run(&client, &site).await;
    let large: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
    let made = add(&client, &site, &run, "name=data/large.bin&kind=data", "x/y", large.clone())
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let at = made.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = made.json().await.unwrap();
    assert_eq!(
        (&made["size"], &made["sha256"], &made["version"]),
        (&json!(6_000_000), &json!(hex(&large)), &json!(1))
    );
    for text in ["one", "two"] {
        add(&client, &site, &run, "name=a.html", "text/html", text.into()).await.unwrap();
    }
    let download = async |at: &str, headers: &[(&str, &str)]| {
        let mut request = client.get(site.url(&format!("{at}/download")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let whole = download(&at, &[]).await;
    assert_eq!(whole.headers()["content-type"], "application/octet-stream");
    assert!(whole.headers()["content-disposition"].to_str().unwrap().contains("large.bin"));
    assert_eq!(whole.headers()["content-security-policy"], "sandbox; default-src 'none'");
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert!(whole.bytes().await.unwrap() == large[..]);
    let part = download(&at, &[("range", "bytes=5000000-5000003")]).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), large[5_000_000..5_000_004]);
    assert_eq!(download(&at, &[("range", "bytes=6000000-")]).await.status().as_u16(), 416);
    assert_eq!(download(&at, &[("if-none-match", &tag)]).await.status().as_u16(), 304);
    let list = client.get(site.url(&format!("/runs/{run}/artifacts"))).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let html = &list["items"][2];
    assert_eq!((&html["name"], &html["version"]), (&json!("a.html"), &json!(2)));
    let html = format!("/runs/{run}/artifacts/{}", html["id"].as_str().unwrap());
    let page = download(&html, &[]).await;
    assert_eq!(page.headers()["content-type"], "application/octet-stream", "no browser runs it");
    let versions = client.get(site.url(&format!("{html}/versions"))).send().await.unwrap();
    assert_eq!(versions.json::<Value>().await.unwrap()["items"].as_array().unwrap().len(), 2);
    let archive = client.get(site.url(&format!("/runs/{run}/artifacts.zip"))).send().await.unwrap();
    assert_eq!(archive.headers()["content-type"], "application/zip");
    unpack(directory.path(), &archive.bytes().await.unwrap(), &large);
    let gone = client.delete(site.url(&html)).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(download(&html, &[]).await.status().as_u16(), 404);
    for (query, status) in
        [("", 422), ("name=../x", 422), ("name=a&kind=%20", 422), ("name=a&x=1", 422)]
    {
        let refused = add(&client, &site, &run, query, "text/plain", b"x".to_vec()).await.unwrap();
        assert_eq!(refused.status().as_u16(), status, "{query}");
    }
}

/// The archive as a stranger's program sees it.
fn unpack(directory: &std::path::Path, archive: &[u8], large: &[u8]) {
    let path = directory.join("a.zip");
    std::fs::write(&path, archive).unwrap();
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; z.extractall(sys.argv[2]); print(sorted(z.namelist()))";
    let to = directory.join("unpacked");
    let done =
        std::process::Command::new("python3").args(["-c", script]).arg(&path).arg(&to).output();
    let done = done.expect("python3 unpacks the archive");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "['a.html', 'data/large.bin']");
    assert!(std::fs::read(to.join("data/large.bin")).unwrap() == large);
    let mut text = String::new();
    std::fs::File::open(to.join("a.html")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "two", "the latest version of each name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_between_bytes_and_rows_lose_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::new(directory.path());
    let client = client();
    let mut acknowledged = BTreeSet::new();
    let mut run = String::new();
    for life in 0..6_u64 {
        let server = site.start().await;
        if life == 0 {
            run = waiting_run(&client, &site).await;
        }
        let uploads = (0..8_u64).map(|n| {
            let (client, site, run) = (client.clone(), site.clone(), run.clone());
            tokio::spawn(async move {
                let size = if n % 2 == 0 { 50_000 } else { 5_000_000 };
                let body = format!("{life}.{n}").repeat(size / 3).into_bytes();
                let query = format!("name={life}.{n}");
                let answer = add(&client, &site, &run, &query, "text/plain", body).await.ok()?;
                (answer.status() == StatusCode::CREATED).then_some(format!("{life}.{n}"))
            })
        });
        let uploads: Vec<_> = uploads.collect();
        // The kill comes somewhere between nothing and everything.
        tokio::time::sleep(Duration::from_millis(15 * life + 5)).await;
        server.kill().await;
        for upload in uploads {
            acknowledged.extend(upload.await.unwrap());
        }
    }
    let server = site.start().await;
    let list =
        client.get(site.url(&format!("/runs/{run}/artifacts?limit=500"))).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let mut found = BTreeSet::new();
    let mut needed = BTreeSet::new();
    for artifact in list["items"].as_array().unwrap() {
        let url = site
            .url(&format!("/runs/{run}/artifacts/{}/download", artifact["id"].as_str().unwrap()));
        let content = client.get(url).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(artifact["sha256"], hex(&content), "no row without its bytes");
        found.insert(artifact["name"].as_str().unwrap().to_owned());
        needed.insert(artifact["sha256"].as_str().unwrap().to_owned());
    }
    assert!(acknowledged.is_subset(&found), "{acknowledged:?} {found:?}");
    server.kill().await;
    // What no row needs can be told apart, so it can be collected.
    let blobs = ObjectBlobs::local(&directory.path().join("data/artifacts")).unwrap();
    let kept: BTreeSet<String> = blobs
        .list()
        .map(|entry| entry.unwrap().name)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect();
    assert!(needed.is_subset(&kept));
}
