//! Credentials of remotes: named in the server's configuration, never seen by anybody else.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// Who the server is to one host.
#[derive(Debug, Clone)]
pub struct GitCredential {
    host: String,
    port: Option<u16>,
    username: String,
    secret: SecretString,
}

/// A credential that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GitCredentialError(&'static str);

impl fmt::Display for GitCredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for GitCredentialError {}

impl GitCredential {
    /// A user name and a password or access token, for `host` or `host:port` and for no other.
    /// Without a port it is for the usual one of the scheme.
    ///
    /// # Errors
    /// What is wrong with the host, the user name or the secret, without repeating it.
    pub fn new(
        host: &str,
        username: impl Into<String>,
        secret: SecretString,
    ) -> Result<Self, GitCredentialError> {
        let wrong = || {
            GitCredentialError(
                "a credential's host is a name or an address, with `:port` if need be",
            )
        };
        let url = Url::parse(&format!("https://{host}/")).map_err(|_| wrong())?;
        let whole = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !whole
            || !url.username().is_empty()
            || url.password().is_some()
            || host.contains(['/', '\\', '@'])
        {
            return Err(wrong());
        }
        let name = url.host_str().ok_or_else(wrong)?.to_owned();
        let username = username.into();
        if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) {
            return Err(GitCredentialError(
                "a credential's user name is a text without `:` and line breaks",
            ));
        }
        let text = secret.expose_secret();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(GitCredentialError("a credential's secret is a text without line breaks"));
        }
        Ok(Self { host: name, port: url.port(), username, secret })
    }

    /// Whether it is for the host that `url` names.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        let port = self.port.or_else(|| if url.scheme() == "http" { Some(80) } else { Some(443) });
        url.host_str() == Some(&self.host) && url.port_or_known_default() == port
    }

    /// As HTTP carries it (RFC 7617).
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let pair = format!("{}:{}", self.username, self.secret.expose_secret());
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The credentials of a server, by name.
#[derive(Debug, Clone, Default)]
pub struct GitCredentials(BTreeMap<String, GitCredential>);

impl GitCredentials {
    /// Adds one; a second one of the same name takes its place.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, credential: GitCredential) -> Self {
        self.0.insert(name.into(), credential);
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&GitCredential> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(host: &str) -> GitCredential {
        GitCredential::new(host, "agent", "s3cret".into()).unwrap()
    }

    #[test]
    fn a_credential_is_for_its_host_and_port_only() {
        let is_for = |host: &str, url: &str| credential(host).is_for(&Url::parse(url).unwrap());
        assert!(is_for("git.example.com", "https://git.example.com/a.git"));
        assert!(is_for("GIT.example.com:443", "https://git.example.com/a.git"));
        assert!(is_for("git.example.com", "http://git.example.com/a"));
        assert!(is_for("127.0.0.1:3000", "http://127.0.0.1:3000/a"));
        for url in [
            "https://example.com/a",
            "https://git.example.com.evil.test/a",
            "https://git.example.com:8443/a",
            "https://evil.test/git.example.com",
            "https://git.example.com./a",
        ] {
            assert!(!is_for("git.example.com", url), "{url}");
        }
        assert!(!is_for("127.0.0.1:3000", "http://127.0.0.1/a"));
    }

    #[test]
    fn what_is_no_credential_is_refused_without_repeating_it() {
        for (host, user, secret) in [
            ("", "u", "s3cret"),
            ("a/b", "u", "s3cret"),
            ("u@h", "u", "s3cret"),
            ("https://h", "u", "s3cret"),
            ("h", "", "s3cret"),
            ("h", "a:b", "s3cret"),
            ("h", "u", ""),
            ("h", "u", "s3cret\r\nX: y"),
        ] {
            let error = GitCredential::new(host, user, secret.into()).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let credential = credential("h");
        let header = credential.header().unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic YWdlbnQ6czNjcmV0");
        let shown = format!(
            "{credential:?} {header:?} {:?}",
            GitCredentials::default().with("x", credential.clone())
        );
        assert!(!shown.contains("s3cret") && !shown.contains("czNjcmV0"), "{shown}");
    }
}
