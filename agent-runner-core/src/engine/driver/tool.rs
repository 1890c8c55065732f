//! One call of a tool.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use serde_json::Value;

use crate::{
    engine::Inner,
    limits,
    message::clean_value,
    tool::{Reconciled, Tool, ToolCx, ToolError, ToolErrorKind, ToolOutput},
};

/// A call to make.
pub(in crate::engine) struct ToolInvocation {
    pub(in crate::engine) inner: Arc<Inner>,
    pub(in crate::engine) tool: Arc<dyn Tool>,
    pub(in crate::engine) arguments: Value,
    pub(in crate::engine) cx: ToolCx,
}

fn defect() -> ToolError {
    ToolError::new(ToolErrorKind::Internal, "the tool has a defect (it panicked)").may_have_run()
}

impl ToolInvocation {
    /// Makes it, within the tool's time; the output and how long it took.
    pub(in crate::engine) async fn perform(self) -> (Result<ToolOutput, ToolError>, Duration) {
        let clock = Arc::clone(&self.inner.clock);
        let began = clock.now();
        let timeout = self.tool.info().timeout;
        let call = AssertUnwindSafe(self.tool.call(self.arguments, &self.cx)).catch_unwind();
        let result = tokio::select! {
            biased;
            result = call => result.unwrap_or_else(|_| Err(defect())),
            () = clock.sleep(timeout) => {
                self.cx.cancel.cancel();
                Err(ToolError::new(
                    ToolErrorKind::Timeout,
                    format!("the tool did not end within {} s", timeout.as_secs_f32()),
                )
                .may_have_run())
            }
        };
        let result = result.and_then(|mut output| {
            clean_value(&mut output.value);
            let size = match &output.value {
                Value::String(text) => text.len(),
                other => other.to_string().len(),
            };
            if size > limits::TOOL_OUTPUT_BYTES_MAX {
                return Err(ToolError::new(
                    ToolErrorKind::TooLarge,
                    format!(
                        "the tool did its work, but its output of {size} bytes is larger than the \
                         allowed {}; ask for less",
                        limits::TOOL_OUTPUT_BYTES_MAX
                    ),
                ));
            }
            Ok(output)
        });
        let result = match result {
            Ok(output) if self.cx.run_id.is_some() => {
                let (info, step) = (self.tool.info(), self.cx.step.as_str());
                self.inner.spill(step, &info.spec.name, info.model_bytes_max, output).await
            }
            result => result,
        };
        (result, crate::time::until(began, clock.now()))
    }

    /// Asks the tool what became of an earlier call.
    pub(super) async fn reconcile(self) -> Result<Reconciled, ToolError> {
        let clock = Arc::clone(&self.inner.clock);
        let probe = AssertUnwindSafe(self.tool.reconcile(&self.arguments, &self.cx)).catch_unwind();
        tokio::select! {
            biased;
            result = probe => result.unwrap_or_else(|_| Err(defect())),
            () = clock.sleep(self.tool.info().timeout) => Ok(Reconciled::Unknown),
        }
    }
}
