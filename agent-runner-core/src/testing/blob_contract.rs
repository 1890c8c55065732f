//! The contract of [`BlobStore`] as tests.
//!
//! An implementation proves itself with one line in its tests:
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{blob::{BlobStore, InMemoryBlobs}, testing::blob_contract::BlobHarness};
//! #[derive(Debug)]
//! struct InMemory(Arc<InMemoryBlobs>);
//!
//! #[async_trait::async_trait]
//! impl BlobHarness for InMemory {
//!     async fn open() -> Self {
//!         Self(Arc::new(InMemoryBlobs::new()))
//!     }
//!
//!     fn blobs(&self) -> Arc<dyn BlobStore> {
//!         self.0.clone()
//!     }
//! }
//!
//! agent_runner_core::blob_contract!(InMemory);
//! # fn main() {}
//! ```

use std::{fmt, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::{
    blob::{BlobErrorKind, BlobStore, StoredBlob},
    time::{Clock as _, SystemClock, earlier, later},
    tool::ByteStream,
};

/// Makes blob stores for the suite.
#[async_trait]
pub trait BlobHarness: fmt::Debug + Sized + Send + Sync + 'static {
    /// Makes an empty store, and whatever has to live as long as it.
    async fn open() -> Self;

    /// The store.
    fn blobs(&self) -> Arc<dyn BlobStore>;
}

/// More than fits into one piece of any store.
const LARGE: usize = 20 * 1024 * 1024 + 7;
const HOUR: Duration = Duration::from_secs(3_600);

/// Expands to the whole contract of [`BlobStore`](crate::blob::BlobStore) for one
/// [`BlobHarness`](crate::testing::blob_contract::BlobHarness), one `#[tokio::test]` per case.
#[macro_export]
macro_rules! blob_contract {
    ($harness:ty) => {
        $crate::blob_contract! { @cases $harness;
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
    };
    (@cases $harness:ty; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::testing::blob_contract::$case::<$harness>().await;
            }
        )*
    };
}

fn pieces(content: &[u8]) -> ByteStream {
    let pieces: Vec<io::Result<Bytes>> =
        content.chunks(60_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|n| u8::try_from((n * 31 + n / 251) % 256).unwrap_or(0)).collect()
}

async fn put(blobs: &dyn BlobStore, content: &[u8]) -> StoredBlob {
    blobs.put(pieces(content), u64::MAX).await.unwrap()
}

async fn read(blobs: &dyn BlobStore, sha256: &str, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let stream = blobs.get(sha256, range).await.unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    pieces.concat()
}

