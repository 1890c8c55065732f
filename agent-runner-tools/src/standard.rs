//! The tools a program offers unless it chooses its own.

use std::sync::Arc;

#[cfg(feature = "web")]
use agent_runner_core::tool::EffectPolicy;
use agent_runner_core::{
    time::Clock,
    tool::{Tool, Typed},
};

#[cfg(feature = "fs")]
use crate::artifact::{ArtifactList, ArtifactRead, ArtifactSave};
#[cfg(feature = "fs")]
use crate::fs::{
    FilesAppend, FilesCopy, FilesDelete, FilesDiff, FilesEdit, FilesGlob, FilesList, FilesMkdir,
    FilesMove, FilesPatch, FilesRead, FilesSearch, FilesWrite, Workspace,
};
#[cfg(feature = "git")]
use crate::git::{
    Git, GitAdd, GitBranch, GitCheckout, GitClone, GitCommit, GitDiffTool, GitInit, GitLog,
    GitMerge, GitPull, GitPush, GitRestore, GitShow, GitStatusTool, GitWorktree,
};
#[cfg(feature = "web")]
use crate::http::{HttpClient, HttpGet, HttpPost, PostPolicyError};
#[cfg(all(feature = "shell", target_os = "linux"))]
use crate::shell::Shell;
use crate::time_now::TimeNow;
#[cfg(feature = "web")]
use crate::web::{Web, WebExtract, WebFetch, WebPost};

/// Collects the tools of this crate that the enabled features offer.
///
/// ```
/// use std::sync::Arc;
///
/// use agent_runner_core::time::SystemClock;
/// use agent_runner_tools::StandardTools;
///
/// let tools = StandardTools::new(Arc::new(SystemClock)).into_tools();
/// assert_eq!(tools[0].info().spec.name, "time.now");
/// ```
#[derive(Debug)]
pub struct StandardTools {
    tools: Vec<Arc<dyn Tool>>,
}

impl StandardTools {
    /// `time.now` on `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { tools: vec![Arc::new(Typed::new(TimeNow::new(clock)))] }
    }

    /// With the tools called `files.*`, on the files of `workspace`.
    #[cfg(feature = "fs")]
    #[must_use]
    pub fn with_files(mut self, workspace: &Workspace) -> Self {
        let w = || workspace.clone();
        let tools: [Arc<dyn Tool>; 13] = [
            Arc::new(Typed::new(FilesRead::new(w()))),
            Arc::new(Typed::new(FilesWrite::new(w()))),
            Arc::new(Typed::new(FilesEdit::new(w()))),
            Arc::new(Typed::new(FilesPatch::new(w()))),
            Arc::new(Typed::new(FilesAppend::new(w()))),
            Arc::new(Typed::new(FilesList::new(w()))),
            Arc::new(Typed::new(FilesGlob::new(w()))),
            Arc::new(Typed::new(FilesSearch::new(w()))),
            Arc::new(Typed::new(FilesMove::new(w()))),
            Arc::new(Typed::new(FilesCopy::new(w()))),
            Arc::new(Typed::new(FilesMkdir::new(w()))),
            Arc::new(Typed::new(FilesDelete::new(w()))),
            Arc::new(Typed::new(FilesDiff::new(w()))),
        ];
        self.tools.extend(tools);
        self
    }

    /// With `artifact.save`, `artifact.list` and `artifact.read`, for programs that keep artifacts.
    #[cfg(feature = "fs")]
    #[must_use]
    pub fn with_artifacts(mut self, workspace: &Workspace) -> Self {
        let tools: [Arc<dyn Tool>; 3] = [
            Arc::new(Typed::new(ArtifactSave::new(workspace.clone()))),
            Arc::new(Typed::new(ArtifactList)),
            Arc::new(Typed::new(ArtifactRead)),
        ];
        self.tools.extend(tools);
        self
    }

    /// With the tools called `git.*`, on the repositories of `git`.
    #[cfg(feature = "git")]
    #[must_use]
    pub fn with_git(mut self, git: &Git) -> Self {
        let g = || git.clone();
        let tools: [Arc<dyn Tool>; 15] = [
            Arc::new(Typed::new(GitInit::new(g()))),
            Arc::new(Typed::new(GitClone::new(g()))),
            Arc::new(Typed::new(GitStatusTool::new(g()))),
            Arc::new(Typed::new(GitLog::new(g()))),
            Arc::new(Typed::new(GitDiffTool::new(g()))),
            Arc::new(Typed::new(GitShow::new(g()))),
            Arc::new(Typed::new(GitBranch::new(g()))),
            Arc::new(Typed::new(GitCheckout::new(g()))),
            Arc::new(Typed::new(GitAdd::new(g()))),
            Arc::new(Typed::new(GitCommit::new(g()))),
            Arc::new(GitPush::new(g())),
            Arc::new(Typed::new(GitPull::new(g()))),
            Arc::new(Typed::new(GitMerge::new(g()))),
            Arc::new(Typed::new(GitRestore::new(g()))),
            Arc::new(Typed::new(GitWorktree::new(g()))),
        ];
        self.tools.extend(tools);
        self
    }

    /// With `http.get` and, under `post_policy`, `http.post`. They are there when nothing is
    /// allowed too, and then answer what the operator has to set.
    ///
    /// # Errors
    /// A policy that a POST cannot have, see [`HttpPost::with_policy`].
    #[cfg(feature = "web")]
    pub fn with_http(
        mut self,
        client: HttpClient,
        post_policy: EffectPolicy,
    ) -> Result<Self, PostPolicyError> {
        self.tools.push(Arc::new(Typed::new(HttpGet::new(client.clone()))));
        self.tools.push(Arc::new(HttpPost::with_policy(client, post_policy)?));
        Ok(self)
    }

    /// With `web.fetch`, `web.extract` and `web.post`.
    #[cfg(feature = "web")]
    #[must_use]
    pub fn with_web(mut self, web: &Web) -> Self {
        let tools: [Arc<dyn Tool>; 3] = [
            Arc::new(Typed::new(WebFetch::new(web.clone()))),
            Arc::new(Typed::new(WebExtract::new(web.clone()))),
            Arc::new(Typed::new(WebPost::new(web.clone()))),
        ];
        self.tools.extend(tools);
        self
    }

    /// With `shell.run`, for projects that allow programs.
    #[cfg(all(feature = "shell", target_os = "linux"))]
    #[must_use]
    pub fn with_shell(mut self, shell: Shell) -> Self {
        self.tools.push(Arc::new(Typed::new(shell)));
        self
    }

    /// The tools.
    #[must_use]
    pub fn into_tools(self) -> Vec<Arc<dyn Tool>> {
        self.tools
    }
}

