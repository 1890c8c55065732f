//! Bytes of artifacts in a directory or in object storage.

#[cfg(feature = "_cloud")]
mod cloud;
mod local;

#[cfg(feature = "_cloud")]
pub use self::cloud::BlobUrlError;

use std::{
    error::Error as _,
    fmt, io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_runner_core::{
    blob::{BlobEntry, BlobError, BlobErrorKind, BlobStore, StoredBlob, is_sha256},
    llm::BoxStream,
    tool::ByteStream,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, WriteMultipart, path::Path,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::RwLock;
use uuid::Uuid;

/// Bytes that are gathered before an upload in parts begins.
const WHOLE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a part. S3 takes 10,000 parts of at least 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts on their way at once; with the one being filled, the memory of an upload.
const PARTS_IN_FLIGHT: usize = 2;
/// Bytes that were put within this time are not put again.
const YOUNG: Duration = Duration::from_secs(600);
/// Where uploads in parts begin.
const PARTIAL: &str = "partial";

/// A [`BlobStore`] over the crate `object_store`: a local directory, or S3, Google Cloud Storage
/// and Azure Blob Storage behind their features.
#[derive(Clone)]
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    #[cfg(feature = "_cloud")]
    signer: Option<Arc<dyn object_store::signer::Signer>>,
    /// Before every name.
    prefix: Path,
    /// Where it is, for people.
    place: String,
    /// Read by whoever puts, written by whoever deletes, so that neither sees half of the other.
    turn: Arc<RwLock<()>>,
    started: Arc<AtomicU64>,
    nonce: u128,
}

impl fmt::Debug for ObjectBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectBlobs").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What the store said, without what it may have quoted.
fn failed(what: &str, error: object_store::Error) -> BlobError {
    let mut cause = error.source();
    while let Some(source) = cause {
        let full = source.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        });
        if full {
            let said = "there is no room left where artifacts are kept";
            return BlobError::new(BlobErrorKind::Full, said).with_source(error);
        }
        cause = source.source();
    }
    let kind = match error {
        object_store::Error::NotFound { .. } => BlobErrorKind::NotFound,
        _ => BlobErrorKind::Unavailable,
    };
    BlobError::new(kind, format!("the artifact's bytes cannot be {what}")).with_source(error)
}

fn broken_off(error: io::Error) -> BlobError {
    BlobError::new(BlobErrorKind::Source, "the bytes broke off before their end").with_source(error)
}

