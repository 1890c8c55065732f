use agent_runner_core::{
    llm::{LlmFinished, ToolSpec},
    message::{Part, ProviderState},
};
use proptest::prelude::*;

use super::{super::frames::Frames, *};
use crate::llm::{
    names::ToolNames,
    stream::{
        ReplyDecoder as _,
        testing::{cut, damaged, decode, transcript},
    },
};

macro_rules! fixtures {
    ($($file:literal,)*) => {
        [$(($file, include_bytes!(
            concat!("../../../../../tests/fixtures/llm/openai/", $file)
        ) as &[u8]),)*]
    };
}

const FIXTURES: [(&str, &[u8]); 23] = fixtures![
    "text.sse",
    "parallel_tools.sse",
    "llama_cpp.sse",
    "llama_cpp_recorded.sse",
    "llamacpp_text.sse",
    "llamacpp_constrained.sse",
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
    "deep_seek.sse",
    "open_router_details.sse",
    "open_router_error.sse",
    "vllm_error.sse",
    "cut_arguments.sse",
    "long_numbers.sse",
    "nulls_and_obfuscation.sse",
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

fn reply_of(profile: &Profile, file: &str) -> LlmFinished {
    let (_, bytes) = FIXTURES.into_iter().find(|(name, _)| *name == file).unwrap();
    let (events, fault) = decode(decoder_for(profile), [bytes]);
    assert_eq!(fault, None, "{file}");
    match events.into_iter().last() {
        Some(LlmEvent::Finished(finished)) => *finished,
        other => panic!("{file}: {other:?}"),
    }
}

fn only_call(finished: &LlmFinished) -> &Value {
    &finished.message.tool_calls().next().unwrap().arguments
}

#[test]
fn every_line_end_decodes_to_the_same_events() {
    for (file, bytes) in FIXTURES.into_iter().filter(|(file, _)| file.ends_with(".sse")) {
        let text = String::from_utf8_lossy(bytes);
        for end in ["\r\n", "\r"] {
            let other = text.replace('\n', end);
            assert_eq!(one(other.as_bytes()), one(text.as_bytes()), "{file} with {end:?}");
        }
    }
}

#[test]
fn deepseeks_cached_tokens_and_reasoning_are_counted_apart() {
    let reply = reply_of(&Profile::deepseek(), "deep_seek.sse");
    assert_eq!(
        reply.usage,
        Usage {
            input: Some(36),
            output: Some(40),
            cache_read: Some(64),
            reasoning: Some(30),
            ..Usage::default()
        }
    );
    assert_eq!(only_call(&reply), &json!({}));
}

#[test]
fn openrouters_details_are_kept_whole_and_its_price_is_believed() {
    let reply = reply_of(&Profile::openrouter(), "open_router_details.sse");
    let Part::Reasoning { text, provider_state: Some(state) } = &reply.message.parts[0] else {
        panic!("{:?}", reply.message)
    };
    assert_eq!(text, "I wonder");
    let text = json!({"type": "reasoning.text", "text": "I wonder", "index": 0,
        "format": "anthropic-claude-v1", "signature": "c2ln+/=="});
    let sealed = json!({"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 1,
        "format": "openai-responses-v1"});
    assert_eq!(state.raw, json!({"details": [text, sealed]}));
    let cost = reply.cost.unwrap();
    assert_eq!((cost.micro_usd, cost.source), (MicroUsd(12_346), FactSource::Provider));
    assert_eq!(
        (reply.usage.input, reply.usage.cache_read, reply.usage.cache_write),
        (Some(300), Some(19_000), Some(100))
    );
    assert_eq!(reply_of(&Profile::compatible(), "open_router_details.sse").cost, None);
}

#[test]
fn a_price_is_rounded_up_to_whole_millionths() {
    let micros = |usage: Value| cost(&usage).map(|cost| cost.micro_usd.0);
    assert_eq!(micros(json!({"cost": 0.1})), Some(100_000));
    assert_eq!(micros(json!({"cost": 0.000_000_1})), Some(1));
    assert_eq!(micros(json!({"cost": 0})), Some(0));
    assert_eq!(micros(json!({"cost": -1.0})), Some(0));
    assert_eq!(micros(json!({"cost": 1e300})), None);
    assert_eq!(micros(json!({"cost": "free"})), None);
    let own = json!({"upstream_inference_cost": 0.002});
    assert_eq!(micros(json!({"cost": 0.001, "is_byok": true, "cost_details": own})), Some(3_000));
    assert_eq!(micros(json!({"cost": 0.001, "cost_details": own})), Some(1_000));
}

#[test]
fn groqs_usage_is_read_where_it_stands() {
    let reply = reply_of(&Profile::groq(), "azure_and_groq.sse");
    assert_eq!((reply.usage.input, reply.usage.output), (Some(4), Some(1)));
}

#[test]
fn the_last_of_many_usages_counts_and_each_is_told() {
    let usage = |tokens: u64| {
        format!(
            "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":2,\"completion_tokens\":{tokens}}}}}\n\n"
        )
    };
    let body = [usage(1), usage(1), usage(5), "data: [DONE]\n\n".to_owned()].concat();
    let (events, fault) = one(body.as_bytes());
    assert_eq!(fault, None);
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            LlmEvent::Usage { usage } => usage.output,
            LlmEvent::Finished(finished) => finished.usage.output,
            _ => None,
        })
        .collect();
    assert_eq!(told, [1, 5, 5]);
}

