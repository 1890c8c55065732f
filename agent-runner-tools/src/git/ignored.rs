//! Which files are ignored: `.gitignore` in each directory on the way, read like any other file.

use std::collections::HashMap;

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

use super::files::Files;

/// Largest `.gitignore` that is read, in bytes.
const BYTES_MAX: u64 = 256 * 1024;
/// Most lines of one that count.
const LINES_MAX: usize = 2_000;

/// The rules of a work tree, read as they are needed.
#[derive(Debug)]
pub(super) struct Ignored<'a> {
    files: &'a Files,
    /// By directory, without a `/` at the end.
    known: HashMap<String, Gitignore>,
}

impl<'a> Ignored<'a> {
    pub(super) fn new(files: &'a Files) -> Self {
        Self { files, known: HashMap::new() }
    }

    /// Whether a file or directory is ignored, as long as those above it are not.
    pub(super) fn is(&mut self, path: &str, is_dir: bool) -> bool {
        let mut above = path;
        while !above.is_empty() {
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
            let below = path.strip_prefix(above).unwrap_or(path).trim_start_matches('/');
            match self.rules(above).matched(below, is_dir) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }

    /// Whether a file is ignored, or a directory above it.
    pub(super) fn is_or_is_below(&mut self, path: &str) -> bool {
        path.match_indices('/')
            .any(|(at, _)| path.get(..at).is_some_and(|above| self.is(above, true)))
            || self.is(path, false)
    }

    fn rules(&mut self, dir: &str) -> &Gitignore {
        if !self.known.contains_key(dir) {
            let rules = self.read(dir);
            self.known.insert(dir.to_owned(), rules);
        }
        self.known.entry(dir.to_owned()).or_insert_with(Gitignore::empty)
    }

    fn read(&self, dir: &str) -> Gitignore {
        let path =
            if dir.is_empty() { ".gitignore".to_owned() } else { format!("{dir}/.gitignore") };
        // One that cannot be read ignores nothing.
        let Ok(Some((content, _))) = self.files.read(&path, BYTES_MAX) else {
            return Gitignore::empty();
        };
        let mut builder = GitignoreBuilder::new("");
        for line in String::from_utf8_lossy(&content).lines().take(LINES_MAX) {
            // So does a line that is no pattern.
            let _ = builder.add_line(None, line);
        }
        builder.build().unwrap_or_else(|_| Gitignore::empty())
    }
}
