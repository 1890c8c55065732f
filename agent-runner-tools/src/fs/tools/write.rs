//! `files.write`, `files.append`, `files.edit`, `files.patch`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{
    EffectPolicy, Footprint, Risk, ToolCx, ToolError, ToolOutput, TypedTool,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TIMEOUT, fact_of, file_tool, risk_of_writing, writes};
use crate::fs::{
    edit,
    error::{FileError, FileErrorKind},
    project_dir::{Expected, Written},
    rel_path::RelPath,
};

file_tool! {
    /// Writes a text file of the project.
    FilesWrite
}
file_tool! {
    /// Adds to the end of a text file of the project.
    FilesAppend
}
file_tool! {
    /// Replaces a piece of a text file of the project.
    FilesEdit
}
file_tool! {
    /// Applies a unified patch to a text file of the project.
    FilesPatch
}

/// What a write did.
#[derive(Debug, Serialize)]
struct WriteOutput {
    path: String,
    bytes: u64,
    sha256: String,
    created: bool,
}

fn output(path: String, written: Written) -> Result<ToolOutput, ToolError> {
    let fact = fact_of(&path, &written);
    let Written { bytes, sha256, created } = written;
    Ok(ToolOutput::of(WriteOutput { path, bytes, sha256, created })?.with_fact(fact))
}

/// Changes the text of a file that is there.
fn change_text(
    path: &RelPath,
    now: Option<Vec<u8>>,
    change: impl FnOnce(&str) -> Result<String, FileError>,
) -> Result<Vec<u8>, FileError> {
    let now = now.ok_or_else(|| {
        let said = format!("`{path}` does not exist; make it with files.write");
        FileError::new(FileErrorKind::NotFound, said)
    })?;
    let text = String::from_utf8(now).map_err(|_| {
        let said = format!("`{path}` is not a text in UTF-8 and can only be replaced as a whole");
        FileError::new(FileErrorKind::Invalid, said)
    })?;
    Ok(change(&text)?.into_bytes())
}

/// Arguments of `files.write`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteArgs {
    /// The file, relative to the project's directory, such as `notes/plan.md`. Directories are
    /// made as needed.
    path: String,
    /// The whole new text of the file.
    text: String,
    /// SHA-256 that the file must still have (hex). Left out: whatever is there is replaced.
    expected_sha256: Option<String>,
}

impl TypedTool for FilesWrite {
    const NAME: &'static str = "files.write";
    // By content: a second write of the same bytes leaves the same file.
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = WriteArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Writes a text file of the project, replacing the file if there is one.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &WriteArgs) -> Risk {
        risk_of_writing(&args.path)
    }

    fn footprint(&self, args: &WriteArgs) -> Footprint {
        writes(&args.path)
    }

    async fn run(&self, args: WriteArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let expected = Expected::maybe(args.expected_sha256);
        let written = self
            .workspace
            .call(cx, move |project, stop| {
                let text = args.text.into_bytes();
                if expected == Expected::Anything {
                    return project.write(&path, &text, stop);
                }
                match project.update(&path, &expected, stop, |_| Ok(text.clone())) {
                    // A call that is repeated finds its own text.
                    Err(error)
                        if error.kind() == FileErrorKind::Changed
                            && project.read(&path, stop).ok().as_ref() == Some(&text) =>
                    {
                        project.write(&path, &text, stop)
                    }
                    result => result,
                }
            })
            .await?;
        output(args.path, written)
    }
}

/// Arguments of `files.append`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppendArgs {
    /// The file, relative to the project's directory. It is made if there is none.
    path: String,
    /// The text to add at the end, line break included.
    text: String,
}

impl TypedTool for FilesAppend {
    const NAME: &'static str = "files.append";
    const POLICY: EffectPolicy = EffectPolicy::AtMostOnce;
    type Args = AppendArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Adds a text to the end of a file of the project, which is made if there is none.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &AppendArgs) -> Risk {
        risk_of_writing(&args.path)
    }

    fn footprint(&self, args: &AppendArgs) -> Footprint {
        writes(&args.path)
    }

    async fn run(&self, args: AppendArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let written = self
            .workspace
            .call(cx, move |project, stop| {
                project.update(&path, &Expected::Anything, stop, |now| {
                    let mut whole = now.unwrap_or_default();
                    whole.extend_from_slice(args.text.as_bytes());
                    Ok(whole)
                })
            })
            .await?;
        output(args.path, written)
    }
}

/// Arguments of `files.edit`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditArgs {
    /// The file, relative to the project's directory.
    path: String,
    /// The exact text to replace, with enough around it that it is there only once.
    old: String,
    /// What takes its place.
    new: String,
    /// Whether to replace it everywhere.
    #[serde(default)]
    all: bool,
    /// SHA-256 that the file must still have (hex).
    expected_sha256: Option<String>,
}

impl TypedTool for FilesEdit {
    const NAME: &'static str = "files.edit";
    const POLICY: EffectPolicy = EffectPolicy::AtMostOnce;
    type Args = EditArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Replaces an exact piece of a text file of the project. Read the file first; the piece \
         must be there exactly once, unless `all` is set."
            .into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &EditArgs) -> Risk {
        risk_of_writing(&args.path)
    }

    fn footprint(&self, args: &EditArgs) -> Footprint {
        writes(&args.path)
    }

    async fn run(&self, args: EditArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let expected = Expected::maybe(args.expected_sha256);
        let written = self
            .workspace
            .call(cx, move |project, stop| {
                project.update(&path, &expected, stop, |now| {
                    change_text(&path, now, |text| {
                        edit::replace(text, &args.old, &args.new, args.all)
                    })
                })
            })
            .await?;
        output(args.path, written)
    }
}

/// Arguments of `files.patch`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchArgs {
    /// The file, relative to the project's directory.
    path: String,
    /// A unified patch of this one file, with `@@ -start,count +start,count @@` before each part.
    patch: String,
    /// SHA-256 that the file must still have (hex).
    expected_sha256: Option<String>,
}

impl TypedTool for FilesPatch {
    const NAME: &'static str = "files.patch";
    const POLICY: EffectPolicy = EffectPolicy::AtMostOnce;
    type Args = PatchArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Applies a unified patch to a text file of the project: all of it, or nothing.".into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &PatchArgs) -> Risk {
        risk_of_writing(&args.path)
    }

    fn footprint(&self, args: &PatchArgs) -> Footprint {
        writes(&args.path)
    }

    async fn run(&self, args: PatchArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let expected = Expected::maybe(args.expected_sha256);
        let written = self
            .workspace
            .call(cx, move |project, stop| {
                project.update(&path, &expected, stop, |now| {
                    change_text(&path, now, |text| edit::patch(text, &args.patch))
                })
            })
            .await?;
        output(args.path, written)
    }
}
