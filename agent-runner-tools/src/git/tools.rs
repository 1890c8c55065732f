//! The tools of a project's repositories.

mod commit;
mod look;
mod manage;
mod push;
mod remote;
mod switch;

use agent_runner_core::tool::{Fact, Footprint, ToolCx, ToolError, ToolOutput};
use serde::Serialize;

pub use self::{
    commit::{GitAdd, GitCommit},
    look::{GitDiffTool, GitLog, GitShow, GitStatusTool},
    manage::{GitBranch, GitInit, GitWorktree},
    push::GitPush,
    remote::{GitClone, GitPull},
    switch::{GitCheckout, GitMerge, GitRestore},
};
use super::{repo::GitRepo, service::Git};

/// Time for a turn, and for what a call does beside its work, above the bounds of the work itself,
/// so that the more telling of the two errors comes first.
const BESIDE: std::time::Duration = std::time::Duration::from_secs(15);

/// A tool that has nothing but the repositories.
macro_rules! git_tool {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            git: $crate::git::Git,
        }

        impl $name {
            /// The tool on the repositories of `git`.
            #[must_use]
            pub const fn new(git: $crate::git::Git) -> Self {
                Self { git }
            }
        }
    };
}
use git_tool;

/// Everything in a project: a repository may be anywhere in it.
fn reads() -> Footprint {
    Footprint::none().reads("files")
}

fn writes() -> Footprint {
    Footprint::none().writes("files")
}

/// A change of a repository, for the journal.
#[derive(Debug, Default)]
struct Done<'a> {
    branch: Option<&'a str>,
    remote: Option<&'a str>,
    from: Option<git2::Oid>,
    to: Option<git2::Oid>,
}

impl Done<'_> {
    fn fact(&self, action: &str) -> Fact {
        Fact::Git {
            action: action.to_owned(),
            branch: self.branch.map(str::to_owned),
            remote: self.remote.map(str::to_owned),
            from: self.from.map(|id| id.to_string()),
            to: self.to.map(|id| id.to_string()),
        }
    }
}

/// An output, and who wrote what is in it, if that was somebody elsewhere.
fn output(value: impl Serialize, origin: Option<String>) -> Result<ToolOutput, ToolError> {
    let output = ToolOutput::of(value)?;
    Ok(match origin {
        Some(origin) => output.untrusted(origin),
        None => output,
    })
}

impl Git {
    /// Does `work` in the repository that a call means.
    async fn on<T, F>(&self, cx: &ToolCx, dir: Option<&str>, work: F) -> Result<T, ToolError>
    where
        T: Send + 'static,
        F: FnOnce(&GitRepo<'_>) -> Result<T, ToolError> + Send + 'static,
    {
        let dir = self.place(cx, dir).await?;
        self.local(cx, dir, move |call| work(&GitRepo::open(call)?)).await
    }

    /// Looks at the repository that a call means; what is shown of it may come from elsewhere.
    async fn look<T, F>(
        &self,
        cx: &ToolCx,
        dir: Option<&str>,
        work: F,
    ) -> Result<ToolOutput, ToolError>
    where
        T: Serialize + Send + 'static,
        F: FnOnce(&GitRepo<'_>) -> Result<T, ToolError> + Send + 'static,
    {
        let (told, origin) =
            self.on(cx, dir, move |repo| Ok((work(repo)?, repo.origin()?))).await?;
        output(told, origin)
    }
}
