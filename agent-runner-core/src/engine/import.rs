//! Takes a run in that another database wrote as a bundle. Whoever made it is not trusted: everything
//! is checked before anything is written, and then all of it is written at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    Engine, EngineError, EngineErrorKind, FieldError, NewRun,
    bundle::{
        BundledArtifact, BundledEvent, End, FORMAT, Hashes, Head, Label, Line, VERSION, micros,
    },
    journal::{self, StepRows},
    new_run::{Wrong, check_bounds},
};
use crate::{
    event::{Event, EventBody},
    id::{ArtifactId, ProjectId, RunId},
    limits,
    machine::RunState,
    run::{ImportedFrom, Run, RunError, RunSpec},
    store::{Beginning, Created, Ready},
};

/// Lines that are read before other tasks get their turn.
const LINES_PER_TURN: usize = 256;
/// The objects around a payload in its line.
const LEVELS_OF_A_LINE: usize = 2;

impl Engine {
    /// Takes in a run that ended elsewhere, from what [`Engine::export`] wrote there. It gets a new
    /// id and has the same journal; [`RunSpec::imported_from`] says where it comes from. It can be
    /// looked at, replayed, compared, forked and exported again. It counts for no budget. The
    /// artifacts and approvals that its journal tells of are not listed: the bytes of the ones do not
    /// travel, and nobody waits for the others.
    ///
    /// The same bundle in the same project is the same run, for as long as that exists.
    ///
    /// # Errors
    /// `Validation` says what is wrong with the bundle and in which line; `TooLarge` beyond
    /// [`limits::BUNDLE_BYTES_MAX`]; `NotFound` for an unknown project. Nothing is written then.
    pub async fn import(
        &self,
        bundle: &[u8],
        project: Option<ProjectId>,
    ) -> Result<Created, EngineError> {
        if bundle.len() > limits::BUNDLE_BYTES_MAX {
            let said = format!("a bundle has at most {} bytes", limits::BUNDLE_BYTES_MAX);
            return Err(EngineError::new(EngineErrorKind::TooLarge, said));
        }
        let project = match project {
            Some(id) => self.project(id).await?.project.id,
            None => self.default_project().await?.id,
        };
        let mut reader = Reader::default();
        let mut lines = 0;
        for line in bundle.split_inclusive(|byte| *byte == b'\n') {
            lines += 1;
            reader.take(line).map_err(|what| in_line(lines, &what))?;
            if lines % LINES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let Some((head, sha256)) = reader.ends() else {
            return Err(in_line(lines + 1, "the bundle breaks off here: it has no line `end`"));
        };
        let run = self.imported(head, sha256.clone(), project, &reader.told)?;
        let first = Beginning { steps: reader.steps.into_rows(), ..reader.first };
        let created = self.inner.store.create(run, first).await?;
        Self::same_request(created, Some(&sha256))
    }

    /// The row of the run.
    fn imported(
        &self,
        head: Head,
        sha256: String,
        project: ProjectId,
        told: &Told,
    ) -> Result<Run, EngineError> {
        let mut spec = head.spec;
        spec.imported_from = Some(Box::new(ImportedFrom::new(head.id, sha256.clone())));
        let new = NewRun {
            name: head.name,
            priority: head.priority,
            tags: head.tags,
            metadata: head.metadata,
            idempotency_key: Some(format!("import:{sha256}")),
            request_hash: Some(sha256),
            ..NewRun::default()
        };
        let run = Run {
            status: head.status,
            cancel_requested: told.cancel_requested,
            cancel_reason: told.cancel_reason.clone(),
            output: told.output.clone(),
            error: told.error.clone(),
            usage: head.usage,
            spend: head.spend,
            created_at: micros(head.created_at),
            started_at: head.started_at.map(micros),
            finished_at: head.finished_at.map(micros),
            deadline_at: head.deadline_at.map(micros),
            ..self.row(new, project, spec)
        };
        // What nobody can ask for cannot have been asked for.
        let mut wrong = Wrong::default();
        check_bounds(&NewRun::like(&run), &mut wrong);
        wrong.into_result().map_err(|error| in_line(1, &error.to_string()))?;
        Ok(run)
    }
}

/// What stands in the run's row and is told by its events only.
#[derive(Debug, Default)]
struct Told {
    cancel_requested: bool,
    cancel_reason: Option<String>,
    output: Option<Value>,
    error: Option<RunError>,
}

/// Reads a bundle line by line.
#[derive(Debug)]
struct Reader {
    hashes: Hashes,
    head: Option<Head>,
    state: RunState,
    steps: StepRows,
    first: Beginning,
    signals: BTreeSet<String>,
    /// Name, size and SHA-256 of those that the events tell of.
    artifacts: BTreeMap<ArtifactId, (String, u64, String)>,
    told: Told,
    /// The events are over: artifacts follow.
    artifacts_only: bool,
    /// SHA-256 of the bundle; set with its last line.
    sha256: Option<String>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            hashes: Hashes::default(),
            head: None,
            state: RunState::default(),
            steps: StepRows::default(),
            first: Beginning::new(Vec::new(), Ready::Never),
            signals: BTreeSet::new(),
            artifacts: BTreeMap::new(),
            told: Told::default(),
            artifacts_only: false,
            sha256: None,
        }
    }
}

