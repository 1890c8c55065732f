//! The way from the tools to the connection of the moment.

use rmcp::{Peer, RoleClient};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use agent_runner_core::tool::{ToolError, ToolErrorKind};

use super::config::McpLimits;

/// A connection that stands.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) peer: Peer<RoleClient>,
    /// Fires when it does not stand any more.
    pub(super) gone: CancellationToken,
}

/// How the connection is.
#[derive(Debug, Clone)]
pub(super) enum State {
    Connecting,
    Up(Up),
    Down(String),
}

/// What a source and its tools share.
#[derive(Debug)]
pub(super) struct Link {
    /// Name of the source.
    pub(super) server: String,
    pub(super) limits: McpLimits,
    pub(super) state: watch::Sender<State>,
    /// Somebody has reason to think that the connection is dead.
    pub(super) suspect: Notify,
    /// Calls that may begin.
    pub(super) calls: Semaphore,
}

impl Link {
    pub(super) fn new(server: String, limits: McpLimits) -> Self {
        Self {
            server,
            limits,
            state: watch::Sender::new(State::Connecting),
            suspect: Notify::new(),
            calls: Semaphore::new(limits.calls_max),
        }
    }

    /// Whether nobody waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.available_permits() == self.limits.calls_max
    }

    /// The connection; waits a while for one that is being made.
    pub(super) async fn up(&self) -> Result<Up, ToolError> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        let ended = match timeout(self.limits.wait, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(up) => Ok(up.clone()),
                State::Connecting | State::Down(_) => Err("cannot be reached now"),
            },
            Ok(Err(_)) | Err(_) => Err("is not connected yet"),
        };
        ended.map_err(|what| {
            let told = format!("the MCP server `{}` {what}; nothing was done", self.server);
            ToolError::new(ToolErrorKind::Network, told)
        })
    }
}
