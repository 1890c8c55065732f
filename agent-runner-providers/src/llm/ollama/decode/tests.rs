use agent_runner_core::llm::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::llm::stream::testing::{cut, damaged, decode, transcript};

macro_rules! fixtures {
    ($($file:literal,)*) => {
        [$(($file, include_bytes!(
            concat!("../../../../../tests/fixtures/llm/ollama/", $file)
        ) as &[u8]),)*]
    };
}

const FIXTURES: [(&str, &[u8]); 7] = fixtures![
    "text.ndjson",
    "thinking.ndjson",
    "tools.ndjson",
    "everything_on_the_last_line.ndjson",
    "error_line.ndjson",
    "cut.ndjson",
    "surrogates.ndjson",
];

fn decoder() -> Decoder {
    Decoder::new(&LlmRequest::new("qwen3:4b", Vec::new()), "ollama", None)
}

fn one(bytes: &[u8]) -> (Vec<LlmEvent>, Option<Fault>) {
    decode(decoder(), [bytes])
}

#[test]
fn recorded_streams_decode_to_these_events() {
    for (file, bytes) in FIXTURES {
        insta::assert_snapshot!(file, transcript(&one(bytes)));
    }
}

proptest! {
    #[test]
    fn where_a_stream_is_cut_makes_no_difference(
        (whole, pieces) in proptest::sample::select(FIXTURES.as_slice())
            .prop_flat_map(|(_, bytes)| (Just(bytes), cut(bytes)))
    ) {
        prop_assert_eq!(decode(decoder(), pieces.iter().map(Vec::as_slice)), one(whole));
    }
}

#[test]
fn an_answer_of_something_else_says_where_to_look() {
    for bytes in [b"<html></html>".as_slice(), b"Not found\n", b"[1]\n"] {
        let (_, fault) = one(bytes);
        let fault = fault.unwrap();
        assert_eq!(fault.kind, ErrorKind::MalformedResponse, "{bytes:?}");
    }
    let (_, fault) = one(b"<html></html>");
    assert!(fault.unwrap().message.contains("OLLAMA_HOST"));
}

#[test]
fn nothing_counts_after_the_end() {
    let (events, fault) = one(b"{\"done\":true}\n{\"error\":\"late\"}\n");
    assert_eq!((events.len(), fault), (2, None));
}

#[test]
fn damaged_streams_do_no_harm() {
    damaged(&FIXTURES.map(|(_, bytes)| bytes), decoder);
}

#[test]
fn a_text_delta_costs_two_allocations() {
    let line = b"{\"model\":\"m\",\"created_at\":\"x\",\"message\":{\"role\":\"assistant\",\"content\":\" a\"},\"done\":false}\n";
    let (mut decoder, mut out) = (decoder(), VecDeque::with_capacity(8));
    decoder.push(line, &mut out).unwrap();
    let cost = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            out.clear();
            decoder.push(line, &mut out).unwrap();
        }
    });
    assert_eq!(out, [LlmEvent::TextDelta { text: " a".to_owned() }]);
    // The model's name and the text; and the reply, which doubles.
    assert!(cost.count_total <= 2 * 1_000 + 20, "{cost:?}");
}
