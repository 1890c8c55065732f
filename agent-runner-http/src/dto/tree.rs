//! A run and all that descends from it, as clients see it.

use agent_runner_core::engine;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    budget::{Spend, TotalCost},
    usage::Usage,
};

/// A family of runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tree {
    /// The run itself first, then its children, then theirs.
    items: Vec<TreeItem>,
    /// Whether all are there. A family of more than 1,000 runs is cut: ask for the tree of a child, or
    /// list the children of a run with `GET /runs?parent_id=`.
    complete: bool,
}

/// One run of a family.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreeItem {
    /// Its id.
    #[schema(format = Uuid)]
    id: String,
    /// The run that started it.
    #[schema(format = Uuid)]
    parent_id: Option<String>,
    /// The parent's step that started it.
    step: Option<String>,
    /// It outlives its parent, which does not wait for it.
    detached: bool,
    /// Levels below the run that was asked for.
    level: u32,
    /// A name for people.
    name: Option<String>,
    /// What it is to do.
    goal: String,
    /// `QUEUED`, `RUNNING`, `COMPLETED`, `FAILED` or `CANCELED`.
    status: &'static str,
    /// As in a run.
    phase: &'static str,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// Tokens of it and of all below it that are shown.
    usage: Usage,
    /// What their model calls took.
    spend: Spend,
    /// Money; `null` when nobody knows the prices.
    cost: Option<TotalCost>,
}

impl From<engine::Family> for Tree {
    fn from(family: engine::Family) -> Self {
        let items = family.members.into_iter().map(TreeItem::from).collect();
        Self { items, complete: family.complete }
    }
}

impl From<engine::Member> for TreeItem {
    fn from(member: engine::Member) -> Self {
        let engine::Member { run, level, usage, spend, .. } = member;
        let phase = run.phase().as_str();
        let child_of = run.spec.lineage.and_then(|lineage| lineage.child_of);
        Self {
            id: run.id.to_string(),
            parent_id: run.parent_id.map(|id| id.to_string()),
            detached: child_of.as_ref().is_some_and(|child_of| child_of.detached),
            step: child_of.map(|child_of| child_of.step.to_string()),
            level,
            name: run.name,
            goal: run.spec.goal,
            status: run.status.as_str(),
            phase,
            created_at: run.created_at,
            finished_at: run.finished_at,
            usage: usage.into(),
            spend: spend.into(),
            cost: TotalCost::of(spend),
        }
    }
}
