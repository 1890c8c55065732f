//! The one place where git work blocks, and where it waits for its turn.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use agent_runner_core::{
    id::{ProjectId, RunId},
    project::ProjectSettings,
    time::Clock,
    tool::{ToolCx, ToolError, ToolErrorKind},
};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    error::{cancelled, conflict, go_on},
    options::GitOptions,
    place::{Place, RepoDir},
    relay::Relay,
};
use crate::{
    fs::{ProjectDir, Workspace},
    net::{GuardedClient, GuardedClientError},
};

/// Longest wait for another call in the same repository.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call that is over is waited for, so that the repository is back in its place when
/// the caller hears of it.
const GRACE: Duration = Duration::from_secs(1);

/// Git repositories in the projects of a workspace. Cheap to clone.
#[derive(Clone)]
pub struct Git {
    inner: Arc<Inner>,
}

struct Inner {
    workspace: Workspace,
    clock: Arc<dyn Clock>,
    options: GitOptions,
    client: GuardedClient,
    permits: Arc<Semaphore>,
    turns: Turns,
}

impl fmt::Debug for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Git").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Git {
    /// Repositories in `workspace`, whose commits are dated by `clock`.
    ///
    /// # Errors
    /// [`GuardedClientError`] when there is no HTTP client for remotes.
    pub fn new(
        workspace: Workspace,
        clock: Arc<dyn Clock>,
        options: GitOptions,
    ) -> Result<Self, GuardedClientError> {
        // Some forges answer to what calls itself git only.
        let client = GuardedClient::patient(
            options.reach.clone(),
            "git/2.0 (agent-runner)",
            options.limits.transfer,
        )?;
        let permits = Arc::new(Semaphore::new(options.limits.calls_max));
        let turns = Turns::default();
        Ok(Self { inner: Arc::new(Inner { workspace, clock, options, client, permits, turns }) })
    }

    pub(super) fn options(&self) -> &GitOptions {
        &self.inner.options
    }

    pub(super) fn client(&self) -> &GuardedClient {
        &self.inner.client
    }

    /// The repository that a call means: the named one, or the project's only one.
    pub(super) async fn place(&self, cx: &ToolCx, dir: Option<&str>) -> Result<RepoDir, ToolError> {
        match dir {
            Some(dir) => RepoDir::parse(dir),
            None => {
                let workspace = &self.inner.workspace;
                let (looks, id) = (workspace.clone(), cx.project_id);
                let find = workspace.call(cx, move |dir, _| Ok(RepoDir::find(&looks, id, dir)));
                find.await?
            }
        }
    }

    /// Does `work` where no remote takes part.
    pub(super) async fn local<T, F>(
        &self,
        cx: &ToolCx,
        dir: RepoDir,
        work: F,
    ) -> Result<T, ToolError>
    where
        T: Send + 'static,
        F: FnOnce(&Call) -> Result<T, ToolError> + Send + 'static,
    {
        self.act(cx, dir, (self.options().limits.local, None), work).await
    }

    /// Does `work` while `relay` connects it to a remote.
    pub(super) async fn transfer<T, F>(
        &self,
        cx: &ToolCx,
        dir: RepoDir,
        relay: &Relay,
        work: F,
    ) -> Result<T, ToolError>
    where
        T: Send + 'static,
        F: FnOnce(&Call) -> Result<T, ToolError> + Send + 'static,
    {
        let done = self.act(cx, dir, (self.options().limits.transfer, Some(relay)), work).await;
        // What libgit2 saw is that the relay closed the connection; the relay knows why.
        done.map_err(|error| match relay.failure() {
            Some(cause)
                if !matches!(error.kind(), ToolErrorKind::Cancelled | ToolErrorKind::Timeout) =>
            {
                if error.effect_possible() {
                    cause.may_have_run()
                } else {
                    cause
                }
            }
            _ => error,
        })
    }

    async fn act<T, F>(
        &self,
        cx: &ToolCx,
        dir: RepoDir,
        (bound, relay): (Duration, Option<&Relay>),
        work: F,
    ) -> Result<T, ToolError>
    where
        T: Send + 'static,
        F: FnOnce(&Call) -> Result<T, ToolError> + Send + 'static,
    {
        let stop = cx.cancel.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let turn = self.turn(cx.project_id, &dir, &stop).await?;
        let call = Call {
            workspace: self.inner.workspace.clone(),
            cx: cx.clone(),
            dir,
            options: self.inner.options.clone(),
            now: self.inner.clock.now().as_second(),
            stop: stop.clone(),
        };
        let mut task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            go_on(&call.stop)?;
            work(&call)
        });
        let mut connection = Box::pin(async {
            match relay {
                Some(relay) => relay.serve().await,
                None => std::future::pending().await,
            }
        });
        let over = tokio::select! {
            biased;
            ended = &mut task => return ended.unwrap_or_else(|_panic| Err(defect())),
            () = stop.cancelled() => cancelled(),
            () = tokio::time::sleep(bound) => {
                let said = format!("git did not end within {} s", bound.as_secs_f32());
                ToolError::new(ToolErrorKind::Timeout, said)
            }
            () = &mut connection => defect(),
        };
        stop.cancel();
        drop(connection);
        match tokio::time::timeout(GRACE, task).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(error))) if !error.effect_possible() && relay.is_none() => Err(over),
            _ => Err(over.may_have_run()),
        }
    }

    async fn turn(
        &self,
        project: ProjectId,
        dir: &RepoDir,
        stop: &CancellationToken,
    ) -> Result<(OwnedMutexGuard<()>, tokio::sync::OwnedSemaphorePermit), ToolError> {
        let turn = self.inner.turns.of(project, dir.key());
        let wait = async {
            let turn = turn.lock_owned().await;
            let permit = Arc::clone(&self.inner.permits).acquire_owned().await;
            permit.ok().map(|permit| (turn, permit))
        };
        match stop.run_until_cancelled(tokio::time::timeout(TURN_TIMEOUT, wait)).await {
            None | Some(Ok(None)) => Err(cancelled()),
            Some(Ok(Some(turn))) => Ok(turn),
            Some(Err(_elapsed)) => {
                let said = "another call works in this repository; try again when it is done";
                Err(conflict(said).with_retry_after(Duration::from_secs(2)))
            }
        }
    }
}

