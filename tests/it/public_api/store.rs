//! A stranger's store, made of another one, and stores that break one rule each: the suite passes
//! the first and catches the others.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    approval::Approval,
    artifact::Artifact,
    budget::Spend,
    event::Event,
    id::{ApprovalId, ArtifactId, RunId, WorkerId},
    llm::BoxStream,
    run::Run,
    step::Step,
    store::{
        Appended, ApprovalQuery, ArtifactQuery, Batch, Beginning, Change, Control, Created,
        Durability, EventQuery, Expect, InMemoryStore, PutRecord, Record, RecordExpect,
        RecordStore, Reserve, Reserved, RunQuery, Snapshot, SpendLine, SpendQuery, Spent, Store,
        StoreError, Sweep, Worker,
    },
    testing::store_contract::{self as suite, StoreHarness},
    time::Clock,
};
use jiff::Timestamp;

const GOOD: u8 = 0;
const IGNORES_THE_FENCE: u8 = 1;
const CLAIMS_WITHOUT_A_NEW_EPOCH: u8 = 2;
const FORGETS_THE_FIRST_EVENT: u8 = 3;
const FORGETS_THE_KEY: u8 = 4;
const LOSES_STEPS: u8 = 5;
const TAKES_SIGNALS_TWICE: u8 = 6;
const LOSES_SNAPSHOTS: u8 = 7;
const DELETES_NOTHING: u8 = 8;
const IGNORES_LIMITS: u8 = 9;
const CUTS_PAYLOADS: u8 = 10;
const OVERWRITES_RECORDS: u8 = 11;
const NEVER_SWEEPS: u8 = 12;

/// Passes everything on to the reference, but for its defect.
#[derive(Debug)]
struct Wrapped<const DEFECT: u8>(InMemoryStore);

impl<const DEFECT: u8> Wrapped<DEFECT> {
    /// The batch as this store understands it.
    async fn understood(&self, mut batch: Batch) -> Result<Batch, StoreError> {
        match DEFECT {
            IGNORES_THE_FENCE => {
                let run = self.0.run(batch.run).await?;
                batch.expect = Expect::Control(run.control);
            }
            LOSES_STEPS => batch.steps.clear(),
            TAKES_SIGNALS_TWICE => batch.signals.clear(),
            LOSES_SNAPSHOTS => batch.snapshot = None,
            _ => {}
        }
        Ok(batch)
    }
}

#[async_trait::async_trait]
impl<const DEFECT: u8> Store for Wrapped<DEFECT> {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    async fn create(&self, mut run: Run, first: Beginning) -> Result<Created, StoreError> {
        if DEFECT == FORGETS_THE_KEY {
            run.idempotency_key = None;
        }
        self.0.create(run, first).await
    }

    async fn append(&self, batch: Batch) -> Result<Appended, StoreError> {
        self.0.append(self.understood(batch).await?).await
    }

    async fn reserve(&self, mut reserve: Reserve) -> Result<Reserved, StoreError> {
        if DEFECT == IGNORES_LIMITS {
            reserve.limits.clear();
        }
        self.0.reserve(reserve).await
    }

    async fn book(&self, amount: Spend, lines: Vec<SpendLine>) -> Result<(), StoreError> {
        self.0.book(amount, lines).await
    }

    async fn spent(&self, query: &SpendQuery) -> Result<Spent, StoreError> {
        self.0.spent(query).await
    }

    async fn claim(&self, worker: WorkerId, max: usize) -> Result<Vec<Run>, StoreError> {
        let mut runs = self.0.claim(worker, max).await?;
        if DEFECT == CLAIMS_WITHOUT_A_NEW_EPOCH {
            runs.iter_mut().for_each(|run| run.epoch -= 1);
        }
        Ok(runs)
    }

    async fn beat(&self, worker: &Worker, ttl: Duration) -> Result<(), StoreError> {
        self.0.beat(worker, ttl).await
    }

    async fn leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.0.leave(worker).await
    }

    async fn sweep(&self, max: usize) -> Result<Sweep, StoreError> {
        match DEFECT {
            NEVER_SWEEPS => Ok(Sweep::default()),
            _ => self.0.sweep(max).await,
        }
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<Control>, StoreError> {
        self.0.owned(worker).await
    }

    async fn run(&self, id: RunId) -> Result<Run, StoreError> {
        self.0.run(id).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
        self.0.runs(query).await
    }

    async fn events(&self, run: RunId, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let mut events = self.0.events(run, query).await?;
        if DEFECT == FORGETS_THE_FIRST_EVENT {
            events.retain(|event| event.seq > 1);
        }
        Ok(events)
    }

    async fn steps(&self, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.0.steps(run).await
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        self.0.snapshot(run).await
    }

    async fn blob(&self, sha256: &str) -> Result<Vec<u8>, StoreError> {
        let mut bytes = self.0.blob(sha256).await?;
        if DEFECT == CUTS_PAYLOADS {
            bytes.pop();
        }
        Ok(bytes)
    }

    async fn artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError> {
        self.0.artifacts(query).await
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Artifact, StoreError> {
        self.0.artifact(id).await
    }

    async fn remove_artifact(&self, id: ArtifactId, at: Timestamp) -> Result<bool, StoreError> {
        self.0.remove_artifact(id, at).await
    }

    async fn used_blobs(&self, sha256: &[String]) -> Result<Vec<String>, StoreError> {
        self.0.used_blobs(sha256).await
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
        self.0.approvals(query).await
    }

    async fn approval(&self, id: ApprovalId) -> Result<Approval, StoreError> {
        self.0.approval(id).await
    }

    async fn delete(&self, run: RunId) -> Result<(), StoreError> {
        match DEFECT {
            DELETES_NOTHING => Ok(()),
            _ => self.0.delete(run).await,
        }
    }

    async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        self.0.workers().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.0.check().await
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        self.0.changes()
    }
}

