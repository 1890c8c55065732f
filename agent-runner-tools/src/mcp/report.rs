//! How a source is, for people.

use agent_runner_core::tool::SourceStatus;
use jiff::Timestamp;

/// What a server calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpServerInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of the protocol that is spoken with it.
    pub protocol: String,
}

/// A tool of a server that is not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpToolReport {
    /// As the server calls it.
    pub name: String,
    /// Why.
    pub why: String,
}

/// How a source is. Nothing in it is secret; names and errors are a stranger's words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpReport {
    /// Its name.
    pub name: String,
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// How it is.
    pub status: SourceStatus,
    /// What the server called itself last.
    pub server: Option<McpServerInfo>,
    /// Since when it is connected.
    pub connected_since: Option<Timestamp>,
    /// Connections made since the program began.
    pub connections: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// Names of the tools that it offers.
    pub tools: Vec<String>,
    /// Tools that it has and does not offer, because their names or schemas cannot be used.
    pub dropped: Vec<McpToolReport>,
}
