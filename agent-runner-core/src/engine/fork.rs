//! Forks: runs that go on from some moment of another run.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    Engine, EngineError, EngineErrorKind, FieldError, NewRun, NewWorkflow, journal,
    journal::StepRows,
};
use crate::{
    budget::Budget,
    event::EventBody,
    id::{ArtifactId, RunId},
    limits,
    llm::ReasoningEffort,
    machine::{self, MachineCommand, RunState, Told},
    run::{FailureReason, ForkedFrom, Run, RunSpec},
    store::{ArtifactQuery, Created, Ready},
};

/// What a fork does otherwise than the run that it goes on from. `None` is the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewFork {
    /// The other run's event after which the fork goes on: 1 starts anew. `None` is the last one
    /// after which something was left to be done other than to end.
    pub event: Option<u64>,
    /// What the agent is to do.
    pub goal: Option<String>,
    /// What the workflow gets. Code that decides otherwise with it than it had decided until the event
    /// parks the fork; from event 1 it is free.
    pub inputs: Option<Value>,
    /// A name for people.
    pub name: Option<String>,
    /// The model, `provider/model`.
    pub model: Option<String>,
    /// The system prompt.
    pub instructions: Option<String>,
    /// Names of tools and patterns such as `files.*`.
    pub tools: Option<Vec<String>>,
    /// Sampling temperature, 0..=2.
    pub temperature: Option<f32>,
    /// Most tokens of one reply.
    pub max_output_tokens: Option<u32>,
    /// Most model calls, those before the fork included.
    pub max_steps: Option<u32>,
    /// Most time from now on.
    pub timeout: Option<Duration>,
    /// How much the model reasons.
    pub reasoning: Option<ReasoningEffort>,
    /// Most that the fork may spend; what the other run spent does not count.
    pub budget: Option<Budget>,
    /// Labels for filters.
    pub tags: Option<Vec<String>>,
    /// The caller's own data.
    pub metadata: Option<BTreeMap<String, Value>>,
    /// Makes the fork idempotent within the project.
    pub idempotency_key: Option<String>,
    /// SHA-256 (hex) of the request; another one with the same key is refused.
    pub request_hash: Option<String>,
}

impl NewFork {
    /// What is asked for, on the whole.
    fn onto(self, source: &Run) -> NewRun {
        let old = NewRun::like(source);
        let workflow = match (old.workflow, self.inputs) {
            (Some(workflow), Some(input)) => Some(NewWorkflow { input, ..workflow }),
            // A workflow without a name is refused.
            (None, Some(input)) => Some(NewWorkflow { name: String::new(), version: None, input }),
            (workflow, None) => workflow,
        };
        NewRun {
            workflow,
            goal: self.goal.unwrap_or(old.goal),
            name: self.name.or(old.name),
            model: self.model.or(old.model),
            instructions: self.instructions.or(old.instructions),
            tools: self.tools.or(old.tools),
            temperature: self.temperature.or(old.temperature),
            max_output_tokens: self.max_output_tokens.or(old.max_output_tokens),
            max_steps: self.max_steps.or(old.max_steps),
            timeout: self.timeout.or(old.timeout),
            reasoning: self.reasoning.or(old.reasoning),
            budget: self.budget.or(old.budget),
            tags: self.tags.unwrap_or(old.tags),
            metadata: self.metadata.unwrap_or(old.metadata),
            idempotency_key: self.idempotency_key,
            request_hash: self.request_hash,
            ..old
        }
    }
}

impl Engine {
    /// Accepts a run that goes on from some moment of another one, finished or not, which stays as it
    /// is. The fork has that run's conversation, finished steps, signals and artifacts up to then as
    /// its own; what was under way then is begun anew, and what its tools did outside is not undone:
    /// files of the project are as they are now. It pays for itself only.
    ///
    /// # Errors
    /// `NotFound`; `Validation` names every wrong field, an event after which nothing is left to be
    /// done among them; `IdempotencyMismatch` when the key was used for another request.
    pub async fn fork(&self, id: RunId, fork: NewFork) -> Result<Created, EngineError> {
        let source = self.run(id).await?;
        let project = self.project(source.project_id).await?.project;
        let (event, journal) = self.moment(&source, fork.event).await?;
        let new = fork.onto(&source);
        let hash = new.request_hash.clone();
        let mut spec = self.spec(&new, &project.settings)?;
        spec.forked_from = Some(ForkedFrom::new(id, event));
        spec.lineage.clone_from(&source.spec.lineage);
        spec.lineage.iter_mut().for_each(|lineage| lineage.child_of = None);
        let run = self.row(new, project.id, spec.clone());

        let artifacts = self.artifacts_of(id).await?;
        let kept = machine::inherited(&journal, &artifacts).map_err(|error| damaged(id, &error))?;
        let (steps, bodies, at) = self.retold(&run, spec, event, kept)?;
        let ready = Ready::At(run.may_start_at(run.created_at));
        let first = journal::beginning(steps, &bodies, &at, ready);
        let created = self.inner.store.create(run, first).await?;
        Self::same_request(created, hash.as_deref())
    }

