//! A stranger's blob store, made of another one, and ones that break one rule each.

use std::{ops::Range, sync::Arc};

use agent_runner_core::{
    blob::{BlobEntry, BlobError, BlobErrorKind, BlobStore, InMemoryBlobs, StoredBlob},
    llm::BoxStream,
    testing::blob_contract::{self as suite, BlobHarness},
    tool::ByteStream,
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

const GOOD: u8 = 0;
const LOSES_A_BYTE: u8 = 1;
const IGNORES_THE_BOUND: u8 = 2;
const KEEPS_WHAT_BROKE_OFF: u8 = 3;
const IGNORES_THE_RANGE: u8 = 4;
const DELETES_THE_YOUNG: u8 = 5;
const FINDS_WHAT_IS_NOT_THERE: u8 = 6;
const NAMES_BY_UPPER_CASE: u8 = 7;

#[derive(Debug)]
struct Wrapped<const DEFECT: u8>(InMemoryBlobs);

#[async_trait::async_trait]
impl<const DEFECT: u8> BlobStore for Wrapped<DEFECT> {
    async fn put(&self, content: ByteStream, max: u64) -> Result<StoredBlob, BlobError> {
        match DEFECT {
            IGNORES_THE_BOUND => self.0.put(content, u64::MAX).await,
            KEEPS_WHAT_BROKE_OFF => {
                let whole = content.take_while(|piece| std::future::ready(piece.is_ok()));
                self.0.put(whole.boxed(), max).await
            }
            NAMES_BY_UPPER_CASE => {
                let mut kept = self.0.put(content, max).await?;
                kept.sha256.make_ascii_uppercase();
                Ok(kept)
            }
            _ => self.0.put(content, max).await,
        }
    }

    async fn get(&self, sha256: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
        let range = range.filter(|_| DEFECT != IGNORES_THE_RANGE);
        let found = self.0.get(sha256, range).await;
        match (DEFECT, found) {
            (LOSES_A_BYTE, Ok(content)) => {
                let mut bytes: Vec<u8> =
                    content.try_collect::<Vec<Bytes>>().await.unwrap_or_default().concat();
                bytes.pop();
                Ok(stream::iter([Ok(Bytes::from(bytes))]).boxed())
            }
            (FINDS_WHAT_IS_NOT_THERE, Err(error)) if error.kind() == BlobErrorKind::NotFound => {
                Ok(stream::empty().boxed())
            }
            (_, found) => found,
        }
    }

    async fn size(&self, sha256: &str) -> Result<u64, BlobError> {
        self.0.size(sha256).await
    }

    fn list(&self) -> BoxStream<'static, Result<BlobEntry, BlobError>> {
        self.0.list()
    }

    async fn delete_if_old(&self, name: &str, before: Timestamp) -> Result<bool, BlobError> {
        let before = if DEFECT == DELETES_THE_YOUNG { Timestamp::MAX } else { before };
        self.0.delete_if_old(name, before).await
    }
}

#[derive(Debug)]
struct Harness<const DEFECT: u8>(Arc<Wrapped<DEFECT>>);

#[async_trait::async_trait]
impl<const DEFECT: u8> BlobHarness for Harness<DEFECT> {
    async fn open() -> Self {
        Self(Arc::new(Wrapped(InMemoryBlobs::new())))
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.0.clone()
    }
}

mod a_good_blob_store_passes {
    use super::{GOOD, Harness};

    agent_runner_core::blob_contract!(Harness<GOOD>);
}

caught! {
    a_blob_store_that_loses_a_byte: Harness<LOSES_A_BYTE>,
        suite::what_is_put_is_read_back, "what is read is not what was put";
    a_blob_store_that_loses_a_byte_of_many: Harness<LOSES_A_BYTE>,
        suite::large_bytes_are_read_back_and_in_ranges, "the bytes differ";
    a_blob_store_that_ignores_the_bound: Harness<IGNORES_THE_BOUND>,
        suite::too_many_bytes_are_not_kept, "more bytes than allowed are not kept";
    a_blob_store_that_keeps_what_broke_off: Harness<KEEPS_WHAT_BROKE_OFF>,
        suite::bytes_that_break_off_are_not_kept, "bytes that break off are not kept";
    a_blob_store_that_ignores_the_range: Harness<IGNORES_THE_RANGE>,
        suite::what_is_put_is_read_back, "a range is exact";
    a_blob_store_that_deletes_the_young: Harness<DELETES_THE_YOUNG>,
        suite::only_what_is_old_is_deleted, "what is young is not deleted";
    a_blob_store_that_finds_what_is_not_there: Harness<FINDS_WHAT_IS_NOT_THERE>,
        suite::what_is_not_there_is_not_found, "what is not there is not found";
    a_blob_store_with_names_of_its_own: Harness<NAMES_BY_UPPER_CASE>,
        suite::what_is_put_is_read_back, "the name is the SHA-256 in lower case";
}
