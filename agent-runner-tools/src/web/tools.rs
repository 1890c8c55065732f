//! The tools.

mod extract;
mod fetch;
mod post;

use std::time::Duration;

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::{extract::WebExtract, fetch::WebFetch, post::WebPost};

/// Longest time of a call: the client's own limit, and the work on what came.
const TIMEOUT: Duration = Duration::from_secs(45);

/// A tool that asks the web.
macro_rules! web_tool {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            web: $crate::web::Web,
        }

        impl $name {
            /// A tool on `web`.
            #[must_use]
            pub const fn new(web: $crate::web::Web) -> Self {
                Self { web }
            }
        }
    };
}
use web_tool;

/// Works of that kind at once. What nobody waits for any more keeps its place until it ends.
static APART: Semaphore = Semaphore::const_new(4);

/// Does work that takes a while on a thread that may block.
async fn apart<T: Send + 'static>(
    cancel: &CancellationToken,
    work: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let task = async {
        let place = APART.acquire().await;
        let work = move || {
            let _place = place;
            work()
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_panic| {
            let said = "the answer could not be worked on because of a defect";
            Err(ToolError::new(ToolErrorKind::Internal, said).may_have_run())
        })
    };
    cancel.run_until_cancelled(task).await.unwrap_or_else(|| {
        Err(ToolError::new(ToolErrorKind::Cancelled, "the call was cancelled").may_have_run())
    })
}
