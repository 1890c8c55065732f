use proptest::prelude::*;

use super::*;

/// A value without its marks, and their places.
fn unmarked(value: &Value, path: &str, marks: &mut Vec<(String, Value)>) -> Value {
    match value {
        Value::Object(map) => {
            if let Some(mark) = map.get("cache_control") {
                marks.push((path.to_owned(), mark.clone()));
            }
            map.iter()
                .filter(|(field, _)| *field != "cache_control")
                .map(|(field, value)| {
                    (field.clone(), unmarked(value, &format!("{path}/{field}"), marks))
                })
                .collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, value)| unmarked(value, &format!("{path}/{at}"), marks))
            .collect(),
        other => other.clone(),
    }
}

fn marks(request: &LlmRequest, cache: CacheLifetime) -> Vec<(String, Value)> {
    let mut marks = Vec::new();
    unmarked(&encoded_with(request, cache).body, "", &mut marks);
    marks
}

#[test]
fn the_cache_is_marked_after_the_instructions_and_after_the_last_two_turns_of_the_user() {
    let mut request = LlmRequest::new(
        MODEL,
        vec![
            Message::text(Role::System, "Be brief."),
            Message::text(Role::User, "1"),
            said(Role::Assistant, vec![call("c", "t", json!({}))]),
            said(Role::Tool, vec![result("c", "ok", false)]),
            said(Role::Assistant, vec![text("2"), thought("s")]),
            Message::text(Role::User, "3"),
        ],
    );
    request.tools = vec![spec("a"), spec("b")];
    let places = |request: &LlmRequest, cache| -> Vec<String> {
        marks(request, cache).into_iter().map(|(path, _)| path).collect()
    };
    let five = CacheLifetime::FiveMinutes;
    assert_eq!(
        places(&request, five),
        ["/messages/2/content/0", "/messages/4/content/0", "/system/0"]
    );
    assert_eq!(marks(&request, five)[0].1, json!({"type": "ephemeral"}));
    assert_eq!(
        marks(&request, CacheLifetime::OneHour)[0].1,
        json!({"type": "ephemeral", "ttl": "1h"})
    );
    assert!(places(&request, CacheLifetime::Off).is_empty());
    // A paused reply is the last turn, and a thought takes no mark.
    request.messages.pop();
    request.messages.remove(0);
    assert_eq!(
        places(&request, five),
        ["/messages/2/content/0", "/messages/3/content/0", "/tools/1"]
    );
}

/// What a model says, blank pieces among it, and what it is answered.
fn turns() -> impl Strategy<Value = Vec<Message>> {
    let turn = (0..4u8, "[a-z][a-z ]{0,5}", "[a-z ]{0,3}").prop_map(|(calls, word, blank)| {
        let names: Vec<String> = (0..calls).map(|n| format!("c{n}")).collect();
        let call = |id: &String| call(id, "a.b", json!({"word": word}));
        let reply = [thought("s"), text(&blank), text(&word)];
        let reply = reply.into_iter().chain(names.iter().map(call)).collect();
        let results = names.iter().map(|id| result(id, &blank, blank.is_empty()));
        let answer = [text(&word), text(&blank)].into_iter().chain(results).collect();
        [said(Role::Assistant, reply), said(Role::User, answer)]
    });
    proptest::collection::vec(turn, 0..6).prop_map(|turns| {
        let goal = [Message::text(Role::System, "Be brief."), Message::text(Role::User, "Go")];
        goal.into_iter().chain(turns.into_iter().flatten()).collect()
    })
}

proptest! {
    #[test]
    fn a_conversation_that_grows_keeps_its_beginning_to_the_byte(messages in turns()) {
        let written = |length: usize| -> (String, Vec<String>) {
            let mut request = LlmRequest::new(MODEL, messages[..length].to_vec());
            request.tools = vec![spec("a.b"), spec("time.now")];
            let body = encoded_with(&request, CacheLifetime::FiveMinutes).body;
            let mut marks = Vec::new();
            let body = unmarked(&body, "", &mut marks);
            let turns = body["messages"].as_array().unwrap().iter().map(Value::to_string).collect();
            let head = json!([body["system"], body["tools"]]).to_string();
            assert!((2..=4).contains(&marks.len()), "{marks:?}");
            (head, turns)
        };
        let (head, whole) = written(messages.len());
        for length in (2..messages.len()).step_by(2) {
            let (earlier_head, earlier) = written(length);
            prop_assert_eq!(&earlier_head, &head);
            prop_assert_eq!(&whole[..earlier.len()], &earlier[..]);
        }
    }
}
