//! What a call produced, and what it says of the world.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ToolError, ToolErrorKind};

/// What a call produced.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolOutput {
    /// The output: a string is shown to the model as it is, anything else as JSON.
    pub value: Value,
    /// Where it came from, when it was written by somebody whom nobody in charge trusts, such as
    /// `web:example.com` or `mcp:tickets`. A run that read it asks before it acts outside.
    pub untrusted: Option<String>,
    /// What it changed. Each becomes an event, in the same transaction as the end of the call.
    pub facts: Vec<Fact>,
    /// What it kept with [`ToolHost::keep`](super::ToolHost::keep). Each becomes an artifact of
    /// the run, in the same transaction as the end of the call.
    pub artifacts: Vec<KeptArtifact>,
}

impl ToolOutput {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<Value>) -> Self {
        Self { value: value.into(), untrusted: None, facts: Vec::new(), artifacts: Vec::new() }
    }

    /// Wraps what a tool returns.
    ///
    /// # Errors
    /// `Internal` for what is not JSON.
    pub fn of(output: impl Serialize) -> Result<Self, ToolError> {
        let value = serde_json::to_value(output).map_err(|error| {
            ToolError::new(ToolErrorKind::Internal, "the tool's output is not JSON")
                .may_have_run()
                .with_source(error)
        })?;
        Ok(Self::new(value))
    }

    /// The same, written by somebody who is not trusted.
    #[must_use]
    pub fn untrusted(mut self, origin: impl Into<String>) -> Self {
        self.untrusted = Some(origin.into());
        self
    }

    /// The same, and this is what it changed.
    #[must_use]
    pub fn with_fact(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }

    /// The same, and this was kept.
    #[must_use]
    pub fn with_artifact(mut self, artifact: KeptArtifact) -> Self {
        self.artifacts.push(artifact);
        self
    }
}

/// What typed tools return: anything that is JSON, or a [`ToolOutput`] with more to say.
pub trait IntoToolOutput {
    /// Turns it into an output.
    ///
    /// # Errors
    /// `Internal` for what is not JSON.
    fn into_tool_output(self) -> Result<ToolOutput, ToolError>;
}

impl<T: Serialize> IntoToolOutput for T {
    fn into_tool_output(self) -> Result<ToolOutput, ToolError> {
        ToolOutput::of(self)
    }
}

impl IntoToolOutput for ToolOutput {
    fn into_tool_output(self) -> Result<ToolOutput, ToolError> {
        Ok(self)
    }
}

/// Something that a tool changed, for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// A file of the project has new content.
    FileWritten {
        /// Its path within the project.
        path: String,
        /// SHA-256 of the content, lower-case hex.
        sha256: String,
        /// Bytes in the file.
        bytes: u64,
        /// Whether there was no file of that name before.
        created: bool,
    },
    /// A file or directory of the project is gone from its name.
    FileRemoved {
        /// Its path within the project.
        path: String,
        /// Its new path, when it was moved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moved_to: Option<String>,
    },
    /// The project's repository changed, or is about to change another one.
    Git {
        /// What was done: `clone`, `commit`, `push`, …; `push_intended` before a push.
        action: String,
        /// The branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
        /// Name of the remote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<String>,
        /// The commit before, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The commit after, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

/// Bytes to keep as an artifact of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// Its name within the run, such as `report.md`; a second one of that name is its next version.
    pub name: String,
    /// What it is for people: `document`, `log`, `patch`, `commit`, …
    pub kind: String,
    /// Its media type (RFC 6838).
    pub media_type: String,
}

/// An artifact whose bytes are kept and which is not yet an artifact of the run: it becomes one
/// when the call that made it ends well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptArtifact {
    /// Its name within the run.
    pub name: String,
    /// What it is for people.
    pub kind: String,
    /// Its media type.
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Where the bytes are, as the blob store names it.
    pub uri: String,
}
