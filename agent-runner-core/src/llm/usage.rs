//! Tokens.

use serde::{Deserialize, Serialize};

/// Tokens of one or more model calls. `None` means that nobody said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens that were not read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// Tokens written by the model, reasoning included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Prompt tokens read from the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Prompt tokens written to the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// The part of `cache_write` that is kept for an hour, which Anthropic prices apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<u64>,
    /// The part of `output` that was reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

impl Usage {
    /// The sum; a number that only one side knows is kept.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        const fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.saturating_add(b)),
                (Some(a), None) => Some(a),
                (None, b) => b,
            }
        }
        Self {
            input: add(self.input, other.input),
            output: add(self.output, other.output),
            cache_read: add(self.cache_read, other.cache_read),
            cache_write: add(self.cache_write, other.cache_write),
            cache_write_1h: add(self.cache_write_1h, other.cache_write_1h),
            reasoning: add(self.reasoning, other.reasoning),
        }
    }

    /// All tokens, or `None` when nothing is known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        sum(&[self.input, self.output, self.cache_read, self.cache_write])
    }

    /// The tokens of the whole prompt, cached or not; `None` when nothing of it is known.
    #[must_use]
    pub fn prompt(&self) -> Option<u64> {
        sum(&[self.input, self.cache_read, self.cache_write])
    }
}

/// The sum of what is known; a server may say any number.
fn sum(known: &[Option<u64>]) -> Option<u64> {
    known.iter().flatten().copied().reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_adds_what_is_known() {
        let a = Usage { input: Some(3), output: None, ..Usage::default() };
        let b = Usage { input: Some(4), output: Some(5), ..Usage::default() };
        let sum = a.plus(b);
        assert_eq!((sum.input, sum.output, sum.reasoning), (Some(7), Some(5), None));
        assert_eq!(sum.total(), Some(12));
        assert_eq!(Usage::default().total(), None);
    }

    #[test]
    fn absurd_numbers_stop_at_the_largest() {
        let (most, one) = (Some(u64::MAX), Some(1));
        let usage = Usage { input: most, output: one, cache_read: one, ..Usage::default() };
        assert_eq!((usage.total(), usage.prompt()), (most, most));
        assert_eq!(usage.plus(usage).total(), most);
        assert_eq!(Usage { output: one, ..Usage::default() }.prompt(), None);
    }
}
