//! A local directory.

use std::{fs, sync::Arc};

use agent_runner_core::{
    blob::BlobStore, blob_contract, testing::blob_contract::BlobHarness, tool::ByteStream,
};
use agent_runner_providers::ObjectBlobs;
use async_trait::async_trait;
use futures::{StreamExt as _, stream};

#[derive(Debug)]
struct Directory {
    _directory: tempfile::TempDir,
    blobs: Arc<ObjectBlobs>,
}

#[async_trait]
impl BlobHarness for Directory {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Arc::new(ObjectBlobs::local(&directory.path().join("deep/er")).unwrap());
        Self { _directory: directory, blobs }
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.blobs.clone()
    }
}

blob_contract!(Directory);

fn bytes(content: &'static [u8]) -> ByteStream {
    stream::iter([Ok(content.into())]).boxed()
}

#[tokio::test]
async fn bytes_outlive_the_store_and_stand_under_their_hash() {
    let directory = tempfile::tempdir().unwrap();
    let open = || ObjectBlobs::local(directory.path()).unwrap();
    let kept = open().put(bytes(b"hello"), 100).await.unwrap();
    let path =
        directory.path().join("sha256").join(kept.sha256.get(..2).unwrap()).join(&kept.sha256);
    assert_eq!(fs::read(path).unwrap(), b"hello");
    assert_eq!(open().size(&kept.sha256).await.unwrap(), 5);
    let host = directory.path().to_str().unwrap();
    assert!(!kept.uri.contains(host), "the machine's paths stay private: {}", kept.uri);
}

#[tokio::test]
async fn what_a_crash_left_behind_goes_when_it_is_old() {
    let directory = tempfile::tempdir().unwrap();
    let shard = directory.path().join("sha256/ab");
    fs::create_dir_all(&shard).unwrap();
    let (old, new) = (shard.join("abc#1"), shard.join("abd#1"));
    for path in [&old, &new] {
        fs::write(path, "half").unwrap();
    }
    let file = fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(ObjectBlobs::local(directory.path()).unwrap());
    assert!(!old.exists() && new.exists(), "another process may be writing the new one");
}
