//! Events: the facts of a run, numbered 1..n without gaps, never changed.

mod catalog;
mod child_end;
mod convert;
#[macro_use]
mod define;
mod payload;
mod reply;
mod sentence;
mod stored;

pub(crate) use self::sentence::quote;
pub use self::{
    catalog::{EventField, EventInfo, EventWriter, FieldPresence},
    child_end::ChildEnd,
    payload::Payload,
    reply::{LlmPhase, Reply},
    stored::{DecodeEventError, Event, NewEvent},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::{ModelName, ToolMode},
    approval::{ApprovalDecision, ApprovalKind},
    budget::{Budget, BudgetResource, BudgetScope, OnExceeded, Spend},
    code::{CallError, CallKind, Difference, RecordKind},
    directive::{DirectiveMode, Resolution},
    id::{ApprovalId, ArtifactId, RunId, StepKey, WorkerId},
    llm::{Cost, StopReason, Usage},
    message::Message,
    run::{ParkReason, RunError, RunSpec},
    step::{EffectPolicy, StepError, StepKind},
    tool::{Risk, ToolErrorKind},
};

event_bodies! {
    /// The run was accepted. Always number 1.
    "run.queued" RunQueued by [Command, Family] {
        /// What was asked for.
        spec: Box<RunSpec>,
    }
    /// A worker took the run.
    "run.claimed" RunClaimed by [Worker] {
        /// The worker.
        worker: WorkerId,
        /// The fence of everything it writes.
        epoch: u64,
        /// Whether another worker had it before and was lost.
        recovered: bool,
    }
    /// A worker that shuts down gave the run back.
    "run.released" RunReleased by [Worker] {
        /// The worker.
        worker: WorkerId,
    }
    /// What stands before it was taken over from another run; from here on the run is on its own.
    "run.forked" RunForked by [Command] {
        /// The other run.
        source: RunId,
        /// Its event after which this run goes on.
        event: u64,
        /// How many of its events were taken over.
        inherited: u64,
    }
    /// Somebody asked for a pause.
    "run.pause_requested" RunPauseRequested by [Command] {}
    /// The run stands still. Its status does not change.
    "run.paused" RunPaused by [Command, Worker] {}
    /// Somebody asked it to go on.
    "run.resumed" RunResumed by [Command] {}
    /// The run waits without a worker and costs nothing.
    "run.parked" RunParked by [Worker] {
        /// For what.
        reason: ParkReason,
        /// The step that waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepKey>,
        /// When it wakes by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wake_at: Option<Timestamp>,
        /// How the code of its workflow differs from its journal, with the reason `nondet`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        differs: Option<Difference>,
    }
    /// Somebody asked for the end.
    "run.cancel_requested" RunCancelRequested by [Command, Family] {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
    /// The end, on request. Always the last event.
    "run.canceled" RunCanceled by [Command, Family, Worker] {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
    /// The end, with an output. Always the last event.
    "run.completed" RunCompleted by [Worker] {
        /// Text, or JSON when the agent has an output schema.
        output: Value,
    }
    /// The end, with an error. Always the last event.
    "run.failed" RunFailed by [Command, Worker] {
        /// Why.
        error: RunError,
    }
    /// An attempt of a step began.
    "step.started" StepStarted by [Worker] {
        /// Which step.
        step: StepKey,
        /// What it does.
        step_kind: StepKind,
        /// The model or tool.
        name: String,
        /// What happens when its outcome is unknown.
        policy: EffectPolicy,
        /// 1 for the first.
        attempt: u32,
    }
    /// A step ended well; it never runs again.
    "step.succeeded" StepSucceeded by [Worker] {
        /// Which step.
        step: StepKey,
    }
    /// A step failed for good.
    "step.failed" StepFailed by [Worker] {
        /// Which step.
        step: StepKey,
        /// Why.
        error: StepError,
    }
    /// An attempt failed; another will follow.
    "step.retrying" StepRetrying by [Worker] {
        /// Which step.
        step: StepKey,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        error: StepError,
        /// Milliseconds until the next attempt.
        delay_ms: u64,
        /// When the next attempt begins, at the earliest, also after a restart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    }
    /// A step was not needed.
    "step.skipped" StepSkipped by [Worker] {
        /// Which step.
        step: StepKey,
    }
    /// A step was stopped.
    "step.canceled" StepCanceled by [Command, Worker] {
        /// Which step.
        step: StepKey,
        /// What the model had said until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<String>,
    }
    /// Whether a step's effect happened is not known, and its policy forbids another try.
    "step.indeterminate" StepIndeterminate by [Worker] {
        /// Which step.
        step: StepKey,
        /// What is known.
        detail: String,
    }
    /// Whether a step's effect happened is not known; a person is asked
    /// (`POST /runs/{id}/steps/{key}/resolve`).
    "step.unknown" StepUnknown by [Worker] {
        /// Which step.
        step: StepKey,
        /// What is known.
        detail: String,
    }
    /// A person said what became of a step.
    "step.resolved" StepResolved by [Command] {
        /// Which step.
        step: StepKey,
        /// What became of it; `succeeded` may come with an `output`, `failed` with a `message`.
        resolution: Resolution,
    }
    /// A model call began.
    "llm.started" LlmStarted by [Worker] {
        /// Which step.
        step: StepKey,
        /// 1 for the first.
        attempt: u32,
        /// The model.
        model: ModelName,
        /// How tools are offered; never `auto`.
        tool_mode: ToolMode,
        /// Directives up to this event are part of the conversation from here on.
        directives_upto: u64,
        /// Tokens of the prompt, as estimated before it was sent.
        #[serde(default)]
        estimated_tokens: u64,
    }
    /// A model call is still going on; one for each heartbeat interval.
    "llm.heartbeat" LlmHeartbeat by [Worker] {
        /// Which step.
        step: StepKey,
        /// Milliseconds since the attempt began.
        elapsed_ms: u64,
        /// What it is doing.
        phase: LlmPhase,
        /// Pieces of output received so far; about one token each.
        tokens: u64,
        /// Nothing came since the heartbeat before, not even a sign of life.
        stalled: bool,
    }
    /// A model call ended well: the reply is whole.
    "llm.completed" LlmCompleted by [Worker] {
        /// Which step.
        step: StepKey,
        /// What the model said.
        reply_message: Message,
        /// What that means to the run.
        reply: Reply,
        /// Why it stopped.
        stop: StopReason,
        /// What it used.
        usage: Usage,
        /// Milliseconds from request to end.
        elapsed_ms: u64,
        /// What it cost; absent when nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Cost>,
        /// The model that answered, when it is another one than was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answered_by: Option<ModelName>,
        /// The service's own id of the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        /// What was done otherwise than asked.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notices: Vec<String>,
    }
    /// An attempt that did not end well may have been billed; it is taken for this much.
    "llm.charged" LlmCharged by [Command, Worker] {
        /// Which step.
        step: StepKey,
        /// Which attempt.
        attempt: u32,
        /// Its tokens, reported until it ended or estimated.
        usage: Usage,
        /// What it took of the budgets.
        spend: Spend,
        /// What it cost; absent when nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Cost>,
    }
    /// The conversation comes close to what the model can read, or the service said that it is too
    /// long; it is made shorter.
    "context.full" ContextFull by [Worker] {
        /// The model call that would come next.
        step: StepKey,
        /// Tokens of its prompt, estimated.
        tokens: u64,
        /// Most tokens that it should have.
        limit: u64,
        /// The step that makes it shorter, such as `turn.7.compact`.
        compaction: StepKey,
        /// Messages after the goal that it replaces.
        replaced: u64,
    }
    /// A part of the conversation was replaced by a summary.
    "context.compacted" ContextCompacted by [Worker] {
        /// The step that did it.
        step: StepKey,
        /// Messages after the goal that were replaced.
        replaced: u64,
        /// What stands in their place, with what people said meanwhile, word for word.
        summary: String,
    }
    /// 80 % of the run's budget is spent.
    "budget.warning" BudgetWarning by [Worker] {
        /// Whose budget.
        scope: BudgetScope,
        /// How much of it, in per mille.
        used_per_mille: u64,
    }
    /// A budget is spent, or the next model call would exceed it. The run fails, or waits.
    "budget.exceeded" BudgetExceeded by [Worker] {
        /// Whose budget.
        scope: BudgetScope,
        /// What it limits.
        resource: BudgetResource,
        /// The limit.
        limit: u64,
        /// What is spent and reserved of it.
        spent: u64,
        /// For people: what happened and what to do.
        message: String,
        /// What follows.
        on_exceeded: OnExceeded,
        /// When the budget begins anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renews_at: Option<Timestamp>,
    }
    /// Somebody gave the run another budget.
    "budget.changed" BudgetChanged by [Command] {
        /// The budget; no limit when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Budget>,
    }
    /// What a model said so far is void; it is asked again.
    "llm.attempt_restarted" LlmAttemptRestarted by [Worker] {
        /// Which step.
        step: StepKey,
        /// The attempt that begins.
        attempt: u32,
        /// Why.
        reason: String,
    }
    /// A tool call began.
    "tool.started" ToolStarted by [Worker] {
        /// Which step.
        step: StepKey,
        /// The model's id of the call.
        call_id: String,
        /// Which tool.
        tool: String,
        /// With what.
        arguments: Value,
        /// 1 for the first.
        attempt: u32,
    }
    /// A tool call ended well.
    "tool.completed" ToolCompleted by [Worker] {
        /// Which step.
        step: StepKey,
        /// The model's id of the call.
        call_id: String,
        /// Which tool.
        tool: String,
        /// The whole output.
        output: Value,
        /// Most bytes of it that the model gets.
        model_bytes_max: usize,
        /// Milliseconds it took.
        elapsed_ms: u64,
        /// Where the output came from, when nobody in charge wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        untrusted: Option<String>,
    }
    /// A tool wrote a file of the project; in the transaction of the end of the call.
    "file.written" FileWritten by [Worker] {
        /// Which step.
        step: StepKey,
        /// Its path within the project.
        path: String,
        /// SHA-256 of the content, lower-case hex.
        sha256: String,
        /// Bytes in the file.
        bytes: u64,
        /// Whether there was no file of that name before.
        created: bool,
    }
    /// A tool took a file or directory of the project away from its name.
    "file.removed" FileRemoved by [Worker] {
        /// Which step.
        step: StepKey,
        /// Its path within the project.
        path: String,
        /// Its new path, when it was moved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moved_to: Option<String>,
    }
    /// A tool changed the project's repository, or is about to change another one.
    "git.changed" GitChanged by [Worker] {
        /// Which step.
        step: StepKey,
        /// What was done: `clone`, `commit`, `push`, …; `push_intended` before a push.
        action: String,
        /// The branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
        /// Name of the remote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<String>,
        /// The commit before, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The commit after, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    }
    /// The run has a new artifact; in the transaction of the end of the call that made it.
    "artifact.created" ArtifactCreated by [Command, Worker] {
        /// The step that made it; absent when a person added it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepKey>,
        /// Its id.
        artifact: ArtifactId,
        /// Its name within the run.
        name: String,
        /// What it is for people.
        kind: String,
        /// Its media type.
        media_type: String,
        /// Size in bytes.
        size: u64,
        /// SHA-256 of its bytes, lower-case hex.
        sha256: String,
        /// Where the bytes are.
        uri: String,
    }
    /// A call, or a question of the agent, waits for a person's word. The run parks with the reason
    /// `approval`.
    "approval.requested" ApprovalRequested by [Worker] {
        /// Its id.
        approval: ApprovalId,
        /// The step that waits.
        step: StepKey,
        /// What is asked.
        kind: ApprovalKind,
        /// Which tool.
        tool: String,
        /// With what.
        arguments: Value,
        /// What the approval is bound to: SHA-256 of tool and arguments, lower-case hex.
        arguments_sha256: String,
        /// The harm that the call can do.
        risk: Risk,
        /// Why a person is asked.
        reason: String,
        /// When it is too late.
        expires_at: Timestamp,
    }
    /// A person said what becomes of it.
    "approval.resolved" ApprovalResolved by [Command] {
        /// Its id.
        approval: ApprovalId,
        /// The step that waits.
        step: StepKey,
        /// The person's word.
        #[serde(flatten)]
        decision: ApprovalDecision,
        /// What the person adds; the model reads it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
        /// Who it was, as they say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    }
    /// Nobody said anything in time: the call is not made.
    "approval.expired" ApprovalExpired by [Worker] {
        /// Its id.
        approval: ApprovalId,
        /// The step that waited.
        step: StepKey,
    }
    /// A tool call failed, or was refused before it began; the model is told.
    "tool.failed" ToolFailed by [Worker] {
        /// Which step.
        step: StepKey,
        /// The model's id of the call.
        call_id: String,
        /// Which tool.
        tool: String,
        /// What happened.
        error: ToolErrorKind,
        /// What the model is told.
        for_model: String,
        /// Whose words are in it, when nobody in charge wrote them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        untrusted: Option<String>,
    }
    /// The code of the run's workflow called for something.
    "code.called" CodeCalled by [Worker] {
        /// The step that does it.
        step: StepKey,
        /// What it is.
        call: CallKind,
        /// The function, tool, model or signal.
        name: String,
        /// What happens when its outcome is unknown; a tool has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<EffectPolicy>,
        /// With what.
        input: Value,
        /// SHA-256 of the input, lower-case hex.
        input_sha256: String,
    }
    /// The code was given a value that it would not get a second time.
    "code.recorded" CodeRecorded by [Worker] {
        /// What it asked for.
        what: RecordKind,
        /// The id of a patch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What it got.
        value: Value,
    }
    /// The code does not wait for a call any more: a branch lost a race.
    "code.dropped" CodeDropped by [Worker] {
        /// The step of the call.
        step: StepKey,
    }
    /// A function of the code ended: well, unless there is an error.
    "code.returned" CodeReturned by [Worker] {
        /// Which step.
        step: StepKey,
        /// What it returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// What the code is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<CallError>,
        /// Milliseconds it took.
        elapsed_ms: u64,
    }
    /// The code ended: well, unless there is an error. The run's end follows.
    "code.finished" CodeFinished by [Worker] {
        /// What it returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }
    /// Somebody sent the run a message.
    "directive.received" DirectiveReceived by [Command] {
        /// The sender's id.
        id: String,
        /// What to read.
        text: String,
        /// When it takes effect.
        mode: DirectiveMode,
    }
    /// Something happened that the run may wait for.
    "signal.received" SignalReceived by [Command] {
        /// The sender's id.
        id: String,
        /// Which signal.
        name: String,
        /// What came with it.
        data: Value,
    }
    /// The run will wake by itself.
    "timer.set" TimerSet by [Worker] {
        /// Which step.
        step: StepKey,
        /// When.
        wake_at: Timestamp,
    }
    /// The run started another run, which was made in the same transaction.
    "child.started" ChildStarted by [Worker] {
        /// Which step.
        step: StepKey,
        /// The other run.
        child: RunId,
        /// Its name for people: what it was given, else its agent's.
        name: String,
        /// Nobody waits for it, and it outlives the run.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        detached: bool,
    }
    /// A run that this run started ended; in the transaction of its last event.
    "child.finished" ChildFinished by [Family] {
        /// The step that started it.
        step: StepKey,
        /// The other run.
        child: RunId,
        /// How it ended.
        #[serde(flatten)]
        end: ChildEnd,
    }
    /// The moment came.
    "timer.fired" TimerFired by [Worker] {
        /// Which step.
        step: StepKey,
    }
}
