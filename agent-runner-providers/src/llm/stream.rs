//! An answer's body and its decoder as the stream that the engine reads.
//!
//! No task is spawned: the stream owns the connection, so dropping the stream closes it.

use std::collections::VecDeque;

use agent_runner_core::llm::{BoxStream, ErrorKind, LlmEvent, ProviderError};
use tokio::time::Instant;

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
    /// When there was last something of the reply.
    heard: Instant,
}

/// The events of a reply, what the service still allows first.
pub(crate) fn events<D: ReplyDecoder>(
    body: Body,
    decoder: D,
) -> BoxStream<'static, Result<LlmEvent, ProviderError>> {
    let ready = body.limits().map(LlmEvent::Limits).into_iter().collect();
    // Boxed, because it is handed over at every event.
    let reading = Box::new(Reading { body, decoder, ready, failed: None, heard: Instant::now() });
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
            Ok(Some(bytes)) => {
                let pushed = self.decoder.push(&bytes, &mut self.ready);
                pushed.map(|()| self.listened())
            }
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
        if let Err(fault) = decoded {
            self.failed = Some(self.body.fault(fault));
        }
    }

    /// Judges what a piece brought: something of the reply, or a sign of life, for which there is
    /// less patience.
    fn listened(&mut self) {
        if self.ready.iter().any(is_content) {
            self.heard = Instant::now();
        } else if let Some(error) = self.body.without_content(self.heard) {
            self.failed = Some(error);
        } else if self.ready.is_empty() {
            self.ready.push_back(LlmEvent::Keepalive);
        }
    }
}

/// Whether this is something of the reply, and not only a sign that the service is there.
const fn is_content(event: &LlmEvent) -> bool {
    !matches!(event, LlmEvent::Keepalive | LlmEvent::Usage { .. } | LlmEvent::Limits(_))
}

#[cfg(test)]
pub(crate) mod testing {
    //! Decoders on bytes instead of a connection.

    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::fuzz::fuzz;

    /// Most memory that a decoder may take for the small replies of the tests.
    const MEMORY_MAX: u64 = 256 * 1024;

    /// Damages good replies: the decoder never panics, finishes at most once and last, takes
    /// little memory, and it makes no difference where the bytes are cut.
    pub(crate) fn damaged<D: ReplyDecoder>(good: &[&[u8]], decoder: impl Fn() -> D) {
        fuzz(good, 0..4_000, |bytes, pieces, _| {
            let mut whole = (Vec::new(), None);
            let memory =
                allocation_counter::measure(|| whole = decode(decoder(), [bytes])).bytes_max;
            assert!(memory < MEMORY_MAX, "{memory} bytes");
            assert_eq!(decode(decoder(), pieces.iter().copied()), whole);
            let finished = |event: &LlmEvent| matches!(event, LlmEvent::Finished(_));
            let (_, earlier) = whole.0.split_last().unzip();
            assert!(!earlier.unwrap_or_default().iter().any(finished));
        });
    }

    /// The events and the fault that pieces of bytes decode to.
    pub(crate) fn decode<'a>(
        mut decoder: impl ReplyDecoder,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<LlmEvent>, Option<Fault>) {
        let mut out = VecDeque::new();
        let pushed = pieces.into_iter().try_for_each(|piece| decoder.push(piece, &mut out));
        let fault = pushed.and_then(|()| decoder.end(&mut out)).err();
        (out.into(), fault)
    }

    /// The allocations of a decoder that has begun, for a thousand times these bytes, each of
    /// which is this one event.
    pub(crate) fn allocations(
        mut decoder: impl ReplyDecoder,
        bytes: &[u8],
        event: &LlmEvent,
    ) -> u64 {
        let mut out = VecDeque::with_capacity(8);
        decoder.push(bytes, &mut out).unwrap();
        let cost = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                out.clear();
                decoder.push(bytes, &mut out).unwrap();
            }
        });
        assert_eq!(out.make_contiguous(), std::slice::from_ref(event));
        cost.count_total
    }

    /// One line per event, for snapshots.
    pub(crate) fn transcript((events, fault): &(Vec<LlmEvent>, Option<Fault>)) -> String {
        let mut lines: Vec<String> =
            events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        lines.push(match fault {
            Some(fault) => format!("{:?} {:?}: {}", fault.kind, fault.code, fault.message),
            None => "end".to_owned(),
        });
        lines.join("\n")
    }

    /// `bytes` cut at any places.
    pub(crate) fn cut(bytes: &[u8]) -> impl Strategy<Value = Vec<Vec<u8>>> + use<> {
        let bytes = bytes.to_vec();
        proptest::collection::vec(any::<Index>(), 0..20).prop_map(move |cuts| {
            let mut places: Vec<usize> =
                cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for place in places {
                pieces.push(bytes[from..place].to_vec());
                from = place;
            }
            pieces.push(bytes[from..].to_vec());
            pieces
        })
    }
}
