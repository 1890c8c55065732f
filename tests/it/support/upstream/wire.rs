//! What the services speak: their replies, word for word, and what they read of a request.

use serde_json::{Value, json};

/// What the service says is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Key,
    Model,
    Service,
}

/// What the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    OpenAi,
    Responses,
    Anthropic,
    Gemini,
    Ollama,
}

impl Wire {
    pub(crate) const ALL: [Self; 5] =
        [Self::OpenAi, Self::Responses, Self::Anthropic, Self::Gemini, Self::Ollama];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    /// The kind of provider that speaks it.
    pub(crate) fn kind(self) -> &'static str {
        if self == Self::Responses { "openai" } else { self.name() }
    }

    /// A table of `agent-runner.toml` with a provider that speaks it.
    pub(crate) fn table(self, name: &str, base_url: &str) -> String {
        let kind = self.kind();
        let api = if self == Self::Responses { "api = \"responses\"\n" } else { "" };
        format!(
            "[[providers]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"{base_url}\"\n{api}"
        )
    }

    pub(super) fn of(path: &str) -> Self {
        if path.contains("/chat/completions") {
            Self::OpenAi
        } else if path.ends_with("/responses") {
            Self::Responses
        } else if path.contains("/v1/messages") {
            Self::Anthropic
        } else if path.contains("GenerateContent") {
            Self::Gemini
        } else {
            Self::Ollama
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        if self == Self::Ollama { "application/x-ndjson" } else { "text/event-stream" }
    }

    pub(super) fn frame(self, name: &str, data: &Value) -> String {
        match self {
            Self::OpenAi | Self::Gemini => format!("data: {data}\n\n"),
            Self::Responses | Self::Anthropic => format!("event: {name}\ndata: {data}\n\n"),
            Self::Ollama => format!("{data}\n"),
        }
    }

    /// Events whose data says of which type they are.
    fn typed<const N: usize>(self, events: [(&str, Value); N]) -> String {
        let frame = |(name, mut data): (&str, Value)| {
            data["type"] = name.into();
            self.frame(name, &data)
        };
        events.map(frame).concat()
    }

    /// The beginning of a reply that says something and calls itself `id`.
    pub(crate) fn begins(self, id: &str, text: &str) -> String {
        let opening = match self {
            Self::OpenAi => {
                return self.frame(
                    "",
                    &json!({
                        "id": id, "object": "chat.completion.chunk", "model": id,
                        "system_fingerprint": id,
                        "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}],
                    }),
                );
            }
            Self::Gemini => {
                return self.frame(
                    "",
                    &json!({
                        "responseId": id, "modelVersion": id,
                        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}],
                    }),
                );
            }
            Self::Ollama => {
                return self.frame(
                    "",
                    &json!({
                        "model": id, "message": {"role": "assistant", "content": text}, "done": false,
                    }),
                );
            }
            Self::Responses => self.typed([
                ("response.created", json!({"response": {"id": id, "model": id, "output": []}})),
                (
                    "response.output_item.added",
                    json!({"output_index": 0, "item": {
                        "id": id, "type": "message", "role": "assistant", "content": [],
                    }}),
                ),
            ]),
            Self::Anthropic => self.typed([
                started(id),
                (
                    "content_block_start",
                    json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
                ),
            ]),
        };
        opening + &self.goes_on(text)
    }

    /// More text of a reply that began.
    pub(crate) fn goes_on(self, text: &str) -> String {
        match self {
            Self::OpenAi => {
                self.frame("", &json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
            }
            Self::Responses => self.typed([(
                "response.output_text.delta",
                json!({"output_index": 0, "content_index": 0, "delta": text}),
            )]),
            Self::Anthropic => self.typed([(
                "content_block_delta",
                json!({"index": 0, "delta": {"type": "text_delta", "text": text}}),
            )]),
            Self::Gemini => self.frame(
                "",
                &json!({"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}}]}),
            ),
            Self::Ollama => self.frame(
                "",
                &json!({"message": {"role": "assistant", "content": text}, "done": false}),
            ),
        }
    }

    /// The end of a good reply that was text.
    pub(crate) fn ends(self) -> String {
        match self {
            Self::OpenAi | Self::Ollama => self.stops("stop"),
            Self::Responses => {
                self.typed([(
                    "response.output_item.done",
                    json!({"output_index": 0, "item": {"type": "message", "role": "assistant"}}),
                )]) + &self.stops("completed")
            }
            Self::Anthropic => self.stops("end_turn"),
            Self::Gemini => self.stops("STOP"),
        }
    }

    fn stops(self, reason: &str) -> String {
        match self {
            Self::OpenAi => {
                let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
                let usage =
                    json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
                self.frame("", &end) + &self.frame("", &usage) + "data: [DONE]\n\n"
            }
            Self::Responses => self.typed([(
                "response.completed",
                json!({"response": {
                    "status": reason, "usage": {"input_tokens": 1, "output_tokens": 2},
                }}),
            )]),
            Self::Anthropic => self.typed([
                ("content_block_stop", json!({"index": 0})),
                (
                    "message_delta",
                    json!({"delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}}),
                ),
                ("message_stop", json!({})),
            ]),
            Self::Gemini => self.frame(
                "",
                &json!({
                    "candidates": [{"index": 0, "finishReason": reason}],
                    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
                }),
            ),
            Self::Ollama => self.frame(
                "",
                &json!({
                    "message": {"role": "assistant", "content": ""}, "done": true,
                    "done_reason": reason, "prompt_eval_count": 1, "eval_count": 2,
                }),
            ),
        }
    }

    /// A whole reply that calls a tool. Where the wire has arguments as text, they come in two
    /// pieces and may be no JSON.
    pub(crate) fn calls(self, id: &str, name: &str, arguments: &str) -> String {
        let (a, b) = arguments.split_at(arguments.len() / 2);
        let parsed = || serde_json::from_str::<Value>(arguments).unwrap();
        match self {
            Self::OpenAi => {
                let piece = |call: Value| {
                    let delta = json!({"tool_calls": [call]});
                    self.frame("", &json!({"choices": [{"index": 0, "delta": delta}]}))
                };
                let function = json!({"name": name, "arguments": a});
                piece(json!({"index": 0, "id": id, "type": "function", "function": function}))
                    + &piece(json!({"index": 0, "function": {"arguments": b}}))
                    + &self.stops("tool_calls")
            }
            Self::Responses => {
                let item = |arguments: &str| {
                    let item = json!({
                        "type": "function_call", "call_id": id, "name": name, "arguments": arguments,
                    });
                    json!({"output_index": 0, "item": item})
                };
                let delta = |piece: &str| json!({"output_index": 0, "delta": piece});
                self.typed([
                    ("response.created", json!({"response": {"id": "m", "model": "m"}})),
                    ("response.output_item.added", item("")),
                    ("response.function_call_arguments.delta", delta(a)),
                    ("response.function_call_arguments.delta", delta(b)),
                    ("response.output_item.done", item(arguments)),
                ]) + &self.stops("completed")
            }
            Self::Anthropic => {
                let delta = |piece: &str| {
                    json!({
                        "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece},
                    })
                };
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.typed([
                    started("m"),
                    ("content_block_start", json!({"index": 0, "content_block": block})),
                    ("content_block_delta", delta(a)),
                    ("content_block_delta", delta(b)),
                ]) + &self.stops("tool_use")
            }
            Self::Gemini => {
                let call = json!({"functionCall": {"id": id, "name": name, "args": parsed()}});
                let content = json!({"role": "model", "parts": [call]});
                self.frame("", &json!({"candidates": [{"index": 0, "content": content}]}))
                    + &self.stops("STOP")
            }
            Self::Ollama => {
                let call = json!({"id": id, "function": {"name": name, "arguments": parsed()}});
                let message = json!({"role": "assistant", "content": "", "tool_calls": [call]});
                self.frame("", &json!({"model": "m", "message": message, "done": false}))
                    + &self.stops("stop")
            }
        }
    }

    /// The service's own way to say that something went wrong.
    pub(super) fn error(self, fault: Fault, message: &str) -> Value {
        let [openai, anthropic, gemini] = match fault {
            Fault::Key => ["invalid_api_key", "authentication_error", "UNAUTHENTICATED"],
            Fault::Model => ["model_not_found", "not_found_error", "NOT_FOUND"],
            Fault::Service => ["server_error", "api_error", "INTERNAL"],
        };
        match self {
            Self::OpenAi | Self::Responses => json!({"error": {
                "message": message, "type": openai, "param": message, "code": openai,
            }}),
            Self::Anthropic => json!({"type": "error", "error": {
                "type": anthropic, "message": message, "details": {"error_code": message},
            }}),
            Self::Gemini => json!({"error": {
                "code": 500, "message": message, "status": gemini,
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": message}],
            }}),
            Self::Ollama => json!({"error": message}),
        }
    }

    pub(super) fn models(path: &str, id: &str) -> Value {
        if path.ends_with("/api/tags") {
            json!({"models": [{"name": "good"}, {"name": id}]})
        } else if path.contains("/v1beta") {
            let model = |id: &str| {
                json!({
                    "name": format!("models/{id}"), "displayName": id, "inputTokenLimit": 9_000,
                    "supportedGenerationMethods": ["generateContent"],
                })
            };
            json!({"models": [model("good"), model(id)]})
        } else {
            let model = |id: &str| json!({"id": id, "object": "model", "display_name": id});
            json!({"object": "list", "data": [model("good"), model(id)], "has_more": false})
        }
    }
}

/// The first event of Anthropic's replies.
fn started(id: &str) -> (&'static str, Value) {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let message = json!({
        "id": id, "type": "message", "role": "assistant", "model": id, "content": [],
        "stop_reason": null, "usage": usage,
    });
    ("message_start", json!({"message": message}))
}
