//! The document of an event on its way into a journal.

use std::{fmt, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use crate::limits::DOCUMENT_DEPTH_MAX;

/// A JSON document (RFC 8259) as text, written once and cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

impl Payload {
    /// Writes a value.
    ///
    /// # Errors
    /// A value that is no JSON, such as a map whose keys are not text.
    pub fn new(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// A text that is JSON already.
    pub(super) fn of_json(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is nested deeper than 127 levels.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Whether it is nested deeper than [`DOCUMENT_DEPTH_MAX`].
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        let opening = |byte: &u8| matches!(byte, b'[' | b'{');
        // Most documents have fewer brackets than that altogether.
        self.0.bytes().filter(opening).count() > DOCUMENT_DEPTH_MAX
            && depth(&self.0) > DOCUMENT_DEPTH_MAX
    }
}

fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(
            json!("x"),
            |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"a": inner}) },
        )
    }

    #[test]
    fn depth_is_what_is_nested_and_not_what_is_said() {
        assert!(!Payload::from(nested(120)).is_too_deep());
        assert!(Payload::from(nested(121)).is_too_deep());
        assert!(!Payload::from(json!(vec![json!([]); 500])).is_too_deep());
        assert!(
            !Payload::from(json!({"a\"": "[".repeat(500) + "\\\"" + &"{".repeat(500)}))
                .is_too_deep()
        );
    }

    #[test]
    fn it_reads_back_as_it_was() {
        let value = json!({"b": [1, 2.5, null, "\u{0}\u{1F980}\\"], "a": {"max": u64::MAX}});
        assert_eq!(Payload::from(value.clone()).to_value().unwrap(), value);
        assert_eq!(Payload::new(&value).unwrap(), Payload::from(value));
    }
}
