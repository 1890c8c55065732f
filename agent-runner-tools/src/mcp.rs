//! Tools of MCP servers (Model Context Protocol), over stdio and streamable HTTP.
//!
//! [`McpSource`] is one server: it connects, lists the tools, keeps the list fresh, and connects
//! again for as long as it is wanted. It starts no task: the program drives [`McpSource::run`].
//! A server is a stranger. What it calls its tools, says of them and answers is bounded, cleaned
//! and marked as untrusted; what it asks of us is refused; the operator's secrets, which it
//! knows, are taken out of everything it says.

mod bucket;
mod call;
mod catalogue;
mod config;
mod connection;
mod error;
mod guard;
mod http;
mod lines;
mod link;
mod output;
mod policy;
mod report;
mod schema;
mod secret;
mod source;
mod stdio;
mod text;
mod tool;

pub use self::{
    config::{McpLimits, McpServer, McpServerError, McpTransport},
    report::{McpReport, McpServerInfo, McpToolReport},
    source::McpSource,
};