impl Reader {
    /// Takes the next line in.
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        if self.sha256.is_some() {
            return Err("something follows the line `end`".to_owned());
        }
        if line.len() > limits::BUNDLE_LINE_BYTES_MAX {
            let most = limits::BUNDLE_LINE_BYTES_MAX;
            return Err(format!("the line has {} bytes; at most {most} are read", line.len()));
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err("the bundle breaks off here: the line has no end".to_owned());
        };
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| format!("the line is no JSON: {error}"))?;
        plain(&value, limits::DOCUMENT_DEPTH_MAX + LEVELS_OF_A_LINE)?;
        if self.head.is_none() {
            check_label(&value)?;
        }
        let read: Line = serde_json::from_value(value)
            .map_err(|error| format!("the line is not one of a bundle: {error}"))?;
        match (read, self.head.is_some()) {
            (Line::Run(head), false) => self.head = Some(checked(*head)?),
            (_, false) => return Err("a bundle begins with the line `run`".to_owned()),
            (Line::Run(_), true) => return Err("`run` is the first line only".to_owned()),
            (Line::Event(event), true) => self.event(event)?,
            (Line::Artifact(artifact), true) => self.artifact(&artifact)?,
            // It has the hashes of all before it.
            (Line::End(end), true) => return self.end(end),
        }
        self.hashes.take(line);
        Ok(())
    }

    fn event(&mut self, event: BundledEvent) -> Result<(), String> {
        let seq = self.hashes.events().saturating_add(1);
        if event.id != seq {
            return Err(format!("event {} stands where event {seq} should", event.id));
        }
        if self.artifacts_only {
            return Err("an event follows an artifact".to_owned());
        }
        if self.state.status().is_terminal() {
            return Err(format!("event {seq} follows the end of the run"));
        }
        if micros(event.at) != event.at {
            return Err("`at` is finer than a microsecond, which no journal is".to_owned());
        }
        let body = self.typed(&event)?;
        self.state.apply(seq, &body).map_err(|error| cannot_happen(seq, &error))?;
        let place = self.first.events.len();
        self.steps.take(place, &body, event.at, &self.state);
        if let Some(signal) = journal::signal_row(place, &body) {
            if !self.signals.insert(signal.id.clone()) {
                return Err(format!("`{}` is accepted a second time", signal.id));
            }
            self.first.signals.push(signal);
        }
        self.learn(body);
        // As this program writes it: so the same journal has the same hash in every database.
        let mut canonical = Vec::new();
        let event = Line::Event(event);
        event.write(&mut canonical).map_err(|error| error.to_string())?;
        self.hashes.take_event(&canonical);
        if let Line::Event(event) = event {
            let mut event = event.into_new();
            journal::offload(&mut event, &mut self.first.blobs);
            self.first.events.push(event);
        }
        Ok(())
    }

    /// What an event tells, which must make sense where it stands.
    fn typed(&self, event: &BundledEvent) -> Result<EventBody, String> {
        let BundledEvent { id, kind, step, at, payload } = event;
        let whole = Event {
            run_id: RunId::from_uuid(uuid::Uuid::nil()),
            seq: *id,
            epoch: 0,
            kind: kind.clone(),
            step: step.clone(),
            payload: payload.clone(),
            blob: None,
            at: *at,
        };
        let body = match EventBody::from_event(&whole) {
            Ok(Some(body)) => body,
            Ok(None) => {
                let program = self.head.as_ref().map_or("", |head| &head.program);
                return Err(format!(
                    "events of type `{kind}` are not known to this version; agent-runner {program} \
                     made the bundle"
                ));
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                return Err(format!("{error}: {}", cause.unwrap_or_default()));
            }
        };
        if body.step() != step.as_ref() {
            return Err("`step` is another one than the payload's".to_owned());
        }
        match (&body, *id == 1) {
            (EventBody::RunQueued { spec }, true) => self.same_spec(spec)?,
            (_, true) => return Err("the first event is not `run.queued`".to_owned()),
            (EventBody::RunQueued { .. }, false) => {
                return Err("only the first event is `run.queued`".to_owned());
            }
            (_, false) => {}
        }
        Ok(body)
    }

    fn same_spec(&self, spec: &RunSpec) -> Result<(), String> {
        if spec.imported_from.is_some() {
            return Err("`run.queued` has `imported_from`, which no journal has".to_owned());
        }
        if self.head.as_ref().is_some_and(|head| head.spec != *spec) {
            return Err("`run.queued` has another `spec` than the first line".to_owned());
        }
        Ok(())
    }

    fn learn(&mut self, body: EventBody) {
        match body {
            EventBody::RunCompleted { output } => self.told.output = Some(output),
            EventBody::RunFailed { error } => self.told.error = Some(error),
            EventBody::RunCancelRequested { reason } => {
                self.told.cancel_requested = true;
                self.told.cancel_reason = reason.or(self.told.cancel_reason.take());
            }
            EventBody::ArtifactCreated { artifact, name, size, sha256, .. } => {
                self.artifacts.insert(artifact, (name, size, sha256));
            }
            _ => {}
        }
    }

    fn artifact(&mut self, artifact: &BundledArtifact) -> Result<(), String> {
        let BundledArtifact { id, name, size, sha256, .. } = artifact;
        // Taken out, so that none comes twice.
        match self.artifacts.remove(id) {
            Some(made) if (&made.0, made.1, &made.2) == (name, *size, sha256) => {}
            Some(_) => return Err(format!("artifact {id} is another one than its event tells")),
            None => return Err(format!("no event tells of artifact {id}, or it came before")),
        }
        self.artifacts_only = true;
        Ok(())
    }

    fn end(&mut self, said: End) -> Result<(), String> {
        let is = std::mem::take(&mut self.hashes).end();
        for (what, said, is) in [
            ("events", said.events.to_string(), is.events.to_string()),
            ("journal_sha256", said.journal_sha256, is.journal_sha256),
            ("sha256", said.sha256.clone(), is.sha256),
        ] {
            if said != is {
                return Err(format!(
                    "the bundle was damaged or changed: `{what}` says {said}, and is {is}"
                ));
            }
        }
        let Some(head) = &self.head else { return Ok(()) };
        let state = &self.state;
        if state.status() != head.status {
            return Err(format!(
                "the first line says {}, and the events come to {}",
                head.status,
                state.status()
            ));
        }
        if (state.usage(), state.spend()) != (head.usage, head.spend) {
            return Err(
                "`usage` or `spend` of the first line is not what the events add up to".into()
            );
        }
        self.sha256 = Some(said.sha256);
        Ok(())
    }

    /// The first line and the hash of the bundle, once it was read to its end.
    fn ends(&mut self) -> Option<(Head, String)> {
        Some((self.head.take()?, self.sha256.take()?))
    }
}

