//! What the benchmark of the streams measures of this provider.

use std::collections::VecDeque;

use agent_runner_core::llm::LlmRequest;

use super::{
    NAMES,
    decode::ChatReader,
    frames::{Frames, Origin},
    profile::Profile,
    wire::Chunk,
};
use crate::llm::{names::ToolNames, stream::ReplyDecoder as _};

/// The number of events that the pieces of one reply decode to, until the first fault.
pub(crate) fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let request = LlmRequest::new("m", Vec::new());
    let names = ToolNames::of(&request, NAMES);
    let origin = Origin::of(&request, names, "openai");
    let mut decoder = Frames::new(ChatReader::new(&request, origin, &Profile::compatible()));
    let mut out = VecDeque::new();
    let mut count = 0;
    for piece in pieces {
        let pushed = decoder.push(piece, &mut out);
        count += out.len();
        out.clear();
        if pushed.is_err() {
            break;
        }
    }
    count
}

/// Whether a text is a chunk, found with nothing but the JSON parser.
pub(crate) fn is_chunk(text: &str) -> bool {
    serde_json::from_str::<Chunk>(text).is_ok_and(|chunk| chunk.choices.is_some())
}
