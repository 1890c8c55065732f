//! Contract 1 and 7 over two handles on the same data: what one acknowledged the other sees, and
//! all the guards hold between them.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    StoreHarness,
    fixture::{ALL, Fixture, TTL, by_control, by_owner, event, image, pausing},
};
use crate::{
    run::RunStatus,
    store::{Batch, Store, StoreErrorKind},
};

/// The second handle; `None` where the harness says that there is none, which it must not say
/// wrongly.
async fn second<H: StoreHarness>(f: &Fixture<H>) -> Option<Arc<dyn Store>> {
    let second = f.harness.reopen().await;
    assert_eq!(second.is_some(), H::REOPENS, "the harness says the truth about REOPENS");
    second
}

/// Everything that was acknowledged is there.
pub async fn what_was_acknowledged_is_there_after_reopening<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    f.ended(RunStatus::Completed).await;
    let run = f.running().await;
    f.append(pausing(&run)).await;
    f.queued().await;
    let Some(other) = second(&f).await else { return };
    assert_eq!(image(&*other).await, f.image().await);
    let worker = f.worker().await;
    assert_eq!(other.claim(worker, ALL).await.unwrap().len(), 1, "what was listed still is");
}

/// A writer behind one handle is fenced by what happened behind the other.
pub async fn guards_hold_between_handles<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let Some(other) = second(&f).await else { return };
    let run = f.running().await;
    other.append(pausing(&run)).await.unwrap();
    assert_eq!(f.refused(pausing(&run)).await, StoreErrorKind::ControlChanged);
    f.clock.advance(2 * TTL);
    assert_eq!(other.sweep(ALL).await.unwrap().revoked, [run.id]);
    assert_eq!(f.refused(by_owner(&run)).await, StoreErrorKind::Fenced);
}

/// Writers behind both handles share one sequence of numbers.
pub async fn i5_writers_behind_two_handles_leave_no_gap<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let Some(other) = second(&f).await else { return };
    let run = f.queued().await;
    let writers = (0..8_usize).map(|writer| {
        let store = if writer % 2 == 0 { f.store.clone() } else { other.clone() };
        let (run, now) = (run.clone(), f.now());
        tokio::spawn(async move {
            for n in 0..10 {
                let batch = Batch { events: vec![event(n, now)], ..by_control(&run) };
                store.append(batch).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let events = f.events(run.id).await;
    assert!(events.iter().map(|event| event.seq).eq(1..=81));
    assert_eq!(other.run(run.id).await.unwrap().last_seq, 81);
}

/// Workers behind both handles never share a run.
pub async fn workers_behind_two_handles_never_share_a_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let Some(other) = second(&f).await else { return };
    let mut runs = BTreeSet::new();
    for _ in 0..30 {
        runs.insert(f.queued().await.id);
    }
    let mut claims = Vec::new();
    for n in 0..6_usize {
        let store = if n % 2 == 0 { f.store.clone() } else { other.clone() };
        let worker = f.worker().await;
        claims.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim(worker, 2).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|run| run.id));
                assert!(mine.len() <= 30, "runs are given again and again");
            }
        }));
    }
    let mut given = Vec::new();
    for claim in claims {
        given.extend(claim.await.unwrap());
    }
    assert_eq!(given.len(), 30, "no run was given twice");
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), runs);
}
