//! Takes the operator's secrets out of what a server says.

use std::borrow::Cow;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// Shorter values are no secrets, and taking them out would garble everything.
const SECRET_BYTES_MIN: usize = 6;
/// What stands in their place.
const INSTEAD: &str = "[redacted]";

/// Knows values that must not be shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Redactor {
    /// The longest first, so that none leaves a rest of another.
    secrets: Vec<SecretString>,
}

impl Redactor {
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a SecretString>) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for value in values {
            let value = value.expose_secret().trim();
            secrets.push(value.to_owned());
            // Of `Bearer abc` the server may repeat the second half alone.
            if let Some((_, credential)) = value.split_once(' ') {
                secrets.push(credential.trim().to_owned());
            }
        }
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets: secrets.into_iter().map(SecretString::from).collect() }
    }

    /// The text without secrets.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.expose_secret()) {
                text = Cow::Owned(text.replace(secret.expose_secret(), INSTEAD));
            }
        }
        text
    }

    /// Takes secrets out of every string and key; whether there were any.
    pub(super) fn value(&self, value: &mut Value) -> bool {
        if self.secrets.is_empty() {
            return false;
        }
        match value {
            Value::String(text) => match self.text(text) {
                Cow::Borrowed(_) => false,
                Cow::Owned(clean) => {
                    *text = clean;
                    true
                }
            },
            Value::Array(items) => {
                items.iter_mut().fold(false, |found, item| self.value(item) | found)
            }
            Value::Object(map) => {
                let mut found = false;
                if map.keys().any(|key| matches!(self.text(key), Cow::Owned(_))) {
                    found = true;
                    *map = std::mem::take(map)
                        .into_iter()
                        .map(|(key, value)| (self.text(&key).into_owned(), value))
                        .collect();
                }
                map.values_mut().fold(found, |found, item| self.value(item) | found)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_of_texts_keys_and_values_and_never_shown() {
        let values =
            ["Bearer hunter2-token", "short", "hunter2-token-longer"].map(SecretString::from);
        let redactor = Redactor::new(values.iter());
        let said =
            redactor.text("a hunter2-token-longer, Bearer hunter2-token, hunter2-token short");
        assert_eq!(said, "a [redacted], [redacted], [redacted] short");
        let mut value = json!({"hunter2-token": ["x", {"a": "=hunter2-token="}], "n": 1});
        assert!(redactor.value(&mut value));
        assert_eq!(value, json!({"[redacted]": ["x", {"a": "=[redacted]="}], "n": 1}));
        assert!(!redactor.value(&mut value));
        assert!(!format!("{redactor:?}").contains("hunter2"));
    }
}
