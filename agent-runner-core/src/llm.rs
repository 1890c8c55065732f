//! Models: the [`LlmProvider`] trait, its request, its stream and its errors.

mod capability;
mod catalog;
mod embed;
mod error;
mod estimate;
mod price;
mod registry;
mod reply;
mod request;
mod usage;

use std::{fmt, pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};

pub use self::{
    capability::{Capabilities, FactSource, KnownCapabilities, ModelInfo},
    catalog::ModelCatalog,
    embed::{EmbedPurpose, EmbedRequest, Embedder, Embeddings},
    error::{ErrorKind, ProviderError, Recovery, SendState},
    estimate::{estimate_messages, estimate_text, estimate_tokens},
    price::{Cost, MicroUsd, Price, Rates},
    registry::ProviderRegistry,
    reply::{LlmEvent, LlmFinished, RateLimits, RateWindow, StopReason},
    request::{CallCx, LlmRequest, ReasoningEffort, ToolSpec},
    usage::Usage,
};

/// A boxed stream.
pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;

/// Talks to models.
///
/// # Contract
/// 1. A good stream ends with exactly one [`LlmEvent::Finished`] and nothing after it.
/// 2. A reply that the server cut short is an error of kind [`ErrorKind::StreamTruncated`],
///    never a shorter reply.
/// 3. The deltas of text, joined, are the text of the finished message.
/// 4. Arguments of a tool call that are not valid JSON arrive as `Value::String`, verbatim.
/// 5. Tool-call ids are unique within a reply and never empty.
/// 6. An error names what happened ([`ProviderError::kind`]) and never contains a key.
/// 7. `stream` returns an error before the first item when the server refused the request.
///
/// # Cancellation
/// Dropping the future or the stream closes the connection; no task lives on. When
/// [`CallCx::cancel`] fires the stream ends with [`ErrorKind::Cancelled`].
#[async_trait]
pub trait LlmProvider: fmt::Debug + Send + Sync + 'static {
    /// The first part of a model's name, such as `ollama`.
    fn id(&self) -> &str;

    /// What the model can do, as far as the provider or its service said so until now. Does not
    /// ask the service; leave `None` what nobody said.
    fn capabilities(&self, model: &str) -> Capabilities;

    /// Asks the server which models it offers, and thereby whether it is there.
    ///
    /// # Errors
    /// Any [`ErrorKind`].
    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError>;

    /// The tokens of a request's prompt, counted by the service without answering it. `None` when
    /// the service does not count.
    ///
    /// # Errors
    /// Any [`ErrorKind`].
    async fn count_tokens(
        &self,
        _request: &LlmRequest,
        _cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        Ok(None)
    }

    /// Asks the model and streams its reply.
    ///
    /// # Errors
    /// Any [`ErrorKind`], before the stream or as its last item.
    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError>;
}

/// What every provider can do because it can stream.
#[async_trait]
pub trait LlmProviderExt: LlmProvider {
    /// Asks the model and waits for the whole reply.
    ///
    /// # Errors
    /// As [`LlmProvider::stream`]; a stream without end is [`ErrorKind::StreamTruncated`].
    async fn complete(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<LlmFinished, ProviderError> {
        let mut stream = self.stream(request, cx).await?;
        while let Some(event) = stream.next().await {
            if let LlmEvent::Finished(finished) = event? {
                return Ok(*finished);
            }
        }
        Err(ProviderError::new(
            ErrorKind::StreamTruncated,
            self.id().to_owned(),
            "the reply ended before it was complete",
        ))
    }
}

impl<T: LlmProvider + ?Sized> LlmProviderExt for T {}

/// Wraps a provider in another one: retries, fallbacks, limits, recordings.
pub trait LlmLayer: fmt::Debug + Send + Sync + 'static {
    /// The wrapped provider. It has the id of `inner`, unless the layer says otherwise.
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider>;
}
