//! Whether a tool call may be made: schema, policy, a person's approval.

use std::sync::Arc;

use serde_json::Value;

use super::{Driver, Stop};
use crate::{
    approval::{ApprovalKind, call_sha256},
    engine::{ask::ASK_TOOL, wait::WAIT_TOOL},
    event::EventBody,
    id::{ApprovalId, StepKey},
    machine::{ApprovalState, Decided, MachineCommand, agent::final_tool::FINAL_TOOL},
    message::ToolCall,
    policy::{APPROVAL_TTL, Asked, ToolPolicy, Verdict},
    step::{EffectPolicy, StepKind},
    time,
    tool::{Footprint, Tool, ToolErrorKind, ToolOutput},
};

/// Why a call is answered without being made.
struct Refusal(ToolErrorKind, String);

fn refuse<T>(kind: ToolErrorKind, said: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(kind, said.into()))
}

impl Driver {
    /// Begins a call that is new to the journal, or that waited for approval; whether anything
    /// happened.
    pub(super) fn begin_new_tool(&mut self, step: &StepKey, call: &ToolCall) -> Result<bool, Stop> {
        let own = self.is_own_call(step);
        if call.name == WAIT_TOOL && own {
            return self.begin_wait(step, call);
        }
        if let Some(new) = self.child_of_code(step, call) {
            return self.begin_child(step, call, new);
        }
        let tool = match self.find(call, own) {
            Ok(tool) => tool,
            Err(refusal) => return self.answer_refusal(step, call, refusal),
        };
        if call.name == WAIT_TOOL {
            return self.begin_wait(step, call);
        }
        if let Some(approval) = self.state.hands().approval(step).cloned() {
            return self.look_at_approval(step, call, &approval);
        }
        let question = call.name == ASK_TOOL;
        let verdict = match self.verdict(&*tool, call) {
            Verdict::Allow if question && self.is_unattended() => {
                Verdict::Deny("nobody is there to answer; decide by yourself".to_owned())
            }
            Verdict::Allow if question => Verdict::Ask("the agent asks a person".to_owned()),
            verdict => verdict,
        };
        match verdict {
            Verdict::Allow => self.run_tool(step, call, 1),
            Verdict::Deny(why) => {
                self.answer_refusal(step, call, Refusal(ToolErrorKind::Denied, why))
            }
            Verdict::Ask(why) => self.ask_for(step, call, &*tool, why),
        }
    }

    /// The tool of a call that fits it.
    fn find(&self, call: &ToolCall, own: bool) -> Result<Arc<dyn Tool>, Refusal> {
        if call.name == FINAL_TOOL && self.output_schema.is_some() {
            return refuse(
                ToolErrorKind::InvalidArgs,
                format!("Nothing was answered: call {FINAL_TOOL} alone, after all other calls."),
            );
        }
        let allowed = own || self.run.spec.agent.tools.contains(&call.name);
        let Some(registered) = self.inner.tools.registered(&call.name).filter(|_| allowed) else {
            let name: String = call.name.chars().take(100).collect();
            let tools = self.run.spec.agent.tools.join(", ");
            let said = format!("There is no tool `{name}`. The tools are: {tools}.");
            return refuse(ToolErrorKind::UnknownTool, said);
        };
        if !registered.tool.available(&self.settings) {
            let said = format!("The project's settings do not allow {}.", call.name);
            return refuse(ToolErrorKind::Denied, said);
        }
        if let Err(violations) = registered.schema.check(&call.arguments) {
            let said = format!(
                "The arguments do not fit the tool's schema; nothing was run.\n{}",
                violations.join("\n")
            );
            return refuse(ToolErrorKind::InvalidArgs, said);
        }
        Ok(registered.tool)
    }

    fn policies(&self) -> impl Iterator<Item = &ToolPolicy> {
        let spec = &self.run.spec;
        let own = std::iter::once(&self.settings.tools).chain(&spec.tool_policy);
        own.chain(spec.lineage.iter().flat_map(|lineage| &lineage.tool_policies))
    }

    fn is_unattended(&self) -> bool {
        self.policies().any(|policy| policy.unattended)
    }

