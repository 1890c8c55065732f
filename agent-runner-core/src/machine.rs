//! Machines decide what comes next in a run. They are pure: no clock, no randomness, no I/O, no
//! async. Live execution, recovery and replay are the same fold.

pub mod agent;
mod children;
pub mod code;
mod either;
mod hands;
mod inherit;
mod replay;
mod state;
mod story;

pub use self::children::{ChildState, Children};
pub use self::either::Machine;
pub use self::hands::{ApprovalState, Decided, Hands};
pub use self::inherit::{Told, inherited, last_open};
pub use self::replay::{Divergence, Replay};
pub use self::state::{
    ApplyError, MachineCommand, OpenCall, OverBudget, RunState, SignalState, StepState,
};
pub use self::story::{Parting, Story};
