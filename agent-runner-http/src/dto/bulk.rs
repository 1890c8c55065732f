//! Commands for many runs at once.

use agent_runner_core::{
    engine::{EngineError, ManyDone, ManyRuns},
    id::{ProjectId, RunId},
    run::{Run, RunStatus},
    store::RunQuery,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fork::NewRerun;
use crate::{
    extract::object,
    problem::{Problem, ProblemBody},
};

/// Runs of one request when the client does not say.
const LIMIT_DEFAULT: usize = 100;

/// Where a run stands.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    /// Accepted, not started.
    Queued,
    /// Started.
    Running,
    /// Ended with an output.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended on request.
    Canceled,
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => Self::Queued,
            Status::Running => Self::Running,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Canceled => Self::Canceled,
        }
    }
}

/// The filters of `GET /runs`. Every one that is given must hold.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFilter {
    /// One of these.
    #[serde(default)]
    status: Vec<Status>,
    /// Of this project.
    #[schema(value_type = Option<String>, format = Uuid)]
    project_id: Option<ProjectId>,
    /// Of this agent.
    agent: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// Started by this run.
    #[schema(value_type = Option<String>, format = Uuid)]
    parent_id: Option<RunId>,
    /// With this text in goal or name.
    q: Option<String>,
    /// Accepted at or after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_after: Option<Timestamp>,
}

/// A request for the runs that fit.
macro_rules! for_many {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$fdoc])* pub(crate) $field: $ty,)*
            /// Which runs.
            #[serde(default, deserialize_with = "object")]
            filter: RunFilter,
            /// Every run is meant: in place of a filter.
            #[serde(default)]
            all: bool,
            /// Only says which runs it would be.
            #[serde(default)]
            dry_run: bool,
            /// Most runs of this request, 1 to 500; default 100.
            limit: Option<usize>,
            /// `next_cursor` of the request before.
            #[schema(value_type = Option<String>, format = Uuid)]
            cursor: Option<RunId>,
        }

        impl $name {
            /// Which runs.
            pub(crate) fn many(&mut self) -> ManyRuns {
                let filter = std::mem::take(&mut self.filter);
                let query = RunQuery {
                    statuses: filter.status.into_iter().map(Into::into).collect(),
                    project_id: filter.project_id,
                    agent: filter.agent,
                    tag: filter.tag,
                    parent_id: filter.parent_id,
                    text: filter.q,
                    created_after: filter.created_after,
                    after: self.cursor,
                    limit: self.limit.unwrap_or(LIMIT_DEFAULT),
                    ..RunQuery::default()
                };
                ManyRuns { query, all: self.all, dry_run: self.dry_run }
            }
        }
    };
}

for_many! {
    /// Ends the runs that fit. Runs that have ended do not count.
    CancelMany {
        /// For people; kept with each run.
        reason: Option<String>
    }
}

for_many! {
    /// Starts the runs that fit anew.
    RerunMany {
        /// What is otherwise than it was, for all of them.
        changes: Option<NewRerun>
    }
}

/// A run that took the command, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The run that fits.
    #[schema(format = Uuid)]
    run_id: String,
    /// The run afterwards: the same, or the new one that was started from it. Missing in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    id: Option<String>,
    /// Where that one stands: `QUEUED`, `RUNNING`, `COMPLETED`, `FAILED` or `CANCELED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

/// A run that did not take the command.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// The run.
    #[schema(format = Uuid)]
    run_id: String,
    /// Why.
    problem: ProblemBody,
}

/// What became of a command for many runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ManyAnswer {
    /// Runs that fit, of this request.
    matched: usize,
    /// Runs among them that took the command; 0 for a dry run.
    accepted: usize,
    /// Runs among them that did not, and why.
    failed: Vec<Refused>,
    /// Those that did; for a dry run, those that fit.
    runs: Vec<Accepted>,
    /// Give it as `cursor` for the runs that are left; `null` when there are none.
    next_cursor: Option<String>,
}

impl ManyAnswer {
    pub(crate) fn new(done: ManyDone, dry_run: bool, request_id: &str) -> Self {
        let refused = |(id, error): (RunId, EngineError)| Refused {
            run_id: id.to_string(),
            problem: Problem::from(error).body(&format!("/runs/{id}"), request_id),
        };
        let took = |(from, run): &(RunId, Run)| Accepted {
            run_id: from.to_string(),
            id: Some(run.id.to_string()),
            status: Some(run.status.as_str()),
        };
        let would = |id: &RunId| Accepted { run_id: id.to_string(), id: None, status: None };
        Self {
            matched: done.matched.len(),
            accepted: done.accepted.len(),
            runs: match dry_run {
                true => done.matched.iter().map(would).collect(),
                false => done.accepted.iter().map(took).collect(),
            },
            failed: done.failed.into_iter().map(refused).collect(),
            next_cursor: done.next.map(|id| id.to_string()),
        }
    }
}

/// What became of one run of a batch: it has an `id`, or a `problem`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchItem {
    /// The run that was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    id: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemBody>,
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// Runs that were accepted.
    pub(crate) accepted: usize,
    /// Runs that were refused.
    pub(crate) failed: usize,
    /// One for each run of the request, in order.
    items: Vec<BatchItem>,
}

impl BatchAnswer {
    pub(crate) fn new(all: Vec<Result<Run, Problem>>, request_id: &str) -> Self {
        let accepted = all.iter().filter(|one| one.is_ok()).count();
        let failed = all.len() - accepted;
        let items = all.into_iter().enumerate().map(|(n, one)| match one {
            Ok(run) => BatchItem {
                id: Some(run.id.to_string()),
                status: Some(run.status.as_str()),
                problem: None,
            },
            Err(problem) => {
                let problem = problem.body(&format!("/runs/batch#/{n}"), request_id);
                BatchItem { id: None, status: None, problem: Some(problem) }
            }
        });
        Self { accepted, failed, items: items.collect() }
    }
}
