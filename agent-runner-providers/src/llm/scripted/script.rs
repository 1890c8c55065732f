//! The script language, as `docs/SCRIPTED_MODELS.md` describes it.

use std::{collections::BTreeMap, time::Duration};

use agent_runner_core::llm::{ErrorKind, StopReason, Usage};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest wait that a script may ask for: longer than any timeout worth trying out.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(60 * 60);
/// Largest script in bytes.
const SCRIPT_BYTES_MAX: usize = 1024 * 1024;

/// A YAML document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    models: BTreeMap<String, Script>,
}

/// One model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// Whether it takes tools natively; otherwise a request with tools is refused.
    #[serde(default = "yes")]
    pub(super) native_tools: bool,
    /// Whether it answers in the form that a schema for constrained tool calls asks for.
    #[serde(default)]
    pub(super) constrained: bool,
    /// Silence before the first piece of a turn that does not say its own.
    #[serde(default)]
    delay_ms: u64,
    /// Silence between two pieces of a turn that does not say its own.
    #[serde(default)]
    chunk_delay_ms: u64,
    /// What it says, turn by turn.
    pub(super) turns: Vec<Turn>,
}

/// One reply.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Turn {
    #[serde(default)]
    pub(super) reasoning: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) tool_calls: Vec<Call>,
    delay_ms: Option<u64>,
    chunk_delay_ms: Option<u64>,
    /// Whether a duration in the goal, such as `30s`, takes the place of `delay_ms`.
    #[serde(default)]
    pub(super) delay_from_goal: bool,
    pub(super) stop: Option<StopReason>,
    #[serde(default)]
    pub(super) usage: Tokens,
    pub(super) error: Option<Failure>,
    #[serde(default)]
    pub(super) when: When,
    #[serde(default)]
    pub(super) only_if_tools: Vec<String>,
    /// Whether the conversation never gets past this turn.
    #[serde(default)]
    pub(super) repeat: bool,
}

/// A tool call of a script.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub(super) name: String,
    /// An object, or a string: the arguments as a model might have written them.
    #[serde(default = "nothing")]
    pub(super) arguments: Value,
}

/// What a script says that a turn used.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
}

/// An error instead of a reply, or in the middle of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    #[serde(default)]
    pub(super) message: String,
    pub(super) http_status: Option<u16>,
    pub(super) retry_after_ms: Option<u64>,
    /// Pieces of the reply that come before the error; without it the request is refused.
    pub(super) after_chunks: Option<usize>,
    /// Tries that fail before one succeeds; without it all do.
    pub(super) attempts: Option<u32>,
}

/// What the conversation must contain for a turn to count.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    /// In the first user message.
    pub(super) goal_contains: Option<String>,
    /// In the last user message.
    pub(super) last_contains: Option<String>,
}

const fn yes() -> bool {
    true
}

fn nothing() -> Value {
    Value::Object(Map::new())
}

impl Tokens {
    /// The same, as core counts them.
    pub(super) const fn usage(self) -> Usage {
        let Self { input, output, cache_read, cache_write, reasoning } = self;
        Usage { input, output, cache_read, cache_write, cache_write_1h: None, reasoning }
    }
}

impl Script {
    /// The silence before the first piece of `turn`.
    pub(super) fn delay(&self, turn: &Turn) -> Duration {
        Duration::from_millis(turn.delay_ms.unwrap_or(self.delay_ms))
    }

    /// The silence between two pieces of `turn`.
    pub(super) fn chunk_delay(&self, turn: &Turn) -> Duration {
        Duration::from_millis(turn.chunk_delay_ms.unwrap_or(self.chunk_delay_ms))
    }
}

/// Reads a YAML document with models.
///
/// # Errors
/// What is wrong and where.
pub(super) fn parse(yaml: &str) -> Result<BTreeMap<String, Script>, String> {
    if yaml.len() > SCRIPT_BYTES_MAX {
        return Err(format!("the script is larger than {SCRIPT_BYTES_MAX} bytes"));
    }
    let document: Document = serde_saphyr::from_str(yaml)
        .map_err(|error| format!("the script cannot be read: {error}"))?;
    for (name, script) in &document.models {
        let place = |turn: usize| format!("models.{name}.turns[{turn}]");
        if name.is_empty() || name.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(format!("models.{name:?}: a model's name must be a word without `/`"));
        }
        if script.turns.is_empty() {
            return Err(format!("models.{name}.turns: a script needs at least one turn"));
        }
        for (number, turn) in script.turns.iter().enumerate() {
            if script.delay(turn).max(script.chunk_delay(turn)) > DELAY_MAX {
                return Err(format!("{}: a delay must not exceed {DELAY_MAX:?}", place(number)));
            }
            let odd = |call: &&Call| !call.arguments.is_object() && !call.arguments.is_string();
            if let Some(call) = turn.tool_calls.iter().find(odd) {
                return Err(format!(
                    "{}: the arguments of `{}` must be a mapping, or a string to be sent as it is",
                    place(number),
                    call.name
                ));
            }
        }
    }
    Ok(document.models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_script_is_refused_with_the_place_and_the_reason() {
        let table = [
            ("models: {m: {turns: []}}", "models.m.turns: a script needs at least one turn"),
            ("models: {m: {turns: [{txt: hi}]}}", "txt"),
            ("models: {a/b: {turns: [{text: hi}]}}", "without `/`"),
            ("models: {'a b': {turns: [{text: hi}]}}", "without `/`"),
            ("models: {m: {turns: [{delay_ms: 3600001}]}}", "models.m.turns[0]: a delay"),
            ("models: {m: {turns: [{error: {kind: tired}}]}}", "tired"),
            (
                "models: {m: {turns: [{tool_calls: [{name: t, arguments: [1]}]}]}}",
                "must be a mapping",
            ),
            ("models: [", "cannot be read"),
            ("", "cannot be read"),
        ];
        for (yaml, expected) in table {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
