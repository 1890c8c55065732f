//! One human sentence per event, for lists and terminals.

use super::{EventBody, LlmPhase, Reply};
use crate::{
    approval::{ApprovalDecision, ApprovalKind},
    directive::Resolution,
};

/// Most characters of somebody's text that a sentence quotes.
const QUOTE_CHARS: usize = 120;

/// What of a text is shown in a sentence.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_CHARS).collect();
    if text.chars().nth(QUOTE_CHARS).is_some() {
        quoted.push('…');
    }
    quoted
}

impl EventBody {
    /// What happened, in one sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::RunQueued { spec } => {
                format!("Run accepted for {}: {}", spec.agent.model, quote(&spec.goal))
            }
            Self::RunClaimed { recovered: false, .. } => "A worker took the run.".into(),
            Self::RunClaimed { recovered: true, .. } => {
                "A worker took the run over from one that was lost.".into()
            }
            Self::RunReleased { .. } => "The worker gave the run back before it shut down.".into(),
            Self::RunForked { source, event, .. } => {
                format!("The run goes on from run {source} after its event {event}.")
            }
            Self::RunPauseRequested {} => "Pause requested.".into(),
            Self::RunPaused {} => "The run is paused.".into(),
            Self::RunResumed {} => "The run goes on.".into(),
            Self::RunParked { differs: Some(differs), .. } => {
                format!("The code differs from the journal: {differs}")
            }
            Self::RunParked { reason, .. } => format!("The run waits ({}).", reason.as_str()),
            Self::RunCancelRequested { reason } => match reason {
                Some(reason) => format!("Cancellation requested: {}", quote(reason)),
                None => "Cancellation requested.".into(),
            },
            Self::RunCanceled { .. } => "The run is canceled.".into(),
            Self::RunCompleted { output } => match output.as_str() {
                Some(text) => format!("The run is complete: {}", quote(text)),
                None => format!("The run is complete: {}", quote(&output.to_string())),
            },
            Self::RunFailed { error } => format!("The run failed: {}", quote(&error.message)),
            Self::DirectiveReceived { text, .. } => format!("Message received: {}", quote(text)),
            Self::SignalReceived { name, .. } => format!("Signal `{}` received.", quote(name)),
            other => other.step_sentence(),
        }
    }

    fn step_sentence(&self) -> String {
        match self {
            Self::StepStarted { step, name, attempt: 1, .. } => {
                format!("Step {step} ({name}) began.")
            }
            Self::StepStarted { step, name, attempt, .. } => {
                format!("Step {step} ({name}) began, attempt {attempt}.")
            }
            Self::StepSucceeded { step } => format!("Step {step} is done."),
            Self::StepFailed { step, error } => {
                format!("Step {step} failed: {}", quote(&error.message))
            }
            Self::StepRetrying { step, error, delay_ms, .. } => {
                format!(
                    "Step {step} will be tried again in {delay_ms} ms: {}",
                    quote(&error.message)
                )
            }
            Self::StepSkipped { step } => format!("Step {step} was not needed."),
            Self::StepCanceled { step, .. } => format!("Step {step} was stopped."),
            Self::StepIndeterminate { step, detail } | Self::StepUnknown { step, detail } => {
                format!("Whether step {step} took effect is not known: {}", quote(detail))
            }
            Self::StepResolved { step, resolution } => {
                let word = match resolution {
                    Resolution::Retry => "to be tried again",
                    Resolution::Succeeded { .. } => "succeeded",
                    Resolution::Failed { .. } => "failed",
                };
                format!("Step {step} was resolved as {word}.")
            }
            other => other.tool_sentence(),
        }
    }

    fn tool_sentence(&self) -> String {
        match self {
            Self::ToolStarted { tool, .. } => format!("Tool {tool} called."),
            Self::ToolCompleted { tool, elapsed_ms, .. } => {
                format!("Tool {tool} is done ({elapsed_ms} ms).")
            }
            Self::ToolFailed { tool, for_model, .. } => {
                format!("Tool {} failed: {}", quote(tool), quote(for_model))
            }
            Self::FileWritten { path, bytes, .. } => {
                format!("{} was written ({bytes} bytes).", quote(path))
            }
            Self::FileRemoved { path, moved_to: None, .. } => {
                format!("{} was removed.", quote(path))
            }
            Self::FileRemoved { path, moved_to: Some(to), .. } => {
                format!("{} was moved to {}.", quote(path), quote(to))
            }
            Self::GitChanged { action, branch, .. } => match branch {
                Some(branch) => format!("Git: {} on {}.", quote(action), quote(branch)),
                None => format!("Git: {}.", quote(action)),
            },
            Self::ArtifactCreated { name, size, .. } => {
                format!("Artifact {} was made ({size} bytes).", quote(name))
            }
            Self::ApprovalRequested { kind: ApprovalKind::Call, tool, reason, .. } => {
                format!("A person has to approve a call of {}: {}.", quote(tool), quote(reason))
            }
            Self::ApprovalRequested { arguments, .. } => {
                let question = arguments.get("question").and_then(serde_json::Value::as_str);
                format!("The agent asks: {}", quote(question.unwrap_or_default()))
            }
            Self::ApprovalResolved { decision, by, .. } => {
                let who = by.as_deref().map_or_else(|| "A person".to_owned(), quote);
                match decision {
                    ApprovalDecision::Approve => format!("{who} approved the call."),
                    ApprovalDecision::Edit { .. } => {
                        format!("{who} approved the call with other arguments.")
                    }
                    ApprovalDecision::Reject => format!("{who} rejected the call."),
                    ApprovalDecision::Answer { .. } => format!("{who} answered."),
                }
            }
            Self::ApprovalExpired { .. } => "Nobody approved the call in time.".into(),
            other => other.code_sentence(),
        }
    }

    fn code_sentence(&self) -> String {
        match self {
            Self::CodeCalled { step, call, name, .. } => {
                format!("The code called for {step} ({} {}).", call.as_str(), quote(name))
            }
            Self::CodeRecorded { what, name, .. } => match name {
                Some(name) => format!("The code took the path of patch {}.", quote(name)),
                None => format!("The code was given a value ({}).", what.as_str()),
            },
            Self::CodeDropped { step } => format!("The code does not wait for {step} any more."),
            Self::CodeReturned { step, error: None, elapsed_ms, .. } => {
                format!("{step} returned ({elapsed_ms} ms).")
            }
            Self::CodeReturned { step, error: Some(error), .. } => {
                format!("{step} failed: {}", quote(error.message()))
            }
            Self::CodeFinished { error: None, .. } => "The code is done.".into(),
            Self::CodeFinished { error: Some(error), .. } => {
                format!("The code failed: {}", quote(error))
            }
            Self::TimerSet { wake_at, .. } => format!("The run will wake at {wake_at}."),
            Self::TimerFired { .. } => "The moment to wake came.".into(),
            Self::ChildStarted { child, name, .. } => {
                format!("Run {child} ({}) was started.", quote(name))
            }
            Self::ChildFinished { child, end, .. } => match &end.error {
                Some(error) => format!("Run {child} failed: {}", quote(&error.message)),
                None => format!("Run {child} is {}.", end.status),
            },
            other => other.llm_sentence(),
        }
    }

    fn llm_sentence(&self) -> String {
        match self {
            Self::LlmStarted { model, attempt: 1, .. } => format!("Asking {model}."),
            Self::LlmStarted { model, attempt, .. } => {
                format!("Asking {model}, attempt {attempt}.")
            }
            Self::LlmHeartbeat { elapsed_ms, phase, tokens, stalled, .. } => {
                let doing = match phase {
                    LlmPhase::Waiting => "has not answered yet",
                    LlmPhase::Reasoning => "is reasoning",
                    LlmPhase::Writing => "is writing",
                    LlmPhase::ToolCall => "is preparing a tool call",
                };
                let silent = if *stalled { ", silent since the last heartbeat" } else { "" };
                format!("The model {doing} ({} s, {tokens} tokens{silent}).", elapsed_ms / 1000)
            }
            Self::LlmCompleted { reply, .. } => match reply {
                Reply::ToolCalls { calls } => {
                    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
                    format!("The model asks for {}.", quote(&names.join(", ")))
                }
                Reply::Answer { .. } => "The model answered.".into(),
                Reply::Continue {} => "The model wants to go on.".into(),
                Reply::ContextFull {} => "The model ran out of context.".into(),
                Reply::Summary { .. } => "The model summarised the conversation.".into(),
                Reply::Invalid { problem } => {
                    format!("The model's reply is not usable: {}", quote(problem))
                }
                Reply::Failure { error } => {
                    format!("The model's reply ends the run: {}", quote(&error.message))
                }
            },
            Self::LlmAttemptRestarted { reason, .. } => {
                format!("The model is asked again: {}", quote(reason))
            }
            Self::LlmCharged { step, attempt, spend, .. } => {
                format!("Attempt {attempt} of {step} counts as {} tokens.", spend.tokens)
            }
            Self::ContextFull { tokens, limit, .. } => {
                format!(
                    "The conversation has about {tokens} tokens, {limit} are good: it is made shorter."
                )
            }
            Self::ContextCompacted { replaced, .. } => {
                format!("{replaced} messages were replaced by a summary.")
            }
            Self::BudgetWarning { scope, used_per_mille } => {
                format!("{} % of {scope} is spent.", used_per_mille / 10)
            }
            Self::BudgetExceeded { message, .. } => quote(message),
            Self::BudgetChanged { .. } => "The run got another budget.".into(),
            other => other.kind().to_owned(),
        }
    }
}
