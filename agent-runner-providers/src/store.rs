//! Stores.

mod rows;
mod sqlite;

pub use self::sqlite::{Finding, Severity, SqliteOptions, SqliteStats, SqliteStore, Synchronous};
