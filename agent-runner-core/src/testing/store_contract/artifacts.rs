//! Contract 16: artifacts.

use super::{
    StoreHarness,
    fixture::{Fixture, by_control},
};
use crate::{
    artifact::Artifact,
    id::{ArtifactId, RunId, StepKey},
    run::{Run, RunStatus},
    store::{ArtifactQuery, ArtifactRow, Batch, StoreErrorKind},
};

impl<H: StoreHarness> Fixture<H> {
    pub(super) fn artifact(&self, name: &str, byte: char) -> ArtifactRow {
        ArtifactRow {
            id: ArtifactId::from_uuid(self.run_id().as_uuid()),
            step: Some(StepKey::new("turn.1.tool.1")),
            name: name.to_owned(),
            kind: "document".to_owned(),
            media_type: "text/plain".to_owned(),
            size: 3,
            sha256: byte.to_string().repeat(64),
            uri: "memory:x".to_owned(),
            event: 0,
            at: self.now(),
        }
    }

    fn making(&self, run: &Run, artifacts: Vec<ArtifactRow>) -> Batch {
        Batch { events: vec![self.event(1)], artifacts, ..by_control(run) }
    }

    async fn made(&self, run: &Run, name: &str, byte: char) -> ArtifactId {
        let row = self.artifact(name, byte);
        let id = row.id;
        self.append(self.making(run, vec![row])).await;
        id
    }

    async fn artifacts(&self, query: ArtifactQuery) -> Vec<ArtifactId> {
        let found = self.store.artifacts(&query).await.unwrap();
        found.into_iter().map(|artifact| artifact.id).collect()
    }
}

fn of(run_id: RunId) -> ArtifactQuery {
    ArtifactQuery { run_id, name: None, after: None, limit: 100 }
}

/// Every field.
pub async fn an_artifact_reads_back<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let row = f.artifact("a.txt", 'a');
    let want = Artifact {
        id: row.id,
        run_id: run.id,
        step: row.step.clone(),
        name: row.name.clone(),
        version: 1,
        kind: row.kind.clone(),
        media_type: row.media_type.clone(),
        size: row.size,
        sha256: row.sha256.clone(),
        uri: row.uri.clone(),
        created_at: row.at,
    };
    f.append(f.making(&run, vec![row])).await;
    assert_eq!(f.store.artifact(want.id).await.unwrap(), want);
    assert_eq!(f.store.artifacts(&of(run.id)).await.unwrap(), [want]);
    let unknown = ArtifactId::from_uuid(f.run_id().as_uuid());
    assert_eq!(f.store.artifact(unknown).await.unwrap_err().kind(), StoreErrorKind::NotFound);
}

/// Versions count by name within a run, and a removed one keeps its number.
pub async fn versions_count_by_name<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (run, other) = (f.queued().await, f.queued().await);
    let one = f.made(&run, "a", 'a').await;
    f.made(&other, "a", 'a').await;
    let rows = vec![f.artifact("a", 'b'), f.artifact("b", 'b'), f.artifact("a", 'c')];
    let ids: Vec<ArtifactId> = rows.iter().map(|row| row.id).collect();
    f.append(f.making(&run, rows)).await;
    let versions = async || {
        let found = f.store.artifacts(&of(run.id)).await.unwrap();
        found.into_iter().map(|a| (a.id, a.version)).collect::<Vec<_>>()
    };
    assert_eq!(versions().await, [(one, 1), (ids[0], 2), (ids[1], 1), (ids[2], 3)]);
    assert!(f.store.remove_artifact(ids[0], f.now()).await.unwrap());
    assert!(!f.store.remove_artifact(ids[0], f.now()).await.unwrap(), "it is gone already");
    assert_eq!(versions().await, [(one, 1), (ids[1], 1), (ids[2], 3)]);
    assert_eq!(f.store.artifact(ids[0]).await.unwrap_err().kind(), StoreErrorKind::NotFound);
    let named = ArtifactQuery { name: Some("a".to_owned()), ..of(run.id) };
    assert_eq!(f.artifacts(named).await, [one, ids[2]]);
    let rest = ArtifactQuery { after: Some(ids[1]), ..of(run.id) };
    assert_eq!(f.artifacts(rest).await, [ids[2]]);
    assert_eq!(f.artifacts(ArtifactQuery { limit: 1, ..of(run.id) }).await, [one]);
}

/// Twice the same id, and events that are not there.
pub async fn an_artifact_that_makes_no_sense_is_refused<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let known = f.artifact("a", 'a');
    f.append(f.making(&run, vec![known.clone()])).await;
    let new = f.artifact("b", 'b');
    let beyond = ArtifactRow { event: 1, ..f.artifact("c", 'c') };
    for rows in [vec![known], vec![new.clone(), new], vec![beyond]] {
        let kind = f.refused(f.making(&run, rows.clone())).await;
        assert_eq!(kind, StoreErrorKind::Corrupt, "{rows:?}");
    }
    assert_eq!(f.artifacts(of(run.id)).await.len(), 1);
}

/// Bytes are used as long as an artifact has them.
pub async fn bytes_are_used_while_an_artifact_has_them<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (run, other) = (f.queued().await, f.queued().await);
    let one = f.made(&run, "a", 'a').await;
    f.made(&other, "a", 'a').await;
    f.made(&other, "b", 'b').await;
    let hash = |byte: char| byte.to_string().repeat(64);
    let used = async || {
        let asked = [hash('a'), hash('b'), hash('c')];
        let mut used = f.store.used_blobs(&asked).await.unwrap();
        used.sort();
        used
    };
    assert_eq!(used().await, [hash('a'), hash('b')]);
    f.store.remove_artifact(one, f.now()).await.unwrap();
    assert_eq!(used().await, [hash('a'), hash('b')], "another run has them");
    f.append(f.ending(by_control(&other), RunStatus::Canceled)).await;
    f.store.delete(other.id).await.unwrap();
    assert!(used().await.is_empty());
    assert_eq!(f.artifacts(of(other.id)).await, []);
}
