//! Runs that runs start: what a child has from its parent, and what the end of a run means to others.

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tracing::warn;

use super::{Engine, EngineError, Inner, NewRun, journal, new_run::Wrong};
use crate::{
    budget::Budget,
    event::{ChildEnd, EventBody},
    id::{RunId, StepKey},
    limits,
    machine::RunState,
    policy::matches,
    project::ProjectSettings,
    run::{ChildOf, ParkReason, Run, RunStatus},
    store::{News, NewsEffect, Order, Ready, RunQuery, Spawn},
    time,
};

/// What a run may wait for when a child of it ends.
const WAITING: &[ParkReason] = &[
    ParkReason::Child,
    ParkReason::Timer,
    ParkReason::Signal,
    ParkReason::Ask,
    ParkReason::Approval,
];

/// Who starts a child.
pub(super) struct Parent<'a> {
    pub(super) run: &'a Run,
    pub(super) state: &'a RunState,
    pub(super) settings: &'a ProjectSettings,
}

impl Engine {
    /// The child that `step` of a run starts: never with more tools, time or money than its parent.
    ///
    /// # Errors
    /// `Validation` names every wrong field.
    pub(super) fn child(
        &self,
        parent: &Parent<'_>,
        step: &StepKey,
        mut new: NewRun,
        detached: bool,
    ) -> Result<Spawn, EngineError> {
        let run = parent.run;
        new.tools = Some(self.child_tools(parent, new.tools.as_deref())?);
        let mut spec = self.spec(&new, parent.settings)?;
        let mut lineage = run.spec.lineage.as_deref().cloned().unwrap_or_default();
        lineage.child_of = Some(ChildOf { step: step.clone(), detached });
        lineage.depth += 1;
        lineage.untrusted = parent.state.hands().is_untrusted();
        lineage.tool_policies.extend(run.spec.tool_policy.clone());
        spec.lineage = Some(Box::new(lineage));
        spec.tree_budget = self.rest_of_tree_budget(run);
        let mut child = self.row(new, run.project_id, spec.clone());
        child.parent_id = Some(run.id);
        child.root_id = run.root_id;
        if !detached {
            child.deadline_at = child.deadline_at.into_iter().chain(run.deadline_at).min();
        }
        let mut blobs = Vec::new();
        let queued = EventBody::RunQueued { spec: Box::new(spec) };
        let events = vec![journal::stored(&queued, child.created_at, &mut blobs)];
        let ready = Ready::At(child.may_start_at(child.created_at));
        Ok(Spawn { run: child, events, blobs, ready })
    }

    /// Checks what only a child is refused, and selects its tools from those of its parent.
    fn child_tools(
        &self,
        parent: &Parent<'_>,
        wanted: Option<&[String]>,
    ) -> Result<Vec<String>, EngineError> {
        let mut wrong = Wrong::default();
        if parent.run.spec.depth() >= limits::CHILD_DEPTH_MAX {
            let most = limits::CHILD_DEPTH_MAX;
            wrong.add("", format!("a run with {most} ancestors starts no runs; do the work here"));
        }
        if parent.state.children().started() >= limits::CHILDREN_MAX {
            let most = limits::CHILDREN_MAX;
            wrong.add("", format!("a run starts at most {most} runs; do the rest here"));
        }
        let own = &parent.run.spec.agent.tools;
        let all = ["*".to_owned()];
        let mut selected = Vec::new();
        for pattern in wanted.unwrap_or(&all) {
            let before = selected.len();
            selected.extend(own.iter().filter(|name| matches(pattern, name)).cloned());
            if selected.len() == before && pattern != "*" {
                let own = own.join(", ");
                let said = format!("the parent has no tool `{pattern}`; it has: {own}");
                wrong.add("/tools", said);
            }
        }
        // A tool of a server that is away now is missed when it is called, not before.
        selected.retain(|name| self.inner.tools.get(name).is_some());
        wrong.into_result()?;
        Ok(selected)
    }

