use agent_runner_core::{
    llm::{LlmFinished, ToolSpec},
    message::Part,
};
use proptest::prelude::*;

use super::*;
use crate::llm::stream::testing::{allocations, cut, damaged, decode, transcript};

macro_rules! fixtures {
    ($($file:literal,)*) => {
        [$(($file, include_bytes!(
            concat!("../../../../../tests/fixtures/llm/anthropic/", $file)
        ) as &[u8]),)*]
    };
}

const FIXTURES: [(&str, &[u8]); 23] = fixtures![
    "text.sse",
    "thinking.sse",
    "omitted_thinking.sse",
    "redacted_thinking.sse",
    "parallel_tools.sse",
    "empty_arguments.sse",
    "cut_arguments.sse",
    "pings.sse",
    "error_event.sse",
    "refusal.sse",
    "pause_turn.sse",
    "unknown_kinds.sse",
    "citations.sse",
    "framing.sse",
    "cut.sse",
    "cut_in_event.sse",
    "last_blank_line_missing.sse",
    "usage.sse",
    "unnamed_frames.sse",
    "surrogates.sse",
    "several_open_blocks.sse",
    "document.json",
    "error_document.json",
];

type Decoded = (Vec<LlmEvent>, Option<Fault>);

fn decoder() -> Decoder {
    let mut request = LlmRequest::new("m", Vec::new());
    request.tools = ["files.write", "time.now"]
        .map(|name| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            input_schema: json!({}),
        })
        .to_vec();
    let names = ToolNames::of(&request, super::super::NAMES);
    Decoder::new(&request, names, "anthropic", Some("req_1".to_owned()))
}

fn one(bytes: &[u8]) -> Decoded {
    decode(decoder(), [bytes])
}

fn fixture(name: &str) -> Decoded {
    one(FIXTURES.iter().find(|(file, _)| *file == name).unwrap().1)
}

fn finished(name: &str) -> LlmFinished {
    match fixture(name) {
        (events, None) => match events.last() {
            Some(LlmEvent::Finished(finished)) => finished.as_ref().clone(),
            other => panic!("{name} ends with {other:?}"),
        },
        (_, fault) => panic!("{name}: {fault:?}"),
    }
}

fn frames(frames: &[&str]) -> String {
    frames.iter().map(|frame| format!("data: {frame}\n\n")).collect()
}

/// What is kept of a part to be sent back.
fn raw(part: &Part) -> Option<&Value> {
    match part {
        Part::Text { provider_state, .. } | Part::Reasoning { provider_state, .. } => {
            provider_state.as_ref().map(|state| &state.raw)
        }
        _ => None,
    }
}

#[test]
fn constructed_streams_decode_to_these_events() {
    for (file, bytes) in FIXTURES {
        insta::assert_snapshot!(file, transcript(&one(bytes)));
        assert_eq!(decode(decoder(), bytes.chunks(1)), one(bytes), "{file} byte by byte");
    }
}

