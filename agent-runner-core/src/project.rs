//! A project: a named workspace with one directory under the server's workspace root.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{budget::Budget, id::ProjectId, policy::ToolPolicy};

/// A named workspace. Tools of a run never see a path outside its directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its id, also the name of its directory.
    pub id: ProjectId,
    /// Unique, for people.
    pub name: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The owner's own data.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
    /// Most that all its runs may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Most that all its runs may spend on one day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_budget: Option<Budget>,
    /// What its runs may do.
    #[serde(default)]
    pub settings: ProjectSettings,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What the runs of a project may do. The default is what a new project has: its own files, the
/// web behind the guard, no programs, no remotes, no MCP servers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ProjectSettings {
    /// Which tools, with which arguments, after whose approval.
    pub tools: ToolPolicy,
    /// How much its directory may hold.
    pub files: FileQuota,
    /// Programs that `shell.run` may start; none while absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellSettings>,
    /// Git remotes by name.
    pub git: GitSettings,
    /// Names of sources whose tools its runs may have, such as MCP servers; `*` for all.
    pub tool_sources: Vec<String>,
}

impl ProjectSettings {
    /// Whether its runs may have the tools of that source.
    #[must_use]
    pub fn has_source(&self, name: &str) -> bool {
        self.tool_sources.iter().any(|source| source == name || source == "*")
    }

    /// What is wrong with the settings: JSON Pointers and sentences.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems: Vec<(String, String)> = self
            .tools
            .problems()
            .into_iter()
            .map(|(place, what)| (format!("/tools{place}"), what))
            .collect();
        let mut say = |place: String, what: &str| problems.push((place, what.to_owned()));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        let programs = self.shell.iter().flat_map(|shell| &shell.programs).enumerate();
        for (n, program) in programs {
            if program.is_empty() || program.len() > 100 || !program.chars().all(legal) {
                let what = "write the name of a program without a path, such as `cargo`";
                say(format!("/shell/programs/{n}"), what);
            }
        }
        if self.shell.as_ref().is_some_and(|shell| shell.timeout_seconds == Some(0)) {
            say("/shell/timeout_seconds".to_owned(), "must be at least 1");
        }
        for (name, remote) in &self.git.remotes {
            let place = format!("/git/remotes/{}", name.replace('~', "~0").replace('/', "~1"));
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
                say(place.clone(), "a remote's name has 1 to 64 letters, digits, `_` or `-`");
            }
            if let Err(what) = check_remote_url(&remote.url) {
                say(format!("{place}/url"), what);
            }
        }
        problems
    }
}

/// The grammar of a remote's URL: `http[s]://host[:port]/path`, nothing hidden in it.
fn check_remote_url(url: &str) -> Result<(), &'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("must begin with https:// (or http:// for a host that the operator allows)")?;
    if url.len() > 2_048 || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("has at most 2,048 characters, without spaces");
    }
    if url.contains("::") || url.contains('\\') {
        return Err("must not contain `::` or a backslash");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.contains('@') {
        return Err("must not hold a user name or a password; name a credential instead");
    }
    if host.is_empty() || host.starts_with('-') || path.is_empty() {
        return Err("must name a host and a repository, such as https://example.com/team/tool.git");
    }
    Ok(())
}

/// How much a project's directory may hold; `None` is the server's limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileQuota {
    /// Bytes in all files.
    pub bytes_max: Option<u64>,
    /// Files and directories.
    pub files_max: Option<u64>,
}

/// What `shell.run` may do in a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShellSettings {
    /// Names of programs that may be started, such as `cargo`; looked up in the server's path.
    pub programs: Vec<String>,
    /// Whether they may use the network.
    pub network: bool,
    /// Longest time of a call in seconds; the server's limit while absent.
    pub timeout_seconds: Option<u64>,
}

/// The git remotes of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GitSettings {
    /// By name, such as `origin`.
    pub remotes: BTreeMap<String, GitRemote>,
}

/// A git remote: an agent names it and never sees more of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitRemote {
    /// `https://host[:port]/path`.
    pub url: String,
    /// Name of the credential in the server's configuration; none while absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Whether agents may push to it.
    #[serde(default)]
    pub push: bool,
    /// Branches that agents push begin with this, such as `agents/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_prefix: Option<String>,
}

/// Name of the project that runs use when they name none.
pub const DEFAULT_PROJECT: &str = "default";