    fn verdict(&self, tool: &dyn Tool, call: &ToolCall) -> Verdict {
        let hands = self.state.hands();
        let asked = Asked {
            tool: &call.name,
            arguments: &call.arguments,
            risk: tool.risk(&call.arguments),
            untrusted: hands.is_untrusted(),
            calls: hands.calls(),
            calls_of_tool: hands.calls_of(&call.name),
        };
        ToolPolicy::decide_all(self.policies(), &asked)
    }

    fn ask_for(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        tool: &dyn Tool,
        reason: String,
    ) -> Result<bool, Stop> {
        let seconds = self.policies().filter_map(|policy| policy.approval_seconds).min();
        let ttl =
            seconds.map_or_else(|| APPROVAL_TTL.unsigned_abs(), std::time::Duration::from_secs);
        let question = call.name == ASK_TOOL;
        self.emit(EventBody::ApprovalRequested {
            approval: ApprovalId::from_uuid(self.inner.ids.next()),
            step: step.clone(),
            kind: if question { ApprovalKind::Question } else { ApprovalKind::Call },
            tool: call.name.clone(),
            arguments: call.arguments.clone(),
            arguments_sha256: call_sha256(&call.name, &call.arguments),
            risk: tool.risk(&call.arguments),
            reason,
            expires_at: time::later(self.inner.clock.now(), ttl),
        })?;
        Ok(true)
    }

    /// Does what a person said about a call, or nobody in time.
    fn look_at_approval(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        approval: &ApprovalState,
    ) -> Result<bool, Stop> {
        let denied = |said: String| Refusal(ToolErrorKind::Denied, said);
        match &approval.decided {
            None if approval.expires_at <= self.inner.clock.now() => {
                let (approval, step) = (approval.id, step.clone());
                self.emit(EventBody::ApprovalExpired { approval, step })?;
                Ok(true)
            }
            None => Ok(false),
            Some(Decided::Approved(edited)) => {
                let bound = call_sha256(&call.name, &call.arguments) == approval.arguments_sha256;
                if edited.is_none() && !bound {
                    let said = "the approval was for other arguments; ask again".to_owned();
                    return self.answer_refusal(step, call, denied(said));
                }
                self.run_tool(step, call, 1)
            }
            Some(Decided::Rejected(comment)) => {
                let said = match comment {
                    Some(comment) => format!("A person rejected the call and says: {comment}"),
                    None => "A person rejected the call. Go on without it.".to_owned(),
                };
                self.answer_refusal(step, call, denied(said))
            }
            Some(Decided::Answered(output)) => {
                self.tell_tool_started(step, call, StepKind::Tool, EffectPolicy::Pure, 1)?;
                self.succeed_tool(step, call, ToolOutput::new(output.clone()), 0)?;
                Ok(true)
            }
            Some(Decided::Expired) => {
                let said = "Nobody approved the call in time. Go on without it.".to_owned();
                self.answer_refusal(step, call, denied(said))
            }
        }
    }

    /// Answers a call that never runs.
    fn answer_refusal(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        Refusal(kind, for_model): Refusal,
    ) -> Result<bool, Stop> {
        self.tell_tool_started(step, call, StepKind::Tool, EffectPolicy::Pure, 1)?;
        self.fail_tool(step, call, kind, for_model)?;
        Ok(true)
    }

    /// The call as it is to be made: with the arguments that a person chose, if one did.
    pub(super) fn effective(&self, step: &StepKey, call: ToolCall) -> ToolCall {
        match self.state.hands().edited(step) {
            Some(arguments) => ToolCall { arguments: arguments.clone(), ..call },
            None => call,
        }
    }

    /// Commands that may be begun now: of calls whose footprints meet, the first one goes first.
    pub(super) fn unhindered(&self, commands: Vec<MachineCommand>) -> Vec<MachineCommand> {
        if commands.len() < 2 {
            return commands;
        }
        let mut ahead: Vec<Footprint> = Vec::with_capacity(commands.len());
        commands
            .into_iter()
            .filter(|command| {
                let MachineCommand::CallTool { step, call } = command else { return true };
                let arguments = self.state.hands().edited(step).unwrap_or(&call.arguments);
                let footprint = self.footprint(&call.name, arguments);
                let free = !ahead.iter().any(|earlier| earlier.meets(&footprint));
                ahead.push(footprint);
                free
            })
            .collect()
    }

    fn footprint(&self, tool: &str, arguments: &Value) -> Footprint {
        self.inner.tools.get(tool).map_or_else(Footprint::none, |tool| tool.footprint(arguments))
    }
}
