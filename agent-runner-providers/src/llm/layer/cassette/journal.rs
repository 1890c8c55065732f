//! A run's journal as a cassette.

use std::collections::HashMap;

use agent_runner_core::{
    agent::{ModelName, ToolMode},
    event::{Event, EventBody},
    id::StepKey,
    llm::{Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmRequest, SendState, ToolSpec},
    machine::{
        MachineCommand, RunState,
        agent::{Compaction, RequestRules, build_request, compact},
    },
    message::{Message, Part},
    step::StepError,
};
use serde_json::json;

use super::{Cassette, CassetteError, Interaction, RecordedError, RecordedEvent, Scope, line};
use crate::llm::layer::canonical::RequestKey;

/// Most bytes of a cassette that is made of a journal. Every call of it has its whole conversation,
/// so that its size grows with the square of the run's length.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// A call that has no end yet.
struct Asked {
    model: ModelName,
    request: LlmRequest,
    capabilities: Capabilities,
}

impl Asked {
    fn interaction(self, events: Vec<RecordedEvent>, error: Option<RecordedError>) -> Interaction {
        let request = Scope::Conversation.normal(&self.request);
        Interaction {
            scope: Scope::Conversation,
            key: RequestKey::of_normal(&request),
            provider: self.model.provider().to_owned(),
            capabilities: self.capabilities,
            request,
            events,
            error,
        }
    }

    /// The error of an attempt, as far as the journal keeps it.
    fn failed(self, error: &StepError) -> Interaction {
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == error.code);
        let kind = kind.unwrap_or(ErrorKind::Internal);
        let prefix = format!("{}: ", self.model.provider());
        let context = error.message.strip_prefix(&prefix).unwrap_or(&error.message);
        let error = RecordedError {
            at_ms: 0,
            kind,
            recovery: kind.recovery(),
            sent: SendState::Unknown,
            context: context.to_owned(),
            http_status: None,
            code: None,
            request_id: None,
            retry_after_ms: None,
        };
        self.interaction(Vec::new(), Some(error))
    }
}

impl Cassette {
    /// The model calls of a run, from its journal alone: `events` are all of its events, whole, in
    /// their order. With a provider that replays them the run takes the same decisions again,
    /// without a network, as long as its tools answer the same.
    ///
    /// Attempts that failed are in it; attempts whose end nobody recorded are not.
    ///
    /// # Errors
    /// [`CassetteError::Stub`] for an event whose payload stands apart,
    /// [`CassetteError::Event`] and [`CassetteError::Journal`] for a damaged journal,
    /// [`CassetteError::TooLarge`] for a very long one.
    pub fn from_journal(events: &[Event]) -> Result<Self, CassetteError> {
        let mut state = RunState::default();
        let mut asked: HashMap<StepKey, Asked> = HashMap::new();
        let mut interactions = Vec::new();
        let mut bytes = 0_usize;
        for event in events {
            if event.blob.is_some() {
                return Err(CassetteError::Stub(event.seq));
            }
            let Some(body) = EventBody::from_event(event).map_err(CassetteError::Event)? else {
                continue;
            };
            state.apply(event.seq, &body).map_err(CassetteError::Journal)?;
            let ended = match body {
                EventBody::LlmStarted { step, model, tool_mode, .. } => {
                    let call = ask(&state, &step, model, tool_mode);
                    asked.extend(call.map(|call| (step, call)));
                    None
                }
                EventBody::LlmCompleted {
                    step,
                    reply_message,
                    stop,
                    usage,
                    elapsed_ms,
                    cost,
                    answered_by,
                    request_id,
                    notices,
                    ..
                } => {
                    let finished = LlmFinished {
                        cost,
                        answered_by,
                        request_id,
                        notices,
                        ..LlmFinished::new(reply_message, stop, usage)
                    };
                    let call = asked.remove(&step);
                    call.map(|call| call.interaction(said(finished, elapsed_ms), None))
                }
                EventBody::StepRetrying { step, error, .. }
                | EventBody::StepFailed { step, error } => {
                    asked.remove(&step).map(|call| call.failed(&error))
                }
                EventBody::StepCanceled { step, .. }
                | EventBody::LlmAttemptRestarted { step, .. } => {
                    asked.remove(&step);
                    None
                }
                _ => None,
            };
            if let Some(ended) = ended {
                bytes = bytes.saturating_add(line(&ended).len());
                if bytes > BYTES_MAX {
                    return Err(CassetteError::TooLarge(BYTES_MAX));
                }
                interactions.push(ended);
            }
        }
        Ok(Self { interactions })
    }
}

/// The request of a call that begins now, as the engine puts it together; its tools have only
/// their names, which is why nothing but the conversation is compared.
fn ask(state: &RunState, step: &StepKey, model: ModelName, mode: ToolMode) -> Option<Asked> {
    let machine = state.machine();
    let spec = machine.spec()?;
    let tools: Vec<ToolSpec> = spec
        .agent
        .tools
        .iter()
        .map(|name| ToolSpec {
            name: name.clone(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
        })
        .collect();
    // What the engine must have known of the model to offer tools in this way.
    let native = mode == ToolMode::Native;
    let capabilities = Capabilities {
        tools: Some(native),
        json_schema: (!native).then_some(true),
        ..Capabilities::default()
    };
    let compaction = state.next().into_iter().find_map(|command| match command {
        MachineCommand::Compact { compaction } if compaction.step == *step => Some(compaction),
        _ => None,
    });
    let conversation = machine.conversation();
    let request = match compaction {
        Some(Compaction { replaced, limit, .. }) => {
            compact::summary_request(&spec.agent, conversation, replaced, limit)
        }
        None => {
            let rules = RequestRules { spec, tools: &tools, mode, capabilities };
            build_request(conversation.to_vec(), &rules)
        }
    };
    Some(Asked { model, request, capabilities })
}

/// A reply as it may have been streamed: a piece for each part.
fn said(finished: LlmFinished, at_ms: u64) -> Vec<RecordedEvent> {
    let mut events: Vec<LlmEvent> = deltas(&finished.message);
    events.push(finished.into());
    events.into_iter().map(|event| RecordedEvent { at_ms, event }).collect()
}

fn deltas(message: &Message) -> Vec<LlmEvent> {
    let delta = |part: &Part| match part {
        Part::Text { text, .. } => Some(LlmEvent::TextDelta { text: text.clone() }),
        Part::Reasoning { text, .. } => Some(LlmEvent::ReasoningDelta { text: text.clone() }),
        Part::ToolCall(call) => Some(LlmEvent::ToolCallDelta {
            name: call.name.clone(),
            json: call.arguments.to_string(),
        }),
        _ => None,
    };
    message.parts.iter().filter_map(delta).collect()
}
