//! Rows of artifacts in a group of batches.

use std::collections::HashSet;

use agent_runner_core::{
    id::{ArtifactId, RunId},
    store::{ArtifactRow, StoreError},
};

use super::{
    plan::broken,
    prepare::{PreparedBatch, json, micros},
};

type Columns<'a> = (
    ArtifactId,
    RunId,
    u64,
    Option<&'a str>,
    &'a str,
    &'a str,
    &'a str,
    u64,
    &'a str,
    &'a str,
    i64,
);

/// Artifacts that a group makes.
#[derive(Debug, Default)]
pub(super) struct Artifacts<'a> {
    known: HashSet<ArtifactId>,
    rows: Vec<Columns<'a>>,
}

impl<'a> Artifacts<'a> {
    pub(super) fn learn(&mut self, id: ArtifactId) {
        self.known.insert(id);
    }

    /// Contract 16.
    pub(super) fn check(&self, batch: &PreparedBatch) -> Result<(), StoreError> {
        let mut ids = HashSet::new();
        for row in &batch.artifacts {
            let refuse = |what: &str| broken(batch.run, &format!("artifact {} {what}", row.id));
            if row.event >= batch.events.len() {
                return Err(refuse("names an event that is not in the batch"));
            }
            if self.known.contains(&row.id) || !ids.insert(row.id) {
                return Err(refuse("is there already"));
            }
        }
        Ok(())
    }

    /// Takes in the rows of a batch that was checked.
    pub(super) fn add(&mut self, run: RunId, rows: &'a [ArtifactRow], first_seq: u64) {
        for row in rows {
            let seq = first_seq.saturating_add(u64::try_from(row.event).unwrap_or(u64::MAX));
            self.known.insert(row.id);
            self.rows.push((
                row.id,
                run,
                seq,
                row.step.as_ref().map(|step| step.as_str()),
                &row.name,
                &row.kind,
                &row.media_type,
                row.size,
                &row.sha256,
                &row.uri,
                micros(row.at),
            ));
        }
    }

    /// The parameter of `artifacts_put.sql`; `None` when there is nothing to write.
    pub(super) fn rows(&self) -> Result<Option<String>, sqlx::Error> {
        (!self.rows.is_empty()).then(|| json(&self.rows)).transpose()
    }
}
