//! `artifact.save`, `artifact.list`, `artifact.read`: a run's named outputs.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::{
    artifact::Artifact,
    tool::{
        EffectPolicy, Footprint, NewArtifact, Risk, ToolCx, ToolError, ToolErrorKind, ToolOutput,
        TypedTool,
    },
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fs::{RelPath, Workspace};

/// Longest call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most of an artifact that is read at once, in bytes.
const READ_BYTES_MAX: usize = 256 * 1024;

/// Keeps a text or a file of the project as an artifact of the run.
#[derive(Debug, Clone)]
pub struct ArtifactSave {
    workspace: Workspace,
}

impl ArtifactSave {
    /// A tool that keeps texts, and files of `workspace`.
    #[must_use]
    pub const fn new(workspace: Workspace) -> Self {
        Self { workspace }
    }
}

/// Arguments of `artifact.save`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveArgs {
    /// Its name, such as `report.md`. A second one of that name is its next version.
    name: String,
    /// The text to keep. Left out: the file `path`.
    text: Option<String>,
    /// The file of the project to keep.
    path: Option<String>,
    /// What it is for people, such as `document`, `patch` or `data`. Left out: `document`.
    kind: Option<String>,
    /// Its media type, such as `text/markdown`. Left out: guessed from the name.
    media_type: Option<String>,
}

fn guessed(name: &str) -> &'static str {
    match name.rsplit('.').next().map(str::to_ascii_lowercase).as_deref() {
        Some("md") => "text/markdown",
        Some("txt" | "log") => "text/plain",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("diff" | "patch") => "text/x-diff",
        Some("html" | "htm") => "text/html",
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

impl TypedTool for ArtifactSave {
    const NAME: &'static str = "artifact.save";
    // What is kept twice is kept once, and becomes an artifact with the end of the call.
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = SaveArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Keeps a text, or a file of the project, as a result of this run that people can download."
            .into()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, args: &SaveArgs) -> Footprint {
        let read = args.path.as_ref().map(|path| format!("files/{path}"));
        let own = Footprint::none().writes(format!("artifacts/{}", args.name));
        read.map_or(own.clone(), |path| own.reads(path))
    }

    async fn run(&self, args: SaveArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let invalid = |said: &str| ToolError::new(ToolErrorKind::InvalidArgs, said);
        let content = match (args.text, args.path) {
            (Some(text), None) => Bytes::from(text.into_bytes()),
            (None, Some(path)) => {
                let path = RelPath::parse(&path)?;
                self.workspace
                    .call(cx, move |project, stop| project.read(&path, stop))
                    .await?
                    .into()
            }
            _ => return Err(invalid("give either `text` or `path`")),
        };
        let media_type = args.media_type.unwrap_or_else(|| guessed(&args.name).to_owned());
        let kind = args.kind.unwrap_or_else(|| "document".to_owned());
        let new = NewArtifact { name: args.name, kind, media_type };
        let kept = cx.host.keep(new, stream::iter([Ok(content)]).boxed()).await?;
        let output = json!({"name": kept.name, "bytes": kept.size, "sha256": kept.sha256});
        Ok(ToolOutput::new(output).with_artifact(kept))
    }
}

/// Lists the run's artifacts.
#[derive(Debug, Clone, Copy, Default)]
pub struct ArtifactList;

/// Arguments of `artifact.list`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListArgs {}

/// An artifact as an agent sees it.
#[derive(Debug, Serialize)]
pub struct Listed {
    name: String,
    version: u64,
    kind: String,
    media_type: String,
    bytes: u64,
}

impl From<Artifact> for Listed {
    fn from(artifact: Artifact) -> Self {
        let Artifact { name, version, kind, media_type, size, .. } = artifact;
        Self { name, version, kind, media_type, bytes: size }
    }
}

impl TypedTool for ArtifactList {
    const NAME: &'static str = "artifact.list";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = ListArgs;
    type Output = Vec<Listed>;

    fn description(&self) -> Cow<'_, str> {
        "Lists what this run has kept as artifacts until now.".into()
    }

    async fn run(&self, _args: ListArgs, cx: &ToolCx) -> Result<Vec<Listed>, ToolError> {
        Ok(cx.host.artifacts().await?.into_iter().map(Listed::from).collect())
    }
}

/// Reads a text artifact of the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct ArtifactRead;

/// Arguments of `artifact.read`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadArgs {
    /// Its name.
    name: String,
    /// Its version. Left out: the latest.
    version: Option<u64>,
    /// The first byte to read. Left out: the first of all.
    #[serde(default)]
    offset: u64,
    /// Most bytes to read, 262,144 at most. Left out: 16,384.
    #[schemars(range(min = 1, max = 262_144))]
    limit: Option<usize>,
}

/// A piece of an artifact.
#[derive(Debug, Serialize)]
pub struct Piece {
    text: String,
    /// Where to go on; missing at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
}

impl TypedTool for ArtifactRead {
    const NAME: &'static str = "artifact.read";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = ReadArgs;
    type Output = Piece;

    fn description(&self) -> Cow<'_, str> {
        "Reads a piece of an artifact of this run, for example of an output that was too large to \
         show. Text only."
            .into()
    }

    async fn run(&self, args: ReadArgs, cx: &ToolCx) -> Result<Piece, ToolError> {
        let all = cx.host.artifacts().await?.into_iter().rev();
        let found = all
            .filter(|artifact| artifact.name == args.name)
            .find(|artifact| args.version.is_none_or(|version| artifact.version == version));
        let artifact = found.ok_or_else(|| {
            let said = "there is no such artifact; artifact.list shows what there is";
            ToolError::new(ToolErrorKind::NotFound, said)
        })?;
        let limit = args.limit.unwrap_or(16 * 1024).clamp(1, READ_BYTES_MAX);
        let mut content = cx.host.open(&artifact).await?;
        let mut skip = usize::try_from(args.offset).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let Some(piece) = content.next().await else { break };
            let piece = piece.map_err(|error| {
                let said = "the artifact cannot be read to its end";
                ToolError::new(ToolErrorKind::Internal, said).with_source(error)
            })?;
            let wanted = piece.get(skip.min(piece.len())..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            bytes.extend(wanted.iter().take(limit - bytes.len()));
        }
        let end = args.offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let next_offset = (end < artifact.size).then_some(end);
        // A character that was cut at either end shows as a replacement, binary as many of them.
        Ok(Piece { text: String::from_utf8_lossy(&bytes).into_owned(), next_offset })
    }
}
