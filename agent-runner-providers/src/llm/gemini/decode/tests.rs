use agent_runner_core::llm::{LlmFinished, ToolSpec};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::llm::stream::testing::{allocations, cut, damaged, decode, transcript};

macro_rules! fixtures {
    ($($file:literal,)*) => {
        [$(($file, include_bytes!(
            concat!("../../../../../tests/fixtures/llm/gemini/", $file)
        ) as &[u8]),)*]
    };
}

const FIXTURES: [(&str, &[u8]); 25] = fixtures![
    "text.sse",
    "thoughts.sse",
    "signed_parallel_calls.sse",
    "signature_on_empty_text.sse",
    "signed_beside_unsigned.sse",
    "calls_without_ids.sse",
    "usage_on_many_frames.sse",
    "blocked_prompt.sse",
    "safety_stop.sse",
    "malformed_call.sse",
    "max_tokens.sse",
    "unknown_finish.sse",
    "candidate_without_parts.sse",
    "bare_error.sse",
    "bare_error_in_array.sse",
    "error_frame.sse",
    "cut.sse",
    "array.json",
    "array_cut.json",
    "document.json",
    "error.json",
    "surrogates.sse",
    "unread_part.sse",
    "paused.sse",
    "framing.sse",
];

fn decoder() -> Decoder {
    let mut request = LlmRequest::new("gemini-3.8-flash", Vec::new());
    request.tools = ["files.write", "time.now"]
        .map(|name| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            input_schema: json!({}),
        })
        .to_vec();
    let names = ToolNames::of(&request, super::super::NAMES);
    Decoder::new(&request, names, "gemini", "gemini-3.8-flash")
}

fn one(bytes: &[u8]) -> (Vec<LlmEvent>, Option<Fault>) {
    decode(decoder(), [bytes])
}

fn fixture(file: &str) -> (Vec<LlmEvent>, Option<Fault>) {
    one(FIXTURES.iter().find(|(name, _)| *name == file).unwrap().1)
}

fn reply(file: &str) -> LlmFinished {
    match fixture(file) {
        (mut events, None) => match events.pop() {
            Some(LlmEvent::Finished(reply)) => *reply,
            other => panic!("{file} ends with {other:?}"),
        },
        (_, fault) => panic!("{file}: {fault:?}"),
    }
}

/// A frame of one candidate.
fn frame(candidate: &Value) -> String {
    format!("data: {}\r\n\r\n", json!({"candidates": [candidate]}))
}

#[test]
fn constructed_streams_decode_to_these_events() {
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
    fn where_bytes_of_any_kind_are_cut_makes_no_difference(
        (whole, pieces) in frames().prop_flat_map(|bytes| (Just(bytes.clone()), cut(&bytes)))
    ) {
        prop_assert_eq!(decode(decoder(), pieces.iter().map(Vec::as_slice)), one(&whole));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_finish_twice(bytes in frames()) {
        let (events, _) = one(&bytes);
        let finished = events.iter().filter(|event| matches!(event, LlmEvent::Finished(_))).count();
        prop_assert!(finished <= 1);
        let finished_last = matches!(events.last(), Some(LlmEvent::Finished(_)));
        prop_assert!(finished == 0 || finished_last);
    }
}

#[test]
fn damaged_streams_do_no_harm() {
    damaged(&FIXTURES.map(|(_, bytes)| bytes), decoder);
}

#[test]
fn a_text_delta_costs_eight_allocations() {
    let piece = concat!(
        r#"data: {"candidates": [{"content": {"parts": [{"text": " żółw"}], "role": "model"},"#,
        r#""index": 0}], "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2},"#,
        r#""modelVersion": "gemini-3.8-flash", "responseId": "abc"}"#,
        "\r\n\r\n"
    );
    let said = LlmEvent::TextDelta { text: " żółw".to_owned() };
    let count = allocations(decoder(), piece.as_bytes(), &said);
    // The two lists, the text, the model's name, the reply's id, and what was used, with two names;
    // and the reply, which doubles.
    assert!(count <= 8 * 1_000 + 20, "{count}");
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        Just(frame(&json!({"finishReason": "STOP"}))),
        Just(frame(&json!({"content": {"parts": [{"text": "a", "thought": true}]}}))),
        Just(frame(&json!({"content": {"parts": [{"text": "", "thoughtSignature": "s"}]}}))),
        Just(frame(&json!({"content": {"parts": [{"functionCall": {}}]}}))),
        Just(frame(&json!({"content": {"parts": [{"functionCall": {"id": "a", "args": 1}}]}}))),
        Just(frame(&json!({"content": {"parts": [{}]}, "index": 1}))),
        Just("data: [{\"candidates\":[]}]\n\n".to_owned()),
        Just("{\r\n  \"candidates\": []\r\n}\r\n".to_owned()),
        Just("[{\"error\": {\n\"message\": \"}\"}}\n]\n".to_owned()),
        Just("{\"\\\"}".to_owned()),
        Just("event: error\ndata: x\n\n".to_owned()),
        "data: \\PC{0,30}\r\n\r\n",
        "[\\[\\]{}\",:a\\\\ \r\n]{0,20}",
        "\\PC{0,30}\n",
    ];
    proptest::collection::vec(frame, 0..8).prop_map(|frames| frames.concat().into_bytes())
}