    /// The tree's budget for a run that begins now: its time counts from the beginning of the tree.
    fn rest_of_tree_budget(&self, parent: &Run) -> Option<Budget> {
        let budget = parent.spec.tree_budget?;
        let passed = time::until(parent.created_at, self.inner.clock.now()).as_secs();
        let seconds = budget.seconds.map(|seconds| seconds.saturating_sub(passed).max(1));
        Some(Budget { seconds, ..budget })
    }
}

impl Inner {
    /// What the last event of a run means to others: to its parent that waits for it, and to the
    /// children that it leaves behind. Nothing for an event that ends no run.
    pub(super) fn news_of_end(
        &self,
        run: &Run,
        last: &EventBody,
        untrusted: bool,
        open: impl IntoIterator<Item = RunId>,
    ) -> Vec<News> {
        let Some(end) = ChildEnd::of(last, untrusted) else { return Vec::new() };
        let at = self.clock.now();
        let reason = format!("run {}, which started it, is {}", run.id, end.status);
        let left = open.into_iter().map(|child| cancellation(child, reason.clone(), at));
        let mut news: Vec<News> = left.collect();
        if let (Some(parent), Some(step)) = (run.parent_id, run.spec.awaited_by()) {
            let mut blobs = Vec::new();
            let body = EventBody::ChildFinished { step: step.clone(), child: run.id, end };
            let event = journal::stored(&body, at, &mut blobs);
            let effect = NewsEffect::Wake { parked: WAITING, at };
            news.push(News { run: parent, event, blobs, effect });
        }
        news
    }

    /// The children of a run that end with it and have not ended.
    pub(super) async fn open_children(&self, parent: RunId) -> Result<Vec<RunId>, EngineError> {
        let mut query = live_children_of(parent, limits::PAGE_MAX);
        let mut open = Vec::new();
        loop {
            let page = self.store.runs(&query).await?;
            query.after = page.last().map(|run| run.id);
            let full = page.len() >= query.limit;
            let attached = page.iter().filter(|run| run.spec.awaited_by().is_some());
            open.extend(attached.map(|run| run.id));
            if !full {
                return Ok(open);
            }
        }
    }

    /// Some run that a run started and that has not ended, detached or not.
    pub(super) async fn live_child(&self, parent: RunId) -> Result<Option<RunId>, EngineError> {
        let page = self.store.runs(&live_children_of(parent, 1)).await?;
        Ok(page.first().map(|run| run.id))
    }

    /// Lets runs that learned something know, and ends those that are to be canceled and that nobody
    /// has, with all that descends from them. What does not work is left to the sweep.
    pub(super) async fn pass_on(&self, news: &[News]) {
        let mut level = self.tell(news);
        while !level.is_empty() {
            let ends = level.into_iter().map(|id| async move { (id, self.try_cancel(id).await) });
            let ends: Vec<_> =
                stream::iter(ends).buffer_unordered(limits::BULK_IN_FLIGHT).collect().await;
            level = Vec::new();
            for (id, end) in ends {
                match end {
                    Ok(news) => level.extend(self.tell(&news)),
                    Err(problem) => {
                        warn!(run.id = %id, error = %problem, "the run is canceled with the next sweep");
                    }
                }
            }
        }
    }

    /// Pokes those of the runs that this process has; the ones that are to be canceled.
    fn tell(&self, news: &[News]) -> Vec<RunId> {
        let mut canceled = Vec::new();
        for News { run, effect, .. } in news {
            self.active.poke(*run);
            match effect {
                NewsEffect::Cancel { .. } => canceled.push(*run),
                NewsEffect::Wake { .. } => {}
            }
        }
        canceled
    }
}

/// Asks a run to end.
pub(super) fn cancellation(run: RunId, reason: String, at: Timestamp) -> News {
    let reason = Some(reason);
    News {
        run,
        event: EventBody::RunCancelRequested { reason: reason.clone() }.to_new(at),
        blobs: Vec::new(),
        effect: NewsEffect::Cancel { reason },
    }
}

fn live_children_of(parent: RunId, limit: usize) -> RunQuery {
    RunQuery {
        parent_id: Some(parent),
        statuses: vec![RunStatus::Queued, RunStatus::Running],
        order: Order::Ascending,
        limit,
        ..RunQuery::default()
    }
}