#[async_trait::async_trait]
impl<const DEFECT: u8> RecordStore for Wrapped<DEFECT> {
    async fn record(&self, collection: &str, key: &str) -> Result<Option<Record>, StoreError> {
        self.0.record(collection, key).await
    }

    async fn put_record(&self, mut put: PutRecord) -> Result<Record, StoreError> {
        if DEFECT == OVERWRITES_RECORDS {
            put.expect = RecordExpect::Any;
        }
        self.0.put_record(put).await
    }

    async fn delete_record(
        &self,
        collection: &str,
        key: &str,
        expect: RecordExpect,
    ) -> Result<bool, StoreError> {
        self.0.delete_record(collection, key, expect).await
    }

    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.records(collection, after, limit).await
    }
}

#[derive(Debug)]
struct Harness<const DEFECT: u8>(Arc<Wrapped<DEFECT>>);

#[async_trait::async_trait]
impl<const DEFECT: u8> StoreHarness for Harness<DEFECT> {
    const REOPENS: bool = false;

    async fn open(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Wrapped(InMemoryStore::with_clock(clock))))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

/// A stranger's store, for its crash tests.
pub(super) fn good_store() -> Arc<dyn Store> {
    Arc::new(Wrapped::<GOOD>(InMemoryStore::new()))
}

mod a_good_store_passes {
    use super::{GOOD, Harness};

    agent_runner_core::store_contract!(Harness<GOOD>);
}

caught! {
    a_store_that_ignores_the_fence: Harness<IGNORES_THE_FENCE>,
        suite::fencing::i9_only_the_owner_with_the_current_epoch_writes, "the batch breaks the contract";
    a_store_that_lets_an_earlier_owner_write: Harness<IGNORES_THE_FENCE>,
        suite::fencing::i9_an_earlier_owner_is_fenced, "the batch breaks the contract";
    a_store_whose_claims_raise_no_epoch: Harness<CLAIMS_WITHOUT_A_NEW_EPOCH>,
        suite::claiming::i8_a_claim_raises_epoch_and_control_by_one, "the answer shows the run after the claim";
    a_store_whose_journal_has_a_gap: Harness<FORGETS_THE_FIRST_EVENT>,
        suite::journal::events_are_numbered_from_one_without_gaps, "there is a gap in the journal";
    a_store_that_creates_twice_for_one_key: Harness<FORGETS_THE_KEY>,
        suite::creation::i13_one_idempotency_key_gives_one_run, "one idempotency key gives one run";
    a_store_that_writes_half_a_batch: Harness<LOSES_STEPS>,
        suite::rules::a_step_reads_back_with_the_numbers_of_its_events, "left: []";
    a_store_that_takes_a_signal_twice: Harness<TAKES_SIGNALS_TWICE>,
        suite::rules::i14_a_signal_id_is_accepted_once, "the batch breaks the contract";
    a_store_that_loses_snapshots: Harness<LOSES_SNAPSHOTS>,
        suite::snapshot::the_last_snapshot_is_kept, "the snapshot after event 1 is lost";
    a_store_that_deletes_nothing: Harness<DELETES_NOTHING>,
        suite::deletion::a_run_is_deleted_whole_and_alone, "what is deleted is gone";
    a_store_that_grants_beyond_a_limit: Harness<IGNORES_LIMITS>,
        suite::spending::a_wish_is_granted_within_its_limits_and_refused_beyond, "a wish beyond its limit is Granted";
    a_store_that_loses_a_byte: Harness<CUTS_PAYLOADS>,
        suite::payload::a_payload_reads_back_byte_by_byte, "1 bytes changed on their way";
    a_store_that_overwrites_a_newer_record: Harness<OVERWRITES_RECORDS>,
        suite::record::a_version_is_a_compare_and_set, "of writers with one expectation one wins";
    a_store_that_leaves_runs_with_a_lost_worker: Harness<NEVER_SWEEPS>,
        suite::sweeping::a_lost_worker_loses_its_runs, "a lost worker keeps its run";
}
