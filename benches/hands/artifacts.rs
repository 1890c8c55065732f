//! An artifact of 1 GiB: kept and read back, beside the same bytes through the bare object store,
//! and the memory that it takes.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{blob::BlobStore, providers::ObjectBlobs, tool::ByteStream};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use object_store::{
    ObjectStoreExt as _, WriteMultipart, local::LocalFileSystem, path::Path as Name,
};

use crate::median;

const GIB: u64 = 1024 * 1024 * 1024;
const PIECE: usize = 64 * 1024;
const ROUNDS: usize = 3;

/// A gibibyte whose pieces differ.
fn content() -> ByteStream {
    let piece: Vec<u8> = (0..PIECE + 4_096).map(|n| (n * 31 % 251) as u8).collect();
    let piece = Bytes::from(piece);
    let pieces =
        (0..GIB as usize / PIECE).map(move |n| Ok(piece.slice(n % 4_096..n % 4_096 + PIECE)));
    stream::iter(pieces).boxed()
}

async fn bare_put(directory: &Path) -> Duration {
    let store = LocalFileSystem::new_with_prefix(directory).unwrap().with_fsync(true);
    let began = Instant::now();
    let upload = store.put_multipart(&Name::from("bare")).await.unwrap();
    let mut upload = WriteMultipart::new_with_chunk_size(upload, 8 * 1024 * 1024);
    let mut content = content();
    while let Some(piece) = content.next().await {
        upload.wait_for_capacity(2).await.unwrap();
        upload.put(piece.unwrap());
    }
    upload.finish().await.unwrap();
    began.elapsed()
}

async fn drain(mut content: impl futures::Stream<Item = Bytes> + Unpin) -> u64 {
    let mut size = 0;
    while let Some(piece) = content.next().await {
        size += piece.len() as u64;
    }
    size
}

async fn bare_get(directory: &Path) -> Duration {
    let store = LocalFileSystem::new_with_prefix(directory).unwrap();
    let began = Instant::now();
    let found = store.get(&Name::from("bare")).await.unwrap().into_stream();
    assert_eq!(drain(found.map(Result::unwrap)).await, GIB);
    began.elapsed()
}

/// Resident memory in KiB at its highest since [`forget_peak`].
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

pub(crate) async fn run() {
    let directory = tempfile::tempdir().unwrap();
    let (bare, kept) = (directory.path().join("bare"), directory.path().join("kept"));
    std::fs::create_dir(&bare).unwrap();
    let blobs: Arc<dyn BlobStore> = Arc::new(ObjectBlobs::local(&kept).unwrap());
    let (mut ours, mut floor) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let mut highest = 0;
    for _ in 0..ROUNDS {
        floor.0.push(bare_put(&bare).await);
        floor.1.push(bare_get(&bare).await);
        forget_peak();
        let began = Instant::now();
        let blob = blobs.put(content(), 2 * GIB).await.unwrap();
        ours.0.push(began.elapsed());
        let began = Instant::now();
        let found = blobs.get(&blob.sha256, None).await.unwrap();
        assert_eq!(drain(found.map(Result::unwrap)).await, GIB);
        ours.1.push(began.elapsed());
        highest = highest.max(peak());
        std::fs::remove_dir_all(kept.join("sha256")).unwrap();
    }
    for (what, ours, floor) in
        [("kept", median(ours.0), median(floor.0)), ("read", median(ours.1), median(floor.1))]
    {
        let rate = |time: Duration| GIB as f64 / 1024.0 / 1024.0 / time.as_secs_f64();
        let share = floor.as_secs_f64() / ours.as_secs_f64() * 100.0;
        println!(
            "1 GiB is {what:<47} {:>6.0} MiB/s  floor {:>6.0} MiB/s  {share:.0} %",
            rate(ours),
            rate(floor)
        );
    }
    println!("memory of the process at its highest meanwhile              {} MiB", highest / 1_024);
}
