//! What a model's reply means: a pure reading whose verdict is recorded in the journal.

use serde_json::Value;

use super::constrained;
use crate::{
    agent::ToolMode,
    event::Reply,
    id::StepKey,
    limits,
    llm::{LlmFinished, StopReason},
    message::ToolCall,
    run::{FailureReason, RunError},
    schema::Schema,
};

/// What a reply is held against.
#[derive(Debug)]
pub struct ReplyRules<'a> {
    /// How tools were offered; never `Auto`.
    pub mode: ToolMode,
    /// The step that asked, from which ids of constrained calls are made.
    pub step: &'a StepKey,
    /// The schema that the answer has to fit.
    pub output_schema: Option<&'a Schema>,
    /// Whether any tool was offered.
    pub has_tools: bool,
}

/// Reads a reply.
#[must_use]
pub fn interpret(finished: &LlmFinished, rules: &ReplyRules<'_>) -> Reply {
    match &finished.stop {
        StopReason::Refusal => return refused("the model refused to answer"),
        StopReason::ContentFilter => return refused("a content filter cut the reply off"),
        StopReason::MaxTokens => {
            return Reply::Invalid {
                problem: "Your reply was cut off at the output limit. Say it shorter, or do it in \
                          smaller steps."
                    .to_owned(),
            };
        }
        StopReason::EndTurn
        | StopReason::ToolCalls
        | StopReason::StopSequence
        | StopReason::Pause
        | StopReason::ContextFull
        | StopReason::Other(_) => {}
    }
    let text = finished.message.plain_text();
    match rules.mode {
        ToolMode::Constrained if rules.has_tools => match constrained::parse(&text, rules.step) {
            Ok(constrained::Choice::Tool(call)) => Reply::ToolCalls { calls: vec![call] },
            Ok(constrained::Choice::Answer(answer)) => answer_json(answer, rules.output_schema),
            Err(problem) => Reply::Invalid { problem },
        },
        ToolMode::Constrained | ToolMode::Native | ToolMode::Auto => {
            let calls: Vec<ToolCall> = finished.message.tool_calls().cloned().collect();
            if calls.is_empty() { answer_text(text, rules.output_schema) } else { tools(calls) }
        }
    }
}

fn refused(message: &str) -> Reply {
    Reply::Failure {
        error: RunError { reason: FailureReason::Refused, message: message.to_owned() },
    }
}

fn tools(calls: Vec<ToolCall>) -> Reply {
    if calls.len() > limits::TOOL_CALLS_PER_TURN_MAX {
        return Reply::Invalid {
            problem: format!(
                "You asked for {} tool calls at once; at most {} are possible. None was run.",
                calls.len(),
                limits::TOOL_CALLS_PER_TURN_MAX
            ),
        };
    }
    Reply::ToolCalls { calls }
}

fn answer_text(text: String, schema: Option<&Schema>) -> Reply {
    if text.trim().is_empty() {
        return Reply::Invalid {
            problem: "Your reply was empty. Answer, or call a tool.".to_owned(),
        };
    }
    let Some(schema) = schema else { return Reply::Answer { output: Value::String(text) } };
    match serde_json::from_str(constrained::without_fence(&text)) {
        Ok(value) => answer_json(value, Some(schema)),
        Err(error) => Reply::Invalid {
            problem: format!(
                "Your answer must be JSON that fits the schema and nothing else; it is not JSON: {error}"
            ),
        },
    }
}

fn answer_json(output: Value, schema: Option<&Schema>) -> Reply {
    match schema.map_or(Ok(()), |schema| schema.check(&output)) {
        Ok(()) => Reply::Answer { output },
        Err(violations) => Reply::Invalid {
            problem: format!(
                "Your answer does not fit the schema. Mend this and answer again:\n{}",
                violations.join("\n")
            ),
        },
    }
}
