//! Texts as vectors.

use std::fmt;

use async_trait::async_trait;

use super::{CallCx, ProviderError, Usage};

/// What the vectors are for; some models make other vectors for the two sides of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a search has two sides")]
pub enum EmbedPurpose {
    /// To be found.
    #[default]
    Document,
    /// To find with.
    Query,
}

/// What to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedRequest {
    /// The model's id as the provider knows it.
    pub model: String,
    /// The texts.
    pub texts: Vec<String>,
    /// What for.
    pub purpose: EmbedPurpose,
    /// How many numbers a vector shall have, where the model lets one choose.
    pub dimensions: Option<u32>,
}

/// Vectors, one per text, in the order of the texts and all of one length.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// What it used.
    pub usage: Usage,
}

/// Turns texts into vectors.
///
/// # Contract
/// 1. There is a vector for each text, in order; all have the same length, which is the
///    requested one if there is one, and all numbers are finite.
/// 2. No text is cut without an error that says so.
/// 3. An error names what happened and never contains a key.
///
/// # Cancellation
/// As [`LlmProvider`](super::LlmProvider).
#[async_trait]
pub trait Embedder: fmt::Debug + Send + Sync + 'static {
    /// The first part of a model's name, such as `ollama`.
    fn id(&self) -> &str;

    /// Embeds texts, in several requests if there are more than the service takes at once.
    ///
    /// # Errors
    /// Any [`ErrorKind`](super::ErrorKind).
    async fn embed(&self, request: &EmbedRequest, cx: &CallCx)
    -> Result<Embeddings, ProviderError>;
}
