//! `files.glob` and `files.search`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{EffectPolicy, Footprint, ToolCx, ToolError, TypedTool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TIMEOUT, file_tool, reads};
use crate::fs::{
    find::{Glob, Hits, Search},
    rel_path::RelPath,
};

/// Results when the caller does not say how many.
const LIMIT: usize = 100;
/// Most results.
const LIMIT_MAX: usize = 1_000;

file_tool! {
    /// Finds files of the project by a pattern.
    FilesGlob
}
file_tool! {
    /// Finds lines in files of the project.
    FilesSearch
}

/// Arguments of `files.glob`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobArgs {
    /// The pattern, such as `src/**/*.rs` or `*.{md,txt}`; `**` crosses directories.
    pattern: String,
    /// Most paths to return, 1,000 at most. Left out: 100.
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<usize>,
}

/// Paths that fit.
#[derive(Debug, Serialize)]
pub struct GlobOutput {
    paths: Vec<String>,
    truncated: bool,
}

impl TypedTool for FilesGlob {
    const NAME: &'static str = "files.glob";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = GlobArgs;
    type Output = GlobOutput;

    fn description(&self) -> Cow<'_, str> {
        "Finds files of the project whose paths fit a pattern such as `src/**/*.rs`, sorted.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn footprint(&self, _args: &GlobArgs) -> Footprint {
        reads(".")
    }

    async fn run(&self, args: GlobArgs, cx: &ToolCx) -> Result<GlobOutput, ToolError> {
        let glob = Glob::parse(&args.pattern)?;
        let limit = args.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let (paths, truncated) =
            self.workspace.call(cx, move |project, stop| project.glob(&glob, limit, stop)).await?;
        Ok(GlobOutput { paths, truncated })
    }
}

/// Arguments of `files.search`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchArgs {
    /// The regular expression that a line must fit, such as `fn\s+main`.
    pattern: String,
    /// The directory to look into. Left out: the whole project.
    path: Option<String>,
    /// A pattern of the files to look into, such as `**/*.rs`. Left out: all.
    glob: Option<String>,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// Most lines to return, 1,000 at most. Left out: 100.
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<usize>,
}

impl TypedTool for FilesSearch {
    const NAME: &'static str = "files.search";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = SearchArgs;
    type Output = Hits;

    fn description(&self) -> Cow<'_, str> {
        "Finds lines in the project's text files that fit a regular expression, with path and \
         line number."
            .into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn footprint(&self, args: &SearchArgs) -> Footprint {
        reads(args.path.as_deref().unwrap_or("."))
    }

    async fn run(&self, args: SearchArgs, cx: &ToolCx) -> Result<Hits, ToolError> {
        let under = match args.path.as_deref() {
            None | Some(".") => None,
            Some(path) => Some(RelPath::parse(path)?),
        };
        let search = Search {
            regex: Search::parse(&args.pattern, args.ignore_case)?,
            glob: args.glob.as_deref().map(Glob::parse).transpose()?,
            under,
            limit: args.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
        };
        Ok(self.workspace.call(cx, move |project, stop| project.search(&search, stop)).await?)
    }
}
