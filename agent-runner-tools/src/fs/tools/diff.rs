//! `files.diff`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::{
    id::RunId,
    tool::{EffectPolicy, Footprint, ToolCx, ToolError, ToolErrorKind, TypedTool},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{TIMEOUT, file_tool, reads};
use crate::fs::{diff::RunDiff, rel_path::RelPath};

file_tool! {
    /// Shows what a run changed in the project's files.
    FilesDiff
}

/// Arguments of `files.diff`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffArgs {
    /// The file or directory to look at. Left out: everything.
    path: Option<String>,
    /// The run, by its id. Left out: this run.
    run: Option<String>,
}

impl TypedTool for FilesDiff {
    const NAME: &'static str = "files.diff";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = DiffArgs;
    type Output = RunDiff;

    fn description(&self) -> Cow<'_, str> {
        "Shows what this run has changed in the project's files until now, as a unified diff."
            .into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn footprint(&self, args: &DiffArgs) -> Footprint {
        reads(args.path.as_deref().unwrap_or("."))
    }

    async fn run(&self, args: DiffArgs, cx: &ToolCx) -> Result<RunDiff, ToolError> {
        let invalid = |said: &str| ToolError::new(ToolErrorKind::InvalidArgs, said);
        let run = match args.run.as_deref().map(str::parse::<RunId>) {
            Some(Ok(run)) => run,
            Some(Err(_)) => return Err(invalid("`run` is not the id of a run")),
            None => cx.run_id.ok_or_else(|| invalid("say which `run`"))?,
        };
        let only = match args.path.as_deref() {
            None | Some(".") => None,
            Some(path) => Some(RelPath::parse(path)?),
        };
        Ok(self.workspace.diff(cx.project_id, run, only, &cx.cancel).await?)
    }
}
