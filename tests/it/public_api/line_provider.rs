//! A provider as somebody else would write it, with nothing but what `agent-runner-core` makes
//! public: it speaks a line protocol over TCP.
//!
//! A request is one line of JSON, a reply several: `{"say"}`, `{"think"}`, `{"call"}`, `{"used"}`,
//! and at last `{"end"}` or `{"error"}`.

use std::{collections::VecDeque, fmt, net::SocketAddr, time::Duration};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, SendState, StopReason, Usage,
    },
    message::{Message, Part, ProviderState, Role, ToolCall},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

const ID: &str = "line";
/// Longest line of a reply, and longest reply.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Talks to the service at an address.
pub(super) struct LineProvider {
    pub(super) address: SocketAddr,
    pub(super) key: String,
}

impl fmt::Debug for LineProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineProvider").field("address", &self.address).finish_non_exhaustive()
    }
}

#[async_trait]
impl LlmProvider for LineProvider {
    fn id(&self) -> &str {
        ID
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        Capabilities { tools: Some(true), json_schema: Some(true), ..Capabilities::default() }
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Ok(vec![ModelInfo { id: "model".to_owned(), capabilities: self.capabilities("model") }])
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let mut reply = Reply::begin(self, request, cx.cancel.clone()).await?;
        // A refusal comes before the stream, so its first line is waited for here.
        reply.advance().await?;
        Ok(Box::pin(futures::stream::unfold(Some(reply), |reply| async move {
            let mut reply = reply?;
            loop {
                if let Some(event) = reply.ready.pop_front() {
                    let more = !matches!(event, LlmEvent::Finished(_));
                    return Some((Ok(event), more.then_some(reply)));
                }
                if let Err(error) = reply.advance().await {
                    return Some((Err(error), None));
                }
            }
        })))
    }
}

fn error(kind: ErrorKind, context: impl Into<String>) -> ProviderError {
    ProviderError::new(kind, ID, context)
}

/// Waits, unless the call is no longer wanted.
async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<std::io::Result<T>, ProviderError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(error(ErrorKind::Cancelled, "the call was cancelled")),
        done = work => Ok(done),
    }
}

/// A reply as it comes in.
struct Reply {
    lines: BufReader<TcpStream>,
    cancel: CancellationToken,
    key: String,
    model: String,
    ready: VecDeque<LlmEvent>,
    began: bool,
    bytes: usize,
    text: String,
    thought: String,
    calls: Vec<ToolCall>,
    usage: Usage,
}

impl Reply {
    async fn begin(
        provider: &LineProvider,
        request: &LlmRequest,
        cancel: CancellationToken,
    ) -> Result<Self, ProviderError> {
        let body = format!("{}\n", encode(request, &provider.key));
        let asking = async {
            let mut socket = TcpStream::connect(provider.address).await?;
            socket.write_all(body.as_bytes()).await?;
            Ok(socket)
        };
        let socket = unless_cancelled(&cancel, asking).await?.map_err(|lost| {
            let context = format!("cannot reach {}: {lost}", provider.address);
            error(ErrorKind::Network, context).with_sent(SendState::NotSent).with_source(lost)
        })?;
        Ok(Self {
            lines: BufReader::new(socket),
            cancel,
            key: provider.key.clone(),
            model: request.model.clone(),
            ready: VecDeque::new(),
            began: false,
            bytes: 0,
            text: String::new(),
            thought: String::new(),
            calls: Vec::new(),
            usage: Usage::default(),
        })
    }

