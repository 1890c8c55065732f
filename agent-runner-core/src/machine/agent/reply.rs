//! What a model's reply means: a pure reading whose verdict is recorded in the journal.

use serde_json::Value;

use super::{
    constrained,
    final_tool::{self, FINAL_TOOL},
};
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
    /// The schema of the answer when it comes as a call of [`FINAL_TOOL`].
    pub final_tool: Option<&'a Value>,
}

/// Reads a reply.
#[must_use]
pub fn interpret(finished: &LlmFinished, rules: &ReplyRules<'_>) -> Reply {
    match &finished.stop {
        StopReason::Refusal => return refused("the model refused to answer", finished),
        StopReason::ContentFilter => {
            return refused("a content filter cut the reply off", finished);
        }
        StopReason::Pause => return Reply::Continue {},
        StopReason::ContextFull => return Reply::ContextFull {},
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
            match (calls.as_slice(), rules.final_tool) {
                ([], _) => answer_text(text, rules.output_schema),
                ([call], Some(schema)) if call.name == FINAL_TOOL => {
                    match final_tool::answer(call, schema) {
                        Ok(answer) => answer_json(answer, rules.output_schema),
                        Err(problem) => Reply::Invalid { problem },
                    }
                }
                _ => tools(calls),
            }
        }
    }
}

fn refused(what: &str, finished: &LlmFinished) -> Reply {
    let message = match &finished.stop_detail {
        Some(detail) => format!("{what}: {detail}"),
        None => what.to_owned(),
    };
    Reply::Failure { error: RunError { reason: FailureReason::Refused, message } }
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
