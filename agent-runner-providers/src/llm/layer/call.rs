//! What layers share: the bounds of a call, watching a stream, opening one again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use agent_runner_core::{
    llm::{BoxStream, CallCx, ErrorKind, LlmEvent, LlmFinished, ProviderError, SendState},
    time::{self, Clock},
};
use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// The items of a reply.
pub(super) type Items = BoxStream<'static, Result<LlmEvent, ProviderError>>;

/// Locks for a moment, never across an `await`.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a reader sees something of the reply itself: from then on it cannot begin anew.
pub(super) const fn is_delivered(event: &LlmEvent) -> bool {
    matches!(
        event,
        LlmEvent::TextDelta { .. }
            | LlmEvent::ReasoningDelta { .. }
            | LlmEvent::ToolCallDelta { .. }
            | LlmEvent::Finished(_)
    )
}

/// What ends the waits of a call.
#[derive(Debug)]
pub(super) struct Bounds {
    provider: String,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    until: Option<Timestamp>,
}

impl Bounds {
    /// Those of a call that begins now.
    pub(super) fn of(provider: &str, cx: &CallCx, clock: &Arc<dyn Clock>) -> Self {
        Self {
            provider: provider.to_owned(),
            clock: Arc::clone(clock),
            cancel: cx.cancel.clone(),
            until: cx.timeout.map(|timeout| time::later(clock.now(), timeout)),
        }
    }

    /// What is left of the call's time.
    pub(super) fn left(&self) -> Option<Duration> {
        self.until.map(|until| time::until(self.clock.now(), until))
    }

    /// The circumstances of a call that gets what is left of the time.
    pub(super) fn cx(&self, cx: &CallCx) -> CallCx {
        CallCx { timeout: self.left(), ..cx.clone() }
    }

    /// An error of the call that was never sent.
    pub(super) fn error(&self, kind: ErrorKind, context: impl Into<String>) -> ProviderError {
        ProviderError::new(kind, self.provider.clone(), context).with_sent(SendState::NotSent)
    }

    /// Waits for something, unless the call is over before.
    pub(super) async fn wait<T>(
        &self,
        something: impl Future<Output = T>,
    ) -> Result<T, ProviderError> {
        let over = async {
            match self.left() {
                Some(left) => self.clock.sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                Err(self.error(ErrorKind::Cancelled, "the call was cancelled"))
            }
            result = something => Ok(result),
            () = over => {
                Err(self.error(ErrorKind::Timeout, "the call waited for longer than it may take"))
            }
        }
    }
}

/// A reply that ended before it was complete.
pub(super) fn truncated(provider: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::StreamTruncated,
        provider.to_owned(),
        "the reply ended before it was complete",
    )
}

/// Sees the items of a reply go by. Dropped with the last of them, or when nobody reads on.
pub(super) trait Observer: Send + Unpin + 'static {
    /// An event.
    fn event(&mut self, event: &mut LlmEvent);

    /// The error that ends the reply, or that was there in place of it.
    fn error(&mut self, error: &ProviderError);
}

/// A reply that is watched.
struct Watched<O> {
    provider: String,
    open: Option<(Items, O)>,
}

/// Watches the reply; a refusal is an error of it.
pub(super) fn watch<O: Observer>(
    provider: &str,
    reply: Result<Items, ProviderError>,
    mut observer: O,
) -> Result<Items, ProviderError> {
    match reply {
        Ok(items) => {
            Ok(Box::pin(Watched { provider: provider.to_owned(), open: Some((items, observer)) }))
        }
        Err(error) => {
            observer.error(&error);
            Err(error)
        }
    }
}

impl<O: Observer> Stream for Watched<O> {
    type Item = Result<LlmEvent, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some((items, observer)) = &mut this.open else { return Poll::Ready(None) };
        let mut item =
            ready!(items.poll_next_unpin(cx)).unwrap_or_else(|| Err(truncated(&this.provider)));
        match &mut item {
            Ok(event) => observer.event(event),
            Err(error) => observer.error(error),
        }
        if matches!(item, Err(_) | Ok(LlmEvent::Finished(_))) {
            this.open = None;
        }
        Poll::Ready(Some(item))
    }
}

/// Where replies come from that may begin anew as long as nothing of them was delivered.
#[async_trait]
pub(super) trait Source: Send + 'static {
    /// Opens a reply; after `failed`, if an earlier one did.
    async fn open(&mut self, failed: Option<ProviderError>) -> Result<Items, ProviderError>;

    /// The error of a reply that cannot begin anew.
    fn error(&self, error: ProviderError) -> ProviderError;

    /// The reply is complete.
    fn finish(&mut self, finished: &mut LlmFinished);

    /// The provider's id, for errors.
    fn id(&self) -> &str;
}

struct Reopening<S> {
    source: S,
    items: Items,
    delivered: bool,
}

/// The reply of a source. Refusals have been dealt with when this returns.
pub(super) async fn reopening<S: Source>(mut source: S) -> Result<Items, ProviderError> {
    let items = source.open(None).await?;
    let reading = Reopening { source, items, delivered: false };
    Ok(Box::pin(futures::stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        let item = reading.next().await;
        let more = matches!(item, Ok(ref event) if !matches!(event, LlmEvent::Finished(_)));
        Some((item, more.then_some(reading)))
    })))
}

impl<S: Source> Reopening<S> {
    async fn next(&mut self) -> Result<LlmEvent, ProviderError> {
        loop {
            let item = self.items.next().await;
            match item.unwrap_or_else(|| Err(truncated(self.source.id()))) {
                Ok(mut event) => {
                    self.delivered |= is_delivered(&event);
                    if let LlmEvent::Finished(finished) = &mut event {
                        self.source.finish(finished);
                    }
                    return Ok(event);
                }
                Err(error) if self.delivered => return Err(self.source.error(error)),
                Err(error) => {
                    // The connection of the failed reply is closed before anything is waited for.
                    self.items = Box::pin(futures::stream::empty());
                    self.items = self.source.open(Some(error)).await?;
                }
            }
        }
    }
}

/// A reply that is there already, item by item, each after its wait.
pub(super) fn play(
    items: Vec<(Duration, Result<LlmEvent, ProviderError>)>,
    bounds: Bounds,
) -> Items {
    let playing = (items.into_iter(), bounds);
    Box::pin(futures::stream::unfold(Some(playing), |playing| async move {
        let (mut items, bounds) = playing?;
        let (wait, item) = items.next()?;
        let waited = bounds.wait(async {
            if !wait.is_zero() {
                bounds.clock.sleep(wait).await;
            }
        });
        let item = waited.await.and(item);
        let next = item.is_ok().then_some((items, bounds));
        Some((item, next))
    }))
}
