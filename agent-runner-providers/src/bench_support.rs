//! What the benchmarks of this workspace measure, which is no part of the API.

use crate::{
    http::{EVENT_BYTES_MAX, LineDecoder, SseDecoder, TooLong},
    llm::openai::bench,
};

/// Hands over name and data of each event in the pieces.
pub fn sse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, mut each: impl FnMut(&str, &str)) {
    let mut decoder = SseDecoder::new(EVENT_BYTES_MAX);
    for piece in pieces {
        let pushed = decoder.push(piece, |event| {
            each(event.name, event.data);
            Ok::<_, TooLong>(())
        });
        if pushed.is_err() {
            return;
        }
    }
}

/// Hands over each line of the pieces.
pub fn lines<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, mut each: impl FnMut(&str)) {
    let mut decoder = LineDecoder::new(EVENT_BYTES_MAX);
    for piece in pieces {
        let pushed = decoder.push(piece, |line| {
            each(line);
            Ok::<_, TooLong>(())
        });
        if pushed.is_err() {
            return;
        }
    }
}

/// The number of events that the pieces of one reply of chat completions decode to.
pub fn openai_events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> usize {
    bench::events(pieces)
}

/// Whether a text is a chunk of a chat completion, found with nothing but the JSON parser.
#[must_use]
pub fn is_openai_chunk(text: &str) -> bool {
    bench::is_chunk(text)
}
