//! Real parts for tests that cross process boundaries: a model behind HTTP, a ledger of side
//! effects, the bundled server as a child process, and a client of its event stream.

pub(crate) mod events;
#[allow(dead_code, reason = "the tests of the tools use more of it")]
#[path = "../../agent-runner-tools/src/git/tests/server.rs"]
pub(crate) mod git_server;
pub(crate) mod ledger;
pub(crate) mod model;
pub(crate) mod server;
pub(crate) mod upstream;

use std::net::SocketAddr;

use axum::Router;
use tokio::task::JoinHandle;

/// A small HTTP server that lives as long as this value.
pub(crate) struct Background {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Background {
    pub(crate) async fn serve(router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.task.abort();
    }
}
