//! What the operator decides about repositories.

use std::time::Duration;

use super::{credential::GitCredentials, error::invalid};
use crate::net::Reach;
use agent_runner_core::tool::ToolError;

/// Bounds of what one call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitLimits {
    /// Longest time of a call that asks a remote.
    pub transfer: Duration,
    /// Longest time of any other call.
    pub local: Duration,
    /// Most bytes that a remote may send in one call.
    pub fetch_bytes_max: u64,
    /// Most bytes that one push sends.
    pub push_bytes_max: u64,
    /// Most objects in what a remote sends.
    pub objects_max: u32,
    /// Most files and directories of a commit that is written into the project.
    pub entries_max: usize,
    /// Most directories above a file of such a commit.
    pub depth_max: usize,
    /// Largest file of such a commit, and largest file that is added, in bytes.
    pub blob_bytes_max: u64,
    /// Most bytes in all files of such a commit.
    pub tree_bytes_max: u64,
    /// Most bytes of a diff or a file that is shown.
    pub output_bytes_max: usize,
    /// Calls at work at once, in all projects.
    pub calls_max: usize,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self {
            transfer: Duration::from_secs(60),
            local: Duration::from_secs(20),
            fetch_bytes_max: 256 * 1024 * 1024,
            push_bytes_max: 256 * 1024 * 1024,
            objects_max: 1_000_000,
            entries_max: 50_000,
            depth_max: 64,
            blob_bytes_max: 50 * 1024 * 1024,
            tree_bytes_max: 1024 * 1024 * 1024,
            output_bytes_max: 256 * 1024,
            calls_max: 16,
        }
    }
}

/// Who commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitIdentity {
    name: String,
    email: String,
}

impl Default for GitIdentity {
    fn default() -> Self {
        Self { name: "agent-runner".to_owned(), email: "agent-runner@localhost".to_owned() }
    }
}

impl GitIdentity {
    /// A name and an address.
    ///
    /// # Errors
    /// `InvalidArgs` for one that is empty or longer than 200 bytes, or holds `<`, `>`, a line break
    /// or another control character.
    pub fn new(name: impl Into<String>, email: impl Into<String>) -> Result<Self, ToolError> {
        let (name, email) = (name.into(), email.into());
        for text in [&name, &email] {
            let bad = |c: char| c.is_control() || matches!(c, '<' | '>');
            if text.trim().is_empty() || text.len() > 200 || text.chars().any(bad) {
                return Err(invalid(
                    "who commits has a name and an address of 1 to 200 bytes, without `<`, `>` and line breaks",
                ));
            }
        }
        Ok(Self { name, email })
    }

    pub(super) fn sign(&self, seconds: i64) -> Result<git2::Signature<'static>, git2::Error> {
        git2::Signature::new(&self.name, &self.email, &git2::Time::new(seconds, 0))
    }
}

/// What the operator decides about repositories.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GitOptions {
    /// Which hosts remotes may be on. `http://` is for hosts that it lists only.
    pub reach: Reach,
    /// Who the server is to them.
    pub credentials: GitCredentials,
    /// Who commits.
    pub identity: GitIdentity,
    /// Bounds.
    pub limits: GitLimits,
}

impl GitOptions {
    /// Remotes on these hosts, without credentials.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        Self {
            reach,
            credentials: GitCredentials::default(),
            identity: GitIdentity::default(),
            limits: GitLimits::default(),
        }
    }

    /// With these credentials.
    #[must_use]
    pub fn credentials(mut self, credentials: GitCredentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// With somebody who commits.
    #[must_use]
    pub fn identity(mut self, identity: GitIdentity) -> Self {
        self.identity = identity;
        self
    }

    /// With other bounds.
    #[must_use]
    pub const fn limits(mut self, limits: GitLimits) -> Self {
        self.limits = limits;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_commits_cannot_forge_a_header() {
        for (name, email) in
            [("", "a@b"), ("a", " "), ("a\nb", "a@b"), ("a", "a> <b"), ("a<", "b"), ("a", "b\0")]
        {
            assert!(GitIdentity::new(name, email).is_err(), "{name:?} {email:?}");
        }
        let signature = GitIdentity::new("Ada", "ada@example.com").unwrap().sign(7).unwrap();
        assert_eq!((signature.name(), signature.when().seconds()), (Ok("Ada"), 7));
    }
}
