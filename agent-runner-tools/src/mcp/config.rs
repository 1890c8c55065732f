//! A server as the operator describes it.

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// Longest name of a server, so that there is room for the names of its tools.
const NAME_BYTES_MAX: usize = 32;
/// Beginnings of names that tools of the program itself have, which policies speak of.
const TAKEN_NAMES: [&str; 12] = [
    "agent", "artifact", "files", "final", "git", "http", "memory", "run", "shell", "time", "wait",
    "web",
];
/// Headers that belong to the protocol.
const RESERVED_HEADERS: [&str; 10] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "transfer-encoding",
];

/// How a server is reached.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "the two transports that the protocol has")]
pub enum McpTransport {
    /// A program that is started and spoken to over its standard input and output.
    Stdio {
        /// The program: a path, or a name that is looked up in `PATH`.
        program: String,
        /// Its arguments. Everybody on the machine can read them: secrets belong into `env`.
        args: Vec<String>,
        /// Its environment, beside `PATH`, `HOME` and `LANG`. The values are secret.
        env: BTreeMap<String, SecretString>,
    },
    /// A service that speaks streamable HTTP.
    Http {
        /// Its address, without secrets: `http[s]://host[:port]/path`.
        url: String,
        /// Headers that each request carries, such as `authorization`. The values are secret.
        headers: BTreeMap<String, SecretString>,
    },
}

/// Bounds of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpLimits {
    /// Longest time from the start of a connection until the tools are listed. Default 30 s.
    pub connect: Duration,
    /// Longest time of a call. Default 60 s.
    pub call: Duration,
    /// How long a call waits while the server is being connected to. Default 10 s.
    pub wait: Duration,
    /// How often a silent server is asked whether it is there. Default 30 s.
    pub ping: Duration,
    /// Most calls at once. Default 16.
    pub calls_max: usize,
    /// Largest message of the server, in bytes. Default 16 MiB.
    pub message_bytes_max: usize,
    /// Longest text of a result, in bytes; the rest is cut. Default 1 MiB.
    pub text_bytes_max: usize,
}

impl Default for McpLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            call: Duration::from_secs(60),
            wait: Duration::from_secs(10),
            ping: Duration::from_secs(30),
            calls_max: 16,
            message_bytes_max: 16 * 1024 * 1024,
            text_bytes_max: 1024 * 1024,
        }
    }
}

/// A server as the operator describes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpServer {
    /// Its name: what projects list, and what the names of its tools begin with.
    pub name: String,
    /// How it is reached.
    pub transport: McpTransport,
    /// Whether what it says of the harm of its tools is believed.
    pub trust_annotations: bool,
    /// Its tools that are offered, by its own names or patterns such as `read_*`; all while `None`.
    pub allow: Option<Vec<String>>,
    /// Its tools that are not offered, even if they are allowed.
    pub deny: Vec<String>,
    /// Bounds.
    pub limits: McpLimits,
}

impl McpServer {
    /// A server that is a program.
    #[must_use]
    pub fn stdio(name: impl Into<String>, program: impl Into<String>) -> Self {
        let transport =
            McpTransport::Stdio { program: program.into(), args: Vec::new(), env: BTreeMap::new() };
        Self::new(name, transport)
    }

    /// A server that is a service.
    #[must_use]
    pub fn http(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self::new(name, McpTransport::Http { url: url.into(), headers: BTreeMap::new() })
    }

    /// A server with all its tools, whose annotations are not believed.
    #[must_use]
    pub fn new(name: impl Into<String>, transport: McpTransport) -> Self {
        Self {
            name: name.into(),
            transport,
            trust_annotations: false,
            allow: None,
            deny: Vec::new(),
            limits: McpLimits::default(),
        }
    }

    /// Checks it.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), McpServerError> {
        let problem = |field, what| Err(McpServerError { field, what });
        let legal =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(legal)
        {
            return problem("name", "use 1 to 32 lower-case letters, digits, `_` or `-`");
        }
        if TAKEN_NAMES.contains(&&*self.name) {
            return problem("name", "tools of the program itself begin so; choose another");
        }
        let limits = &self.limits;
        let times = [limits.connect, limits.call, limits.wait, limits.ping];
        if times.iter().any(Duration::is_zero) {
            return problem("limits", "a time of zero would end everything at once");
        }
        if limits.calls_max == 0 || limits.calls_max > 1_024 {
            return problem("limits.calls_max", "use 1 to 1,024");
        }
        if limits.message_bytes_max < 64 * 1024 {
            return problem("limits.message_bytes_max", "use at least 65,536");
        }
        match &self.transport {
            McpTransport::Stdio { program, args, env } => {
                if program.is_empty() || program.contains('\0') {
                    return problem("program", "name the program to start");
                }
                if args.iter().any(|arg| arg.contains('\0')) {
                    return problem("args", "an argument cannot contain NUL");
                }
                let bad = |name: &String| name.is_empty() || name.contains(['=', '\0']);
                let nul = |value: &SecretString| value.expose_secret().contains('\0');
                if env.iter().any(|(name, value)| bad(name) || nul(value)) {
                    return problem(
                        "env",
                        "a name cannot contain `=`, and nothing can contain NUL",
                    );
                }
            }
            McpTransport::Http { url, headers } => {
                parse_url(url)?;
                headers.iter().try_for_each(|(name, value)| parse_header(name, value).map(drop))?;
            }
        }
        Ok(())
    }

    /// Whether the operator wants the tool that the server calls so.
    pub(super) fn offers(&self, tool: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => tool.starts_with(prefix),
            None => pattern == tool,
        };
        self.allow.as_ref().is_none_or(|allow| allow.iter().any(fits))
            && !self.deny.iter().any(fits)
    }

    /// Everything secret that the server is told.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        match &self.transport {
            McpTransport::Stdio { env, .. } => env.values(),
            McpTransport::Http { headers, .. } => headers.values(),
        }
    }
}

/// The address of a service.
pub(super) fn parse_url(url: &str) -> Result<Url, McpServerError> {
    let problem = |what| McpServerError { field: "url", what };
    let url = Url::parse(url).map_err(|_| problem("is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(problem("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(problem("must not hold a user name or a password; use a header"));
    }
    if url.fragment().is_some() {
        return Err(problem("must not have a fragment"));
    }
    Ok(url)
}

/// A header of a service.
pub(super) fn parse_header(
    name: &str,
    value: &SecretString,
) -> Result<(HeaderName, HeaderValue), McpServerError> {
    let problem = |what| McpServerError { field: "headers", what };
    let name = HeaderName::try_from(name).map_err(|_| problem("a name is no header's name"))?;
    if RESERVED_HEADERS.contains(&name.as_str()) {
        return Err(problem("a header belongs to the protocol and cannot be set"));
    }
    let mut value = HeaderValue::try_from(value.expose_secret())
        .map_err(|_| problem("a value has characters that headers cannot have"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What is wrong with the description of a server. It never shows a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McpServerError {
    pub(super) field: &'static str,
    pub(super) what: &'static str,
}

impl McpServerError {
    /// Which setting.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for McpServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the MCP server's `{}`: {}", self.field, self.what)
    }
}

impl Error for McpServerError {}