fn hex(digest: impl IntoIterator<Item = u8>) -> String {
    digest.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ObjectBlobs {
    /// `nonce` keeps the names of uploads apart that several processes begin.
    fn new(store: Arc<dyn ObjectStore>, prefix: Path, place: String, nonce: Uuid) -> Self {
        Self {
            store,
            #[cfg(feature = "_cloud")]
            signer: None,
            prefix,
            place,
            turn: Arc::default(),
            started: Arc::default(),
            nonce: nonce.as_u128(),
        }
    }

    /// Where a blob is: by the first byte of its hash, so that no directory grows too large.
    fn path(&self, sha256: &str) -> Path {
        let shard = sha256.get(..2).unwrap_or("00");
        self.prefix.clone().join("sha256").join(shard).join(sha256)
    }

    fn partial(&self) -> Path {
        let n = self.started.fetch_add(1, Ordering::Relaxed);
        self.prefix.clone().join(PARTIAL).join(format!("{:032x}-{n}", self.nonce))
    }

    fn stored(&self, sha256: String, size: u64) -> StoredBlob {
        let uri = format!("{}/{}", self.place, self.path(&sha256));
        StoredBlob { sha256, size, uri }
    }

    async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>, BlobError> {
        match self.store.head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("looked at", error)),
        }
    }

    async fn put_whole(&self, content: Bytes) -> Result<StoredBlob, BlobError> {
        let sha256 = hex(Sha256::digest(&content));
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let path = self.path(&sha256);
        let _turn = self.turn.read().await;
        let there = self.head(&path).await?.filter(|meta| meta.size == size);
        if !there.is_some_and(|meta| is_young(&meta)) {
            self.store.put(&path, content.into()).await.map_err(|e| failed("written", e))?;
        }
        Ok(self.stored(sha256, size))
    }

    async fn put_parts(
        &self,
        first: Bytes,
        content: ByteStream,
        max: u64,
    ) -> Result<StoredBlob, BlobError> {
        let partial = self.partial();
        let upload = self.store.put_multipart(&partial).await.map_err(|e| failed("written", e))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        match feed(&mut upload, first, content, max).await {
            Ok((sha256, size)) => {
                upload.finish().await.map_err(|e| failed("written", e))?;
                let _turn = self.turn.read().await;
                let to = self.path(&sha256);
                self.store.rename(&partial, &to).await.map_err(|e| failed("written", e))?;
                Ok(self.stored(sha256, size))
            }
            Err(error) => {
                // What cannot be taken back now is collected later.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }
}

/// Sends the bytes on their way in parts; their hash and number.
async fn feed(
    upload: &mut WriteMultipart,
    first: Bytes,
    mut content: ByteStream,
    max: u64,
) -> Result<(String, u64), BlobError> {
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut next = Some(Ok(first));
    while let Some(piece) = next {
        let piece: Bytes = piece.map_err(broken_off)?;
        size = size.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if size > max {
            return Err(too_large(max));
        }
        hasher.update(&piece);
        upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(|e| failed("written", e))?;
        upload.put(piece);
        next = content.next().await;
    }
    Ok((hex(hasher.finalize()), size))
}

fn too_large(max: u64) -> BlobError {
    BlobError::new(BlobErrorKind::TooLarge, format!("there are more than {max} bytes"))
}

fn moment(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_millisecond(meta.last_modified.timestamp_millis()).unwrap_or(Timestamp::MAX)
}

fn is_young(meta: &ObjectMeta) -> bool {
    let age = Timestamp::now().duration_since(moment(meta));
    age.unsigned_abs() < YOUNG
}

#[async_trait]
impl BlobStore for ObjectBlobs {
    async fn put(&self, mut content: ByteStream, max: u64) -> Result<StoredBlob, BlobError> {
        let mut first = BytesMut::new();
        while first.len() <= WHOLE_BYTES_MAX {
            match content.next().await {
                Some(piece) => first.extend_from_slice(&piece.map_err(broken_off)?),
                None if u64::try_from(first.len()).unwrap_or(u64::MAX) > max => {
                    return Err(too_large(max));
                }
                None => return self.put_whole(first.freeze()).await,
            }
        }
        self.put_parts(first.freeze(), content, max).await
    }

    async fn get(&self, sha256: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
        if !is_sha256(sha256) {
            return Err(BlobError::new(BlobErrorKind::NotFound, "that is no SHA-256"));
        }
        let empty = range.as_ref().is_some_and(Range::is_empty);
        if empty {
            return Ok(futures::stream::empty().boxed());
        }
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let path = self.path(sha256);
        let found = self.store.get_opts(&path, options).await.map_err(|e| failed("read", e))?;
        Ok(found.into_stream().map_err(io::Error::other).boxed())
    }

    async fn size(&self, sha256: &str) -> Result<u64, BlobError> {
        let missing = || {
            let what = format!("there are no bytes with SHA-256 {sha256}");
            BlobError::new(BlobErrorKind::NotFound, what)
        };
        if !is_sha256(sha256) {
            return Err(missing());
        }
        self.head(&self.path(sha256)).await?.map(|meta| meta.size).ok_or_else(missing)
    }

    fn list(&self) -> BoxStream<'static, Result<BlobEntry, BlobError>> {
        let prefix = self.prefix.clone();
        let listed = self.store.list(Some(&prefix)).map(move |meta| {
            let meta = meta.map_err(|error| failed("listed", error))?;
            let modified_at = moment(&meta);
            let last = meta.location.filename().unwrap_or_default();
            let rest = meta.location.prefix_match(&prefix).map(|parts| {
                parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/")
            });
            let name = if is_sha256(last) { last.to_owned() } else { rest.unwrap_or_default() };
            Ok(BlobEntry { name, modified_at })
        });
        listed.boxed()
    }

    async fn delete_if_old(&self, name: &str, before: Timestamp) -> Result<bool, BlobError> {
        let path = if is_sha256(name) {
            self.path(name)
        } else {
            // Only what an upload left behind.
            let Some(rest) = name.strip_prefix("partial/") else { return Ok(false) };
            self.prefix.clone().join(PARTIAL).join(rest)
        };
        let _turn = self.turn.write().await;
        match self.head(&path).await? {
            Some(meta) if moment(&meta) < before => {
                self.store.delete(&path).await.map_err(|e| failed("deleted", e))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    #[cfg(feature = "_cloud")]
    async fn signed_url(&self, sha256: &str, ttl: Duration) -> Result<Option<String>, BlobError> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let url = signer.signed_url(http::Method::GET, &self.path(sha256), ttl).await;
        url.map(|url| Some(url.into())).map_err(|error| failed("shared", error))
    }
}