#[test]
fn a_stream_that_ends_without_a_finish_reason_is_no_reply() {
    for file in ["cut.sse", "array_cut.json"] {
        let (events, fault) = fixture(file);
        let finished = events.iter().any(|event| matches!(event, LlmEvent::Finished(_)));
        let truncated = fault.is_none_or(|fault| fault.kind == ErrorKind::StreamTruncated);
        assert!(!finished && truncated, "{file}: {events:?}");
    }
}

#[test]
fn an_error_between_the_events_without_data_is_found_over_its_lines() {
    let (events, fault) = fixture("bare_error.sse");
    let fault = fault.unwrap();
    assert_eq!((fault.kind, fault.code.as_deref()), (ErrorKind::Overloaded, Some("UNAVAILABLE")));
    assert!(events.contains(&LlmEvent::TextDelta { text: "Half".into() }), "{events:?}");
    let (_, fault) = fixture("bare_error_in_array.sse");
    let fault = fault.unwrap();
    assert_eq!(fault.kind, ErrorKind::RateLimited);
    assert_eq!(fault.retry_after.map(|wait| wait.as_secs()), Some(37));
}

#[test]
fn an_error_document_in_place_of_a_stream_is_an_error() {
    let (events, fault) = fixture("error.json");
    assert_eq!((events.len(), fault.unwrap().kind), (0, ErrorKind::RateLimited));
    for (body, kind) in [
        ("<!DOCTYPE html><title>Log in</title>", ErrorKind::MalformedResponse),
        ("{\"status\":\"ok\"}", ErrorKind::MalformedResponse),
        ("[]", ErrorKind::MalformedResponse),
    ] {
        let (events, fault) = one(body.as_bytes());
        assert_eq!((events.len(), fault.unwrap().kind), (0, kind), "{body}");
    }
}

#[test]
fn a_json_array_in_place_of_events_is_read_whole() {
    assert_eq!(reply("array.json").message.plain_text(), "Hello you");
    assert_eq!(reply("document.json").message.plain_text(), "Hello you");
}

#[test]
fn a_blocked_prompt_is_an_error_before_anything_is_said() {
    let (events, fault) = fixture("blocked_prompt.sse");
    let fault = fault.unwrap();
    assert_eq!((events.len(), fault.kind), (0, ErrorKind::ContentFilter));
    assert_eq!(fault.code.as_deref(), Some("PROHIBITED_CONTENT"));
}

#[test]
fn a_call_that_the_model_did_not_manage_is_an_error_worth_another_try() {
    for reason in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"] {
        let (_, fault) = one(frame(&json!({"finishReason": reason})).as_bytes());
        let fault = fault.unwrap();
        assert_eq!(
            (fault.kind, fault.code.as_deref()),
            (ErrorKind::MalformedResponse, Some(reason))
        );
    }
}

#[test]
fn stop_with_calls_means_that_the_model_waits_for_tools() {
    let reply = reply("signed_parallel_calls.sse");
    assert_eq!(reply.stop, StopReason::ToolCalls);
    assert_eq!(reply.message.tool_calls().count(), 3);
}

#[test]
fn a_reply_that_can_go_on_is_paused_with_its_token_and_one_without_is_not() {
    let paused = reply("paused.sse");
    assert_eq!(paused.stop, StopReason::Pause);
    let Some(Part::Text { text, provider_state: Some(state) }) = paused.message.parts.last() else {
        panic!("{paused:?}")
    };
    assert_eq!((text.as_str(), &state.raw), ("", &json!({"continuationToken": "Q2hlY2st-_22"})));
    let (mut events, _) = one(frame(&json!({"finishReason": "CONTINUATION"})).as_bytes());
    let Some(LlmEvent::Finished(reply)) = events.pop() else { panic!("{events:?}") };
    assert_eq!(reply.stop, StopReason::Other("CONTINUATION".into()));
}

