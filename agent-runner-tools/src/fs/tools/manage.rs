//! `files.move`, `files.copy`, `files.mkdir`, `files.delete`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{
    EffectPolicy, Fact, Footprint, Risk, ToolCx, ToolError, ToolOutput, TypedTool,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{TIMEOUT, fact_of, file_tool, resource, risk_of_writing, writes};
use crate::fs::{project_dir::Expected, rel_path::RelPath, verbs::Existing};

file_tool! {
    /// Gives a file or directory of the project another name.
    FilesMove
}
file_tool! {
    /// Copies a file of the project.
    FilesCopy
}
file_tool! {
    /// Makes a directory in the project.
    FilesMkdir
}
file_tool! {
    /// Deletes a file or directory of the project.
    FilesDelete
}

const fn existing(overwrite: bool) -> Existing {
    if overwrite { Existing::Replace } else { Existing::Refuse }
}

/// Arguments of `files.move` and `files.copy`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferArgs {
    /// What there is, relative to the project's directory.
    from: String,
    /// The new path, relative to the project's directory. Directories are made as needed.
    to: String,
    /// Whether a file of that name is replaced.
    #[serde(default)]
    overwrite: bool,
}

impl TypedTool for FilesMove {
    const NAME: &'static str = "files.move";
    const POLICY: EffectPolicy = EffectPolicy::AtMostOnce;
    type Args = TransferArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Moves or renames a file or directory of the project.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &TransferArgs) -> Risk {
        let replaces = if args.overwrite { Risk::Destructive } else { Risk::Write };
        risk_of_writing(&args.to).max(replaces)
    }

    fn footprint(&self, args: &TransferArgs) -> Footprint {
        writes(&args.from).writes(resource(&args.to))
    }

    async fn run(&self, args: TransferArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let (from, to) = (RelPath::parse(&args.from)?, RelPath::parse(&args.to)?);
        let existing = existing(args.overwrite);
        let kind = self
            .workspace
            .call(cx, move |project, stop| project.rename(&from, &to, existing, stop))
            .await?;
        let fact = Fact::FileRemoved { path: args.from.clone(), moved_to: Some(args.to.clone()) };
        let output = json!({"from": args.from, "to": args.to, "kind": kind});
        Ok(ToolOutput::new(output).with_fact(fact))
    }
}

impl TypedTool for FilesCopy {
    const NAME: &'static str = "files.copy";
    // By content: what is copied again is there already.
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = TransferArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Copies a file of the project.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &TransferArgs) -> Risk {
        risk_of_writing(&args.to)
    }

    fn footprint(&self, args: &TransferArgs) -> Footprint {
        writes(&args.to).reads(resource(&args.from))
    }

    async fn run(&self, args: TransferArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let (from, to) = (RelPath::parse(&args.from)?, RelPath::parse(&args.to)?);
        let existing = existing(args.overwrite);
        let written = self
            .workspace
            .call(cx, move |project, stop| project.copy(&from, &to, existing, stop))
            .await?;
        let output = json!({
            "from": args.from, "to": args.to, "bytes": written.bytes, "sha256": written.sha256,
            "created": written.created,
        });
        Ok(ToolOutput::new(output).with_fact(fact_of(&args.to, &written)))
    }
}

/// Arguments of `files.mkdir`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MkdirArgs {
    /// The directory, relative to the project's directory. Those above it are made as needed.
    path: String,
}

/// What `files.mkdir` did.
#[derive(Debug, Serialize)]
pub struct MkdirOutput {
    path: String,
    created: bool,
}

impl TypedTool for FilesMkdir {
    const NAME: &'static str = "files.mkdir";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = MkdirArgs;
    type Output = MkdirOutput;

    fn description(&self) -> Cow<'_, str> {
        "Makes a directory in the project. One that is there already is no error.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, args: &MkdirArgs) -> Footprint {
        writes(&args.path)
    }

    async fn run(&self, args: MkdirArgs, cx: &ToolCx) -> Result<MkdirOutput, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let created =
            self.workspace.call(cx, move |project, stop| project.make_dir(&path, stop)).await?;
        Ok(MkdirOutput { path: args.path, created })
    }
}

/// Arguments of `files.delete`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteArgs {
    /// What to delete, relative to the project's directory.
    path: String,
    /// Whether a directory goes with all that is in it.
    #[serde(default)]
    recursive: bool,
    /// SHA-256 that the file must still have (hex).
    expected_sha256: Option<String>,
}

impl TypedTool for FilesDelete {
    const NAME: &'static str = "files.delete";
    const POLICY: EffectPolicy = EffectPolicy::AtMostOnce;
    type Args = DeleteArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Deletes a file or a directory of the project, for good.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn footprint(&self, args: &DeleteArgs) -> Footprint {
        writes(&args.path)
    }

    async fn run(&self, args: DeleteArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let expected = Expected::maybe(args.expected_sha256);
        let recursive = args.recursive;
        let removed = self
            .workspace
            .call(cx, move |project, stop| project.remove_if(&path, recursive, &expected, stop))
            .await?;
        let fact = Fact::FileRemoved { path: args.path.clone(), moved_to: None };
        let output = json!({
            "path": args.path, "kind": removed.kind, "entries": removed.entries,
            "bytes": removed.bytes,
        });
        Ok(ToolOutput::new(output).with_fact(fact))
    }
}
