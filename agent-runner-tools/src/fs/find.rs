//! Looks for files by pattern, and for lines by regular expression, under a budget.

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    error::{FileError, FileErrorKind},
    list::{EntryKind, ListOptions},
    project_dir::{Missing, ProjectDir},
    rel_path::RelPath,
};

/// Most memory that a compiled expression may take, in bytes (HTTP-10 of the security requirements).
const REGEX_BYTES_MAX: usize = 1024 * 1024;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_000;
/// Longest line of an answer, in characters.
const LINE_CHARS_MAX: usize = 400;
/// Largest file that is searched, in bytes.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Most bytes that one call reads.
const READ_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A pattern of paths, such as `src/**/*.rs`.
#[derive(Debug, Clone)]
pub struct Glob(GlobMatcher);

impl Glob {
    /// Parses a pattern: `*` and `?` stay within a name, `**` crosses directories, `{a,b}` and
    /// `[a-z]` choose.
    ///
    /// # Errors
    /// [`FileErrorKind::Invalid`]: what is wrong with the pattern.
    pub fn parse(pattern: &str) -> Result<Self, FileError> {
        let invalid = |said: String| FileError::new(FileErrorKind::Invalid, said);
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            return Err(invalid("a pattern has 1 to 1,000 bytes".to_owned()));
        }
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        glob.map(|glob| Self(glob.compile_matcher()))
            .map_err(|error| invalid(format!("the pattern is not valid: {}", error.kind())))
    }

    /// Whether a path fits.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// What lines to look for.
#[derive(Debug, Clone)]
pub struct Search {
    /// The expression.
    pub regex: Regex,
    /// In which files; in all when `None`.
    pub glob: Option<Glob>,
    /// Below this directory; in the whole project when `None`.
    pub under: Option<RelPath>,
    /// Most lines.
    pub limit: usize,
}

impl Search {
    /// Parses an expression (the syntax of the crate `regex`, which takes linear time).
    ///
    /// # Errors
    /// [`FileErrorKind::Invalid`]: what is wrong with the expression.
    pub fn parse(pattern: &str, ignore_case: bool) -> Result<Regex, FileError> {
        let invalid = |said: String| FileError::new(FileErrorKind::Invalid, said);
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            return Err(invalid("a regular expression has 1 to 1,000 bytes".to_owned()));
        }
        RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| invalid(format!("the regular expression is not valid: {error}")))
    }
}

/// A line that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hit {
    /// Its file.
    pub path: String,
    /// Its number, from 1.
    pub line: usize,
    /// The line, cut when it is long.
    pub text: String,
}

/// Lines that fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hits {
    /// The lines, by path and number.
    pub hits: Vec<Hit>,
    /// Whether there may be more.
    pub truncated: bool,
    /// Files that were looked into.
    pub files_searched: usize,
    /// Files that were not: too large, or not text.
    pub files_skipped: usize,
}

impl ProjectDir {
    /// Lists the files whose paths fit.
    ///
    /// # Errors
    /// As [`ProjectDir::list`].
    pub fn glob(
        &self,
        glob: &Glob,
        limit: usize,
        stop: &CancellationToken,
    ) -> Result<(Vec<String>, bool), FileError> {
        let mut found = Vec::new();
        let truncated = self.each_file(None, stop, &mut |path, _| {
            if glob.fits(path) {
                found.push(path.to_owned());
            }
            Ok(found.len() <= limit)
        })?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, truncated || more))
    }

    /// Looks for lines.
    ///
    /// # Errors
    /// As [`ProjectDir::list`].
    pub fn search(&self, search: &Search, stop: &CancellationToken) -> Result<Hits, FileError> {
        let mut found = Hits::default();
        let mut read = 0_u64;
        let under = search.under.as_ref();
        let truncated = self.each_file(under, stop, &mut |path, size| {
            if search.glob.as_ref().is_some_and(|glob| !glob.fits(path)) {
                return Ok(true);
            }
            read = read.saturating_add(size.min(FILE_BYTES_MAX));
            if read > READ_BYTES_MAX {
                return Ok(false);
            }
            let text = match size {
                0..=FILE_BYTES_MAX => self.text(path, stop)?,
                _ => None,
            };
            let Some(text) = text else {
                found.files_skipped += 1;
                return Ok(true);
            };
            found.files_searched += 1;
            for (n, line) in text.lines().enumerate() {
                if search.regex.is_match(line) {
                    let text = line.chars().take(LINE_CHARS_MAX).collect();
                    found.hits.push(Hit { path: path.to_owned(), line: n + 1, text });
                    if found.hits.len() > search.limit {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })?;
        found.truncated = truncated;
        found.hits.truncate(search.limit);
        Ok(found)
    }

    /// A file's text; `None` for one that is gone, not text, or not to be read.
    fn text(&self, path: &str, stop: &CancellationToken) -> Result<Option<String>, FileError> {
        match self.read(&RelPath::parse(path)?, stop) {
            Ok(bytes) => Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))),
            Err(error) if error.kind() == FileErrorKind::Cancelled => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Visits files by path until one says that it is enough; whether there may be more.
    fn each_file(
        &self,
        under: Option<&RelPath>,
        stop: &CancellationToken,
        visit: &mut dyn FnMut(&str, u64) -> Result<bool, FileError>,
    ) -> Result<bool, FileError> {
        let (dir, prefix) = match under {
            None => (self.dir().try_clone().map_err(|error| FileError::io(".", error))?, ""),
            Some(path) => (self.descend(path, path.components(), Missing::Refuse)?, path.as_str()),
        };
        let mut budget = self.limits().walk_entries_max;
        let go_on = self.walk(&dir, prefix, 0, &mut budget, stop, visit)?;
        Ok(!go_on)
    }

    fn walk(
        &self,
        dir: &Dir,
        prefix: &str,
        depth: usize,
        budget: &mut usize,
        stop: &CancellationToken,
        visit: &mut dyn FnMut(&str, u64) -> Result<bool, FileError>,
    ) -> Result<bool, FileError> {
        // One directory at a time, sorted, so that the order is that of a listing.
        let mut walk = super::list::Walk::new(
            super::FsLimits {
                list_entries_max: *budget,
                walk_entries_max: *budget,
                ..*self.limits()
            },
            &ListOptions::default(),
            stop,
        );
        walk.visit(dir, prefix)?;
        let listing = walk.finish();
        *budget = budget.saturating_sub(listing.entries.len());
        if listing.truncated || depth > self.limits().depth_max {
            return Ok(false);
        }
        for entry in listing.entries {
            if stop.is_cancelled() {
                return Err(FileError::cancelled());
            }
            let go_on = match entry.kind {
                EntryKind::File => visit(&entry.path, entry.size.unwrap_or(0))?,
                EntryKind::Directory => {
                    let name = entry.path.rsplit('/').next().unwrap_or_default();
                    match dir.open_dir_nofollow(name) {
                        Ok(below) => {
                            self.walk(&below, &entry.path, depth + 1, budget, stop, visit)?
                        }
                        Err(_) => true,
                    }
                }
                EntryKind::Symlink | EntryKind::Special => true,
            };
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