#[test]
fn unknown_fields_anywhere_are_ignored() {
    let more = |text: &str| text.replace('{', r#"{"zz":{"error":[null]},"#);
    let stream = std::str::from_utf8(FIXTURES[0].1).unwrap();
    assert_eq!(one(more(stream).as_bytes()), one(stream.as_bytes()));
}

#[test]
fn pieces_with_strange_types_are_read_as_far_as_they_can_be() {
    let (events, fault) = one(frames(&[
        r#"{"type":"content_block_start","content_block":{"type":"text","text":null}}"#,
        r#"{"type":"content_block_delta","index":null,"delta":{"type":"text_delta","text":7}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a","thinking":7}}"#,
        r#"{"type":"content_block_delta","delta":null}"#,
        r#"{"type":"message_delta","delta":null,"usage":{"output_tokens":"many"}}"#,
        r#"{"type":"message_stop"}"#,
    ])
    .as_bytes());
    assert_eq!(fault, None);
    let Some(LlmEvent::Finished(reply)) = events.last() else { panic!("{events:?}") };
    assert_eq!((reply.message.plain_text().as_str(), reply.usage.output), ("a", None));
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
    fn lines_may_end_with_cr_lf_or_cr_and_be_cut_between_them(
        ((bytes, pieces), end) in (
            proptest::sample::select(FIXTURES.as_slice()),
            proptest::sample::select(&["\r\n", "\r"]),
        )
            .prop_flat_map(|((_, bytes), end)| {
                let ended = String::from_utf8(bytes.to_vec()).unwrap().replace('\n', end);
                ((Just(bytes), cut(ended.as_bytes())), Just(end))
            })
    ) {
        let decoded = decode(decoder(), pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(decoded, one(bytes), "{:?}", end);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_finish_twice(
        frames in proptest::collection::vec(
            prop_oneof![
                Just("event: message_stop\ndata: {}\n\n".to_owned()),
                Just("event: error\ndata: {}\n\n".to_owned()),
                Just("data: {\"type\":\"message_start\",\"message\":[]}\n\n".to_owned()),
                (0..3u8, "text|tool_use|thinking|new").prop_map(|(index, kind)| format!(
                    "data: {{\"type\":\"content_block_start\",\"index\":{index},\
                     \"content_block\":{{\"type\":\"{kind}\",\"text\":1,\"input\":\"x\"}}}}\n\n"
                )),
                (0..3u8, "text|input_json|thinking|signature|new").prop_map(|(index, kind)| format!(
                    "data: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":\
                     {{\"type\":\"{kind}_delta\",\"text\":\"a\",\"partial_json\":\"{{\",\
                     \"thinking\":\"b\",\"signature\":\"c\"}}}}\n\n"
                )),
                Just("data: {\"type\":\"message_delta\",\"delta\":7,\"usage\":[]}\n\n".to_owned()),
                "data: \\PC{0,30}\n\n",
                "\\PC{0,30}\n",
            ],
            0..10,
        )
    ) {
        let (events, _) = one(frames.concat().as_bytes());
        let finished = events.iter().filter(|event| matches!(event, LlmEvent::Finished(_))).count();
        prop_assert!(finished <= 1);
        if let Some(LlmEvent::Finished(reply)) = events.last() {
            let shown: String = events.iter().filter_map(|event| match event {
                LlmEvent::TextDelta { text } => Some(text.as_str()),
                _ => None,
            }).collect();
            prop_assert_eq!(shown, reply.message.plain_text());
        }
        prop_assert!(finished == 0 || matches!(events.last(), Some(LlmEvent::Finished(_))));
    }
}

#[test]
fn a_stream_without_its_last_event_is_no_reply() {
    for name in ["cut.sse", "cut_in_event.sse"] {
        let (events, fault) = fixture(name);
        assert_eq!(fault, None, "{name}");
        assert!(!matches!(events.last(), Some(LlmEvent::Finished(_))), "{name}");
    }
    assert_eq!(finished("last_blank_line_missing.sse").message.plain_text(), "All of it");
}

#[test]
fn a_ping_anywhere_is_nothing_but_a_sign_of_life() {
    let (events, _) = fixture("pings.sse");
    let pings = events.iter().filter(|event| matches!(event, LlmEvent::Keepalive)).count();
    assert_eq!((pings, finished("pings.sse").message.plain_text().as_str()), (5, "Hi"));
}

#[test]
fn unknown_events_and_deltas_are_ignored_and_unknown_blocks_are_kept_as_they_came() {
    let reply = finished("unknown_kinds.sse");
    assert_eq!(reply.message.plain_text(), "AB");
    assert_eq!(reply.stop, StopReason::Other("sleepy".to_owned()));
    let kept: Vec<Option<&Value>> = reply.message.parts.iter().map(raw).collect();
    let block = json!({"type": "compaction", "content": "summary", "encoding": "z", "blob": [1]});
    let thought = json!({"type": "thinking", "thinking": "C", "signature": "sig"});
    assert_eq!(kept, [None, Some(&block), None, Some(&thought)]);
}

#[test]
fn the_blocks_of_a_paused_turn_are_kept_whole_and_in_order() {
    let reply = finished("pause_turn.sse");
    assert_eq!(reply.stop, StopReason::Pause);
    let kept: Vec<&Value> = reply.message.parts.iter().filter_map(raw).collect();
    assert_eq!(kept[0]["input"], json!({"query": "x"}));
    assert_eq!(kept[0]["type"], "server_tool_use");
    assert_eq!(kept[1]["content"][0]["encrypted_content"], "Eo8BCg==");
}

#[test]
fn a_thought_keeps_its_signature_exactly_even_if_it_is_empty() {
    for (name, thought, signature) in [
        ("thinking.sse", "Let me see.", "EqQBCgIYAhIM/+a1b2=="),
        ("omitted_thinking.sse", "", "EosnCkYICxIM+/zz=="),
    ] {
        let reply = finished(name);
        let expected = json!({"type": "thinking", "thinking": thought, "signature": signature});
        assert_eq!(raw(&reply.message.parts[0]), Some(&expected));
        let Part::Reasoning { text, provider_state: Some(state) } = &reply.message.parts[0] else {
            panic!("{:?}", reply.message.parts);
        };
        assert_eq!(
            (text.as_str(), state.provider.as_str(), state.model.as_str()),
            (thought, "anthropic", "m")
        );
    }
    let redacted = finished("redacted_thinking.sse");
    assert_eq!(
        raw(&redacted.message.parts[0]),
        Some(&json!({"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4="}))
    );
}

#[test]
fn a_thought_that_was_cut_before_its_signature_is_shown_but_not_sent_back() {
    let (events, fault) = one(frames(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"}}"#,
        r#"{"type":"message_stop"}"#,
    ])
    .as_bytes());
    assert_eq!(fault, None);
    let Some(LlmEvent::Finished(reply)) = events.last() else { panic!("{events:?}") };
    let thought = Part::Reasoning { text: "Hm".to_owned(), provider_state: None };
    assert_eq!(
        (&reply.stop, reply.message.parts.as_slice()),
        (&StopReason::MaxTokens, &[thought][..])
    );
}

#[test]
fn arguments_that_never_came_are_an_empty_object_and_cut_ones_stay_text() {
    let arguments = |name: &str| -> Vec<Value> {
        finished(name).message.tool_calls().map(|call| call.arguments.clone()).collect()
    };
    assert_eq!(arguments("empty_arguments.sse"), [json!({}), json!({})]);
    assert_eq!(arguments("cut_arguments.sse"), [json!(r#"{"path": "a.md", "text": "It never en"#)]);
    assert_eq!(finished("cut_arguments.sse").stop, StopReason::MaxTokens);
    assert_eq!(arguments("several_open_blocks.sse"), [json!({"a": 1}), json!({"b": 2})]);
}

#[test]
fn an_error_event_after_200_is_the_error_that_its_type_says() {
    let (events, fault) = fixture("error_event.sse");
    let fault = fault.unwrap();
    assert_eq!(fault.kind, ErrorKind::Overloaded);
    assert_eq!(fault.request_id.as_deref(), Some("req_011C"));
    assert!(events.contains(&LlmEvent::TextDelta { text: "Half".to_owned() }));
    for (frame, kind, message) in [
        ("event: error\ndata: {\"message\":\"boom\"}\n\n", ErrorKind::Unavailable, "boom"),
        ("event: error\ndata: boom\n\n", ErrorKind::Unavailable, "boom"),
        (
            "data: {\"error\":{\"type\":\"api_error\",\"message\":\"boom\"}}\n\n",
            ErrorKind::Unavailable,
            "boom",
        ),
        (
            "data: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow\"}}\n\n",
            ErrorKind::RateLimited,
            "slow",
        ),
    ] {
        let fault = one(frame.as_bytes()).1.unwrap();
        assert_eq!((fault.kind, fault.message.as_str()), (kind, message), "{frame}");
    }
}

#[test]
fn usage_is_a_running_total_that_overwrites_and_counts_cached_tokens_apart() {
    let (events, _) = fixture("usage.sse");
    let reports: Vec<Usage> = events
        .iter()
        .filter_map(|event| match event {
            LlmEvent::Usage { usage } => Some(*usage),
            _ => None,
        })
        .collect();
    let first = Usage {
        input: Some(3),
        output: Some(1),
        cache_read: Some(9000),
        cache_write: Some(700),
        cache_write_1h: Some(200),
        reasoning: None,
    };
    let second = Usage { output: Some(10), ..first };
    let last = Usage {
        input: Some(5),
        output: Some(25),
        cache_read: Some(9100),
        reasoning: Some(7),
        ..first
    };
    assert_eq!(reports, [first, second, last]);
    assert_eq!(finished("usage.sse").usage, last);
}

#[test]
fn a_refusal_says_why_and_keeps_what_was_said() {
    let reply = finished("refusal.sse");
    assert_eq!(reply.stop, StopReason::Refusal);
    assert_eq!(reply.stop_detail.as_deref(), Some("cyber: The request asks for an exploit."));
    assert_eq!(reply.message.plain_text(), "First you");
}

#[test]
fn every_reason_to_stop_has_its_own() {
    let call = r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"x"}}"#;
    for (reason, stop) in [
        ("end_turn", StopReason::EndTurn),
        ("max_tokens", StopReason::MaxTokens),
        ("stop_sequence", StopReason::StopSequence),
        ("pause_turn", StopReason::Pause),
        ("refusal", StopReason::Refusal),
        ("model_context_window_exceeded", StopReason::ContextFull),
        ("tomorrow", StopReason::Other("tomorrow".to_owned())),
        ("tool_use", StopReason::ToolCalls),
    ] {
        let delta = format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}}}}"#);
        let stream =
            [if reason == "tool_use" { call } else { "{}" }, &delta, r#"{"type":"message_stop"}"#];
        let (events, _) = one(frames(&stream).as_bytes());
        let Some(LlmEvent::Finished(reply)) = events.last() else { panic!("{reason}") };
        assert_eq!((&reply.stop, reply.stop_detail.as_deref()), (&stop, None), "{reason}");
    }
}

#[test]
fn an_accepted_answer_that_is_an_error_or_a_web_page_is_no_reply() {
    let (events, fault) = fixture("error_document.json");
    let fault = fault.unwrap();
    assert_eq!((events.len(), fault.kind), (0, ErrorKind::RateLimited));
    assert_eq!(fault.request_id.as_deref(), Some("req_9"));
    let fault = one(b"<!DOCTYPE html><title>Log in</title>").1.unwrap();
    assert_eq!(fault.kind, ErrorKind::MalformedResponse);
    assert!(fault.message.contains("base URL"), "{}", fault.message);
    assert!(one(br#"{"status":"ok"}"#).1.unwrap().message.contains("without a reply"));
    let cut = one(br#"{"type":"message","content":[{"type":"te"#).1.unwrap();
    assert_eq!(cut.kind, ErrorKind::StreamTruncated);
}

#[test]
fn a_whole_document_says_the_same_as_a_stream() {
    let reply = finished("document.json");
    let calls: Vec<_> = reply.message.tool_calls().map(|call| call.name.as_str()).collect();
    assert_eq!(
        (reply.message.plain_text().as_str(), calls),
        ("I write.", vec!["files.write", "time.now"])
    );
    assert_eq!((reply.stop, reply.usage.output), (StopReason::ToolCalls, Some(20)));
}

#[test]
fn an_event_that_is_not_json_is_a_malformed_response() {
    for frame in ["data: hello\n\n", "event: message_delta\ndata: [1\n\n"] {
        let fault = one(format!("{frame}data: {{}}\n\n").as_bytes()).1.unwrap();
        assert_eq!(fault.kind, ErrorKind::MalformedResponse, "{frame}");
    }
}

#[test]
fn pieces_that_fit_no_block_are_no_reply() {
    let text = |index: u8| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"text","text":""}}}}"#
        )
    };
    let piece =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    for stream in [vec![piece.to_owned()], vec![text(0), text(1), piece.to_owned()]] {
        let stream: Vec<&str> = stream.iter().map(String::as_str).collect();
        let (events, fault) = one(frames(&stream).as_bytes());
        assert_eq!(fault.unwrap().kind, ErrorKind::MalformedResponse, "{events:?}");
    }
}