#[test]
fn a_profile_says_which_reasoning_field_counts() {
    let body = b"data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"a\",\"reasoning\":\"b\"}}]}\n\ndata: [DONE]\n\n";
    for (profile, text, field) in [
        (Profile::compatible(), "a", "reasoning_content"),
        (Profile::vllm(), "b", "reasoning"),
        (Profile::groq(), "b", "reasoning"),
    ] {
        let (events, _) = decode(decoder_for(&profile), [body.as_slice()]);
        let Some(LlmEvent::Finished(finished)) = events.last() else { panic!("{events:?}") };
        let expected = Part::Reasoning {
            text: text.to_owned(),
            provider_state: Some(ProviderState {
                provider: "openai".to_owned(),
                model: "m".to_owned(),
                raw: json!({"field": field}),
            }),
        };
        assert_eq!(finished.message.parts, [expected], "{}", profile.name);
    }
}

#[test]
fn arguments_cut_by_the_output_limit_stay_text() {
    let reply = reply_of(&Profile::compatible(), "cut_arguments.sse");
    assert_eq!(reply.stop, StopReason::MaxTokens);
    assert_eq!(only_call(&reply), &json!("{\"path\": \"a"));
}

#[test]
fn a_long_number_in_arguments_keeps_its_digits_as_text_and_the_reply_says_so() {
    let reply = reply_of(&Profile::compatible(), "long_numbers.sse");
    let arguments: Vec<&Value> = reply.message.tool_calls().map(|call| &call.arguments).collect();
    assert_eq!(
        arguments,
        [&json!({"id": "12345678901234567890123", "n": 7}), &json!({"id": "98765432109876543210"}),]
    );
    assert_eq!(reply.notices.len(), 2);
    assert!(reply.notices[0].contains("time.now"), "{:?}", reply.notices);
}

#[test]
fn a_field_that_stands_twice_in_an_event_is_no_error() {
    let (events, fault) = one(
        b"data: {\"model\":\"a\",\"model\":\"b\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n",
    );
    assert_eq!(fault, None);
    assert_eq!(events[0], LlmEvent::Started { model: Some("b".to_owned()) });
}

#[test]
fn an_accepted_answer_that_is_an_error_or_a_web_page_is_no_reply() {
    let (events, fault) = one(br#"{"error":{"message":"no credits","code":402}}"#);
    assert_eq!((events.len(), fault.unwrap().kind), (0, ErrorKind::QuotaExhausted));
    let (_, fault) = one(br#"[{"error":{"message":"slow down","code":429}}]"#);
    assert_eq!(fault.unwrap().kind, ErrorKind::RateLimited);
    let (_, fault) = one(b"<!DOCTYPE html><title>Log in</title>");
    let fault = fault.unwrap();
    assert_eq!(fault.kind, ErrorKind::MalformedResponse);
    assert!(fault.message.contains("base URL"), "{}", fault.message);
    let (_, fault) = one(br#"{"status":"ok"}"#);
    assert!(fault.unwrap().message.contains("without a reply"));
}

#[test]
fn a_line_of_ten_megabytes_is_an_event_and_one_without_end_is_not() {
    let text = "x".repeat(10 * 1024 * 1024);
    let body =
        format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [{"delta": {"content": text}}]}));
    let (events, fault) = decode(decoder(), body.as_bytes().chunks(64 * 1024));
    assert_eq!(fault, None);
    assert_eq!(events[1], LlmEvent::TextDelta { text });
    let piece = [b'x'; 1024 * 1024];
    let endless =
        std::iter::once(b"data: ".as_slice()).chain(std::iter::repeat_n(piece.as_slice(), 17));
    let (events, fault) = decode(decoder(), endless);
    assert_eq!((events.len(), fault.unwrap().kind), (0, ErrorKind::MalformedResponse));
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

#[test]
fn damaged_streams_do_no_harm() {
    damaged(&FIXTURES.map(|(_, bytes)| bytes), decoder);
}

/// The allocations for a thousand events with such a text.
fn allocations(text: &str) -> u64 {
    let event = format!(
        "data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[\
         {{\"index\":0,\"delta\":{{\"content\":{}}},\"finish_reason\":null}}]}}\n\n",
        json!(text)
    );
    let (mut decoder, mut out) = (decoder(), VecDeque::with_capacity(8));
    decoder.push(event.as_bytes(), &mut out).unwrap();
    let cost = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            out.clear();
            decoder.push(event.as_bytes(), &mut out).unwrap();
        }
    });
    assert_eq!(out, [LlmEvent::TextDelta { text: text.to_owned() }]);
    cost.count_total
}

#[test]
fn a_text_delta_costs_three_allocations_and_an_escape_in_it_a_fourth() {
    // The model's name, the list of choices and the text; and the reply, which doubles.
    assert!(allocations(" żółw") <= 3_020, "{}", allocations(" żółw"));
    assert!(allocations("\n") <= 4_020, "{}", allocations("\n"));
}

#[test]
fn what_is_before_the_first_event_is_as_good_as_not_there() {
    let events = one(b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n");
    let pieces: [&[u8]; 3] = [b"\r\n", b" ", b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n"];
    assert_eq!(decode(decoder(), pieces), events);
    assert_eq!(one(&pieces.concat()), events);
}
