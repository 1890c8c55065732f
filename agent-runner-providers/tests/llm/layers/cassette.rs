//! [`RecordingProvider`], [`ReplayProvider`] and their file.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    llm::{
        Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmLayer as _, LlmProvider as _,
        LlmRequest, StopReason,
    },
    message::{Message, Part, Role, ToolCall},
    testing::ManualClock,
};
use agent_runner_providers::layer::{
    Cassette, CassetteError, RecordOptions, RecordingProvider, ReplayMode, ReplayOptions,
    ReplayPace, ReplayProvider, RequestKey, Tape,
};
use futures::StreamExt as _;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::json;

use super::double::{
    Double, Fault, Play, Step, clock, cx, failure, fault, finished, hear, refuses, reply, request,
    said, says, seconds, started, text, used,
};

fn asks(goal: &str) -> LlmRequest {
    LlmRequest::new("model", vec![Message::text(Role::User, goal)])
}

/// What is recorded of these calls, through a file.
async fn record(double: Double, requests: &[LlmRequest]) -> Cassette {
    let options = RecordOptions::default();
    let provider = options.layer(Arc::new(double));
    for request in requests {
        let _ = hear(&*provider, request, &cx()).await;
    }
    let cassette = options.tape.take();
    let read = Cassette::from_json_lines(&cassette.to_json_lines()).unwrap();
    assert_eq!(read, cassette);
    read
}

fn replays(cassette: Cassette) -> ReplayProvider {
    ReplayProvider::new("double", ReplayOptions::new(cassette))
}

#[tokio::test]
async fn a_recorded_call_is_replayed_event_by_event() {
    let plays = [says("hello ", "you"), says("good", "bye")];
    let double = Double::new(plays.clone())
        .with_capabilities(Capabilities { tools: Some(true), ..Capabilities::default() });
    let cassette = record(double, &[asks("a"), asks("b")]).await;
    let (original, replayed) = (Double::new(plays), replays(cassette));
    for goal in ["a", "b"] {
        let there = hear(&original, &asks(goal), &cx()).await;
        let here = hear(&replayed, &asks(goal), &cx()).await;
        assert_eq!((&there.0, there.1.is_none()), (&here.0, here.1.is_none()));
    }
    // The last call with a request stands for all that follow.
    assert_eq!(said(&reply(&replayed, &asks("a")).await), "hello you");
    assert_eq!(replayed.calls(), 3);
    assert!(replayed.capabilities("model").has_tools());
    assert_eq!(replayed.models(&cx()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn errors_are_replayed_as_they_were_and_in_their_order() {
    let refusal = Fault { status: Some(429), ..fault(ErrorKind::RateLimited).after(3) };
    let broken = Play::Stream(vec![text("a"), Step::Fail(fault(ErrorKind::Network))]);
    let double = Double::new([Play::Refuse(refusal), broken, says("a", "b")]);
    let cassette = record(double, &[request(), request(), request()]).await;
    let replayed = replays(cassette);
    let error = replayed.stream(&request(), &cx()).await.err().expect("refused before a stream");
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::RateLimited, Some(429)));
    assert_eq!((error.retry_after(), error.context()), (Some(seconds(3)), "scripted"));
    let (events, error) = hear(&replayed, &request(), &cx()).await;
    assert_eq!((events.len(), error.unwrap().kind()), (1, ErrorKind::Network));
    assert_eq!(said(&reply(&replayed, &request()).await), "ab");
}

#[tokio::test]
async fn only_calls_with_an_end_are_recorded() {
    let options = RecordOptions::default();
    let hangs = || Play::Stream(vec![text("a"), Step::Hang]);
    let double = Arc::new(Double::new([hangs(), refuses(ErrorKind::Cancelled), hangs()]));
    let provider = options.layer(Arc::clone(&double) as _);
    let mut stream = provider.stream(&request(), &cx()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    failure(&*provider, &request()).await;
    assert_eq!(double.open(), 0);
    assert!(options.tape.cassette().interactions.is_empty());
    assert_eq!(options.tape.left_out(), 0);
}

#[tokio::test]
async fn an_unknown_request_is_an_error_that_names_the_nearest_one() {
    let mut long = asks("a");
    long.messages.push(Message::text(Role::Assistant, "x"));
    long.messages.push(Message::text(Role::User, "private words"));
    let double = Double::new([says("a", "b")]);
    let replayed = replays(record(double, &[asks("z"), asks("a"), long.clone()]).await);
    let mut other = long.clone();
    other.messages[2] = Message::text(Role::User, "secret words");
    let hot = LlmRequest { temperature: Some(1.0), ..asks("z") };
    let mut longer = long.clone();
    longer.messages.push(Message::text(Role::Assistant, "y"));
    let strange = LlmRequest { model: "strange".into(), ..asks("z") };
    for (request, expected) in [
        (other, "number 3 of 3 (model, key "),
        (hot, "differs in `temperature`"),
        (longer, "the number of messages: 3 were recorded, 4 are asked"),
        (strange, "differs in `model`"),
    ] {
        let error = failure(&replayed, &request).await;
        assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidRequest, Some("not_recorded")));
        assert!(error.context().contains(expected), "{error}");
        assert!(!error.context().contains("words"), "{error}");
    }
    let error = failure(&replays(Cassette::default()), &request()).await;
    assert!(error.context().contains("nothing was recorded"), "{error}");
}