#[test]
fn a_signature_on_an_empty_text_is_kept_as_a_part_of_its_own() {
    let parts = reply("signature_on_empty_text.sse").message.parts;
    let [Part::Text { text, provider_state: None }, Part::Text { text: last, provider_state }] =
        parts.as_slice()
    else {
        panic!("{parts:?}")
    };
    assert_eq!((text.as_str(), last.as_str()), ("Done.", ""));
    let raw = &provider_state.as_ref().unwrap().raw;
    assert_eq!(*raw, json!({"thoughtSignature": "CvcQAb4-_9k_-QxA"}));
}

#[test]
fn the_last_usage_counts_and_each_change_is_told() {
    let (events, _) = fixture("usage_on_many_frames.sse");
    let told = events.iter().filter(|event| matches!(event, LlmEvent::Usage { .. })).count();
    assert_eq!(told, 3);
    let usage = reply("usage_on_many_frames.sse").usage;
    assert_eq!((usage.input, usage.cache_read), (Some(45), Some(60)));
    assert_eq!((usage.output, usage.reasoning), (Some(23), Some(20)));
}

#[test]
fn arguments_that_are_a_text_are_parsed_and_large_numbers_stay_exact() {
    let call = |args: &Value| {
        let part = json!({"functionCall": {"name": "t", "args": args}});
        let candidate = json!({"content": {"parts": [part]}, "finishReason": "STOP"});
        let (mut events, _) = one(frame(&candidate).as_bytes());
        let Some(LlmEvent::Finished(reply)) = events.pop() else { panic!("{events:?}") };
        reply.message.tool_calls().next().unwrap().arguments.clone()
    };
    assert_eq!(call(&json!("{\"a\":1}")), json!({"a": 1}));
    assert_eq!(call(&json!("{\"a")), json!("{\"a"));
    assert_eq!(call(&json!(null)), json!({}));
    assert_eq!(call(&json!({"n": u64::MAX})).to_string(), "{\"n\":18446744073709551615}");
}

#[test]
fn a_tool_that_was_not_offered_is_called_by_the_name_that_the_model_wrote() {
    let part = json!({"functionCall": {"name": "no.such:tool"}});
    let candidate = json!({"content": {"parts": [part]}, "finishReason": "STOP"});
    let (mut events, _) = one(frame(&candidate).as_bytes());
    let Some(LlmEvent::Finished(reply)) = events.pop() else { panic!("{events:?}") };
    assert_eq!(reply.message.tool_calls().next().unwrap().name, "no.such:tool");
}

#[test]
fn another_candidate_and_unknown_fields_are_ignored() {
    let other =
        json!({"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "STOP"});
    let mine = json!({"index": 0, "finishReason": "STOP", "groundingMetadata": {"x": [1]},
        "content": {"parts": [{"text": "mine", "newIn2027": {}}]}, "avgLogprobs": -0.1});
    let (mut events, fault) = one((frame(&other) + &frame(&mine)).as_bytes());
    assert_eq!(fault, None);
    let Some(LlmEvent::Finished(reply)) = events.pop() else { panic!("{events:?}") };
    assert_eq!(reply.message.plain_text(), "mine");
}

#[test]
fn an_event_that_is_not_json_is_a_malformed_response() {
    let (_, fault) = one(b"data: hello\r\n\r\n");
    assert_eq!(fault.unwrap().kind, ErrorKind::MalformedResponse);
    let (_, fault) = one(b"event: error\ndata: boom\n\n");
    let fault = fault.unwrap();
    assert_eq!((fault.kind, fault.message.as_str()), (ErrorKind::Unavailable, "boom"));
}

#[test]
fn a_reply_of_too_many_parts_is_refused() {
    let parts = vec![json!({"thoughtSignature": "s"}); PARTS_MAX + 1];
    let (_, fault) = one(frame(&json!({"content": {"parts": parts}})).as_bytes());
    assert!(fault.unwrap().message.contains("parts"));
}

#[test]
fn a_long_number_in_a_call_keeps_its_digits_as_text_and_is_told() {
    let frame = "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"functionCall\":\
                 {\"name\":\"f\",\"args\":{\"id\":123456789012345678901234567890,\"n\":1}}}]},\
                 \"finishReason\":\"STOP\"}]}\r\n\r\n";
    let (events, fault) = decode(decoder(), [frame.as_bytes()]);
    assert_eq!(fault, None);
    let Some(LlmEvent::Finished(finished)) = events.last() else { panic!("{events:?}") };
    let call = finished.message.tool_calls().next().unwrap();
    assert_eq!(call.arguments["id"], "123456789012345678901234567890");
    assert_eq!(call.arguments["n"], 1);
    assert_eq!(finished.notices.len(), 1);
}
