//! Where bytes are kept, named by their content.

mod in_memory;

use std::{error::Error, fmt, ops::Range, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::in_memory::InMemoryBlobs;
use crate::{llm::BoxStream, tool::ByteStream};

/// Bytes that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an implementation has to fill in all of it")]
pub struct StoredBlob {
    /// SHA-256 of them, lower-case hex; their name.
    pub sha256: String,
    /// How many.
    pub size: u64,
    /// Where they are, for people.
    pub uri: String,
}

/// An entry of [`BlobStore::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an implementation has to fill in all of it")]
pub struct BlobEntry {
    /// Its name; of something half written, whatever names it to [`BlobStore::delete_if_old`].
    pub name: String,
    /// When it was last written.
    pub modified_at: Timestamp,
}

/// What happened, named for what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlobErrorKind {
    /// There is nothing of that name.
    NotFound,
    /// There are more bytes than allowed.
    TooLarge,
    /// The bytes broke off before their end.
    Source,
    /// There is no room left.
    Full,
    /// The store cannot be reached or written.
    Unavailable,
}

/// An error of a blob store.
#[derive(Debug)]
pub struct BlobError {
    kind: BlobErrorKind,
    context: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BlobError {
    /// An error of that kind; `context` says what was wrong, without secrets.
    #[must_use]
    pub fn new(kind: BlobErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// With its cause, which is logged and never shown.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happened.
    #[must_use]
    pub const fn kind(&self) -> BlobErrorKind {
        self.kind
    }
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for BlobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Keeps bytes under the SHA-256 of their content.
///
/// # Contract
/// 1. When `put` returns, the bytes are there for every reader and survive what the store promises
///    to survive. Until then nothing of that name is seen that is not whole.
/// 2. The same bytes are kept once; putting them again makes them young again in `list`.
/// 3. A refused or dropped `put` leaves nothing that `list` does not name.
/// 4. `get` answers exactly the bytes that were put, or exactly the range of them.
/// 5. `delete` of what is not there is no error.
/// 6. `delete_if_old` never deletes what a `put` of this process returned after it looked.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps bytes, at most `max` of them.
    ///
    /// # Errors
    /// `TooLarge`; `Source` for an error of `content`; `Full`; `Unavailable`.
    async fn put(&self, content: ByteStream, max: u64) -> Result<StoredBlob, BlobError>;

    /// Reads bytes, or a range of them, which is within their size.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    async fn get(&self, sha256: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError>;

    /// How many bytes there are.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    async fn size(&self, sha256: &str) -> Result<u64, BlobError>;

    /// Everything that is kept, in no order.
    fn list(&self) -> BoxStream<'static, Result<BlobEntry, BlobError>>;

    /// Deletes an entry if it was last written before that moment; whether it did.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn delete_if_old(&self, name: &str, before: Timestamp) -> Result<bool, BlobError>;

    /// An address under which anybody may read the bytes for a while, where the store has such.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn signed_url(&self, _sha256: &str, _ttl: Duration) -> Result<Option<String>, BlobError> {
        Ok(None)
    }
}

/// Whether a text is a SHA-256 in lower-case hex.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