async fn names(blobs: &dyn BlobStore) -> Vec<String> {
    let entries: Vec<_> = blobs.list().try_collect().await.unwrap();
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

/// Clause 4.
pub async fn what_is_put_is_read_back<H: BlobHarness>() {
    let harness = H::open().await;
    let blobs = &*harness.blobs();
    for content in [&b""[..], b"x", b"hello, world"] {
        let kept = put(blobs, content).await;
        let want: String = Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
        let named = (&kept.sha256, kept.size);
        assert_eq!(named, (&want, content.len() as u64), "the name is the SHA-256 in lower case");
        assert_eq!(blobs.size(&want).await.unwrap(), kept.size);
        assert_eq!(read(blobs, &want, None).await, content, "what is read is not what was put");
        assert!(!kept.uri.is_empty());
    }
    let kept = put(blobs, b"0123456789").await;
    assert_eq!(read(blobs, &kept.sha256, Some(2..5)).await, b"234", "a range is exact");
    assert_eq!(read(blobs, &kept.sha256, Some(0..10)).await, b"0123456789");
    assert_eq!(read(blobs, &kept.sha256, Some(3..3)).await, b"");
}

/// Clause 4, for what does not fit one piece.
pub async fn large_bytes_are_read_back_and_in_ranges<H: BlobHarness>() {
    let harness = H::open().await;
    let (blobs, content) = (&*harness.blobs(), large());
    let kept = put(blobs, &content).await;
    assert_eq!(kept.size, LARGE as u64);
    assert!(read(blobs, &kept.sha256, None).await == content, "the bytes differ");
    let part = read(blobs, &kept.sha256, Some(8_388_600..8_388_620)).await;
    assert_eq!(Some(&part[..]), content.get(8_388_600..8_388_620));
    assert_eq!(names(blobs).await, [kept.sha256], "nothing is left of the parts");
}

/// Clause 2.
pub async fn the_same_bytes_are_kept_once<H: BlobHarness>() {
    let harness = H::open().await;
    let blobs = &*harness.blobs();
    let (one, two) = (put(blobs, b"same").await, put(blobs, b"same").await);
    assert_eq!(one, two);
    assert_eq!(names(blobs).await, [one.sha256]);
}

/// Clauses 1 and 2 under concurrency.
pub async fn concurrent_puts_of_the_same_bytes_agree<H: BlobHarness>() {
    let harness = H::open().await;
    let (blobs, content) = (harness.blobs(), large());
    let puts = (0..3).map(|_| put(&*blobs, &content));
    let kept = futures::future::join_all(puts).await;
    assert!(kept.windows(2).all(|pair| pair[0] == pair[1]), "{kept:?}");
    assert!(read(&*blobs, &kept[0].sha256, None).await == content);
}

/// Clause 3.
pub async fn bytes_that_break_off_are_not_kept<H: BlobHarness>() {
    let harness = H::open().await;
    let blobs = &*harness.blobs();
    for before in [10, LARGE] {
        let whole = large();
        let broken = pieces(whole.get(..before).unwrap())
            .chain(stream::iter([Err(io::Error::other("gone"))]))
            .boxed();
        let kept = blobs.put(broken, u64::MAX).await;
        let error = kept.expect_err("bytes that break off are not kept");
        assert_eq!(error.kind(), BlobErrorKind::Source);
    }
    assert!(names(blobs).await.iter().all(|name| !crate::blob::is_sha256(name)));
}

/// The bound.
pub async fn too_many_bytes_are_not_kept<H: BlobHarness>() {
    let harness = H::open().await;
    let blobs = &*harness.blobs();
    for (content, max) in [(&b"12345"[..], 4), (&large(), 15 * 1024 * 1024)] {
        let kept = blobs.put(pieces(content), max).await;
        let error = kept.expect_err("more bytes than allowed are not kept");
        assert_eq!(error.kind(), BlobErrorKind::TooLarge);
    }
    let kept = blobs.put(pieces(b"12345"), 5).await.unwrap();
    let whole: Vec<String> =
        names(blobs).await.into_iter().filter(|name| crate::blob::is_sha256(name)).collect();
    assert_eq!(whole, [kept.sha256]);
}

/// Clauses 4 and 5.
pub async fn what_is_not_there_is_not_found<H: BlobHarness>() {
    let harness = H::open().await;
    let blobs = &*harness.blobs();
    let nothing = "0".repeat(64);
    for name in [&*nothing, "", "../../etc/passwd", "sha256/00"] {
        let found = blobs.get(name, None).await;
        let error = found.err().expect("what is not there is not found");
        assert_eq!(error.kind(), BlobErrorKind::NotFound, "{name}");
        assert_eq!(blobs.size(name).await.unwrap_err().kind(), BlobErrorKind::NotFound, "{name}");
        assert!(!blobs.delete_if_old(name, later(SystemClock.now(), HOUR)).await.unwrap());
    }
}

/// Clause 6.
pub async fn only_what_is_old_is_deleted<H: BlobHarness>() {
    let harness = H::open().await;
    let blobs = &*harness.blobs();
    let kept = put(blobs, b"young").await;
    let now = SystemClock.now();
    let deleted = blobs.delete_if_old(&kept.sha256, earlier(now, HOUR)).await.unwrap();
    assert!(!deleted, "what is young is not deleted");
    assert_eq!(read(blobs, &kept.sha256, None).await, b"young");
    assert!(blobs.delete_if_old(&kept.sha256, later(now, HOUR)).await.unwrap());
    assert_eq!(blobs.size(&kept.sha256).await.unwrap_err().kind(), BlobErrorKind::NotFound);
    assert!(names(blobs).await.is_empty());
}

/// Clause 3, for callers that go away.
pub async fn a_put_that_is_dropped_leaves_nothing_whole<H: BlobHarness>() {
    let harness = H::open().await;
    let blobs = &*harness.blobs();
    let endless = pieces(&large()).chain(stream::pending()).boxed();
    let put = blobs.put(endless, u64::MAX);
    assert!(tokio::time::timeout(Duration::from_millis(300), put).await.is_err());
    assert!(names(blobs).await.iter().all(|name| !crate::blob::is_sha256(name)));
}