#[test]
fn a_reply_that_never_ends_is_stopped_by_its_size_and_by_its_blocks() {
    let start = r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}"#;
    let fault = one(frames(&[start; 5000]).as_bytes()).1.unwrap();
    assert_eq!(fault.kind, ErrorKind::MalformedResponse);
    let piece = "x".repeat(8 * 1024 * 1024);
    let delta = format!(
        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{piece}"}}}}"#
    );
    let delta = frames(&[&delta]);
    let start = frames(&[start]);
    let pieces = std::iter::once(start.as_str()).chain(std::iter::repeat_n(delta.as_str(), 5));
    let fault = decode(decoder(), pieces.map(str::as_bytes)).1.unwrap();
    assert!(fault.message.contains("larger than"), "{}", fault.message);
}

#[test]
fn nothing_counts_after_the_end() {
    let (events, fault) =
        one(frames(&[r#"{"type":"message_stop"}"#, r#"{"type":"error"}"#]).as_bytes());
    assert_eq!((events.len(), fault), (1, None));
}

#[test]
fn what_was_left_out_is_said_in_the_reply() {
    let decoder = decoder().with_notices(vec!["no temperature".to_owned()]);
    let (events, _) = decode(decoder, [frames(&[r#"{"type":"message_stop"}"#]).as_bytes()]);
    let Some(LlmEvent::Finished(reply)) = events.last() else { panic!("{events:?}") };
    assert_eq!(reply.notices, ["no temperature"]);
}

#[test]
fn a_long_number_in_a_call_keeps_its_digits_as_text_and_is_told() {
    let stream = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,",
        "\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":",
        "{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"id\\\": 123456789012345678901234567890}\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    let (events, fault) = decode(decoder(), [stream.as_bytes()]);
    assert_eq!(fault, None);
    let Some(LlmEvent::Finished(finished)) = events.last() else { panic!("{events:?}") };
    let call = finished.message.tool_calls().next().unwrap();
    assert_eq!(call.arguments["id"], "123456789012345678901234567890");
    assert_eq!(finished.notices.len(), 1);
}

#[test]
fn damaged_streams_do_no_harm() {
    damaged(&FIXTURES.map(|(_, bytes)| bytes), decoder);
}

#[test]
fn a_text_delta_costs_one_allocation() {
    let piece = frames(&[
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" żółw"}}"#,
    ]);
    let said = LlmEvent::TextDelta { text: " żółw".to_owned() };
    let mut begun = decoder();
    let start = frames(&[
        r#"{"type":"message_start","message":{}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    ]);
    begun.push(start.as_bytes(), &mut VecDeque::new()).unwrap();
    let count = allocations(begun, piece.as_bytes(), &said);
    // The text; and the block, which doubles.
    assert!(count <= 1_000 + 20, "{count}");
}
