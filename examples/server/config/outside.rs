//! `[[mcp_servers]]` and `[[git_credentials]]` of `agent-runner.toml`: whom agents deal with
//! outside.

use std::{collections::BTreeMap, ffi::OsString, ops::Range, path::Path};

use agent_runner::tools::mcp::{McpServer, McpTransport};
use secrecy::SecretString;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::Problems,
    table::{Reader, count, list, map, name, switch, variable, variables, wait, words},
};

/// Most tables of a kind.
const TABLES_MAX: usize = 100;
/// Keys of an MCP server.
const MCP: [&str; 16] = [
    "name",
    "program",
    "args",
    "env",
    "env_from",
    "url",
    "headers",
    "headers_from",
    "allow",
    "deny",
    "trust_annotations",
    "connect_timeout",
    "call_timeout",
    "wait_timeout",
    "ping_interval",
    "max_concurrency",
];

/// Who the server is to one host of Git repositories.
#[derive(Debug, Clone)]
pub(crate) struct GitLogin {
    /// What projects call it.
    pub(crate) name: String,
    /// `host` or `host:port`.
    pub(crate) host: String,
    /// The user.
    pub(crate) username: String,
    /// Its password or token.
    pub(crate) secret: SecretString,
    /// Where it stands, for people.
    pub(crate) place: String,
}

/// Whom agents deal with outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outside {
    /// MCP servers, each with where it stands.
    pub(crate) mcp_servers: Vec<(McpServer, String)>,
    /// Credentials of Git remotes.
    pub(crate) git_logins: Vec<GitLogin>,
}

/// The environment that secrets come from.
pub(super) type Environment = [(OsString, OsString)];

/// The tables of a list, each with its place.
fn tables<'a, 'v>(
    reader: &mut Reader<'_>,
    key: &str,
    value: &'a Spanned<DeValue<'v>>,
) -> Vec<(&'a DeTable<'v>, Range<usize>)> {
    let what = format!("`{key}` is a list of at most {TABLES_MAX} tables: [[{key}]]");
    let items = value.get_ref().as_array().filter(|items| items.len() <= TABLES_MAX);
    let Some(items) = items else {
        reader.wrong(&value.span(), &what);
        return Vec::new();
    };
    let mut tables = Vec::new();
    for item in items {
        match item.get_ref().as_table() {
            Some(table) => tables.push((table, item.span())),
            None => reader.wrong(&item.span(), &what),
        }
    }
    tables
}

impl Outside {
    /// Reads the value of `mcp_servers`.
    pub(super) fn mcp_servers(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        (path, text): (&Path, &str),
        environment: &Environment,
        problems: &mut Problems,
    ) {
        let mut reader = Reader { path, text, problems };
        for (table, at) in tables(&mut reader, "mcp_servers", value) {
            let Some(server) = reader.mcp_server(table, &at, environment) else { continue };
            if let Err(error) = server.check() {
                reader.wrong(&at, &error.to_string());
            } else if self.mcp_servers.iter().any(|(other, _)| other.name == server.name) {
                reader.wrong(&at, &format!("there are two MCP servers called `{}`", server.name));
            } else {
                let place = format!("{}:{}", path.display(), reader.line(&at));
                self.mcp_servers.push((server, place));
            }
        }
    }

    /// Reads the value of `git_credentials`.
    pub(super) fn git_credentials(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        (path, text): (&Path, &str),
        environment: &Environment,
        problems: &mut Problems,
    ) {
        let mut reader = Reader { path, text, problems };
        for (table, at) in tables(&mut reader, "git_credentials", value) {
            let whose = "a Git credential";
            reader.only(table, whose, &["name", "host", "username", "password_env"]);
            let name = reader.need(table, &at, whose, "name", name);
            let host = reader.need(table, &at, whose, "host", words);
            let username = reader.need(table, &at, whose, "username", words);
            let variable = reader.need(table, &at, whose, "password_env", variable);
            let (Some(name), Some(host), Some(username), Some(variable)) =
                (name, host, username, variable)
            else {
                continue;
            };
            if self.git_logins.iter().any(|other| other.name == name) {
                reader.wrong(&at, &format!("there are two Git credentials called `{name}`"));
                continue;
            }
            let Some(secret) = reader.secret(&at, &variable, environment) else { continue };
            let place = format!("{}:{}", path.display(), reader.line(&at));
            self.git_logins.push(GitLogin { name, host, username, secret, place });
        }
    }
}

impl Reader<'_> {
    /// The value of a variable.
    fn secret(
        &mut self,
        at: &Range<usize>,
        variable: &str,
        environment: &Environment,
    ) -> Option<SecretString> {
        let found = environment.iter().find(|(key, _)| key == variable);
        match found.and_then(|(_, value)| value.to_str()).filter(|value| !value.is_empty()) {
            Some(value) => Some(SecretString::from(value)),
            None => {
                self.wrong(at, &format!("the variable {variable} is not set"));
                None
            }
        }
    }

    /// Texts of the file and of variables, together.
    fn pairs(
        &mut self,
        (table, at): (&DeTable<'_>, &Range<usize>),
        (plain, from): (&str, &str),
        environment: &Environment,
    ) -> BTreeMap<String, SecretString> {
        let plain = self.read(table, plain, map).unwrap_or_default();
        let mut pairs: BTreeMap<String, SecretString> =
            plain.into_iter().map(|(name, text)| (name, SecretString::from(text))).collect();
        for (name, variable) in self.read(table, from, variables).unwrap_or_default() {
            if let Some(secret) = self.secret(at, &variable, environment) {
                pairs.insert(name, secret);
            }
        }
        pairs
    }

    fn mcp_server(
        &mut self,
        table: &DeTable<'_>,
        at: &Range<usize>,
        environment: &Environment,
    ) -> Option<McpServer> {
        let whose = "an MCP server";
        self.only(table, whose, &MCP);
        let name = self.need(table, at, whose, "name", name)?;
        let (program, url) = (self.read(table, "program", words), self.read(table, "url", words));
        let transport = match (program, url) {
            (Some(program), None) => McpTransport::Stdio {
                program,
                args: self.read(table, "args", list).unwrap_or_default(),
                env: self.pairs((table, at), ("env", "env_from"), environment),
            },
            (None, Some(url)) => McpTransport::Http {
                url,
                headers: self.pairs((table, at), ("headers", "headers_from"), environment),
            },
            _ => {
                self.wrong(at, "an MCP server needs a `program` or a `url`, and not both");
                return None;
            }
        };
        let mut server = McpServer::new(name, transport);
        server.allow = self.read(table, "allow", list);
        server.deny = self.read(table, "deny", list).unwrap_or_default();
        server.trust_annotations = self.read(table, "trust_annotations", switch).unwrap_or(false);
        let limits = &mut server.limits;
        limits.connect = self.read(table, "connect_timeout", wait).unwrap_or(limits.connect);
        limits.call = self.read(table, "call_timeout", wait).unwrap_or(limits.call);
        limits.wait = self.read(table, "wait_timeout", wait).unwrap_or(limits.wait);
        limits.ping = self.read(table, "ping_interval", wait).unwrap_or(limits.ping);
        limits.calls_max = self.read(table, "max_concurrency", count).unwrap_or(limits.calls_max);
        Some(server)
    }
}
