//! A run and all that descends from it.

use std::collections::BTreeMap;

use super::{Engine, EngineError};
use crate::{
    budget::Spend,
    id::RunId,
    limits,
    llm::Usage,
    run::Run,
    store::{Order, RunQuery},
};

/// A run and the runs that descend from it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Family {
    /// The run itself first, then its children, then theirs; those of one level by parent and id.
    pub members: Vec<Member>,
    /// Whether all are there. A family of more than [`limits::FAMILY_MAX`] is cut after so many.
    pub complete: bool,
}

/// One of a family.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// The run.
    pub run: Run,
    /// Levels below the first.
    pub level: u32,
    /// Tokens that it and its descendants used, as far as they are among the members.
    pub usage: Usage,
    /// What their calls took.
    pub spend: Spend,
}

impl Engine {
    /// A run with all that descends from it, detached ones included.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn family(&self, id: RunId) -> Result<Family, EngineError> {
        let mut members = vec![Member::new(self.run(id).await?, 0)];
        let (mut next, mut complete) = (0, true);
        while let Some(Member { run, level, .. }) = members.get(next) {
            let (parent, below) = (run.id, level + 1);
            next += 1;
            let room = limits::FAMILY_MAX.saturating_sub(members.len());
            let mut children = self.some_children(parent, room + 1).await?;
            if children.len() > room {
                complete = false;
                children.truncate(room);
            }
            members.extend(children.into_iter().map(|child| Member::new(child, below)));
        }
        add_up(&mut members);
        Ok(Family { members, complete })
    }

    /// At most so many children of a run, oldest first.
    async fn some_children(&self, parent: RunId, most: usize) -> Result<Vec<Run>, EngineError> {
        let mut children: Vec<Run> = Vec::new();
        loop {
            let limit = (most - children.len()).min(limits::PAGE_MAX);
            let after = children.last().map(|run| run.id);
            let order = Order::Ascending;
            let parent_id = Some(parent);
            let query = RunQuery { parent_id, after, order, limit, ..RunQuery::default() };
            let page = self.runs(&query).await?;
            let full = page.len() >= limit;
            children.extend(page);
            if !full || children.len() >= most {
                return Ok(children);
            }
        }
    }
}

impl Member {
    const fn new(run: Run, level: u32) -> Self {
        let (usage, spend) = (run.usage, run.spend);
        Self { run, level, usage, spend }
    }
}

/// Adds what each took to what its parent took; descendants come after their ancestors.
fn add_up(members: &mut [Member]) {
    let mut below: BTreeMap<RunId, (Usage, Spend)> = BTreeMap::new();
    for member in members.iter_mut().rev() {
        if let Some((usage, spend)) = below.remove(&member.run.id) {
            member.usage = member.usage.plus(usage);
            member.spend = member.spend.plus(spend);
        }
        if let Some(parent) = member.run.parent_id {
            let sum = below.entry(parent).or_default();
            *sum = (sum.0.plus(member.usage), sum.1.plus(member.spend));
        }
    }
}
