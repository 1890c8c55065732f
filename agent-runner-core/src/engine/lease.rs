//! This worker's right to its runs: a heartbeat row in the store and a local deadline that is
//! stricter than the store's, so that a worker stops before others may take over.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tracing::{error, warn};

use super::Inner;
use crate::store::Worker;

/// What the worker may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trust {
    /// Until when its runs are certainly its own, by the monotonic clock.
    pub(super) until: Instant,
}

/// Keeps the heartbeat going until dropped.
pub(super) async fn keep(inner: Arc<Inner>, trust: watch::Sender<Trust>, mut worker: Worker) {
    let ttl = inner.options.lease_ttl;
    // A fifth of the time is left for work that is being stopped.
    let margin = ttl / 5;
    let mut failing = false;
    loop {
        let sent = Instant::now();
        worker.draining = inner.active.is_draining();
        let beat = tokio::time::timeout(ttl / 2, inner.store.beat(&worker, ttl)).await;
        match beat {
            Ok(Ok(())) => {
                failing = false;
                let _ = trust.send(Trust { until: sent + (ttl - margin) });
            }
            Ok(Err(problem)) => {
                if !failing {
                    error!(error = %problem, "the worker's heartbeat fails; its runs stop when its lease ends");
                }
                failing = true;
            }
            Err(_) => {
                if !failing {
                    warn!(
                        "the worker's heartbeat takes too long; its runs stop when its lease ends"
                    );
                }
                failing = true;
            }
        }
        let pause = if failing { (ttl / 20).max(Duration::from_millis(20)) } else { ttl / 3 };
        inner.clock.sleep(pause).await;
    }
}

/// Completes when the worker may no longer trust its lease.
pub(super) async fn lost(mut trust: watch::Receiver<Trust>) {
    loop {
        let until = trust.borrow_and_update().until;
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => {
                if trust.borrow().until <= Instant::now() {
                    return;
                }
            }
            changed = trust.changed() => {
                if changed.is_err() {
                    // The heartbeat is gone: nothing renews the lease any more.
                    tokio::time::sleep_until(until).await;
                    return;
                }
            }
        }
    }
}
