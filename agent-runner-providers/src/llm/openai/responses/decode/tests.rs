use agent_runner_core::{
    llm::{LlmFinished, ToolSpec},
    message::Part,
};
use proptest::prelude::*;

use super::*;
use crate::llm::{
    names::ToolNames,
    openai::{NAMES, frames::Frames},
    stream::testing::{allocations, cut, damaged, decode, transcript},
};

macro_rules! fixtures {
    ($($file:literal,)*) => {
        [$(($file, include_bytes!(
            concat!("../../../../../../tests/fixtures/llm/openai_responses/", $file)
        ) as &[u8]),)*]
    };
}

const FIXTURES: [(&str, &[u8]); 14] = fixtures![
    "text.sse",
    "reasoning_and_calls.sse",
    "interleaved_calls.sse",
    "refusal.sse",
    "incomplete_length.sse",
    "incomplete_filter.sse",
    "incomplete_steered.sse",
    "failed.sse",
    "error_event.sse",
    "cut.sse",
    "unknown_events.sse",
    "only_whole_items.sse",
    "document.json",
    "document_error.json",
];

fn decoder() -> Frames<ResponseReader> {
    let mut request = LlmRequest::new("m", Vec::new());
    request.tools = ["files.write", "time.now"]
        .map(|name| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            input_schema: json!({}),
        })
        .to_vec();
    let names = ToolNames::of(&request, NAMES);
    let origin = Origin {
        request_id: Some("req_1".to_owned()),
        notices: vec!["a notice".to_owned()],
        ..Origin::of(&request, names, "openai")
    };
    Frames::new(ResponseReader::new(&request, origin))
}

fn one(bytes: &[u8]) -> (Vec<LlmEvent>, Option<Fault>) {
    decode(decoder(), [bytes])
}

fn reply_of(file: &str) -> LlmFinished {
    let (_, bytes) = FIXTURES.into_iter().find(|(name, _)| *name == file).unwrap();
    let (events, fault) = one(bytes);
    assert_eq!(fault, None, "{file}");
    match events.into_iter().last() {
        Some(LlmEvent::Finished(finished)) => *finished,
        other => panic!("{file}: {other:?}"),
    }
}

#[test]
fn recorded_streams_decode_to_these_events() {
    for (file, bytes) in FIXTURES {
        insta::assert_snapshot!(file, transcript(&one(bytes)));
    }
}

#[test]
fn reasoning_is_kept_as_the_whole_item_says_and_the_parts_keep_their_order() {
    let reply = reply_of("reasoning_and_calls.sse");
    let told: Vec<String> = reply
        .message
        .parts
        .iter()
        .map(|part| match part {
            Part::Reasoning { text, provider_state } => {
                let item = &provider_state.as_ref().unwrap().raw["item"];
                format!("{text}|{}", item["encrypted_content"].as_str().unwrap())
            }
            Part::Text { text, provider_state } => {
                format!("{text}|{}", provider_state.as_ref().unwrap().raw["phase"])
            }
            Part::ToolCall(call) => format!("{} {} {}", call.id, call.name, call.arguments),
            Part::ToolResult { .. } => "a result".to_owned(),
            _ => "something else".to_owned(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "I should look.\n\nThen write.|gAAAA-0-whole+/=",
            "Let me look.|\"commentary\"",
            "call_a files.write {\"path\":\"a.md\"}",
            "|gAAAA-3-whole+/=",
            "call_b time.now {}",
        ]
    );
    assert_eq!(reply.stop, StopReason::ToolCalls);
    assert_eq!(
        (reply.usage.input, reply.usage.cache_read, reply.usage.cache_write, reply.usage.reasoning),
        (Some(15), Some(100), Some(5), Some(20))
    );
    assert_eq!(reply.notices, ["a notice"]);
}

#[test]
fn an_incomplete_response_says_why_and_its_cut_call_stays_text() {
    let reply = reply_of("incomplete_length.sse");
    assert_eq!(reply.stop, StopReason::MaxTokens);
    let call = reply.message.tool_calls().next().unwrap();
    assert_eq!(call.arguments, json!("{\"path\": \"a"));
    assert_eq!(reply_of("incomplete_filter.sse").stop, StopReason::ContentFilter);
    assert_eq!(reply_of("incomplete_steered.sse").stop, StopReason::Other("steered".to_owned()));
}

#[test]
fn a_refusal_is_text_and_a_reason() {
    let reply = reply_of("refusal.sse");
    assert_eq!(reply.stop, StopReason::Refusal);
    assert_eq!(reply.message.plain_text(), "I can't help.");
}

#[test]
fn a_failure_in_any_form_is_an_error_by_its_code() {
    let table = [
        (
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slow\"}}}\n\n",
            ErrorKind::RateLimited,
        ),
        (
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":null}}\n\n",
            ErrorKind::Unavailable,
        ),
        (
            "data: {\"type\":\"error\",\"code\":\"context_length_exceeded\",\"message\":\"long\"}\n\n",
            ErrorKind::ContextLength,
        ),
        (
            "event: error\ndata: {\"error\":{\"code\":\"insufficient_quota\",\"message\":\"pay\"}}\n\n",
            ErrorKind::QuotaExhausted,
        ),
        ("data: {\"error\":{\"message\":\"boom\"}}\n\n", ErrorKind::Unavailable),
        ("event: error\ndata: boom\n\n", ErrorKind::Unavailable),
        ("data: boom\n\n", ErrorKind::MalformedResponse),
        ("<html><title>Log in</title>", ErrorKind::MalformedResponse),
        ("{\"status\":\"ok\"}", ErrorKind::MalformedResponse),
    ];
    for (body, kind) in table {
        let (_, fault) = one(body.as_bytes());
        assert_eq!(fault.unwrap().kind, kind, "{body}");
    }
}

#[test]
fn nothing_counts_after_the_end() {
    let (events, fault) = one(
        b"data: {\"type\":\"response.completed\",\"response\":{}}\n\ndata: {\"type\":\"error\"}\n\n",
    );
    assert_eq!((events.len(), fault), (2, None));
}

#[test]
fn items_without_end_are_refused() {
    let event = |place: usize| {
        format!(
            "data: {{\"type\":\"response.output_item.added\",\"output_index\":{place},\"item\":{{\"type\":\"function_call\"}}}}\n\n"
        )
    };
    let body: String = (0..=ITEMS_MAX).map(event).collect();
    let (_, fault) = one(body.as_bytes());
    assert_eq!(fault.unwrap().kind, ErrorKind::MalformedResponse);
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
                Just("event: response.completed\ndata: {}\n\n".to_owned()),
                Just("data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\"}}\n\n".to_owned()),
                Just("data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"function_call\"}}\n\n".to_owned()),
                Just("data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"reasoning\",\"summary\":7}}\n\n".to_owned()),
                Just("data: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{\"}\n\n".to_owned()),
                Just("data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n".to_owned()),
                Just("event: error\ndata: {}\n\n".to_owned()),
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
fn damaged_streams_do_no_harm() {
    damaged(&FIXTURES.map(|(_, bytes)| bytes), decoder);
}

#[test]
fn a_text_delta_costs_two_allocations() {
    let piece = concat!(
        "event: response.output_text.delta\n",
        r#"data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":1,"#,
        r#""content_index":0,"delta":" żółw","sequence_number":7,"logprobs":[]}"#,
        "\n\n"
    );
    let said = LlmEvent::TextDelta { text: " żółw".to_owned() };
    let count = allocations(decoder(), piece.as_bytes(), &said);
    // The event's kind and the text; and the reply, which doubles.
    assert!(count <= 2 * 1_000 + 20, "{count}");
}