fn defect() -> ToolError {
    ToolError::new(ToolErrorKind::Internal, "git failed because of a defect").may_have_run()
}

/// Repositories by project and key, with those who wait for their turn in one.
type Waiting = HashMap<(ProjectId, String), Weak<Turn<()>>>;

/// Whose turn it is in which repository.
#[derive(Debug, Default)]
struct Turns(Mutex<Waiting>);

impl Turns {
    fn of(&self, project: ProjectId, key: String) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (project, key);
        if let Some(turn) = turns.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        turns.insert(key, Arc::downgrade(&turn));
        turn
    }
}

/// The circumstances of one call, on a thread that may block.
#[derive(Debug)]
pub(super) struct Call {
    workspace: Workspace,
    cx: ToolCx,
    pub(super) dir: RepoDir,
    pub(super) options: GitOptions,
    /// Seconds since 1970.
    pub(super) now: i64,
    pub(super) stop: CancellationToken,
}

impl Call {
    pub(super) fn project(&self) -> Result<ProjectDir, ToolError> {
        Ok(self.workspace.enter(&self.cx)?)
    }

    pub(super) fn place(&self) -> Place {
        Place {
            workspace: self.workspace.clone(),
            project: self.cx.project_id,
            dir: self.dir.clone(),
        }
    }

    pub(super) fn settings(&self) -> &ProjectSettings {
        &self.cx.settings
    }

    pub(super) fn run(&self) -> Option<RunId> {
        self.cx.run_id
    }

    /// The same for every try of the same step.
    pub(super) fn key(&self) -> &str {
        &self.cx.idempotency_key
    }
}