#[tokio::test]
async fn in_order_nothing_is_compared() {
    let double = Double::new([says("a", "b"), says("c", "d")]);
    let cassette = record(double, &[asks("a"), asks("b")]).await;
    let options = ReplayOptions { mode: ReplayMode::InOrder, ..ReplayOptions::new(cassette) };
    let replayed = ReplayProvider::new("p", options);
    assert_eq!(said(&reply(&replayed, &asks("x")).await), "ab");
    assert_eq!(said(&reply(&replayed, &asks("x")).await), "cd");
    let error = failure(&replayed, &asks("x")).await;
    assert!(error.context().contains("2 calls were recorded"), "{error}");
}

#[tokio::test]
async fn a_reply_comes_as_fast_as_it_came_then_if_asked_to() {
    let clock: Arc<ManualClock> = clock();
    let gate = agent_runner_core::testing::Gate::new();
    let end = finished("ab", used(1, 1));
    let steps = vec![text("a"), Step::Wait(gate.clone()), text("b"), Step::Say(end.into())];
    let options = RecordOptions { clock: Arc::clone(&clock) as _, ..RecordOptions::default() };
    let provider = RecordingProvider::new(Arc::new(Double::new([Play::Stream(steps)])), options);
    let call = tokio::spawn({
        let provider = provider.clone();
        async move { hear(&provider, &request(), &cx()).await }
    });
    gate.wait_for_arrival().await;
    clock.advance(Duration::from_millis(1_500));
    gate.open();
    call.await.unwrap();
    let cassette = provider.tape().take();
    let at: Vec<u64> = cassette.interactions[0].events.iter().map(|it| it.at_ms).collect();
    assert_eq!(at, [0, 1_500, 1_500]);

    let options = ReplayOptions {
        pace: ReplayPace::AsRecorded,
        clock: Arc::clone(&clock) as _,
        ..ReplayOptions::new(cassette)
    };
    let replayed = ReplayProvider::new("p", options);
    let mut stream = replayed.stream(&request(), &cx()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let rest = tokio::spawn(async move { stream.collect::<Vec<_>>().await.len() });
    clock.wait_for_sleepers(1).await;
    clock.advance(Duration::from_millis(1_499));
    assert_eq!(clock.sleepers(), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(rest.await.unwrap(), 2);
}

/// A key that JSON has to escape, and one that is part of another.
const KEYS: [&str; 3] = ["sk-canary\"7\n", "sk-plain-9", "sk-plain-9-longer"];

fn secrets() -> Vec<SecretString> {
    KEYS.map(SecretString::from).to_vec()
}

/// No key is in the text, as it is, as JSON has it, or in pieces of it that give it away.
fn assert_clean(text: &str) {
    for key in ["canary", "plain-9", "longer"] {
        assert!(!text.contains(key), "`{key}` is in {text}");
    }
}

#[tokio::test]
async fn keys_in_prompts_replies_and_errors_never_reach_the_file() {
    let [odd, plain, longer] = KEYS;
    let whole = format!("the keys are {odd} and {longer}");
    let mut end: LlmFinished = finished(&whole, used(1, 1));
    end.request_id = Some(plain.into());
    end.notices = vec![format!("used {plain}")];
    end.message.parts.push(Part::ToolCall(ToolCall {
        id: "call_1".into(),
        name: "t".into(),
        arguments: json!({plain: [longer], "b": odd}),
        provider_state: None,
    }));
    let delta =
        |json: &str| Step::Say(LlmEvent::ToolCallDelta { name: "t".into(), json: json.to_owned() });
    let arguments = json!({"b": odd}).to_string();
    let (head, tail) = arguments.split_at(12);
    let steps = vec![
        started(),
        text("the keys are sk-can"),
        text("ary\"7\n and sk-plain-9-lon"),
        Step::Say(LlmEvent::ReasoningDelta { text: "sk-pla".into() }),
        Step::Say(LlmEvent::ReasoningDelta { text: "in-9".into() }),
        text("ger"),
        delta(head),
        delta(tail),
        Step::Say(end.into()),
    ];
    let leak = Fault { context: format!("{longer} is wrong"), ..fault(ErrorKind::Auth) };
    let options = RecordOptions { secrets: secrets(), ..RecordOptions::default() };
    let double = Double::new([Play::Stream(steps), Play::Refuse(leak)]);
    let provider = options.layer(Arc::new(double));
    let mut request = asks(&format!("use {plain}"));
    request.extra.insert(longer.into(), json!({"header": odd}));
    hear(&*provider, &request, &cx()).await;
    hear(&*provider, &request, &cx()).await;
    assert_eq!(options.tape.left_out(), 0);
    assert_clean(&format!("{options:?}"));
    let cassette = options.tape.take();
    let file = cassette.to_json_lines();
    assert_eq!(cassette.interactions.len(), 2);
    assert_clean(&file);
    // Nor do its pieces make one when they are joined.
    let events = cassette.interactions[0].events.iter().map(|recorded| &recorded.event);
    let pieces = |wanted: fn(&LlmEvent) -> Option<&String>| {
        events.clone().filter_map(wanted).map(String::as_str).collect::<String>()
    };
    let text = pieces(|event| match event {
        LlmEvent::TextDelta { text } => Some(text),
        _ => None,
    });
    let reasoning = pieces(|event| match event {
        LlmEvent::ReasoningDelta { text } => Some(text),
        _ => None,
    });
    let arguments = pieces(|event| match event {
        LlmEvent::ToolCallDelta { json, .. } => Some(json),
        _ => None,
    });
    assert_eq!(text, "the keys are [redacted] and [redacted]");
    assert_eq!((reasoning.as_str(), arguments.as_str()), ("[redacted]", r#"{"b":"[redacted]"}"#));
    assert!(file.contains("the keys are [redacted] and [redacted]"), "{file}");

    // What was taken out then is taken out of what is compared now.
    let replayed = ReplayProvider::new(
        "double",
        ReplayOptions { secrets: secrets(), ..ReplayOptions::new(cassette) },
    );
    let finished = reply(&replayed, &request).await;
    assert!(said(&finished).starts_with("the keys are [redacted]"));
    assert_eq!(failure(&replayed, &request).await.kind(), ErrorKind::Auth);
}

#[tokio::test]
async fn a_call_out_of_which_a_key_cannot_be_taken_is_left_out() {
    // Across two parts of one message, and as a number.
    let parts =
        ["sk-pla", "in-9"].map(|text| Part::Text { text: text.into(), provider_state: None });
    let message = Message { role: Role::Assistant, parts: parts.to_vec() };
    let end = LlmFinished::new(message, StopReason::EndTurn, used(1, 1));
    let double = Double::new([Play::Stream(vec![Step::Say(end.into())]), says("a", "b")]);
    let mut secrets = secrets();
    secrets.push(SecretString::from("1234567890"));
    let options = RecordOptions { secrets, ..RecordOptions::default() };
    let provider = options.layer(Arc::new(double));
    reply(&*provider, &request()).await;
    let mut number = request();
    number.extra.insert("pin".into(), json!(1_234_567_890));
    reply(&*provider, &number).await;
    let torn = Message { role: Role::User, parts: parts.to_vec() };
    reply(&*provider, &LlmRequest::new("model", vec![torn])).await;
    assert_eq!(options.tape.left_out(), 3);
    assert!(options.tape.cassette().interactions.is_empty());
}

proptest! {
    /// A number that a model wrote stays what it is, so that the next request has the same key.
    #[test]
    fn numbers_survive_the_file(number in any::<f64>().prop_filter("JSON has no others", |it| it.is_finite())) {
        let call = |arguments| Part::ToolCall(ToolCall {
            id: "call_1".into(),
            name: "t".into(),
            arguments,
            provider_state: None,
        });
        let parts = vec![call(json!({"n": number}))];
        let message = Message { role: Role::Assistant, parts };
        let end = LlmFinished::new(message.clone(), StopReason::ToolCalls, used(1, 1));
        let mut request = asks("go");
        request.messages.push(message);
        let double = Double::new([Play::Stream(vec![Step::Say(end.into())])]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let cassette = runtime.block_on(record(double, &[request.clone()]));
        let LlmEvent::Finished(finished) = &cassette.interactions[0].events[0].event else {
            return Err(TestCaseError::fail("not finished"));
        };
        request.messages[1] = finished.message.clone();
        prop_assert_eq!(&RequestKey::of(&request), &cassette.interactions[0].key);
    }
}

#[tokio::test]
async fn a_tape_is_bounded() {
    let options = RecordOptions { tape: Tape::new(1_500), ..RecordOptions::default() };
    let large = says(&"x".repeat(1_500), "");
    let double = Double::new([large, says("a", "b")]);
    let provider = options.layer(Arc::new(double));
    reply(&*provider, &request()).await;
    assert_eq!(options.tape.left_out(), 1);
    let mut kept = 0;
    while options.tape.left_out() == 1 {
        reply(&*provider, &request()).await;
        kept += 1;
        assert!(kept < 10, "the tape never fills");
    }
    assert_eq!(options.tape.take().interactions.len(), kept - 1);
    reply(&*provider, &request()).await;
    assert_eq!((options.tape.cassette().interactions.len(), options.tape.left_out()), (1, 2));
}

#[tokio::test]
async fn files_may_be_appended_to_each_other_and_bad_ones_are_refused_with_the_line() {
    let one = record(Double::new([says("a", "b")]), &[asks("a")]).await.to_json_lines();
    let both = Cassette::from_json_lines(&format!("{one}\n{one}")).unwrap();
    assert_eq!(both.interactions.len(), 2);
    let line = one.lines().nth(1).unwrap();
    let endless = line.replace("finished", "keepalive_x");
    let mut open: serde_json::Value = serde_json::from_str(line).unwrap();
    let end = open["events"].as_array_mut().unwrap().pop().unwrap();
    let mut twice = open.clone();
    twice["events"].as_array_mut().unwrap().extend([end.clone(), end]);
    for (text, expected) in [
        (String::new(), "first line"),
        (line.to_owned(), "first line"),
        ("{\"cassette\":2}\n".to_owned(), "version 2"),
        (format!("{one}{{\"cassette\":9}}\n"), "version 9"),
        (format!("{one}\nnonsense"), "line 4"),
        (format!("{{\"cassette\":1}}\n{endless}"), "line 2"),
        (format!("{{\"cassette\":1}}\n{open}"), "neither a complete reply nor an error"),
        (format!("{{\"cassette\":1}}\n{twice}"), "neither a complete reply nor an error"),
    ] {
        let error: CassetteError = Cassette::from_json_lines(&text).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
