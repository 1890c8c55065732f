//! `files.read` and `files.list`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{
    EffectPolicy, Footprint, ToolCx, ToolError, ToolErrorKind, TypedTool,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{TIMEOUT, file_tool, reads};
use crate::fs::{
    list::{ListOptions, Listing},
    rel_path::RelPath,
};

file_tool! {
    /// Reads a text file of the project.
    FilesRead
}
file_tool! {
    /// Lists files of the project.
    FilesList
}

/// Arguments of `files.read`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadArgs {
    /// The file, relative to the project's directory, such as `notes/plan.md`.
    path: String,
    /// The first line to return, counted from 1. Left out: the first of the file.
    #[schemars(range(min = 1))]
    offset_line: Option<usize>,
    /// Most lines to return. Left out: all that follow.
    #[schemars(range(min = 1))]
    limit_lines: Option<usize>,
    /// Whether to put its number and a tab before each line.
    #[serde(default)]
    line_numbers: bool,
}

impl TypedTool for FilesRead {
    const NAME: &'static str = "files.read";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = ReadArgs;
    type Output = String;

    fn description(&self) -> Cow<'_, str> {
        "Reads a text file of the project. For a long file, ask for some of its lines with \
         `offset_line` and `limit_lines`."
            .into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn footprint(&self, args: &ReadArgs) -> Footprint {
        reads(&args.path)
    }

    async fn run(&self, args: ReadArgs, cx: &ToolCx) -> Result<String, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let bytes = self
            .workspace
            .call(cx, {
                let path = path.clone();
                move |project, stop| project.read(&path, stop)
            })
            .await?;
        let text = text_of(bytes).ok_or_else(|| {
            let said = format!(
                "`{path}` is not a text in UTF-8, and this tool reads nothing else: choose another file"
            );
            ToolError::new(ToolErrorKind::InvalidArgs, said)
        })?;
        if args.offset_line.is_none() && args.limit_lines.is_none() && !args.line_numbers {
            return Ok(text);
        }
        lines_of(&text, &args)
    }
}

/// The bytes as text, unless they are something else. A NUL is legal UTF-8 and never in a text.
fn text_of(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn lines_of(text: &str, args: &ReadArgs) -> Result<String, ToolError> {
    let first = args.offset_line.unwrap_or(1);
    let lines = text.split_inclusive('\n').count();
    if first == 0 || first > lines.max(1) {
        let said = format!("`offset_line` is {first}, but the file has the lines 1 to {lines}");
        return Err(ToolError::new(ToolErrorKind::InvalidArgs, said));
    }
    let most = args.limit_lines.unwrap_or(usize::MAX);
    let lines = (1..).zip(text.split_inclusive('\n')).skip(first - 1).take(most);
    Ok(match args.line_numbers {
        false => lines.map(|(_, line)| line).collect(),
        true => lines.map(|(n, line)| format!("{n}\t{line}")).collect(),
    })
}

/// Arguments of `files.list`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {
    /// The directory, relative to the project's directory. Left out or `.`: the project's own.
    path: Option<String>,
    /// Whether to list what is in the directories too.
    #[serde(default)]
    recursive: bool,
    /// Most entries to return, 1,000 at most.
    #[schemars(range(min = 1))]
    limit: Option<usize>,
}

impl TypedTool for FilesList {
    const NAME: &'static str = "files.list";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = ListArgs;
    type Output = Listing;

    fn description(&self) -> Cow<'_, str> {
        "Lists the files and directories of the project, sorted. When `truncated` is true there \
         is more: list a directory inside."
            .into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn footprint(&self, args: &ListArgs) -> Footprint {
        reads(args.path.as_deref().unwrap_or("."))
    }

    async fn run(&self, args: ListArgs, cx: &ToolCx) -> Result<Listing, ToolError> {
        let under = match args.path.as_deref() {
            None | Some(".") => None,
            Some(path) => Some(RelPath::parse(path)?),
        };
        let options = ListOptions { recursive: args.recursive, limit: args.limit };
        let listing = self
            .workspace
            .call(cx, move |project, stop| project.list(under.as_ref(), &options, stop))
            .await?;
        Ok(listing)
    }
}
