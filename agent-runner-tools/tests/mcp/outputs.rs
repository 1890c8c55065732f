//! What is more than text.

use std::sync::{Arc, Mutex};

use agent_runner_core::tool::{
    ByteStream, Fact, KeptArtifact, NewArtifact, ToolError, ToolErrorKind, ToolHost,
};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use serde_json::json;

use crate::world::{Ear, World, cx, server};

/// Keeps what it is given.
#[derive(Debug, Default)]
struct Shelf(Mutex<Vec<(NewArtifact, Vec<u8>)>>);

#[async_trait]
impl ToolHost for Shelf {
    fn show(&self, _text: &str) {}

    async fn record(&self, _fact: Fact) -> Result<(), ToolError> {
        Ok(())
    }

    async fn keep(&self, new: NewArtifact, content: ByteStream) -> Result<KeptArtifact, ToolError> {
        agent_runner_core::artifact::check(&new.name, &new.kind, &new.media_type).unwrap();
        let bytes: Vec<bytes::Bytes> = content.try_collect().await.unwrap();
        let bytes = bytes.concat();
        let kept = KeptArtifact {
            name: new.name.clone(),
            kind: new.kind.clone(),
            media_type: new.media_type.clone(),
            size: bytes.len() as u64,
            sha256: "0".repeat(64),
            uri: "mem:1".to_owned(),
        };
        self.0.lock().unwrap().push((new, bytes));
        Ok(kept)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_files_become_artifacts() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let shelf = Arc::new(Shelf::default());
    let cx = cx().with_host(shelf.clone());
    let output = world.tool("image").call(json!({}), &cx).await.unwrap();
    assert_eq!(
        output.value,
        json!({
            "text": "Here it is.",
            "resources": [
                {"uri": "file:///notes.txt", "media_type": "text/plain", "text": "some notes"},
                {"uri": "https://example.org/x", "name": "x"},
            ],
            "files": [
                {"artifact": "strange.image-1.png", "media_type": "image/png", "bytes": 70},
                {"media_type": "audio/wav", "kept": false, "why": "it is not base64"},
                {"artifact": "strange.image-3.bin", "media_type": "application/octet-stream", "bytes": 4},
            ],
        })
    );
    assert_eq!(output.untrusted.as_deref(), Some("mcp:strange"));
    let names: Vec<_> = output.artifacts.iter().map(|kept| &*kept.name).collect();
    assert_eq!(names, ["strange.image-1.png", "strange.image-3.bin"]);
    let kept = std::mem::take(&mut *shelf.0.lock().unwrap());
    assert!(kept[0].1.starts_with(b"\x89PNG"), "{:?}", kept[0]);
    assert_eq!(kept[1].1, [0, 1, 2, 3]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_kept_files_are_described() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let output = world.call("image", json!({})).await.unwrap();
    let file = &output.value["files"][0];
    assert_eq!((&file["bytes"], &file["kept"]), (&json!(70), &json!(false)), "{file}");
    assert!(output.artifacts.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_cut() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
    server.limits.text_bytes_max = 1_000;
    let world = World::of(ear, server);
    world.connected(1).await;
    let output = world.call("big", json!({"bytes": 3_000_000})).await.unwrap();
    assert_eq!(output.value["text"].as_str().unwrap().len(), 1_000);
    assert_eq!(output.value["notes"], json!(["a text of 3000000 bytes was cut to 1000"]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_while_a_file_is_kept_ends() {
    #[derive(Debug)]
    struct Slow(tokio_util::sync::CancellationToken);
    #[async_trait]
    impl ToolHost for Slow {
        fn show(&self, _text: &str) {}
        async fn record(&self, _fact: Fact) -> Result<(), ToolError> {
            Ok(())
        }
        async fn keep(
            &self,
            _new: NewArtifact,
            _content: ByteStream,
        ) -> Result<KeptArtifact, ToolError> {
            self.0.cancel();
            std::future::pending().await
        }
    }
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let cx = cx();
    let cx = cx.clone().with_host(Arc::new(Slow(cx.cancel.clone())));
    let error = world.tool("image").call(json!({}), &cx).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Cancelled);
    assert!(error.effect_possible());
    world.end().await;
}
