use agent_runner_core::{
    llm::{ErrorKind, LlmFinished},
    message::{Message, Role},
};
use proptest::prelude::*;

use super::*;
use crate::llm::stream::testing::{allocations, cut, damaged, decode, transcript};

macro_rules! fixtures {
    ($($file:literal,)*) => {
        [$(($file, include_bytes!(
            concat!("../../../../../tests/fixtures/llm/ollama/", $file)
        ) as &[u8]),)*]
    };
}

const FIXTURES: [(&str, &[u8]); 10] = fixtures![
    "text.ndjson",
    "thinking.ndjson",
    "tools.ndjson",
    "everything_on_the_last_line.ndjson",
    "error_line.ndjson",
    "cut.ndjson",
    "surrogates.ndjson",
    "long_numbers.ndjson",
    "length_and_no_counters.ndjson",
    "loaded.ndjson",
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

    #[test]
    fn no_bytes_make_the_decoder_panic_or_finish_twice(
        lines in proptest::collection::vec(
            prop_oneof![
                Just("{\"done\":true}\n".to_owned()),
                Just("{\"message\":{\"tool_calls\":[{\"function\":{}}]}}\n".to_owned()),
                Just("{\"message\":{\"content\":\"a\"},\"done\":false}\n".to_owned()),
                Just("{\"error\":null}\n".to_owned()),
                "\\PC{0,30}\n",
                "\\PC{0,10}",
            ],
            0..8,
        )
    ) {
        let (events, _) = one(lines.concat().as_bytes());
        let finished = events.iter().filter(|event| matches!(event, LlmEvent::Finished(_))).count();
        prop_assert!(finished <= 1);
        let finished_last = matches!(events.last(), Some(LlmEvent::Finished(_)));
        prop_assert!(finished == 0 || finished_last);
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

fn reply(decoder: Decoder, bytes: &[u8]) -> LlmFinished {
    match decode(decoder, [bytes]) {
        (events, None) => match events.into_iter().last() {
            Some(LlmEvent::Finished(finished)) => *finished,
            other => panic!("{other:?}"),
        },
        (_, fault) => panic!("{fault:?}"),
    }
}

#[test]
fn counters_that_are_missing_are_zero() {
    let usage = reply(decoder(), b"{\"done\":true}\n").usage;
    assert_eq!((usage.input, usage.output), (Some(0), Some(0)));
}

#[test]
fn a_long_number_in_arguments_keeps_its_digits_as_text_and_the_reply_says_so() {
    let bytes = include_bytes!("../../../../../tests/fixtures/llm/ollama/long_numbers.ndjson");
    let reply = reply(decoder(), bytes);
    let arguments: Vec<&Value> = reply.message.tool_calls().map(|call| &call.arguments).collect();
    let kept = json!({"id": "12345678901234567890123", "n": 7});
    assert_eq!(arguments, [&kept, &json!({}), &json!({"a": 1})]);
    assert_eq!(reply.notices.len(), 1, "{:?}", reply.notices);
}

#[test]
fn a_prompt_of_which_the_server_read_far_too_little_is_noticed() {
    let mut request = LlmRequest::new("m", Vec::new());
    request.messages.push(Message::text(Role::User, "word ".repeat(20_000)));
    let notices = |context: Option<u64>, read: &str| {
        let decoder = Decoder::new(&request, "ollama", None).with_context(context);
        reply(decoder, format!("{{\"done\":true{read}}}\n").as_bytes()).notices.len()
    };
    let read = |tokens: u64| format!(",\"prompt_eval_count\":{tokens}");
    assert_eq!(notices(Some(4096), &read(4096)), 1);
    assert_eq!(notices(None, &read(4096)), 1);
    assert_eq!(notices(Some(4096), &read(20_000)), 0, "all of it was read");
    assert_eq!(notices(Some(65_536), &read(10)), 0, "it fits; the rest was cached");
    assert_eq!(notices(Some(4096), ""), 0, "all of it was cached");
}

#[test]
fn damaged_streams_do_no_harm() {
    damaged(&FIXTURES.map(|(_, bytes)| bytes), decoder);
}

#[test]
fn a_text_delta_costs_two_allocations() {
    let line = b"{\"model\":\"m\",\"created_at\":\"x\",\"message\":{\"role\":\"assistant\",\"content\":\" a\"},\"done\":false}\n";
    let said = LlmEvent::TextDelta { text: " a".to_owned() };
    let count = allocations(decoder(), line, &said);
    // The model's name and the text; and the reply, which doubles.
    assert!(count <= 2 * 1_000 + 20, "{count}");
}
