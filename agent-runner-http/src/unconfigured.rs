//! Providers that a server could have.

/// A provider that the program knows and that lacks something, such as its key. It is listed
/// with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfigured {
    name: String,
    hint: String,
}

impl Unconfigured {
    /// A provider of that name; `hint` says what to set, such as "set `ANTHROPIC_API_KEY`".
    #[must_use]
    pub fn new(name: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), hint: hint.into() }
    }

    /// The first part of its models' names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to set.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}
