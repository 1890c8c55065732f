//! Bytes that live as long as the process.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{BlobEntry, BlobError, BlobErrorKind, BlobStore, StoredBlob};
use crate::{
    llm::BoxStream,
    time::{Clock, SystemClock},
    tool::ByteStream,
};

/// A [`BlobStore`] in memory: for tests, and as the reference that others are compared with.
pub struct InMemoryBlobs {
    clock: Arc<dyn Clock>,
    blobs: Mutex<HashMap<String, (Bytes, Timestamp)>>,
}

impl InMemoryBlobs {
    /// An empty store that reads the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store whose entries age by `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, blobs: Mutex::default() }
    }

    fn blob(&self, sha256: &str) -> Result<Bytes, BlobError> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.get(sha256).map(|(bytes, _)| bytes.clone()).ok_or_else(|| {
            let what = format!("there are no bytes with SHA-256 {sha256}");
            BlobError::new(BlobErrorKind::NotFound, what)
        })
    }
}

impl Default for InMemoryBlobs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryBlobs").finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobStore for InMemoryBlobs {
    async fn put(&self, mut content: ByteStream, max: u64) -> Result<StoredBlob, BlobError> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| {
                BlobError::new(BlobErrorKind::Source, "the bytes broke off").with_source(error)
            })?;
            bytes.extend_from_slice(&piece);
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
                let what = format!("there are more than {max} bytes");
                return Err(BlobError::new(BlobErrorKind::TooLarge, what));
            }
        }
        let bytes = bytes.freeze();
        let sha256: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let uri = format!("memory:{sha256}");
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert(sha256.clone(), (bytes, self.clock.now()));
        Ok(StoredBlob { sha256, size, uri })
    }

    async fn get(&self, sha256: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
        let bytes = self.blob(sha256)?;
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
        let part = match range {
            Some(range) => bytes.slice(index(range.start)..index(range.end)),
            None => bytes.clone(),
        };
        Ok(stream::iter([Ok(part)]).boxed())
    }

    async fn size(&self, sha256: &str) -> Result<u64, BlobError> {
        Ok(u64::try_from(self.blob(sha256)?.len()).unwrap_or(u64::MAX))
    }

    fn list(&self) -> BoxStream<'static, Result<BlobEntry, BlobError>> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let entries: Vec<_> = blobs
            .iter()
            .map(|(name, (_, at))| Ok(BlobEntry { name: name.clone(), modified_at: *at }))
            .collect();
        stream::iter(entries).boxed()
    }

    async fn delete_if_old(&self, name: &str, before: Timestamp) -> Result<bool, BlobError> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let old = blobs.get(name).is_some_and(|(_, at)| *at < before);
        if old {
            blobs.remove(name);
        }
        Ok(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::blob_contract::BlobHarness;

    #[derive(Debug)]
    struct InMemory(Arc<InMemoryBlobs>);

    #[async_trait]
    impl BlobHarness for InMemory {
        async fn open() -> Self {
            Self(Arc::new(InMemoryBlobs::new()))
        }

        fn blobs(&self) -> Arc<dyn BlobStore> {
            self.0.clone()
        }
    }

    crate::blob_contract!(InMemory);
}
