//! A model that is a function of what it is asked.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, LlmEvent, LlmFinished, LlmProvider, LlmRequest, ModelInfo,
        ProviderError, StopReason, Usage,
    },
    message::{Message, Part, Role, ToolCall},
};
use async_trait::async_trait;
use futures::stream;
use serde_json::Value;

type Answer = dyn Fn(&LlmRequest, usize) -> Result<LlmFinished, ProviderError> + Send + Sync;

/// A provider called `answering`. The function gets the request and its number, from 1.
#[derive(Clone)]
pub(crate) struct Answering {
    answer: Arc<Answer>,
    capabilities: Capabilities,
    requests: Arc<Mutex<Vec<LlmRequest>>>,
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}

impl Answering {
    pub(crate) fn new(
        answer: impl Fn(&LlmRequest, usize) -> Result<LlmFinished, ProviderError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let capabilities = Capabilities { tools: Some(true), ..Capabilities::default() };
        Self { answer: Arc::new(answer), capabilities, requests: Arc::default() }
    }

    pub(crate) fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    pub(crate) fn requests(&self) -> Vec<LlmRequest> {
        self.requests.lock().unwrap().clone()
    }
}

/// A reply of words.
pub(crate) fn says(text: &str, usage: Usage) -> LlmFinished {
    LlmFinished::new(Message::text(Role::Assistant, text), StopReason::EndTurn, usage)
}

/// A reply that calls tools.
pub(crate) fn calls(calls: &[(&str, &str, Value)], usage: Usage) -> LlmFinished {
    let parts = calls
        .iter()
        .map(|(id, name, arguments)| {
            Part::ToolCall(ToolCall {
                id: (*id).to_owned(),
                name: (*name).to_owned(),
                arguments: arguments.clone(),
                provider_state: None,
            })
        })
        .collect();
    LlmFinished::new(Message { role: Role::Assistant, parts }, StopReason::ToolCalls, usage)
}

pub(crate) fn tokens(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

#[async_trait]
impl LlmProvider for Answering {
    fn id(&self) -> &str {
        "answering"
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        self.capabilities
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Ok(vec![ModelInfo { id: "model".to_owned(), capabilities: self.capabilities }])
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        _cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len()
        };
        let finished = (self.answer)(request, number)?;
        Ok(Box::pin(stream::iter([Ok(finished.into())])))
    }
}
