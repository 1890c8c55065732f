//! Settings: one table that is the flags, the environment, the file and the documentation.

mod endpoint;
mod error;
mod file;
mod outside;
mod source;
mod table;
mod value;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use agent_runner::{agent::ModelName, budget::Budget, step::EffectPolicy, tools::http::HttpAllow};
use secrecy::SecretString;

pub(crate) use self::{
    endpoint::{Endpoint, Key, Kind, Limits},
    error::ConfigError,
    outside::Outside,
    source::Source,
    value::{Access, LogFormat, ShellAccess, duration},
};
use self::{error::Problems, file::Tables, source::Given};

/// How a setting can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A flag with a value.
    Value,
    /// A flag that needs no value to mean `true`.
    Switch,
    /// No flag, because every user of the machine can read command lines; never shown.
    Secret,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Its name in `agent-runner.toml`; the flag is the same with dashes.
    pub(crate) key: &'static str,
    /// Its environment variable.
    pub(crate) env: &'static str,
    /// What holds when nobody sets it; empty for nothing.
    pub(crate) default: &'static str,
    /// How it can be given.
    pub(crate) shape: Shape,
    /// What it does.
    pub(crate) help: &'static str,
}

/// Makes the table and the typed configuration of the same lines, so that they cannot drift.
macro_rules! settings {
    ($( #[doc = $help:literal] $key:ident: $type:ty = $env:literal, $default:literal, $shape:ident, $parse:path; )*) => {
        /// Every setting, checked.
        #[derive(Debug, Clone)]
        pub(crate) struct Config {
            $( #[doc = $help] pub(crate) $key: $type, )*
            /// Further endpoints, from the file.
            pub(crate) endpoints: Vec<Endpoint>,
            /// Whom agents deal with outside, from the file.
            pub(crate) outside: Outside,
            /// What everything was said to be, and where.
            pub(crate) given: Given,
        }

        /// The table.
        pub(crate) const SETTINGS: &[Setting] = &[$(
            Setting {
                key: stringify!($key),
                env: $env,
                default: $default,
                shape: Shape::$shape,
                help: $help,
            },
        )*];

        impl Config {
            fn parse(
                given: Given,
                Tables { endpoints, outside }: Tables,
                mut problems: Problems,
            ) -> Result<Self, ConfigError> {
                $( let $key = given.read(stringify!($key), $parse, &mut problems); )*
                problems.into_result()?;
                let parsed = (|| Some(Self { $( $key: $key?, )* endpoints, outside, given }))();
                parsed.ok_or_else(|| ConfigError::new("a setting was lost; this is a defect"))
            }
        }
    };
}

settings! {
    /// Address and port of the HTTP service. Port 0 takes a free one.
    listen: SocketAddr = "AGENT_RUNNER_LISTEN", "127.0.0.1:8000", Value, value::address;
    /// The database: `sqlite://` and a path. In the data directory unless it is set.
    database_url: String = "AGENT_RUNNER_DATABASE_URL", "sqlite://./data/agent-runner.db", Value, value::database_url;
    /// Directory of the database and of the projects' files.
    data_dir: PathBuf = "AGENT_RUNNER_DATA_DIR", "./data", Value, value::path;
    /// Where artifacts are kept: a directory, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. In the data directory unless it is set.
    artifacts_url: Option<String> = "AGENT_RUNNER_ARTIFACTS_URL", "", Value, value::text;
    /// Most runs in execution at once in this process.
    concurrency: usize = "AGENT_RUNNER_CONCURRENCY", "64", Value, value::concurrency;
    /// Most connections of one client address. Behind a proxy all clients share one.
    connections_per_address: usize = "AGENT_RUNNER_CONNECTIONS_PER_ADDRESS", "512", Value, value::connections;
    /// How long a silent worker keeps its runs before another one takes them over.
    lease_ttl: Duration = "AGENT_RUNNER_LEASE_TTL", "15s", Value, value::lease;
    /// How often a model call in progress says that it is.
    heartbeat_interval: Duration = "AGENT_RUNNER_HEARTBEAT_INTERVAL", "15s", Value, value::interval;
    /// How often the database is asked for work without a hint.
    poll_interval: Duration = "AGENT_RUNNER_POLL_INTERVAL", "500ms", Value, value::interval;
    /// Hosts that the HTTP tools may call: host:port, separated by commas.
    http_allow: HttpAllow = "AGENT_RUNNER_HTTP_ALLOW", "", Value, value::http_allow;
    /// What happens to an http.post whose outcome is unknown: `ask`, `at_most_once` or `idempotent`.
    http_post_policy: EffectPolicy = "AGENT_RUNNER_HTTP_POST_POLICY", "ask", Value, value::post_policy;
    /// How much of the web agents reach: `open` for all that is public, `listed` for `web_allow` only, `off`.
    web: Access = "AGENT_RUNNER_WEB", "open", Value, value::access;
    /// Hosts that agents reach beside that, public or not: host:port, separated by commas.
    web_allow: HttpAllow = "AGENT_RUNNER_WEB_ALLOW", "", Value, value::http_allow;
    /// Whether agents keep to robots.txt.
    web_robots: bool = "AGENT_RUNNER_WEB_ROBOTS", "true", Value, value::switch;
    /// Requests to one host a second, after a first burst of five.
    web_rate: NonZeroU32 = "AGENT_RUNNER_WEB_RATE", "1", Value, value::rate;
    /// Where remotes of Git repositories may be: `open` for all public hosts, `listed` for `git_allow` only, `off` for no Git at all.
    git: Access = "AGENT_RUNNER_GIT", "open", Value, value::access;
    /// Hosts of remotes beside that, public or not, where http:// is fine too: host:port, separated by commas.
    git_allow: HttpAllow = "AGENT_RUNNER_GIT_ALLOW", "", Value, value::http_allow;
    /// Who commits: a name.
    git_name: String = "AGENT_RUNNER_GIT_NAME", "agent-runner", Value, value::line;
    /// Who commits: an address.
    git_email: String = "AGENT_RUNNER_GIT_EMAIL", "agent-runner@localhost", Value, value::line;
    /// Whether projects may have agents run programs: `confined` by the kernel, `best_effort` where it cannot, `off`.
    shell: ShellAccess = "AGENT_RUNNER_SHELL", "confined", Value, value::shell_access;
    /// Where programs are looked for: absolute directories, separated by colons.
    shell_path: Vec<PathBuf> = "AGENT_RUNNER_SHELL_PATH", "/usr/local/bin:/usr/bin:/bin", Value, value::search_path;
    /// Further files and directories that programs may read and run, separated by commas.
    shell_readable: Vec<PathBuf> = "AGENT_RUNNER_SHELL_READABLE", "", Value, value::paths;
    /// Further directories in which programs may write, separated by commas.
    shell_writable: Vec<PathBuf> = "AGENT_RUNNER_SHELL_WRITABLE", "", Value, value::paths;
    /// Variables of the server that programs get too: names, separated by commas.
    shell_env: Vec<String> = "AGENT_RUNNER_SHELL_ENV", "", Value, value::names;
    /// Whether a project may let its programs use the network.
    shell_network: bool = "AGENT_RUNNER_SHELL_NETWORK", "false", Switch, value::switch;
    /// Model of runs that name none, as provider/model. Unset, the first one that is reachable.
    default_model: Option<ModelName> = "AGENT_RUNNER_DEFAULT_MODEL", "", Value, value::model;
    /// How long steps may take to end after SIGTERM before they are handed over.
    drain_grace: Duration = "AGENT_RUNNER_DRAIN_GRACE", "25s", Value, value::grace;
    /// Serve addresses other machines can reach, although nobody has to log in.
    insecure_bind: bool = "AGENT_RUNNER_INSECURE_BIND", "false", Switch, value::switch;
    /// What is logged, such as `info` or `warn,agent_runner_core=debug`. Unset, info for serve and warn otherwise.
    log: Option<String> = "AGENT_RUNNER_LOG", "", Value, value::log_filter;
    /// How it is logged: text or json.
    log_format: LogFormat = "AGENT_RUNNER_LOG_FORMAT", "text", Value, value::log_format;
    /// Directory of scripted models, *.yaml.
    scripts_dir: Option<PathBuf> = "AGENT_RUNNER_SCRIPTS_DIR", "", Value, value::optional_path;
    /// Most that all runs may spend a day (UTC), such as `usd=5 tokens=2000000 on_exceeded=park`.
    daily_budget: Option<Budget> = "AGENT_RUNNER_DAILY_BUDGET", "", Value, value::budget;
    /// TOML file with what models cost and can do; see docs/CONFIGURATION.md.
    models_file: Option<PathBuf> = "AGENT_RUNNER_MODELS_FILE", "", Value, value::optional_path;
    /// Key for Anthropic's Claude.
    anthropic_api_key: Option<SecretString> = "ANTHROPIC_API_KEY", "", Secret, value::secret;
    /// Base URL of a server that speaks Anthropic's Messages API. Unset, Anthropic's own.
    anthropic_base_url: Option<String> = "ANTHROPIC_BASE_URL", "", Value, value::text;
    /// Key for Google's Gemini.
    gemini_api_key: Option<SecretString> = "GEMINI_API_KEY", "", Secret, value::secret;
    /// Base URL of a server that speaks the Gemini API. Unset, Google's own.
    gemini_base_url: Option<String> = "GEMINI_BASE_URL", "", Value, value::text;
    /// Address of the Ollama server. Unset, the one on this machine.
    ollama_host: Option<String> = "OLLAMA_HOST", "", Value, value::text;
    /// Key for an Ollama server that asks for one, such as Ollama's cloud.
    ollama_api_key: Option<SecretString> = "OLLAMA_API_KEY", "", Secret, value::secret;
    /// Base URL of a server that speaks OpenAI's chat completions, such as `http://127.0.0.1:8080/v1`.
    openai_base_url: Option<String> = "OPENAI_BASE_URL", "", Value, value::text;
    /// Key for that server; alone, for OpenAI itself.
    openai_api_key: Option<SecretString> = "OPENAI_API_KEY", "", Secret, value::secret;
}

/// What configuration is made of, before anything is checked.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// Values of flags by key.
    pub(crate) flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The file that `--config` names; it must exist.
    pub(crate) file: Option<PathBuf>,
    /// The directory where `agent-runner.toml` is looked for otherwise.
    pub(crate) directory: PathBuf,
}

/// The file that is read when it is there.
const FILE: &str = "agent-runner.toml";

impl Config {
    /// Reads and checks everything: flags before environment before file before defaults.
    pub(crate) fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let mut given = Given::defaults();
        let looked_for = inputs.directory.join(FILE);
        let environment = &inputs.environment;
        let mut tables = match &inputs.file {
            Some(path) => file::read(path, environment, &mut given, &mut problems)?,
            None if looked_for.exists() => {
                file::read(&looked_for, environment, &mut given, &mut problems)?
            }
            None => Tables::default(),
        };
        for endpoint in &mut tables.endpoints {
            endpoint.resolve(&inputs.environment, &mut problems);
        }
        given.environment(&inputs.environment, &mut problems);
        for (key, value) in &inputs.flags {
            given.set(key, value.clone(), Source::Flag);
        }
        given.derive_database();
        Self::parse(given, tables, problems)
    }

    /// The file that was read.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.given.file().or_else(|| self.endpoints.first().map(Endpoint::file))
    }
}

/// The setting whose key, flag or variable is closest to `name`.
pub(crate) fn nearest(name: &str, of: impl Fn(&Setting) -> &'static str) -> &'static str {
    let distance = |setting: &&Setting| {
        // The common prefix says nothing about what was meant.
        let (a, b) = (name.trim_start_matches(PREFIX), of(setting).trim_start_matches(PREFIX));
        strsim::damerau_levenshtein(&a.to_lowercase(), &b.to_lowercase())
    };
    SETTINGS.iter().min_by_key(distance).map_or("", of)
}

/// What the environment's own variables begin with.
pub(crate) const PREFIX: &str = "AGENT_RUNNER_";

#[cfg(test)]
mod tests;