    /// Reads one line: afterwards there is an event, or there was an error.
    async fn advance(&mut self) -> Result<(), ProviderError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.lines).take(LINE_BYTES_MAX);
        let read = unless_cancelled(&self.cancel, bounded.read_until(b'\n', &mut line)).await?;
        let lost = if self.began { ErrorKind::StreamTruncated } else { ErrorKind::Network };
        read.map_err(|broken| error(lost, "the connection broke").with_source(broken))?;
        if line.last() != Some(&b'\n') {
            return Err(match line.len() as u64 {
                LINE_BYTES_MAX => error(ErrorKind::MalformedResponse, "a line without an end"),
                0 => error(lost, "the service closed the connection within a reply"),
                _ => error(ErrorKind::StreamTruncated, "the reply ended within a line"),
            });
        }
        self.began = true;
        self.bytes += line.len();
        if self.bytes > REPLY_BYTES_MAX {
            return Err(error(ErrorKind::MalformedResponse, "a reply without an end"));
        }
        let line = serde_json::from_slice(&line).map_err(|_| {
            error(ErrorKind::MalformedResponse, "the address answers, but not with this protocol")
        })?;
        self.line(&line)
    }

    fn line(&mut self, line: &Value) -> Result<(), ProviderError> {
        if let Some(said) = line.get("error") {
            return Err(self.refused(said));
        }
        if let Some(text) = line["say"].as_str() {
            self.text.push_str(text);
            self.ready.push_back(LlmEvent::TextDelta { text: text.to_owned() });
        } else if let Some(text) = line["think"].as_str() {
            self.thought.push_str(text);
            self.ready.push_back(LlmEvent::ReasoningDelta { text: text.to_owned() });
        } else if let Some(call) = line.get("call") {
            self.call(call);
        } else if let Some(used) = line.get("used") {
            let count = |field: &str| used.get(field).and_then(Value::as_u64);
            let cached = count("cached");
            self.usage = Usage {
                // This service counts cached tokens as part of the prompt, core does not.
                input: count("prompt").map(|all| all.saturating_sub(cached.unwrap_or(0))),
                output: count("written"),
                cache_read: cached,
                reasoning: count("thought"),
                ..Usage::default()
            };
            self.ready.push_back(LlmEvent::Usage { usage: self.usage });
        } else if let Some(why) = line["end"].as_str() {
            self.finish(why);
        } else {
            self.ready.push_back(LlmEvent::Keepalive);
        }
        Ok(())
    }

    fn call(&mut self, call: &Value) {
        let given = call["id"].as_str().unwrap_or_default();
        let taken = given.is_empty() || self.calls.iter().any(|call| call.id == given);
        let id = if taken { format!("made-up-{}", self.calls.len()) } else { given.to_owned() };
        let name = call["name"].as_str().unwrap_or_default().to_owned();
        let json = call["args"].as_str().unwrap_or_default().to_owned();
        let arguments = match json.as_str() {
            "" => json!({}),
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        self.calls.push(ToolCall { id, name: name.clone(), arguments, provider_state: None });
        self.ready.push_back(LlmEvent::ToolCallDelta { name, json });
    }

    fn finish(&mut self, why: &str) {
        let mut parts = Vec::new();
        if !self.thought.is_empty() {
            let state = ProviderState {
                provider: ID.to_owned(),
                model: self.model.clone(),
                raw: self.thought.clone().into(),
            };
            let text = std::mem::take(&mut self.thought);
            parts.push(Part::Reasoning { text, provider_state: Some(state) });
        }
        let text = std::mem::take(&mut self.text);
        parts.push(Part::Text { text, provider_state: None });
        let stop = match why {
            "done" if self.calls.is_empty() => StopReason::EndTurn,
            "done" => StopReason::ToolCalls,
            "length" => StopReason::MaxTokens,
            "refused" => StopReason::Refusal,
            "filtered" => StopReason::ContentFilter,
            other => StopReason::Other(other.to_owned()),
        };
        parts.extend(std::mem::take(&mut self.calls).into_iter().map(Part::ToolCall));
        let message = Message { role: Role::Assistant, parts };
        self.ready.push_back(LlmFinished::new(message, stop, self.usage).into());
    }

    fn refused(&self, said: &Value) -> ProviderError {
        let kind = match said["code"].as_str().unwrap_or_default() {
            "busy" => ErrorKind::RateLimited,
            "full" => ErrorKind::Overloaded,
            "key" => ErrorKind::Auth,
            "model" => ErrorKind::ModelNotFound,
            "long" => ErrorKind::ContextLength,
            _ => ErrorKind::Unavailable,
        };
        // What a service says may quote the key it was given.
        let words = said["words"].as_str().unwrap_or("no reason").replace(&self.key, "[redacted]");
        let context = match kind {
            ErrorKind::ModelNotFound => format!("{words} (model `{}`)", self.model),
            _ => words,
        };
        let mut error = error(kind, context).with_sent(SendState::Sent);
        if let Some(wait) = said["wait_ms"].as_u64() {
            error = error.with_retry_after(Duration::from_millis(wait));
        }
        match said["id"].as_str() {
            Some(id) => error.with_request_id(id),
            None => error,
        }
    }
}

/// A request as the service reads it.
fn encode(request: &LlmRequest, key: &str) -> Value {
    let messages: Vec<Value> =
        request.messages.iter().map(|message| turn(message, &request.model)).collect();
    json!({
        "key": key,
        "limit": request.max_output_tokens,
        "messages": messages,
        "model": request.model,
        "schema": request.output_schema,
        "tools": request.tools,
    })
}

fn turn(message: &Message, model: &str) -> Value {
    let parts: Vec<Value> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text, .. } => Some(json!({"text": text})),
            // Reasoning goes back to the model it came from, as it came, and to no other.
            Part::Reasoning { provider_state: Some(state), .. }
                if state.provider == ID && state.model == model =>
            {
                Some(json!({"think": state.raw}))
            }
            Part::ToolCall(call) => {
                Some(json!({"call": {"id": call.id, "name": call.name, "args": call.arguments}}))
            }
            Part::ToolResult { call_id, text, is_error, .. } => {
                Some(json!({"result": {"id": call_id, "text": text, "failed": is_error}}))
            }
            _ => None,
        })
        .collect();
    json!({"role": message.role, "parts": parts})
}
