//! A store that lives as long as the process.

/// A [`super::Store`] in memory: for tests, for trying things out, and as the reference that other stores
/// are compared with.
#[derive(Debug, Default)]
pub struct InMemoryStore {}
