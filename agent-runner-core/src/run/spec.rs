//! What a run was asked to do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::AgentSpec,
    budget::Budget,
    id::{RunId, StepKey},
    policy::ToolPolicy,
};

/// What was asked for when the run was created. Immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// What the agent is to do.
    pub goal: String,
    /// The agent's definition as it was at that moment.
    pub agent: AgentSpec,
    /// Said to people about how the run was set up, for example that a script stands in for a model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// Most that it may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Most that it and all that descend from it may spend. Descendants carry it as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_budget: Option<Budget>,
    /// What its tools may do, besides what its project lets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_policy: Option<ToolPolicy>,
    /// The run that it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkedFrom>,
    /// The code that it runs, in place of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Box<WorkflowSpec>>,
    /// What it has from the runs that it descends from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Box<Lineage>>,
    /// Where it ran. Only the row of an imported run has it: its journal is as it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_from: Option<Box<ImportedFrom>>,
}

/// Which code a run runs, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkflowSpec {
    /// Its name.
    pub name: String,
    /// Its version; a run keeps the one that it began with.
    pub version: u32,
    /// Its input.
    #[serde(default)]
    pub input: Value,
}

impl WorkflowSpec {
    /// That version of that workflow, with this input.
    #[must_use]
    pub fn new(name: impl Into<String>, version: u32, input: Value) -> Self {
        Self { name: name.into(), version, input }
    }
}

/// What a run has from the runs that it descends from. A fork of it has the same, but is no child.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lineage {
    /// How it belongs to its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_of: Option<ChildOf>,
    /// How many ancestors it has.
    pub depth: u32,
    /// One of them had read what nobody in charge wrote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// What their tools may do, and so its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_policies: Vec<ToolPolicy>,
}

/// How a run belongs to the run that started it, which is its `parent_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "it is what the parent says of it")]
pub struct ChildOf {
    /// The step that started it.
    pub step: StepKey,
    /// It outlives its parent, which does not wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
}

/// Where a fork comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForkedFrom {
    /// The run.
    pub run: RunId,
    /// Its event after which the fork goes on; 1 for a run that was started anew.
    pub event: u64,
}

/// Where an imported run comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImportedFrom {
    /// Its id there.
    pub run: RunId,
    /// SHA-256 of the bundle without its last line, lower-case hex.
    pub sha256: String,
}

impl ImportedFrom {
    /// That run, from the bundle with that hash.
    #[must_use]
    pub const fn new(run: RunId, sha256: String) -> Self {
        Self { run, sha256 }
    }
}

impl ForkedFrom {
    /// After that event of that run.
    #[must_use]
    pub const fn new(run: RunId, event: u64) -> Self {
        Self { run, event }
    }
}

impl RunSpec {
    /// A goal for an agent, without limits.
    #[must_use]
    pub fn new(goal: impl Into<String>, agent: AgentSpec) -> Self {
        Self {
            goal: goal.into(),
            agent,
            notices: Vec::new(),
            start_at: None,
            budget: None,
            tree_budget: None,
            tool_policy: None,
            forked_from: None,
            workflow: None,
            lineage: None,
            imported_from: None,
        }
    }

    /// How many ancestors the run has.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.lineage.as_ref().map_or(0, |lineage| lineage.depth)
    }

    /// The step of the parent that waits for the run; `None` when none does.
    #[must_use]
    pub fn awaited_by(&self) -> Option<&StepKey> {
        let child_of = self.lineage.as_ref()?.child_of.as_ref()?;
        (!child_of.detached).then_some(&child_of.step)
    }
}
