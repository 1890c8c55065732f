//! What a URL must be before anything is looked up.

use std::net::IpAddr;

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use url::{Host, Url};

use super::address::is_public;
use crate::http::HttpAllow;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 8 * 1024;

/// Where requests may go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the operator chooses one of them")]
pub enum Reach {
    /// The public internet on ports 80 and 443, and what is listed.
    Open(HttpAllow),
    /// What is listed, and nothing else.
    Closed(HttpAllow),
}

/// A URL that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) url: Url,
    /// Whether the operator lists its host and port, so that its address is let through.
    pub(super) listed: bool,
}

fn invalid(said: &str) -> ToolError {
    ToolError::new(ToolErrorKind::InvalidArgs, said)
}

pub(super) fn blocked(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::Denied, said).with_code("blocked_target")
}

impl Target {
    /// Parses and checks a URL. The parser is the one that dials.
    ///
    /// # Errors
    /// `InvalidArgs` for what is no URL; `Denied` with the code `blocked_target` for one that may
    /// not be asked. The text names the host and no more of the URL.
    pub fn parse(text: &str, reach: &Reach) -> Result<Self, ToolError> {
        if text.len() > URL_BYTES_MAX {
            return Err(invalid("the URL is longer than 8 KiB: shorten it"));
        }
        // The URL parser drops them without a word, so a name could be hidden from a reader.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("the URL holds a space or a control character: percent-encode it"));
        }
        let url = Url::parse(text).map_err(|error| {
            invalid("that is no URL: write it in full, such as `https://example.com/path`")
                .with_source(error)
        })?;
        Self::check(url, reach)
    }

    pub(super) fn check(url: Url, reach: &Reach) -> Result<Self, ToolError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(blocked("only http:// and https:// are asked"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(blocked("a URL must not hold a user name or a password"));
        }
        let Some(host) = url.host() else { return Err(blocked("the URL names no host")) };
        let port = url.port_or_known_default().unwrap_or(0);
        let (Reach::Open(listed) | Reach::Closed(listed)) = reach;
        if listed.allows(&url) {
            return Ok(Self { url, listed: true });
        }
        let shown: String = host.to_string().chars().take(200).collect();
        if matches!(reach, Reach::Closed(_)) {
            return Err(blocked(format!(
                "the host {shown}:{port} is not allowed; the operator can list it, or use another"
            )));
        }
        if !matches!(port, 80 | 443) {
            return Err(blocked(format!("port {port} is not asked; only 80 and 443 are")));
        }
        match host {
            Host::Ipv4(address) => check_address(IpAddr::V4(address))?,
            Host::Ipv6(address) => check_address(IpAddr::V6(address))?,
            Host::Domain(name) => check_name(name)?,
        }
        Ok(Self { url, listed: false })
    }

    /// The URL.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Its host, for people and as the key of limits.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

pub(super) fn check_address(address: IpAddr) -> Result<(), ToolError> {
    if is_public(address) {
        return Ok(());
    }
    Err(blocked(format!("the address {address} is not one of the public internet")))
}

/// Names that mean this machine or this network (NET-5).
fn check_name(name: &str) -> Result<(), ToolError> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let ends = |suffix: &str| name == suffix || name.ends_with(&format!(".{suffix}"));
    let local = ["localhost", "local", "internal", "home.arpa", "localdomain", "onion"];
    if !name.contains('.') || local.iter().any(|suffix| ends(suffix)) {
        let shown: String = name.chars().take(200).collect();
        return Err(blocked(format!("the name {shown} is not one of the public internet")));
    }
    Ok(())
}
