//! When two requests are the same.

use std::fmt;

use agent_runner_core::{
    llm::LlmRequest,
    message::{Message, Role},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use sha2::{Digest as _, Sha256};

/// Names a request by its content: SHA-256, as lower-case hex, of its normal form.
///
/// The normal form is JSON with sorted keys. It has the model, the messages, the tools sorted by
/// name, the schema, the parameters that are set and the extra fields. It leaves out what providers
/// want back verbatim (`provider_state`), which is signed anew in every call and says nothing that
/// the messages do not. A temperature stands there as a person would write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestKey(String);

impl RequestKey {
    /// The key of a request.
    #[must_use]
    pub fn of(request: &LlmRequest) -> Self {
        Self::of_normal(&normal(request))
    }

    /// The key of a normal form.
    pub(super) fn of_normal(normal: &Value) -> Self {
        let mut text = String::new();
        write_sorted(normal, &mut text);
        let digest = Sha256::digest(text.as_bytes());
        Self(digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
            use fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The normal form of a request.
pub(super) fn normal(request: &LlmRequest) -> Value {
    let mut tools: Vec<_> = request.tools.iter().collect();
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    let mut map = Map::new();
    map.insert("model".to_owned(), json!(request.model));
    map.insert("messages".to_owned(), messages(&request.messages, |_| true));
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    set("tools", (!tools.is_empty()).then(|| json!(tools)));
    set("output_schema", request.output_schema.clone());
    set("max_output_tokens", request.max_output_tokens.map(Value::from));
    set("temperature", request.temperature.map(shortest));
    set("reasoning", request.reasoning.map(|effort| json!(effort)));
    set("extra", (!request.extra.is_empty()).then(|| json!(request.extra)));
    Value::Object(map)
}

/// What a run's journal knows of a request: the model and the conversation without instructions.
pub(super) fn conversation(request: &LlmRequest) -> Value {
    json!({
        // So that it is never the normal form of a whole request that has no more than this.
        "scope": "conversation",
        "model": request.model,
        "messages": messages(&request.messages, |message| message.role != Role::System),
    })
}

fn messages(all: &[Message], wanted: impl Fn(&Message) -> bool) -> Value {
    all.iter()
        .filter(|message| wanted(message))
        .map(|message| {
            let mut message = json!(message);
            let parts = message.get_mut("parts").and_then(Value::as_array_mut);
            for part in parts.into_iter().flatten().filter_map(Value::as_object_mut) {
                part.remove("provider_state");
            }
            message
        })
        .collect()
}

/// 0.7, not the 0.699999988079071 that widening makes of it.
fn shortest(number: f32) -> Value {
    let text = number.to_string();
    let number = text.parse().ok().and_then(Number::from_f64);
    number.map_or(Value::String(text), Value::Number)
}

/// JSON with sorted keys, whatever order a map of `serde_json` keeps in this build.
fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, value)) in fields.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_runner_core::{
        llm::{ReasoningEffort, ToolSpec},
        message::{Part, ProviderState},
    };

    use super::*;

    fn request() -> LlmRequest {
        let tool = |name: &str| ToolSpec {
            name: name.into(),
            description: "d".into(),
            input_schema: json!({"type": "object", "a": 1}),
        };
        let mut request = LlmRequest::new("m", vec![Message::text(Role::User, "go")]);
        request.tools = vec![tool("b"), tool("a")];
        request.temperature = Some(0.7);
        request
    }

    #[test]
    fn the_normal_form_is_what_the_documentation_says() {
        let mut text = String::new();
        write_sorted(&normal(&request()), &mut text);
        assert_eq!(
            text,
            r#"{"messages":[{"parts":[{"text":"go","type":"text"}],"role":"user"}],"model":"m","temperature":0.7,"tools":[{"description":"d","input_schema":{"a":1,"type":"object"},"name":"a"},{"description":"d","input_schema":{"a":1,"type":"object"},"name":"b"}]}"#
        );
    }

    #[test]
    fn what_says_nothing_changes_no_key() {
        let key = RequestKey::of(&request());
        let mut same = request();
        same.tools.reverse();
        if let Some(Part::Text { provider_state, .. }) = same.messages[0].parts.first_mut() {
            *provider_state = Some(ProviderState {
                provider: "p".into(),
                model: "m".into(),
                raw: json!("signature"),
            });
        }
        assert_eq!(RequestKey::of(&same), key);
        assert_eq!(key.as_str().len(), 64);
    }

    #[test]
    fn everything_else_does() {
        let changes: [fn(&mut LlmRequest); 9] = [
            |it| it.model.push('x'),
            |it| it.messages.push(Message::text(Role::User, "")),
            |it| it.messages[0].role = Role::System,
            |it| it.tools[0].description.push('x'),
            |it| it.output_schema = Some(json!({})),
            |it| it.max_output_tokens = Some(1),
            |it| it.temperature = Some(f32::NAN),
            |it| it.reasoning = Some(ReasoningEffort::Off),
            |it| it.extra.extend([("seed".to_owned(), json!(1))]),
        ];
        let mut keys = vec![RequestKey::of(&request())];
        for change in changes {
            let mut changed = request();
            change(&mut changed);
            keys.push(RequestKey::of(&changed));
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 10);
    }
}
