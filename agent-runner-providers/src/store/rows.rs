//! Rows to core's types. A row that does not fit is an error that names the column, never a panic.

use std::{error::Error, fmt};

use agent_runner_core::{
    approval::{Approval, ApprovalStatus},
    artifact::Artifact,
    event::Event,
    id::{ApprovalId, ArtifactId, ProjectId, RunId, StepKey, WorkerId},
    run::{Park, ParkReason, Run, RunStatus},
    step::{EffectPolicy, Step, StepKind, StepStatus},
    store::{Control, Record, Snapshot, Worker},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::{Decode, Row as _, Sqlite, Type, sqlite::SqliteRow};
use uuid::Uuid;

/// A stored value that is none of those that may stand in its column.
#[derive(Debug)]
struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not one of the known values", self.0)
    }
}

impl Error for Unknown {}

/// Reads a row by the names of its columns.
#[derive(Clone, Copy)]
pub(super) struct Fields<'r>(pub(super) &'r SqliteRow);

impl<'r> Fields<'r> {
    pub(super) fn get<T: Decode<'r, Sqlite> + Type<Sqlite>>(
        self,
        column: &str,
    ) -> Result<T, sqlx::Error> {
        self.0.try_get(column)
    }

    pub(super) fn count(self, column: &str) -> Result<u64, sqlx::Error> {
        fits(column, u64::try_from(self.get::<i64>(column)?))
    }

    fn small(self, column: &str) -> Result<u32, sqlx::Error> {
        fits(column, u32::try_from(self.get::<i64>(column)?))
    }

    fn maybe_count(self, column: &str) -> Result<Option<u64>, sqlx::Error> {
        let value: Option<i64> = self.get(column)?;
        value.map(|value| fits(column, u64::try_from(value))).transpose()
    }

    pub(super) fn uuid(self, column: &str) -> Result<Uuid, sqlx::Error> {
        fits(column, Uuid::from_slice(self.get(column)?))
    }

    pub(super) fn maybe_uuid(self, column: &str) -> Result<Option<Uuid>, sqlx::Error> {
        let value: Option<&[u8]> = self.get(column)?;
        value.map(|value| fits(column, Uuid::from_slice(value))).transpose()
    }

    fn moment(self, column: &str) -> Result<Timestamp, sqlx::Error> {
        fits(column, Timestamp::from_microsecond(self.get(column)?))
    }

    fn maybe_moment(self, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
        let value: Option<i64> = self.get(column)?;
        value.map(|value| fits(column, Timestamp::from_microsecond(value))).transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(self, column: &str) -> Result<T, sqlx::Error> {
        fits(column, serde_json::from_str(self.get(column)?))
    }

    fn maybe_json<T: DeserializeOwned>(self, column: &str) -> Result<Option<T>, sqlx::Error> {
        let value: Option<&str> = self.get(column)?;
        value.map(|value| fits(column, serde_json::from_str(value))).transpose()
    }

    pub(super) fn word<T>(
        self,
        column: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Result<T, sqlx::Error> {
        let text: &str = self.get(column)?;
        fits(column, parse(text).ok_or_else(|| Unknown(text.chars().take(80).collect())))
    }

    fn last_seq(self) -> Result<u64, sqlx::Error> {
        Ok(self.count("next_seq")?.saturating_sub(1))
    }
}

fn fits<T, E: Error + Send + Sync + 'static>(
    column: &str,
    value: Result<T, E>,
) -> Result<T, sqlx::Error> {
    value.map_err(|source| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: Box::new(source),
    })
}

/// A row of `run` joined with its row of `request`.
pub(super) fn run(row: &SqliteRow) -> Result<Run, sqlx::Error> {
    let row = Fields(row);
    Ok(Run {
        id: RunId::from_uuid(row.uuid("id")?),
        project_id: ProjectId::from_uuid(row.uuid("project_id")?),
        name: row.get("name")?,
        spec: row.json("spec")?,
        status: row.word("status", RunStatus::parse)?,
        park: park(row)?,
        pause_requested: row.get("pause_requested")?,
        cancel_requested: row.get("cancel_requested")?,
        cancel_reason: row.get("cancel_reason")?,
        output: row.maybe_json("output")?,
        error: row.maybe_json("error")?,
        usage: row.json("usage")?,
        spend: row.json("spend")?,
        parent_id: row.maybe_uuid("parent_id")?.map(RunId::from_uuid),
        root_id: RunId::from_uuid(row.uuid("root_id")?),
        priority: fits("priority", i32::try_from(row.get::<i64>("priority")?))?,
        tags: row.json("tags")?,
        metadata: row.json("metadata")?,
        idempotency_key: row.get("idempotency_key")?,
        request_hash: row.get("request_hash")?,
        deadline_at: row.maybe_moment("deadline_at")?,
        created_at: row.moment("created_at")?,
        started_at: row.maybe_moment("started_at")?,
        finished_at: row.maybe_moment("finished_at")?,
        last_seq: row.last_seq()?,
        owner: row.maybe_uuid("owner")?.map(WorkerId::from_uuid),
        epoch: row.count("epoch")?,
        control: row.count("control")?,
        recoveries: row.small("recoveries")?,
    })
}

