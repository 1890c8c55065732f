use agent_runner_core::llm::ToolSpec;
use proptest::prelude::*;

use super::{super::frames::Frames, *};
use crate::llm::names::ToolNames;
use crate::llm::stream::testing::{cut, decode, transcript};

macro_rules! fixtures {
    ($($file:literal,)*) => {
        [$(($file, include_bytes!(
            concat!("../../../../../tests/fixtures/llm/openai/", $file)
        ) as &[u8]),)*]
    };
}

const FIXTURES: [(&str, &[u8]); 14] = fixtures![
    "text.sse",
    "parallel_tools.sse",
    "llama_cpp.sse",
    "llama_cpp_recorded.sse",
    "open_router.sse",
    "vllm_index_zero.sse",
    "whole_calls_without_done.sse",
    "error_frame.sse",
    "cut.sse",
    "refusal.sse",
    "mistral_thinking.sse",
    "surrogates.sse",
    "azure_and_groq.sse",
    "document.json",
];

fn decoder_for(profile: &Profile) -> Frames<ChatReader> {
    let mut request = LlmRequest::new("m", Vec::new());
    request.tools = ["files.write", "time.now"]
        .map(|name| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            input_schema: json!({}),
        })
        .to_vec();
    let names = ToolNames::of(&request, super::super::NAMES);
    let origin =
        Origin { request_id: Some("req_1".to_owned()), ..Origin::of(&request, names, "openai") };
    Frames::new(ChatReader::new(&request, origin, profile))
}

fn decoder() -> Frames<ChatReader> {
    decoder_for(&Profile::compatible())
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
        frames in proptest::collection::vec(
            prop_oneof![
                Just("data: [DONE]\n\n".to_owned()),
                Just("event: error\ndata: {}\n\n".to_owned()),
                Just("error: {\"message\":\"x\"}\n\n".to_owned()),
                Just("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n".to_owned()),
                Just("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}\n\n".to_owned()),
                Just("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":9}]}}]}\n\n".to_owned()),
                "data: \\PC{0,30}\n\n",
                "\\PC{0,30}\n",
            ],
            0..8,
        )
    ) {
        let (events, _) = one(frames.concat().as_bytes());
        let finished = events.iter().filter(|event| matches!(event, LlmEvent::Finished(_))).count();
        prop_assert!(finished <= 1);
        let finished_last = matches!(events.last(), Some(LlmEvent::Finished(_)));
        prop_assert!(finished == 0 || finished_last);
    }
}

#[test]
fn an_accepted_answer_that_is_an_error_or_a_web_page_is_no_reply() {
    let (events, fault) = one(br#"{"error":{"message":"no credits","code":402}}"#);
    assert_eq!((events.len(), fault.unwrap().kind), (0, ErrorKind::QuotaExhausted));
    let (_, fault) = one(b"<!DOCTYPE html><title>Log in</title>");
    let fault = fault.unwrap();
    assert_eq!(fault.kind, ErrorKind::MalformedResponse);
    assert!(fault.message.contains("base URL"), "{}", fault.message);
    let (_, fault) = one(br#"{"status":"ok"}"#);
    assert!(fault.unwrap().message.contains("without a reply"));
}

#[test]
fn an_event_that_is_not_json_is_a_malformed_response() {
    let (_, fault) = one(b"data: hello\n\ndata: [DONE]\n\n");
    assert_eq!(fault.unwrap().kind, ErrorKind::MalformedResponse);
}

#[test]
fn an_error_event_in_any_spelling_ends_the_reply() {
    for frame in [
        "event: error\ndata: {\"message\":\"boom\"}\n\n",
        "error: {\"code\":500,\"message\":\"boom\"}\n\n",
        "data: {\"object\":\"error\",\"message\":\"boom\"}\n\n",
        "data: {\"error\":\"boom\"}\n\n",
        "event: error\ndata: boom\n\n",
    ] {
        let (events, fault) = one(frame.as_bytes());
        let fault = fault.unwrap_or_else(|| panic!("{frame}: {events:?}"));
        assert_eq!(
            (fault.kind, fault.message.as_str()),
            (ErrorKind::Unavailable, "boom"),
            "{frame}"
        );
    }
}

#[test]
fn a_running_total_beside_the_delta_is_not_read_twice() {
    let (events, fault) = one(
        b"data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"message\":{\"content\":\"ab\"}}]}\n\ndata: [DONE]\n\n",
    );
    assert_eq!(fault, None);
    assert_eq!(events[1], LlmEvent::TextDelta { text: "b".to_owned() });
}

#[test]
fn nothing_counts_after_the_end() {
    let (events, fault) = one(b"data: [DONE]\n\ndata: {\"error\":\"late\"}\n\n");
    assert_eq!((events.len(), fault), (1, None));
}
