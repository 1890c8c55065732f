//! One call of a tool.

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, JsonObject};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{error, link::Link};

/// Calls a tool and waits for its result.
///
/// # Cancellation
/// A call that is dropped, cancelled or late is withdrawn: the server is sent
/// `notifications/cancelled`, and its answer is not waited for.
pub(super) async fn call(
    link: &Link,
    tool: &str,
    arguments: JsonObject,
    cancel: &CancellationToken,
) -> Result<CallToolResult, ToolError> {
    let cancelled = |said: &str| ToolError::new(ToolErrorKind::Cancelled, said);
    let ready = async {
        let free = timeout(link.limits.wait, link.calls.acquire()).await;
        let Ok(Ok(permit)) = free else {
            let told = format!("the MCP server `{}` is busy with other calls", link.server);
            return Err(ToolError::new(ToolErrorKind::RateLimited, told));
        };
        Ok((link.up().await?, permit))
    };
    let ready = cancel.run_until_cancelled(ready).await;
    let (up, _permit) =
        ready.unwrap_or_else(|| Err(cancelled("the call was cancelled before it began")))?;
    if up.gone.is_cancelled() {
        let told = format!("the MCP server `{}` was just lost; nothing was done", link.server);
        return Err(ToolError::new(ToolErrorKind::Network, told));
    }
    let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    let request = timeout(link.limits.call, up.peer.call_tool_once(request));
    let answer = tokio::select! {
        biased;
        answer = request => answer,
        () = cancel.cancelled() => {
            let told = "the call was cancelled; the server was told, and may have acted on it";
            return Err(cancelled(told).may_have_run());
        }
        () = up.gone.cancelled() => {
            let told = format!("the connection to the MCP server `{}` broke", link.server);
            return Err(ToolError::new(ToolErrorKind::Network, told).may_have_run());
        }
    };
    match answer {
        Ok(Ok(CallToolResponse::Complete(result))) => Ok(result),
        Ok(Ok(_)) => {
            let told = format!(
                "the MCP server `{}` wants to ask somebody or to work in the background, which \
                 is not possible here",
                link.server
            );
            Err(ToolError::new(ToolErrorKind::Denied, told).may_have_run())
        }
        Ok(Err(problem)) => {
            let (error, suspect) = error::of_call(problem, &link.server);
            if suspect {
                link.suspect.notify_one();
            }
            Err(error)
        }
        Err(_) => {
            link.suspect.notify_one();
            let seconds = link.limits.call.as_secs_f32();
            let told =
                format!("the MCP server `{}` did not answer within {seconds} s", link.server);
            Err(ToolError::new(ToolErrorKind::Timeout, told).may_have_run())
        }
    }
}