/// What makes a first line one of this format and version; other versions may have other fields.
fn check_label(value: &Value) -> Result<(), String> {
    let Some(label) = value.get("run").and_then(|run| Label::deserialize(run).ok()) else {
        return Err(format!("a bundle begins with {{\"run\": {{\"format\": \"{FORMAT}\", …}}}}"));
    };
    let Label { format, version, program } = label;
    if format != FORMAT {
        return Err(format!("`format` is `{format}`, not `{FORMAT}`"));
    }
    if version != VERSION {
        return Err(format!(
            "`version` is {version}, made by agent-runner {program}; this one reads version {VERSION}"
        ));
    }
    Ok(())
}

/// Only what has ended is taken in: anything else would go on in two places.
fn checked(head: Head) -> Result<Head, String> {
    let ended = head.status.is_terminal() && head.finished_at.is_some();
    ended.then_some(head).ok_or_else(|| "the run has not ended: only runs that ended travel".into())
}

/// A document that every store keeps: not too deep, and without the character that databases refuse.
fn plain(value: &Value, depth: usize) -> Result<(), String> {
    const NUL: &str = "a text has the character U+0000, which no journal has";
    let below = || {
        let most = limits::DOCUMENT_DEPTH_MAX;
        depth.checked_sub(1).ok_or_else(|| format!("nested deeper than {most} levels"))
    };
    match value {
        Value::String(text) if text.contains('\0') => Err(NUL.to_owned()),
        Value::Array(items) => {
            let depth = below()?;
            items.iter().try_for_each(|item| plain(item, depth))
        }
        Value::Object(items) => {
            let depth = below()?;
            items.iter().try_for_each(|(key, item)| {
                if key.contains('\0') { Err(NUL.to_owned()) } else { plain(item, depth) }
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn cannot_happen(seq: u64, error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("event {seq} cannot happen here: {error}{cause}")
}

fn in_line(line: usize, what: &str) -> EngineError {
    let detail = format!("line {line}: {what}");
    EngineError::validation(vec![FieldError { pointer: String::new(), detail }])
}
