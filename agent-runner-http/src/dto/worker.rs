//! Workers as clients see them.

use agent_runner_core::store;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A process that executes runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    /// Its id, new with every start.
    #[schema(format = Uuid)]
    pub(crate) id: String,
    /// The machine it runs on.
    host: String,
    /// Its process id.
    pid: u32,
    /// Takes no new runs.
    draining: bool,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it counts as lost unless it is heard of again.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Runs it has.
    runs: u64,
}

impl From<store::Worker> for Worker {
    fn from(worker: store::Worker) -> Self {
        Self {
            id: worker.id.to_string(),
            host: worker.host,
            pid: worker.pid,
            draining: worker.draining,
            started_at: worker.started_at,
            expires_at: worker.expires_at,
            runs: worker.runs,
        }
    }
}
