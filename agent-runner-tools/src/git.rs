//! Git repositories of a run's project.
//!
//! [`Git`] is the only way in, and [`GitRepo`] the only thing that opens a repository. libgit2 sees
//! neither the project nor the network: it works on a repository's own files, in a place that no
//! tool reaches, and asks remotes through an address of this process. The files of the project are
//! read and written by handle, as the file tools do.
//!
//! libgit2 starts no program, whatever a repository asks for: hooks, filters, helpers and pagers do
//! not exist for it. Its configuration is written before each use.

mod checkout;
mod clone;
mod commit;
mod credential;
mod diff;
mod error;
mod files;
mod history;
mod hold;
mod ignored;
mod name;
mod options;
mod place;
mod relay;
mod remote;
mod repo;
mod service;
mod status;
mod tools;
mod transfer;
mod tree;
mod worktree;
mod write;

pub use self::{
    checkout::Prefer,
    credential::{GitCredential, GitCredentialError, GitCredentials},
    diff::GitDiff,
    history::{BranchInfo, CommitInfo, Shown, ShownFile},
    name::{BranchName, Rev},
    options::{GitIdentity, GitLimits, GitOptions},
    place::RepoDir,
    repo::GitRepo,
    service::Git,
    status::{ChangedPath, GitStatus, Tracked},
    tools::{
        GitAdd, GitBranch, GitCheckout, GitClone, GitCommit, GitDiffTool, GitInit, GitLog,
        GitMerge, GitPull, GitPush, GitRestore, GitShow, GitStatusTool, GitWorktree,
    },
    worktree::WorktreeInfo,
};

#[cfg(test)]
mod tests;
