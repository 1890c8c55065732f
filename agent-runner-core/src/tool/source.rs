//! Tools that come and go, such as those of an MCP server.

use std::{fmt, sync::Arc};

use super::Tool;

/// How a source of tools is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceStatus {
    /// Its tools can be called.
    Ready,
    /// It is being connected to.
    Connecting,
    /// It cannot be reached: why, for people.
    Down(String),
}

/// Something that offers tools which may change while the program runs.
///
/// # Contract
/// 1. `tools` answers at once, with what was offered last; a source that is down keeps its tools,
///    and their calls fail as `Network` errors.
/// 2. Names are `<name of the source>.<name of the tool>`, legal as tool names, and unique.
/// 3. A tool is the same `Arc` for as long as it is the same tool.
pub trait ToolSource: fmt::Debug + Send + Sync + 'static {
    /// Its name: what a project lists to get its tools.
    fn name(&self) -> &str;

    /// What it offers now.
    fn tools(&self) -> Vec<Arc<dyn Tool>>;

    /// How it is.
    fn status(&self) -> SourceStatus;
}
