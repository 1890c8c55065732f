//! How a SQLite store is opened.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_runner_core::{
    store::{StoreError, StoreErrorKind},
    time::{Clock, SystemClock},
};

/// How long a write waits for another program's lock unless the options say otherwise. A healthy
/// neighbour holds it for milliseconds; ten seconds outlast a checkpoint on a slow disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// The loss of power: every commit waits until the disk has it (`synchronous=FULL`).
    ///
    /// On macOS a plain fsync leaves data in the drive's cache, so the store asks for
    /// `fullfsync` there.
    #[default]
    Full,
    /// The death of the process, not the loss of power (`synchronous=NORMAL`). Several times
    /// faster for a single run. The last commits before a power cut may be gone although they
    /// were acknowledged; the file stays sound.
    Normal,
}

/// Where the database is and how to treat it.
#[derive(Clone)]
pub struct SqliteOptions {
    location: PathBuf,
    pub(super) synchronous: Synchronous,
    pub(super) busy_timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) migrate: bool,
}

impl SqliteOptions {
    /// A database at `location`: a path, or a URL such as `sqlite://./data/x.db`, `sqlite:x.db`
    /// or `sqlite:///var/lib/x.db`. The file and its directories are made when they are missing.
    #[must_use]
    pub fn new(location: impl AsRef<Path>) -> Self {
        Self {
            location: location.as_ref().to_owned(),
            synchronous: Synchronous::Full,
            busy_timeout: BUSY_TIMEOUT,
            clock: Arc::new(SystemClock),
            migrate: true,
        }
    }

    /// What an acknowledged write survives. [`Synchronous::Full`] unless set.
    #[must_use]
    pub const fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long a write waits for another program's lock before it answers
    /// [`StoreErrorKind::Busy`]. 10 s unless set, at most one hour.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout.min(Duration::from_secs(3_600));
        self
    }

    /// The clock of leases, claims and records. The machine's unless set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whether an older database is brought up to date when it is opened. True unless set;
    /// with false, opening an older or empty database fails.
    #[must_use]
    pub const fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// The absolute path of the database file.
    ///
    /// # Errors
    /// `Unavailable` when the location names no file.
    pub fn path(&self) -> Result<PathBuf, StoreError> {
        let wrong = |what: &str| {
            StoreError::new(
                StoreErrorKind::Unavailable,
                format!(
                    "`{}` names no SQLite database: {what}; write for example \
                     sqlite://./data/agent-runner.db",
                    self.location.display()
                ),
            )
        };
        let path = match self.location.to_str() {
            Some(text) => Path::new(file_of(text).map_err(wrong)?),
            None => self.location.as_path(),
        };
        std::path::absolute(path)
            .map_err(|error| wrong("the path cannot be made absolute").with_source(error))
    }
}

fn file_of(text: &str) -> Result<&str, &'static str> {
    let url = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
    let file = url.unwrap_or(text);
    if file.is_empty() {
        return Err("the path is empty");
    }
    if file == ":memory:" {
        return Err("a database in memory is no use here, InMemoryStore is the store for that");
    }
    if file.contains('\0') {
        return Err("the path contains a NUL");
    }
    if url.is_some() && file.contains('?') {
        return Err("the URL takes no parameters");
    }
    if url.is_none() && text.contains("://") {
        return Err("the URL is for another kind of database");
    }
    Ok(file)
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("location", &self.location)
            .field("synchronous", &self.synchronous)
            .field("busy_timeout", &self.busy_timeout)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_name_the_same_file() {
        let want = std::path::absolute("data/x.db").unwrap();
        for text in ["data/x.db", "sqlite:data/x.db", "sqlite://data/x.db", "sqlite://./data/x.db"]
        {
            assert_eq!(SqliteOptions::new(text).path().unwrap(), want, "{text}");
        }
        let absolute = SqliteOptions::new("sqlite:///var/lib/x.db").path().unwrap();
        assert_eq!(absolute, Path::new("/var/lib/x.db"));
    }

    #[test]
    fn a_location_that_is_no_file_is_refused_with_an_example() {
        for text in
            ["", "sqlite://", "sqlite::memory:", "postgres://h/db", "sqlite:x.db?mode=ro", "a\0b"]
        {
            let error = SqliteOptions::new(text).path().unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{text}");
            assert!(error.to_string().contains("sqlite://./data"), "{error}");
        }
    }
}
