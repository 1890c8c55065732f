//! What the services read of a request.

use serde_json::Value;

use super::Wire;

/// A call of a tool, or its result, in the conversation of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: String,
    /// The name of what is called, or the text of the result.
    pub(crate) what: String,
}

/// The value of a field, as text.
fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        other => other.map(Value::to_string).unwrap_or_default(),
    }
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

impl Wire {
    fn turns(self, request: &Value) -> impl Iterator<Item = &Value> {
        items(
            request,
            match self {
                Self::OpenAi | Self::Anthropic | Self::Ollama => "/messages",
                Self::Responses => "/input",
                Self::Gemini => "/contents",
            },
        )
    }

    /// How often the model has spoken.
    pub(crate) fn replies(self, request: &Value) -> usize {
        let is_reply = |turn: &&Value| {
            turn["role"] == "assistant"
                || turn["role"] == "model"
                || turn["type"] == "function_call"
        };
        self.turns(request).filter(is_reply).count()
    }

    /// The calls in the conversation.
    pub(crate) fn called(self, request: &Value) -> Vec<Said> {
        let (list, id, name) = match self {
            Self::OpenAi | Self::Ollama => ("/tool_calls", "/id", "/function/name"),
            Self::Responses => ("", "/call_id", "/name"),
            Self::Anthropic => ("/content", "/id", "/name"),
            Self::Gemini => ("/parts", "/functionCall/id", "/functionCall/name"),
        };
        let is_call = |part: &&Value| match self {
            Self::OpenAi | Self::Ollama => true,
            Self::Responses => part["type"] == "function_call",
            Self::Anthropic => part["type"] == "tool_use",
            Self::Gemini => part["functionCall"].is_object(),
        };
        self.parts(request, list)
            .into_iter()
            .filter(is_call)
            .map(|part| Said { id: text(part, id), what: text(part, name) })
            .collect()
    }

    /// The results in the conversation.
    pub(crate) fn results(self, request: &Value) -> Vec<Said> {
        let (list, id, result) = match self {
            Self::OpenAi | Self::Ollama => ("", "/tool_call_id", "/content"),
            Self::Responses => ("", "/call_id", "/output"),
            Self::Anthropic => ("/content", "/tool_use_id", "/content"),
            Self::Gemini => ("/parts", "/functionResponse/id", "/functionResponse/response"),
        };
        let is_result = |part: &&Value| match self {
            Self::OpenAi | Self::Ollama => part["role"] == "tool",
            Self::Responses => part["type"] == "function_call_output",
            Self::Anthropic => part["type"] == "tool_result",
            Self::Gemini => part["functionResponse"].is_object(),
        };
        self.parts(request, list)
            .into_iter()
            .filter(is_result)
            .map(|part| Said { id: text(part, id), what: text(part, result) })
            .collect()
    }

    /// The turns of the conversation, or what a list in each of them has.
    fn parts<'a>(self, request: &'a Value, list: &str) -> Vec<&'a Value> {
        if list.is_empty() {
            return self.turns(request).collect();
        }
        self.turns(request).flat_map(|turn| items(turn, list)).collect()
    }

    /// The names of the tools that are offered, with their schemas.
    pub(crate) fn offered(self, request: &Value) -> Vec<(String, Value)> {
        let (list, name, schema) = match self {
            Self::OpenAi | Self::Ollama => ("/tools", "/function/name", "/function/parameters"),
            Self::Responses => ("/tools", "/name", "/parameters"),
            Self::Anthropic => ("/tools", "/name", "/input_schema"),
            Self::Gemini => ("/tools/0/functionDeclarations", "/name", "/parametersJsonSchema"),
        };
        let schema = |tool: &Value| tool.pointer(schema).cloned().unwrap_or_default();
        items(request, list).map(|tool| (text(tool, name), schema(tool))).collect()
    }

    /// The schema to which the reply is held.
    pub(crate) fn schema(self, request: &Value) -> Option<&Value> {
        request.pointer(match self {
            Self::OpenAi => "/response_format/json_schema/schema",
            Self::Responses => "/text/format/schema",
            Self::Anthropic => "/output_config/format/schema",
            Self::Gemini => "/generationConfig/responseJsonSchema",
            Self::Ollama => "/format",
        })
    }
}
