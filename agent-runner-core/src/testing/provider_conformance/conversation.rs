//! A conversation of several turns, as the service reads it.

use super::{OptionalScene, REASONING, open};
use crate::{
    llm::{CallCx, LlmEvent, LlmFinished, LlmRequest},
    message::{Message, Part, Role},
    testing::llm_contract::{LlmHarness, hear_request, request},
};

/// Asks, with a reply at the end.
async fn ask<H: LlmHarness>(harness: &H, request: &LlmRequest) -> (Vec<LlmEvent>, LlmFinished) {
    let (mut heard, error) = hear_request(harness, request, &CallCx::new("1")).await;
    assert!(error.is_none(), "every turn ends well, but: {error:?}");
    let Some(LlmEvent::Finished(finished)) = heard.pop() else {
        panic!("no `Finished`: {heard:?}")
    };
    (heard, *finished)
}

/// Adds a reply and the results of its calls to the conversation.
fn answer(request: &mut LlmRequest, reply: &Message, results: &[(&str, bool)]) {
    let parts = reply.tool_calls().zip(results).map(|(call, (text, is_error))| Part::ToolResult {
        call_id: call.id.clone(),
        name: call.name.clone(),
        text: (*text).to_owned(),
        is_error: *is_error,
    });
    let results = Message { role: Role::Tool, parts: parts.collect() };
    request.messages.extend([reply.clone(), results]);
}

/// The bodies of the requests, which the harness has to show.
fn bodies<H: LlmHarness>(harness: &H, count: usize) -> Vec<String> {
    let bodies = harness.requests();
    assert_eq!(bodies.len(), count, "the harness shows other requests than were sent: {bodies:?}");
    bodies
}

/// [`OptionalScene::ToolRound`].
pub async fn calls_and_their_results_are_sent_back<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::ToolRound).await;
    let mut request = request(harness.model());
    let (_, reply) = ask(&harness, &request).await;
    answer(&mut request, &reply.message, &[("result alpha", false), ("result beta", true)]);
    let (_, last) = ask(&harness, &request).await;
    assert!(!last.message.plain_text().is_empty(), "the scene ends with text");
    let body = &bodies(&harness, 2)[1];
    let place = |what: &str| body.find(what).unwrap_or_else(|| panic!("no `{what}` in {body}"));
    assert!(place("knock") < place("ring"), "the calls changed places: {body}");
    assert!(place("ring") < place("result alpha"), "a result before its call: {body}");
    assert!(place("result alpha") < place("result beta"), "the results changed places: {body}");
    for call in reply.message.tool_calls() {
        // A wire without ids has none of them; any other has the one of a call in its result.
        let count = body.matches(&format!("\"{}\"", call.id)).count();
        assert_ne!(count, 1, "which result answers `{}`? {body}", call.id);
    }
}

/// [`OptionalScene::ToolRound`]: what a service keeps of a prompt is found again.
pub async fn the_prompt_of_a_turn_begins_with_that_of_the_turn_before<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::ToolRound).await;
    let mut request = request(harness.model());
    request.messages.insert(0, Message::text(Role::System, "Be brief."));
    let (_, reply) = ask(&harness, &request).await;
    answer(&mut request, &reply.message, &[("result alpha", false), ("result beta", false)]);
    let (_, reply) = ask(&harness, &request).await;
    request.messages.extend([reply.message, Message::text(Role::User, "And now?")]);
    ask(&harness, &request).await;
    let bodies: Vec<String> =
        bodies(&harness, 3).iter().map(|body| without_cache_marks(body)).collect();
    for pair in bodies.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let only_longer = only_longer(before, after);
        assert!(only_longer, "more than the conversation changed:\n{before}\n{after}");
    }
}

