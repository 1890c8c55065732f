//! The tools of a project's files.

mod diff;
mod find;
mod manage;
mod read;
mod write;

use std::time::Duration;

use agent_runner_core::tool::{Fact, Footprint, Risk};

pub use self::{
    diff::FilesDiff,
    find::{FilesGlob, FilesSearch},
    manage::{FilesCopy, FilesDelete, FilesMkdir, FilesMove},
    read::{FilesList, FilesRead},
    write::{FilesAppend, FilesEdit, FilesPatch, FilesWrite},
};
use super::project_dir::Written;

/// Above [`FsLimits::call`](super::FsLimits::call), so that the more telling of the two errors
/// comes first.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A tool that has nothing but a workspace.
macro_rules! file_tool {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            workspace: $crate::fs::Workspace,
        }

        impl $name {
            /// The tool on the files of `workspace`.
            #[must_use]
            pub const fn new(workspace: $crate::fs::Workspace) -> Self {
                Self { workspace }
            }
        }
    };
}
use file_tool;

/// The name of a path in footprints; a path that is none touches nothing.
fn resource(path: &str) -> String {
    match path {
        "." | "" => "files".to_owned(),
        path => format!("files/{path}"),
    }
}

fn reads(path: &str) -> Footprint {
    Footprint::none().reads(resource(path))
}

fn writes(path: &str) -> Footprint {
    Footprint::none().writes(resource(path))
}

/// Writing some files makes other programs run: what configures Git, and what a forge executes
/// (FS-3 of the security requirements).
fn risk_of_writing(path: &str) -> Risk {
    let path = path.to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    let configures = [".gitattributes", ".gitmodules", ".gitconfig", ".gitlab-ci.yml"];
    let executed = [".github/", ".forgejo/", ".gitea/", ".circleci/", ".woodpecker/"];
    if configures.contains(&name) || executed.iter().any(|dir| path.starts_with(dir)) {
        Risk::Destructive
    } else {
        Risk::Write
    }
}

fn fact_of(path: &str, written: &Written) -> Fact {
    Fact::FileWritten {
        path: path.to_owned(),
        sha256: written.sha256.clone(),
        bytes: written.bytes,
        created: written.created,
    }
}
