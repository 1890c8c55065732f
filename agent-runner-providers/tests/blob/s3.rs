//! A server that speaks S3.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agent_runner_core::{blob::BlobStore, testing::blob_contract as suite};
use agent_runner_providers::ObjectBlobs;
use async_trait::async_trait;

/// Its address, if there is one.
fn server() -> Option<String> {
    std::env::var("AGENT_RUNNER_TEST_S3").ok().filter(|address| !address.is_empty())
}

static OPENED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct S3(Arc<ObjectBlobs>);

fn blobs(address: &str, prefix: &str) -> ObjectBlobs {
    let settings = [
        ("aws_endpoint", address),
        ("aws_allow_http", "true"),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("something_else", "is ignored"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ObjectBlobs::cloud(&format!("s3://artifacts/{prefix}"), settings).unwrap()
}

#[async_trait]
impl suite::BlobHarness for S3 {
    async fn open() -> Self {
        let n = OPENED.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("test/{}-{n}", std::process::id());
        Self(Arc::new(blobs(&server().unwrap(), &prefix)))
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.0.clone()
    }
}

macro_rules! on_s3 {
    ($($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                match server() {
                    Some(_) => suite::$case::<S3>().await,
                    None => eprintln!("not run: AGENT_RUNNER_TEST_S3 is not set; see `make test-s3`"),
                }
            }
        )*
    };
}

on_s3! {
    what_is_put_is_read_back,
    large_bytes_are_read_back_and_in_ranges,
    the_same_bytes_are_kept_once,
    concurrent_puts_of_the_same_bytes_agree,
    bytes_that_break_off_are_not_kept,
    too_many_bytes_are_not_kept,
    what_is_not_there_is_not_found,
    only_what_is_old_is_deleted,
    a_put_that_is_dropped_leaves_nothing_whole,
}

#[tokio::test]
async fn bytes_are_shared_under_a_signed_address() {
    let Some(address) = server() else {
        eprintln!("not run: AGENT_RUNNER_TEST_S3 is not set; see `make test-s3`");
        return;
    };
    let blobs = blobs(&address, "signed");
    let content = futures::StreamExt::boxed(futures::stream::iter([Ok("hello".into())]));
    let kept = blobs.put(content, 100).await.unwrap();
    let url = blobs.signed_url(&kept.sha256, std::time::Duration::from_secs(60)).await.unwrap();
    let answer = reqwest::get(url.unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, "hello".to_owned()));
    assert!(kept.uri.starts_with("s3://artifacts/signed/sha256/"), "{}", kept.uri);
}

#[test]
fn a_place_with_credentials_or_of_an_unknown_kind_is_refused() {
    for (url, word) in [
        ("s3://key:secret@bucket/x", "environment"),
        ("s3://bucket/x?token=secret", "environment"),
        ("ftp://bucket/x", "use s3://"),
        ("s3:///x", "use s3://"),
        ("nonsense", "use s3://"),
    ] {
        let error = ObjectBlobs::cloud(url, []).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains("secret"), "{url}: {error}");
    }
}
