//! What sqlx and SQLite report, in the words of the store.

use agent_runner_core::store::{StoreError, StoreErrorKind};

/// Primary result codes of SQLite (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const ERROR: u32 = 1;
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const IOERR: u32 = 10;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const TOOBIG: u32 = 18;
    pub(super) const CONSTRAINT: u32 = 19;
    pub(super) const NOTADB: u32 = 26;
    /// Second bytes of the IOERR codes 4618, 4874, 5130 and 5386: the shared memory beside the
    /// WAL could not be opened, grown, locked or mapped. Nothing was written then.
    pub(super) const SHARED_MEMORY: [u32; 4] = [18, 19, 20, 21];
}

/// What a failed write means for the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Somebody else held the lock for too long; every write of the group would fare alike.
    Busy,
    /// Whether earlier writes reached the disk is unknown. A failed fsync must not be retried:
    /// the kernel may have dropped the pages and report success the second time.
    Poisoned,
    /// This write, or one of its group, is at fault.
    Refused,
}

/// The extended result code, when the error is SQLite's own.
fn extended(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn primary(error: &sqlx::Error) -> Option<u32> {
    extended(error).map(|code| code & 0xff)
}

/// What to do after a write failed with `error`.
pub(super) fn fate(error: &sqlx::Error) -> Fate {
    extended(error).map_or_else(
        || match error {
            sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => Fate::Poisoned,
            _ => Fate::Refused,
        },
        |extended| match extended & 0xff {
            code::BUSY | code::LOCKED => Fate::Busy,
            code::IOERR if !code::SHARED_MEMORY.contains(&(extended >> 8)) => Fate::Poisoned,
            _ => Fate::Refused,
        },
    )
}

/// Whether somebody else holds a lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary(error), Some(code::BUSY | code::LOCKED))
}

/// The store's error for `error`, which happened while the store was to `doing` the file `path`.
pub(super) fn store_error(error: sqlx::Error, doing: &str, path: &str) -> StoreError {
    use StoreErrorKind as Kind;
    let (kind, advice) = match primary(&error) {
        Some(code::BUSY | code::LOCKED) => {
            (Kind::Busy, "another program holds its lock: try again, or find and stop that program")
        }
        Some(code::FULL) => {
            (Kind::Full, "there is no room left: free disk space; nothing was written")
        }
        Some(code::CORRUPT | code::NOTADB) => (
            Kind::Corrupt,
            "it is damaged or no SQLite database: keep a copy of it and restore a backup",
        ),
        Some(code::CONSTRAINT | code::TOOBIG) => {
            (Kind::Corrupt, "what was to be written breaks a rule of the database; it was not")
        }
        Some(code::ERROR) => (
            Kind::Corrupt,
            "its tables are not as this version made them: restore a backup, or report this defect",
        ),
        Some(_) => (
            Kind::Unavailable,
            "check that the file and its directory exist and can be written by this user",
        ),
        None => match error {
            sqlx::Error::PoolTimedOut => {
                (Kind::Busy, "all connections that read are in use: try again")
            }
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_) => {
                (Kind::Corrupt, "a row of it cannot be read: restore a backup")
            }
            sqlx::Error::PoolClosed => (Kind::Unavailable, "the store is closed"),
            _ => (Kind::Unavailable, "restart this program"),
        },
    };
    StoreError::new(kind, format!("cannot {doing} the database {path}: {advice}"))
        .with_source(error)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{borrow::Cow, error::Error, fmt};

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// An error with a result code of SQLite's that no test can provoke.
    #[derive(Debug)]
    struct Coded(u32);

    impl fmt::Display for Coded {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl Error for Coded {}

    impl DatabaseError for Coded {
        fn message(&self) -> &str {
            "made by a test"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    pub(in super::super) fn coded(code: u32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Coded(code)))
    }

    #[test]
    fn only_errors_that_leave_the_disk_unknown_poison_the_writer() {
        for (code, want) in [
            (5, Fate::Busy),
            (261, Fate::Busy),
            (10, Fate::Poisoned),
            (1034, Fate::Poisoned),
            (778, Fate::Poisoned),
            (4874, Fate::Refused),
            (13, Fate::Refused),
            (1811, Fate::Refused),
        ] {
            assert_eq!(fate(&coded(code)), want, "{code}");
        }
        assert_eq!(fate(&sqlx::Error::WorkerCrashed), Fate::Poisoned);
    }

    #[test]
    fn every_kind_of_failure_says_which_file_and_what_to_do() {
        use StoreErrorKind as Kind;
        for (code, kind, words) in [
            (5, Kind::Busy, "try again"),
            (13, Kind::Full, "free disk space"),
            (11, Kind::Corrupt, "restore a backup"),
            (26, Kind::Corrupt, "restore a backup"),
            (1811, Kind::Corrupt, "breaks a rule"),
            (8, Kind::Unavailable, "can be written"),
            (14, Kind::Unavailable, "can be written"),
        ] {
            let error = store_error(coded(code), "open", "/data/x.db");
            assert_eq!(error.kind(), kind, "{code}");
            let text = error.to_string();
            assert!(text.contains("/data/x.db") && text.contains(words), "{text}");
        }
    }
}
