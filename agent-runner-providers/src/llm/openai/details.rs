//! `OpenRouter`'s `reasoning_details`, which arrive in pieces and go back whole.

use serde_json::{Map, Value};

/// The entries so far.
#[derive(Debug, Default)]
pub(super) struct Details {
    entries: Vec<Value>,
    bytes: usize,
}

impl Details {
    /// Takes a piece: more of the last entry, or a new one.
    pub(super) fn push(&mut self, piece: Value) {
        self.bytes += piece.to_string().len();
        let Value::Object(piece) = piece else { return };
        match self.entries.last_mut() {
            Some(Value::Object(last)) if continues(last, &piece) => extend(last, piece),
            _ => self.entries.push(Value::Object(piece)),
        }
    }

    /// The bytes taken so far.
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    /// The entries, whole.
    pub(super) fn into_entries(self) -> Vec<Value> {
        self.entries
    }
}

/// The field of an entry that grows. Encrypted entries do not.
fn growing(entry: &Map<String, Value>) -> Option<&'static str> {
    match entry.get("type")?.as_str()? {
        "reasoning.text" => Some("text"),
        "reasoning.summary" => Some("summary"),
        _ => None,
    }
}

fn continues(last: &Map<String, Value>, piece: &Map<String, Value>) -> bool {
    let same = |field: &str| match (last.get(field), piece.get(field)) {
        (Some(a), Some(b)) => a == b || a.is_null() || b.is_null(),
        _ => true,
    };
    // A signature closes its entry.
    let open = last.get("signature").is_none_or(Value::is_null);
    growing(last).is_some()
        && growing(last) == growing(piece)
        && same("index")
        && same("id")
        && open
}

fn extend(last: &mut Map<String, Value>, piece: Map<String, Value>) {
    let grows = growing(last);
    for (field, value) in piece {
        match (last.get_mut(&field), value) {
            (_, Value::Null) => {}
            (Some(Value::String(said)), Value::String(more)) if grows == Some(field.as_str()) => {
                said.push_str(&more);
            }
            (_, value) => drop(last.insert(field, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn joined(pieces: &Value) -> Value {
        let mut details = Details::default();
        for piece in pieces.as_array().unwrap() {
            details.push(piece.clone());
        }
        details.into_entries().into()
    }

    #[test]
    fn pieces_of_an_entry_are_joined_and_other_entries_stay_as_they_are() {
        let text = |text: &str, index: u64| json!({"type": "reasoning.text", "text": text, "index": index, "format": "f"});
        let encrypted = json!({"type": "reasoning.encrypted", "data": "x", "index": 1});
        assert_eq!(
            joined(&json!([
                text("a", 0),
                text("b", 0),
                {"type": "reasoning.text", "signature": "s", "index": 0, "text": null},
                text("c", 0),
                encrypted,
                encrypted,
                text("d", 2),
                {"type": "reasoning.summary", "summary": "e", "index": 2},
                7,
            ])),
            json!([
                {"type": "reasoning.text", "text": "ab", "index": 0, "format": "f", "signature": "s"},
                text("c", 0),
                encrypted,
                encrypted,
                text("d", 2),
                {"type": "reasoning.summary", "summary": "e", "index": 2},
            ])
        );
    }
}
