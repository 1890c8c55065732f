//! Code workflows: an `async fn` of an embedder as a run.
//!
//! The engine polls the function. What it does with the world goes through its [`Ctx`], which writes
//! each call into the run's journal and gives the function what came back. A worker that takes the
//! run over runs the function again from its beginning: calls that have ended are answered from
//! the journal and never made again, so the function comes to where it was. For that it has to be
//! deterministic: the same answers must lead it to the same calls. The engine watches that it is.
//!
//! See `docs/CODE_WORKFLOWS.md` for how to write and change them.

mod call;
mod ctx;
mod decision;
mod desk;
mod prompt;
mod registry;
mod task;
mod work;

pub use self::{
    call::{Call, CallError, CallErrorKind, CallKind},
    ctx::Ctx,
    decision::{Called, Decision, Difference, RecordKind},
    prompt::Prompt,
    task::AgentTask,
    work::{StepCx, StepFailure},
};
pub(crate) use self::{
    desk::{Bell, Delivery, Desk, Foreign, Fresh, panic_text},
    registry::{Code, CodeRegistry, FnCode},
    work::Work,
};
