//! Remotes: named in a project's settings, reached through the guard.

use agent_runner_core::{
    project::ProjectSettings,
    tool::{ToolError, ToolErrorKind},
};
use reqwest::header::HeaderValue;
use url::Url;

use super::{
    error::{invalid, remote_not_allowed},
    name::BranchName,
    relay::{Relay, Service, Upstream},
    service::Git,
};
use crate::net::Reach;

/// A remote that a call may use.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) name: String,
    url: Url,
    authorization: Option<HeaderValue>,
    push_prefix: Option<String>,
}

impl Git {
    /// The remote of that name.
    ///
    /// # Errors
    /// `Denied`, as `remote_not_allowed` for what the settings do not allow.
    pub(super) fn remote(
        &self,
        settings: &ProjectSettings,
        name: &str,
        service: Service,
    ) -> Result<Remote, ToolError> {
        let known = &settings.git.remotes;
        let Some(remote) = known.get(name) else {
            let names: Vec<_> = known.keys().take(20).map(|name| format!("`{name}`")).collect();
            return Err(remote_not_allowed(if names.is_empty() {
                "the project has no remotes; its owner adds them to its settings".to_owned()
            } else {
                format!("the project has no remote of that name; it has {}", names.join(", "))
            }));
        };
        if service == Service::Push && !remote.push {
            return Err(remote_not_allowed(format!(
                "the project's settings do not allow pushing to `{name}`"
            )));
        }
        let text = remote.url.trim_end_matches('/');
        let target = self.client().target(text)?;
        let url = target.url().clone();
        if url.query().is_some() || url.fragment().is_some() || url.path().len() < 2 {
            return Err(remote_not_allowed(format!(
                "the address of `{name}` is none of a repository"
            )));
        }
        let (Reach::Open(listed) | Reach::Closed(listed)) = &self.options().reach;
        if url.scheme() != "https" && !listed.allows(&url) {
            return Err(remote_not_allowed(format!(
                "`{name}` is reached without encryption, which is for hosts that the operator lists"
            )));
        }
        let authorization = match &remote.credential {
            None => None,
            Some(credential) => Some(self.authorization(name, credential, &url)?),
        };
        Ok(Remote {
            name: name.to_owned(),
            url,
            authorization,
            push_prefix: remote.push_prefix.clone(),
        })
    }

    fn authorization(&self, remote: &str, name: &str, url: &Url) -> Result<HeaderValue, ToolError> {
        let operator = |said: String| ToolError::new(ToolErrorKind::Conflict, said);
        let Some(credential) = self.options().credentials.get(name) else {
            let said = format!(
                "the credential of `{remote}` is not in the server's configuration; tell the operator"
            );
            return Err(operator(said));
        };
        if !credential.is_for(url) {
            return Err(remote_not_allowed(format!(
                "the credential of `{remote}` is for another host"
            )));
        }
        credential
            .header()
            .ok_or_else(|| operator("the credential cannot be sent; tell the operator".to_owned()))
    }

    /// The name of the remote that has this address.
    ///
    /// # Errors
    /// `Denied` as `remote_not_allowed` when none has.
    pub(super) fn remote_at(settings: &ProjectSettings, url: &str) -> Result<String, ToolError> {
        let plain = |url: &str| url.trim_end_matches('/').trim_end_matches(".git").to_owned();
        let found =
            settings.git.remotes.iter().find(|(_, remote)| plain(&remote.url) == plain(url));
        found.map(|(name, _)| name.clone()).ok_or_else(|| {
            remote_not_allowed(
                "no remote of the project has that address; its owner adds it to its settings",
            )
        })
    }

    /// The way to a remote, for one call.
    pub(super) async fn relay(
        &self,
        remote: &Remote,
        service: Service,
    ) -> Result<Relay, ToolError> {
        Relay::open(Upstream {
            client: self.client().clone(),
            url: remote.url.as_str().trim_end_matches('/').to_owned(),
            authorization: remote.authorization.clone(),
            service,
            limits: self.options().limits,
        })
        .await
    }
}

impl Remote {
    /// Its branches as they are known here.
    pub(super) fn space(&self) -> String {
        format!("refs/remotes/{}/", self.name)
    }

    /// Who wrote what comes from it.
    pub(super) fn origin(&self) -> String {
        format!("git:{}", self.url.host_str().unwrap_or(&self.name))
    }

    /// The directory that a clone gets when none is named: the last part of the address.
    pub(super) fn directory(&self) -> Result<String, ToolError> {
        let last =
            self.url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        let name = last.strip_suffix(".git").unwrap_or(last);
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !name.is_empty() && name.chars().all(legal) && !name.starts_with(['.', '-']) {
            Ok(name.to_owned())
        } else {
            Err(invalid("name a directory for the clone as `dir`"))
        }
    }

    /// The branch there that a branch here is pushed to.
    pub(super) fn pushed_as(&self, branch: &BranchName) -> Result<BranchName, ToolError> {
        match self.push_prefix.as_deref() {
            Some(prefix) if !branch.as_str().starts_with(prefix) => {
                BranchName::parse(&format!("{prefix}{branch}"))
            }
            _ => Ok(branch.clone()),
        }
    }
}