fn park(row: Fields<'_>) -> Result<Option<Park>, sqlx::Error> {
    if row.get::<Option<&str>>("park_reason")?.is_none() {
        return Ok(None);
    }
    Ok(Some(Park {
        reason: row.word("park_reason", ParkReason::parse)?,
        wake_at: row.maybe_moment("park_wake_at")?,
        waiting_on: row.json("park_waiting_on")?,
    }))
}

pub(super) fn event(row: &SqliteRow) -> Result<Event, sqlx::Error> {
    let row = Fields(row);
    Ok(Event {
        run_id: RunId::from_uuid(row.uuid("run_id")?),
        seq: row.count("seq")?,
        epoch: row.count("epoch")?,
        kind: row.get("kind")?,
        step: row.get::<Option<&str>>("step")?.map(StepKey::new),
        payload: row.json("payload")?,
        blob: row.get("blob")?,
        at: row.moment("at")?,
    })
}

pub(super) fn step(row: &SqliteRow) -> Result<Step, sqlx::Error> {
    let row = Fields(row);
    Ok(Step {
        run_id: RunId::from_uuid(row.uuid("run_id")?),
        key: StepKey::new(row.get::<&str>("key")?),
        kind: row.word("kind", StepKind::parse)?,
        name: row.get("name")?,
        policy: row.word("policy", EffectPolicy::parse)?,
        status: row.word("status", StepStatus::parse)?,
        attempts: row.small("attempts")?,
        error: row.maybe_json("error")?,
        started_seq: row.maybe_count("started_seq")?,
        done_seq: row.maybe_count("done_seq")?,
        started_at: row.maybe_moment("started_at")?,
        finished_at: row.maybe_moment("finished_at")?,
    })
}

pub(super) fn artifact(row: &SqliteRow) -> Result<Artifact, sqlx::Error> {
    let row = Fields(row);
    Ok(Artifact {
        id: ArtifactId::from_uuid(row.uuid("id")?),
        run_id: RunId::from_uuid(row.uuid("run_id")?),
        step: row.get::<Option<&str>>("step")?.map(StepKey::new),
        name: row.get("name")?,
        version: row.count("version")?,
        kind: row.get("kind")?,
        media_type: row.get("media_type")?,
        size: row.count("size")?,
        sha256: row.get("sha256")?,
        uri: row.get("uri")?,
        created_at: row.moment("created_at")?,
    })
}

pub(super) fn approval(row: &SqliteRow) -> Result<Approval, sqlx::Error> {
    let row = Fields(row);
    Ok(Approval {
        id: ApprovalId::from_uuid(row.uuid("id")?),
        run_id: RunId::from_uuid(row.uuid("run_id")?),
        project_id: ProjectId::from_uuid(row.uuid("project_id")?),
        step: StepKey::new(row.get::<&str>("step")?),
        status: row.word("status", ApprovalStatus::parse)?,
        requested_seq: row.count("requested_seq")?,
        resolved_seq: row.maybe_count("resolved_seq")?,
        requested_at: row.moment("requested_at")?,
        expires_at: row.moment("expires_at")?,
        resolved_at: row.maybe_moment("resolved_at")?,
    })
}

pub(super) fn control(row: &SqliteRow) -> Result<Control, sqlx::Error> {
    let row = Fields(row);
    Ok(Control {
        run: RunId::from_uuid(row.uuid("id")?),
        control: row.count("control")?,
        last_seq: row.last_seq()?,
        pause_requested: row.get("pause_requested")?,
        cancel_requested: row.get("cancel_requested")?,
    })
}

pub(super) fn worker(row: &SqliteRow) -> Result<Worker, sqlx::Error> {
    let row = Fields(row);
    Ok(Worker {
        id: WorkerId::from_uuid(row.uuid("id")?),
        host: row.get("host")?,
        pid: row.small("pid")?,
        draining: row.get("draining")?,
        started_at: row.moment("started_at")?,
        expires_at: row.moment("expires_at")?,
        runs: row.count("runs")?,
    })
}

pub(super) fn snapshot(row: &SqliteRow) -> Result<Snapshot, sqlx::Error> {
    let row = Fields(row);
    Ok(Snapshot {
        seq: row.count("seq")?,
        version: row.small("version")?,
        state: row.get("state")?,
    })
}

pub(super) fn record(row: &SqliteRow) -> Result<Record, sqlx::Error> {
    let row = Fields(row);
    Ok(Record {
        key: row.get("key")?,
        value: row.json("value")?,
        version: row.count("version")?,
        expires_at: row.maybe_moment("expires_at")?,
        updated_at: row.moment("updated_at")?,
    })
}

pub(super) fn run_id(row: &SqliteRow) -> Result<RunId, sqlx::Error> {
    Fields(row).uuid("id").map(RunId::from_uuid)
}
