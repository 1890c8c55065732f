//! Lists: runs, events and steps.

use super::state::State;
use crate::{
    event::Event,
    id::RunId,
    run::Run,
    step::Step,
    store::{EventQuery, Order, RunQuery},
};

impl State {
    pub(super) fn runs(&self, query: &RunQuery) -> Vec<Run> {
        let beyond = |id: RunId| match (query.after, query.order) {
            (None, _) => true,
            (Some(after), Order::Ascending) => id > after,
            (Some(after), Order::Descending) => id < after,
        };
        let runs = self.entries.values().map(|entry| &entry.run);
        let fit = runs.filter(|run| beyond(run.id) && fits_run(run, query));
        match query.order {
            Order::Ascending => fit.take(query.limit).cloned().collect(),
            Order::Descending => fit.rev().take(query.limit).cloned().collect(),
        }
    }

    pub(super) fn events(&self, run: RunId, query: &EventQuery) -> Vec<Event> {
        let Some(entry) = self.entries.get(&run) else { return Vec::new() };
        let fits = |event: &&Event| {
            (query.kinds.is_empty() || query.kinds.contains(&event.kind))
                && (query.step.is_none() || query.step == event.step)
        };
        let events = entry.events.iter();
        match query.order {
            Order::Ascending => {
                let events = events.skip_while(|event| event.seq <= query.after);
                events.filter(fits).take(query.limit).cloned().collect()
            }
            Order::Descending => {
                let events = events.filter(|event| query.after == 0 || event.seq < query.after);
                events.filter(fits).rev().take(query.limit).cloned().collect()
            }
        }
    }

    pub(super) fn steps(&self, run: RunId) -> Vec<Step> {
        self.entries.get(&run).map(|entry| entry.steps.clone()).unwrap_or_default()
    }
}

fn fits_run(run: &Run, query: &RunQuery) -> bool {
    (query.statuses.is_empty() || query.statuses.contains(&run.status))
        && query.project_id.is_none_or(|project| run.project_id == project)
        && query.agent.as_ref().is_none_or(|agent| run.spec.agent.name == *agent)
        && query.tag.as_ref().is_none_or(|tag| run.tags.contains(tag))
        && query.parent_id.is_none_or(|parent| run.parent_id == Some(parent))
        && query.created_after.is_none_or(|from| run.created_at >= from)
        && query.text.as_ref().is_none_or(|text| {
            let text = text.to_ascii_lowercase();
            let has = |field: &str| field.to_ascii_lowercase().contains(&text);
            has(&run.spec.goal) || run.name.as_deref().is_some_and(has)
        })
}