    /// The event after which to go on, and the journal up to it.
    async fn moment(
        &self,
        source: &Run,
        event: Option<u64>,
    ) -> Result<(u64, Vec<Told>), EngineError> {
        let wrong = |detail: String| {
            let field = FieldError { pointer: "/event".to_owned(), detail };
            Err(EngineError::validation(vec![field]))
        };
        let last = source.last_seq;
        if event.is_some_and(|event| event == 0 || event > last) {
            return wrong(format!("run {} has the events 1 to {last}", source.id));
        }
        let upto = event.unwrap_or(last);
        let mut journal = journal::told(&*self.inner.store, source.id, upto).await?;
        let open = machine::last_open(&journal).map_err(|error| damaged(source.id, &error))?;
        let Some(open) = open else {
            return wrong(format!("run {} never had anything to do", source.id));
        };
        if event.is_some_and(|event| event != open) {
            return wrong(format!(
                "after event {upto} nothing is left to be done but to end; the last event before it \
                 after which something was left is {open}"
            ));
        }
        journal.retain(|told| told.seq <= open);
        Ok((open, journal))
    }

    /// The artifacts of a run that are still there.
    async fn artifacts_of(&self, run_id: RunId) -> Result<BTreeSet<ArtifactId>, EngineError> {
        let mut all = BTreeSet::new();
        let mut query =
            ArtifactQuery { run_id, name: None, after: None, limit: limits::EVENT_PAGE };
        loop {
            let page = self.inner.store.artifacts(&query).await?;
            query.after = page.last().map(|artifact| artifact.id);
            let full = page.len() >= query.limit;
            all.extend(page.into_iter().map(|artifact| artifact.id));
            if !full {
                return Ok(all);
            }
        }
    }

    /// The journal that a fork begins with, and the rows of its steps.
    fn retold(
        &self,
        run: &Run,
        spec: RunSpec,
        event: u64,
        kept: Vec<Told>,
    ) -> Result<(StepRows, Vec<EventBody>, Vec<jiff::Timestamp>), EngineError> {
        let source = spec.forked_from.map_or(run.id, |from| from.run);
        let inherited = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        let (mut bodies, mut at) =
            (vec![EventBody::RunQueued { spec: Box::new(spec) }], vec![run.created_at]);
        for Told { at: then, mut body, .. } in kept {
            if let EventBody::ArtifactCreated { artifact, .. } = &mut body {
                *artifact = ArtifactId::from_uuid(self.inner.ids.next());
            }
            bodies.push(body);
            at.push(then);
        }
        bodies.push(EventBody::RunForked { source, event, inherited });
        at.push(run.created_at);
        let (mut state, mut steps) = (RunState::default(), StepRows::default());
        for (n, (body, at)) in bodies.iter().zip(&at).enumerate() {
            let seq = u64::try_from(n).map_or(u64::MAX, |n| n + 1);
            state.apply(seq, body).map_err(|error| damaged(source, &error))?;
            steps.take(n, body, *at, &state);
        }
        let ends = state.next().into_iter().next();
        if let Some(MachineCommand::Fail { error }) = ends
            && error.reason == FailureReason::MaxSteps
        {
            let detail =
                "the model was called as often before the fork already; allow more".to_owned();
            let field = FieldError { pointer: "/options/max_steps".to_owned(), detail };
            return Err(EngineError::validation(vec![field]));
        }
        Ok((steps, bodies, at))
    }
}

fn damaged(run: RunId, error: &dyn std::fmt::Display) -> EngineError {
    let said = format!("run {run} cannot be forked: {error}");
    EngineError::new(EngineErrorKind::Internal, said)
}