#[cfg(test)]
#[cfg(all(feature = "fs", feature = "git"))]
mod tests {
    use std::collections::BTreeSet;

    use agent_runner_core::{time::SystemClock, tool::ToolRegistry};

    use super::*;
    use crate::{
        fs::FsLimits,
        git::GitOptions,
        http::HttpAllow,
        net::{GuardedClient, NetLimits, Reach},
        web::WebOptions,
    };

    #[test]
    fn everything_together_makes_a_registry() {
        let temp = tempfile::TempDir::new().unwrap();
        let workspace = Workspace::open(temp.path(), FsLimits::default()).unwrap();
        let client = HttpClient::new(HttpAllow::default()).unwrap();
        let nowhere = || Reach::Closed(HttpAllow::default());
        let guarded = GuardedClient::new(nowhere(), NetLimits::default(), "test").unwrap();
        let web = Web::new(guarded, Arc::new(SystemClock), WebOptions::default());
        let git = Git::new(workspace.clone(), Arc::new(SystemClock), GitOptions::new(nowhere()));
        let tools = StandardTools::new(Arc::new(SystemClock))
            .with_files(&workspace)
            .with_artifacts(&workspace)
            .with_web(&web)
            .with_git(&git.unwrap())
            .with_http(client, EffectPolicy::AtMostOnce)
            .unwrap()
            .into_tools();
        let mut registry = ToolRegistry::default();
        for tool in tools {
            registry.add(tool).unwrap();
        }
        let tools = registry.all();
        let policies: BTreeSet<_> = tools
            .iter()
            .map(|tool| (&*tool.info().spec.name, tool.info().policy.as_str()))
            .collect();
        let want = [
            ("artifact.list", "pure"),
            ("artifact.read", "pure"),
            ("artifact.save", "idempotent"),
            ("files.append", "at_most_once"),
            ("files.copy", "idempotent"),
            ("files.delete", "at_most_once"),
            ("files.diff", "pure"),
            ("files.edit", "at_most_once"),
            ("files.glob", "pure"),
            ("files.list", "pure"),
            ("files.mkdir", "idempotent"),
            ("files.move", "at_most_once"),
            ("files.patch", "at_most_once"),
            ("files.read", "pure"),
            ("files.search", "pure"),
            ("files.write", "idempotent"),
            ("git.add", "idempotent"),
            ("git.branch", "idempotent"),
            ("git.checkout", "idempotent"),
            ("git.clone", "idempotent"),
            ("git.commit", "idempotent"),
            ("git.diff", "pure"),
            ("git.init", "idempotent"),
            ("git.log", "pure"),
            ("git.merge", "idempotent"),
            ("git.pull", "idempotent"),
            ("git.push", "reconcile"),
            ("git.restore", "idempotent"),
            ("git.show", "pure"),
            ("git.status", "pure"),
            ("git.worktree", "idempotent"),
            ("http.get", "idempotent"),
            ("http.post", "at_most_once"),
            ("time.now", "pure"),
            ("web.extract", "idempotent"),
            ("web.fetch", "idempotent"),
            ("web.post", "at_most_once"),
        ];
        assert_eq!(policies, BTreeSet::from(want));
    }

    #[test]
    fn a_post_without_a_fitting_policy_is_refused() {
        let client = HttpClient::new(HttpAllow::default()).unwrap();
        let tools = StandardTools::new(Arc::new(SystemClock)).with_http(client, EffectPolicy::Pure);
        assert!(tools.is_err());
    }
}
