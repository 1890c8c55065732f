//! What the runs of a project may do, as clients see and send it.

use std::collections::BTreeMap;

use agent_runner_core::project::{
    FileQuota as CoreQuota, GitRemote as CoreRemote, ProjectSettings, ShellSettings,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::policy::Policy;

/// What the runs of a project may do. What is missing has its default: the project's own files, no
/// programs, no remotes, no MCP servers.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Which tools, with which arguments, after whose approval.
    tools: Policy,
    /// How much its directory may hold.
    files: FileQuota,
    /// Programs that `shell.run` may start; none while absent.
    shell: Option<Shell>,
    /// Its git remotes.
    git: Git,
    /// Names of sources whose tools its runs may have, such as MCP servers; `*` for all.
    tool_sources: Vec<String>,
}

/// How much a project's directory may hold; the server's limit where absent.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct FileQuota {
    /// Bytes in all files.
    bytes_max: Option<u64>,
    /// Files and directories.
    files_max: Option<u64>,
}

/// What `shell.run` may do.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Shell {
    /// Names of programs that may be started, such as `cargo`.
    programs: Vec<String>,
    /// Whether they may use the network.
    network: bool,
    /// Longest time of a call in seconds; the server's limit while absent.
    timeout_seconds: Option<u64>,
}

/// Git remotes.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Git {
    /// By name, such as `origin`.
    remotes: BTreeMap<String, Remote>,
}

/// A git remote.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Remote {
    /// `https://host[:port]/path`, without user name and password.
    url: String,
    /// Name of the credential in the server's configuration; none while absent.
    #[serde(default)]
    credential: Option<String>,
    /// Whether agents may push to it.
    #[serde(default)]
    push: bool,
    /// Branches that agents push begin with this, such as `agents/`.
    #[serde(default)]
    push_prefix: Option<String>,
}

impl From<ProjectSettings> for Settings {
    fn from(core: ProjectSettings) -> Self {
        let remotes = core.git.remotes.into_iter().map(|(name, remote)| {
            let CoreRemote { url, credential, push, push_prefix } = remote;
            (name, Remote { url, credential, push, push_prefix })
        });
        Self {
            tools: core.tools.into(),
            files: FileQuota { bytes_max: core.files.bytes_max, files_max: core.files.files_max },
            shell: core.shell.map(|shell| Shell {
                programs: shell.programs,
                network: shell.network,
                timeout_seconds: shell.timeout_seconds,
            }),
            git: Git { remotes: remotes.collect() },
            tool_sources: core.tool_sources,
        }
    }
}

impl From<Settings> for ProjectSettings {
    fn from(dto: Settings) -> Self {
        let mut core = Self::default();
        core.tools = dto.tools.into();
        core.files = CoreQuota { bytes_max: dto.files.bytes_max, files_max: dto.files.files_max };
        core.shell = dto.shell.map(|shell| ShellSettings {
            programs: shell.programs,
            network: shell.network,
            timeout_seconds: shell.timeout_seconds,
        });
        let remotes = dto.git.remotes.into_iter().map(|(name, remote)| {
            let Remote { url, credential, push, push_prefix } = remote;
            (name, CoreRemote { url, credential, push, push_prefix })
        });
        core.git.remotes = remotes.collect();
        core.tool_sources = dto.tool_sources;
        core
    }
}
