//! An answer's body and its decoder as the stream that the engine reads.
//!
//! No task is spawned: the stream owns the connection, so dropping the stream closes it.

use std::collections::VecDeque;

use agent_runner_core::llm::{BoxStream, ErrorKind, LlmEvent, ProviderError};

use super::Fault;
use crate::http::Body;

/// Most bytes of one reply, text, reasoning and arguments together. Far above any model's output
/// limit; a server that never ends must not fill memory.
pub(crate) const REPLY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The fault of a reply that outgrows [`REPLY_BYTES_MAX`].
pub(crate) fn too_large() -> Fault {
    let message = format!("the reply is larger than {REPLY_BYTES_MAX} bytes");
    Fault::new(ErrorKind::MalformedResponse, message)
}

/// Turns the bytes of one reply into events.
pub(crate) trait ReplyDecoder: Send + 'static {
    /// Takes the next bytes. [`LlmEvent::Finished`] is the last event it appends.
    fn push(&mut self, bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault>;

    /// The end of the body. Appends [`LlmEvent::Finished`] if the reply is complete.
    fn end(&mut self, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault>;
}

struct Reading<D> {
    body: Body,
    decoder: D,
    ready: VecDeque<LlmEvent>,
    failed: Option<ProviderError>,
}

/// The events of a reply.
pub(crate) fn events<D: ReplyDecoder>(
    body: Body,
    decoder: D,
) -> BoxStream<'static, Result<LlmEvent, ProviderError>> {
    let reading = Reading { body, decoder, ready: VecDeque::new(), failed: None };
    Box::pin(futures::stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        loop {
            if let Some(event) = reading.ready.pop_front() {
                let more = !matches!(event, LlmEvent::Finished(_));
                return Some((Ok(event), more.then_some(reading)));
            }
            if let Some(error) = reading.failed.take() {
                return Some((Err(error), None));
            }
            reading.advance().await;
        }
    }))
}

impl<D: ReplyDecoder> Reading<D> {
    /// Reads one piece of the body: afterwards there is an event or an error.
    async fn advance(&mut self) {
        let decoded = match self.body.next().await {
            Err(error) => {
                self.failed = Some(error);
                return;
            }
            Ok(Some(bytes)) => self.decoder.push(&bytes, &mut self.ready).map(|()| {
                if self.ready.is_empty() {
                    self.ready.push_back(LlmEvent::Keepalive);
                }
            }),
            Ok(None) => self.decoder.end(&mut self.ready).and_then(|()| {
                let complete = matches!(self.ready.back(), Some(LlmEvent::Finished(_)));
                complete.then_some(()).ok_or_else(|| {
                    Fault::new(
                        ErrorKind::StreamTruncated,
                        "the service ended the stream before the reply was complete",
                    )
                })
            }),
        };
        self.failed = decoded.err().map(|fault| self.body.fault(fault));
    }
}
