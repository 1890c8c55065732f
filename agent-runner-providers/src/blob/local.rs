//! A local directory.

use std::{io, path::Path as FsPath, sync::Arc, time::Duration};

use agent_runner_core::id::{IdSource as _, SystemIds};
use object_store::{local::LocalFileSystem, path::Path};

use super::ObjectBlobs;

/// How old the rest of a write must be to be taken for what a crash left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(3_600);

impl ObjectBlobs {
    /// Keeps bytes in a directory, which is made if need be. What is put is on disk when it is
    /// acknowledged. Blocks; for the start of a program.
    ///
    /// # Errors
    /// What the system says of the directory.
    #[expect(clippy::disallowed_methods, reason = "the operator chose the directory")]
    pub fn local(directory: &FsPath) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        clean(directory);
        let store = LocalFileSystem::new_with_prefix(directory)
            .map_err(io::Error::other)?
            .with_fsync(true)
            .with_automatic_cleanup(false);
        let nonce = SystemIds.next();
        Ok(Self::new(Arc::new(store), Path::default(), "file:".to_owned(), nonce))
    }
}

/// Deletes what writes left behind that a crash ended: the store writes `<name>#<n>` before it
/// renames, and does not list such files. What cannot be deleted stays.
#[expect(clippy::disallowed_methods, reason = "the operator chose the directory")]
fn clean(directory: &FsPath) {
    let Ok(shards) = std::fs::read_dir(directory.join("sha256")) else { return };
    let partial = directory.join(super::PARTIAL);
    for shard in shards.flatten().map(|shard| shard.path()).chain([partial]) {
        let Ok(entries) = std::fs::read_dir(shard) else { continue };
        for entry in entries.flatten() {
            let half = entry.file_name().to_string_lossy().contains('#');
            let age = entry.metadata().and_then(|m| m.modified()).map(|at| at.elapsed());
            let old = matches!(age, Ok(Ok(age)) if age > LEFT_BEHIND);
            if half && old {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
