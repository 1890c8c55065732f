//! What a call touches, so that calls of one reply run side by side when they do not meet.

use serde::{Deserialize, Serialize};

/// How much harm a call can do when it is not what people wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Risk {
    /// It reads.
    Read,
    /// It changes things inside the project, and the change can be undone or seen.
    Write,
    /// It destroys things inside the project, or runs programs there.
    Destructive,
    /// It acts outside the project: sends, publishes, pushes.
    Outward,
}

impl Risk {
    /// The spelling used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
            Self::Outward => "outward",
        }
    }
}

/// One thing that a call touches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Access {
    /// Names separated by `/`, the widest first, such as `files/notes/plan.md`.
    resource: String,
    writes: bool,
}

/// What a call touches. Two calls of one reply run side by side unless their footprints meet:
/// one names the same thing as the other, or a thing that contains it, and one of them writes.
/// A call with an empty footprint meets nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint(Vec<Access>);

impl Footprint {
    /// Touches nothing that another call of the run could touch.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// And reads this: names separated by `/`, the widest first, such as `files/notes`.
    #[must_use]
    pub fn reads(self, resource: impl Into<String>) -> Self {
        self.with(resource.into(), false)
    }

    /// And changes this.
    #[must_use]
    pub fn writes(self, resource: impl Into<String>) -> Self {
        self.with(resource.into(), true)
    }

    fn with(mut self, resource: String, writes: bool) -> Self {
        self.0.push(Access { resource, writes });
        self
    }

    /// Whether one of the two calls must wait for the other.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|a| {
            other.0.iter().any(|b| {
                (a.writes || b.writes)
                    && (contains(&a.resource, &b.resource) || contains(&b.resource, &a.resource))
            })
        })
    }
}

fn contains(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_meet_where_one_writes_what_the_other_touches() {
        let none = Footprint::none;
        for (a, b, meet) in [
            (none(), none().writes("files"), false),
            (none().reads("files/a"), none().reads("files/a"), false),
            (none().reads("files/a"), none().writes("files/a"), true),
            (none().writes("files/a"), none().writes("files/b"), false),
            (none().writes("files/a"), none().writes("files/ab"), false),
            (none().writes("files/a"), none().reads("files/a/b"), true),
            (none().reads("files"), none().writes("files/a/b"), true),
            (none().writes("files"), none().writes("memory"), false),
            (none().reads("x").writes("files/b"), none().reads("files/b"), true),
        ] {
            assert_eq!(a.meets(&b), meet, "{a:?} {b:?}");
            assert_eq!(b.meets(&a), meet, "{b:?} {a:?}");
        }
    }
}
