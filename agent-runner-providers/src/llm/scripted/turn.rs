//! Which turn of a script answers a request, and what it says there. Pure functions of the
//! request: the same conversation gets the same reply.

use std::time::Duration;

use agent_runner_core::{
    llm::LlmRequest,
    message::{Message, Part, Role},
};
use serde_json::{Map, Value};

use super::script::{DELAY_MAX, Script, Turn, When};

/// What a script knows of a conversation.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// The first user message.
    pub(super) goal: String,
    /// The last user message.
    last: String,
    /// The last tool result, or what took its place.
    last_result: String,
    /// Replies given so far.
    replies: usize,
    /// The names of the tools on offer.
    tools: Vec<&'a str>,
    /// Whether the reply must have the form of a constrained tool call or answer.
    pub(super) constrained: bool,
}

impl<'a> Scene<'a> {
    /// The scene that a request sets for a script.
    pub(super) fn of(request: &'a LlmRequest, script: &Script) -> Self {
        let said = |message: &&Message| message.role == Role::User;
        let goal = request.messages.iter().find(said).map(Message::plain_text).unwrap_or_default();
        let last =
            request.messages.iter().rev().find(said).map(Message::plain_text).unwrap_or_default();
        let last_result =
            request.messages.iter().rev().flat_map(|m| m.parts.iter().rev()).find_map(|part| {
                match part {
                    Part::ToolResult { text, .. } => Some(text.clone()),
                    _ => None,
                }
            });
        let schema = request.output_schema.as_ref().filter(|_| request.tools.is_empty());
        let form = schema.filter(|_| script.constrained).and_then(constrained_tools);
        Self {
            goal,
            // In the constrained form results come back as user messages.
            last_result: last_result.unwrap_or_else(|| last.clone()),
            last,
            replies: request.messages.iter().filter(|m| m.role == Role::Assistant).count(),
            constrained: form.is_some(),
            tools: form
                .unwrap_or_else(|| request.tools.iter().map(|tool| tool.name.as_str()).collect()),
        }
    }

    /// The turn that answers: of those whose conditions hold, the one whose place is the number of
    /// replies so far, unless an earlier one repeats for ever.
    pub(super) fn choose<'s>(&self, script: &'s Script) -> Option<&'s Turn> {
        script
            .turns
            .iter()
            .filter(|turn| self.holds(&turn.when))
            .filter(|turn| {
                turn.only_if_tools.iter().all(|tool| self.tools.contains(&tool.as_str()))
            })
            .enumerate()
            .find(|(place, turn)| *place == self.replies || turn.repeat)
            .map(|(_, turn)| turn)
    }

    fn holds(&self, when: &When) -> bool {
        let contains = |text: &str, what: &Option<String>| {
            what.as_ref().is_none_or(|what| text.contains(what.as_str()))
        };
        contains(&self.goal, &when.goal_contains) && contains(&self.last, &when.last_contains)
    }

    /// The silence that the goal asks for, such as `30s` or `500ms`.
    pub(super) fn asked_delay(&self) -> Option<Duration> {
        let words = self.goal.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter_map(duration).next().map(|delay| delay.min(DELAY_MAX))
    }

    /// `text` with `{{goal}}`, `{{last_result}}` and `{{turn}}` filled in. What is filled in is not
    /// looked at again, so a goal cannot smuggle in a placeholder.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            let value = after
                .split_once("}}")
                .and_then(|(name, tail)| Some((self.value(name.trim())?, tail)));
            match value {
                Some((value, tail)) => {
                    out.push_str(&value);
                    rest = tail;
                }
                None => {
                    out.push_str("{{");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn value(&self, name: &str) -> Option<String> {
        match name {
            "goal" => Some(self.goal.clone()),
            "last_result" => Some(self.last_result.clone()),
            "turn" => Some((self.replies + 1).to_string()),
            _ => None,
        }
    }

    /// [`fill`](Self::fill) in every string inside `value`.
    pub(super) fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill(text).into(),
            Value::Array(items) => items.iter().map(|item| self.fill_value(item)).collect(),
            Value::Object(map) => {
                let filled: Map<_, _> =
                    map.iter().map(|(key, value)| (key.clone(), self.fill_value(value))).collect();
                filled.into()
            }
            other => other.clone(),
        }
    }
}

fn duration(word: &str) -> Option<Duration> {
    if let Some(millis) = word.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    word.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

/// The tools that a schema for constrained tool calls allows, `None` for any other schema. Such a
/// schema has, at any depth, an object with the property `tool` (whose `const` or `enum` names
/// tools) or `answer`.
fn constrained_tools(schema: &Value) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut found = false;
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(map) => {
                if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                    found |= properties.contains_key("answer") || properties.contains_key("tool");
                    if let Some(tool) = properties.get("tool") {
                        names.extend(tool.get("const").and_then(Value::as_str));
                        let several = tool.get("enum").and_then(Value::as_array);
                        names.extend(several.into_iter().flatten().filter_map(Value::as_str));
                    }
                }
                open.extend(map.values());
            }
            _ => {}
        }
    }
    found.then_some(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scene(goal: &str) -> Scene<'static> {
        Scene {
            goal: goal.to_owned(),
            last: String::new(),
            last_result: "R".to_owned(),
            replies: 1,
            tools: Vec::new(),
            constrained: false,
        }
    }

    #[test]
    fn placeholders_are_filled_once_and_unknown_ones_stay() {
        let scene = scene("{{turn}}");
        assert_eq!(scene.fill("{{goal}}, {{ last_result }}, {{turn}}"), "{{turn}}, R, 2");
        assert_eq!(scene.fill("{{x}} {{ {{turn}}"), "{{x}} {{ 2");
        assert_eq!(scene.fill_value(&json!({"a": ["{{turn}}", 1]})), json!({"a": ["2", 1]}));
    }

    #[test]
    fn a_goal_may_name_the_silence() {
        let table = [
            ("be silent for 30s please", Some(30_000)),
            ("wait (250ms)", Some(250)),
            ("wait 999999s", Some(3_600_000)),
            ("these words", None),
            ("", None),
        ];
        for (goal, expected) in table {
            assert_eq!(scene(goal).asked_delay(), expected.map(Duration::from_millis), "{goal}");
        }
    }

    #[test]
    fn only_a_schema_for_tool_calls_or_answers_is_constrained() {
        let schema = json!({"anyOf": [
            {"properties": {"tool": {"const": "a"}, "with": {}}},
            {"properties": {"tool": {"enum": ["b", "c"]}, "with": {}}},
            {"properties": {"answer": {"type": "string"}}},
        ]});
        let mut tools = constrained_tools(&schema).unwrap();
        tools.sort_unstable();
        assert_eq!(tools, ["a", "b", "c"]);
        assert_eq!(constrained_tools(&json!({"properties": {"answer": {}}})), Some(Vec::new()));
        assert_eq!(constrained_tools(&json!({"properties": {"summary": {}}})), None);
    }
}
