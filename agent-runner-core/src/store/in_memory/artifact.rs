//! Artifacts.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    append::{corrupt, number},
    state::{Entry, State},
};
use crate::{
    artifact::Artifact,
    id::ArtifactId,
    store::{ArtifactQuery, ArtifactRow, StoreError, StoreErrorKind},
};

/// An artifact as it is kept; one that was removed keeps its number.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) artifact: Artifact,
    seq: u64,
    removed: bool,
}

impl State {
    pub(super) fn artifacts(&self, query: &ArtifactQuery) -> Vec<Artifact> {
        let Some(entry) = self.entries.get(&query.run_id) else { return Vec::new() };
        entry
            .artifacts
            .iter()
            .filter(|kept| !kept.removed)
            .map(|kept| &kept.artifact)
            .filter(|artifact| {
                query.name.as_ref().is_none_or(|name| artifact.name == *name)
                    && query.after.is_none_or(|after| artifact.id > after)
            })
            .take(query.limit)
            .cloned()
            .collect()
    }

    pub(super) fn artifact(&self, id: ArtifactId) -> Result<Artifact, StoreError> {
        let mut all = self.entries.values().flat_map(|entry| &entry.artifacts);
        let found = all.find(|kept| kept.artifact.id == id && !kept.removed);
        found.map(|kept| kept.artifact.clone()).ok_or_else(|| unknown(id))
    }

    pub(super) fn remove_artifact(&mut self, id: ArtifactId, _at: Timestamp) -> bool {
        let mut all = self.entries.values_mut().flat_map(|entry| &mut entry.artifacts);
        match all.find(|kept| kept.artifact.id == id && !kept.removed) {
            Some(kept) => {
                kept.removed = true;
                true
            }
            None => false,
        }
    }

    pub(super) fn used_blobs(&self, sha256: &[String]) -> Vec<String> {
        let used: BTreeSet<&String> = self
            .entries
            .values()
            .flat_map(|entry| &entry.artifacts)
            .filter(|kept| !kept.removed)
            .map(|kept| &kept.artifact.sha256)
            .collect();
        sha256.iter().filter(|name| used.contains(name)).cloned().collect()
    }
}

fn unknown(id: ArtifactId) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("there is no artifact {id}"))
}

/// The rows as they will stand.
pub(super) fn new_artifacts(
    entry: &Entry,
    rows: Vec<ArtifactRow>,
    events: usize,
) -> Result<Vec<Kept>, StoreError> {
    let mut all = entry.artifacts.clone();
    for row in rows {
        let refuse = |what: &str| corrupt(&entry.run, &format!("artifact {} {what}", row.id));
        if row.event >= events {
            return Err(refuse("names an event that is not in the batch"));
        }
        if all.iter().any(|kept| kept.artifact.id == row.id) {
            return Err(refuse("is there already"));
        }
        let same = all.iter().filter(|kept| kept.artifact.name == row.name).count();
        let seq = number(&entry.run, row.event);
        let artifact = Artifact {
            id: row.id,
            run_id: entry.run.id,
            step: row.step,
            name: row.name,
            version: u64::try_from(same).unwrap_or(u64::MAX).saturating_add(1),
            kind: row.kind,
            media_type: row.media_type,
            size: row.size,
            sha256: row.sha256,
            uri: row.uri,
            created_at: row.at,
        };
        all.push(Kept { artifact, seq, removed: false });
    }
    all.sort_by_key(|kept| (kept.seq, kept.artifact.id));
    Ok(all)
}