/// Whether `after` is `before` with something put in at one place.
fn only_longer(before: &str, after: &str) -> bool {
    let same = |(a, b): &(u8, u8)| a == b;
    let head = before.bytes().zip(after.bytes()).take_while(same).count();
    let tail = before.bytes().rev().zip(after.bytes().rev()).take_while(same).count();
    head + tail >= before.len() && after.len() > before.len()
}

/// A body without the marks that tell a service what to keep, which move along with a conversation
/// and are no part of the prompt.
fn without_cache_marks(body: &str) -> String {
    let mark = "\"cache_control\":{";
    let mut rest = body;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once(mark) {
        let (_, after) = after.split_once('}').expect("a mark is an object without objects");
        match before.strip_suffix(',') {
            Some(before) => {
                kept.push_str(before);
                rest = after;
            }
            None => {
                kept.push_str(before);
                rest = after.strip_prefix(',').unwrap_or(after);
            }
        }
    }
    kept + rest
}

/// [`OptionalScene::Reasoning`].
pub async fn reasoning_is_told_apart_from_the_answer<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::Reasoning).await;
    let (heard, finished) = ask(&harness, &request(harness.model())).await;
    let streamed: String = heard
        .iter()
        .filter_map(|event| match event {
            LlmEvent::ReasoningDelta { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let kept: String = finished
        .message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Reasoning { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!((streamed.as_str(), kept.as_str()), (REASONING, REASONING));
    assert!(!finished.message.plain_text().contains(REASONING));
}

/// [`OptionalScene::Reasoning`], in the turns after it.
pub async fn reasoning_goes_back_to_the_model_it_came_from_and_to_no_other<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::Reasoning).await;
    let mut request = request(harness.model());
    let (_, reply) = ask(&harness, &request).await;
    answer(&mut request, &reply.message, &[("result alpha", false)]);
    ask(&harness, &request).await;
    request.model = harness.other_model();
    ask(&harness, &request).await;
    request.model = harness.model();
    for message in &mut request.messages {
        message.parts.iter_mut().for_each(estrange);
    }
    ask(&harness, &request).await;
    let bodies = bodies(&harness, 4);
    for echo in harness.reasoning_echo() {
        assert!(bodies[1].contains(&echo), "`{echo}` did not go back: {}", bodies[1]);
        assert!(!bodies[2].contains(&echo), "`{echo}` went to another model: {}", bodies[2]);
        assert!(!bodies[3].contains(&echo), "`{echo}` is another provider's: {}", bodies[3]);
    }
}

/// Makes what a provider wants back another provider's.
fn estrange(part: &mut Part) {
    let state = match part {
        Part::Text { provider_state, .. } | Part::Reasoning { provider_state, .. } => {
            provider_state
        }
        Part::ToolCall(call) => &mut call.provider_state,
        Part::ToolResult { .. } => return,
    };
    if let Some(state) = state {
        "another-provider".clone_into(&mut state.provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_grow_in_one_place_and_change_in_none() {
        let before = r#"{"messages":[1],"tools":["a","b"]}"#;
        let table = [
            (r#"{"messages":[1,2],"tools":["a","b"]}"#, true),
            (r#"{"messages":[1],"tools":["a","b"]}"#, false),
            (r#"{"messages":[1,2],"tools":["b","a"]}"#, false),
            (r#"{"messages":[0,1,2],"tools":["a","b","c"]}"#, false),
            (r#"{"messages":[2,2,2],"tools":["a","b"]}"#, false),
        ];
        for (after, expected) in table {
            assert_eq!(only_longer(before, after), expected, "{after}");
        }
    }

    #[test]
    fn marks_of_a_cache_do_not_count() {
        let table = [
            (r#"{"cache_control":{"type":"x"},"text":"a"}"#, r#"{"text":"a"}"#),
            (r#"{"a":1,"cache_control":{"type":"x"}}"#, r#"{"a":1}"#),
            (r#"{"a":1,"cache_control":{"type":"x"},"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
        ];
        for (body, expected) in table {
            assert_eq!(without_cache_marks(body), expected);
        }
    }
}
