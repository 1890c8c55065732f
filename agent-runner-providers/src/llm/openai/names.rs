//! Tool names that the API accepts (`^[a-zA-Z0-9_-]{1,64}$`) for ours, which may contain dots.

use std::collections::BTreeMap;

use agent_runner_core::{llm::LlmRequest, message::Part};

const NAME_LENGTH_MAX: usize = 64;

/// A reversible map for the names of one request.
#[derive(Debug, Default)]
pub(super) struct ToolNames {
    wire_of: BTreeMap<String, String>,
    name_of: BTreeMap<String, String>,
}

impl ToolNames {
    /// The names that a request offers and mentions. Those that need no rewriting come first, so
    /// that `a_b` keeps its name beside `a.b`.
    pub(super) fn of(request: &LlmRequest) -> Self {
        let offered = request.tools.iter().map(|tool| tool.name.as_str());
        let mentioned = request.messages.iter().flat_map(|message| &message.parts).filter_map(
            |part| match part {
                Part::ToolCall(call) => Some(call.name.as_str()),
                _ => None,
            },
        );
        let names: Vec<&str> = offered.chain(mentioned).collect();
        let mut map = Self::default();
        for name in names.iter().filter(|name| rewritten(name) == **name) {
            map.add(name);
        }
        for name in names {
            map.add(name);
        }
        map
    }

    fn add(&mut self, name: &str) {
        if self.wire_of.contains_key(name) {
            return;
        }
        let plain = rewritten(name);
        let mut wire = plain.clone();
        let mut number = 2;
        while self.name_of.contains_key(&wire) {
            let suffix = format!("_{number}");
            wire = plain.chars().take(NAME_LENGTH_MAX - suffix.len()).collect();
            wire.push_str(&suffix);
            number += 1;
        }
        self.name_of.insert(wire.clone(), name.to_owned());
        self.wire_of.insert(name.to_owned(), wire);
    }

    /// The name to send.
    pub(super) fn wire(&self, name: &str) -> String {
        self.wire_of.get(name).cloned().unwrap_or_else(|| rewritten(name))
    }

    /// The name that was meant; a name nobody offered stays as the model wrote it.
    pub(super) fn name(&self, wire: &str) -> String {
        self.name_of.get(wire).map_or(wire, String::as_str).to_owned()
    }
}

fn rewritten(name: &str) -> String {
    let wire: String = name
        .chars()
        .take(NAME_LENGTH_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .collect();
    // A model may have called a tool without a name; the API refuses an empty one.
    if wire.is_empty() { "_".to_owned() } else { wire }
}

#[cfg(test)]
mod tests {
    use agent_runner_core::llm::ToolSpec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn names(offered: &[&str]) -> ToolNames {
        let mut request = LlmRequest::new("m", Vec::new());
        request.tools = offered
            .iter()
            .map(|name| ToolSpec {
                name: (*name).to_owned(),
                description: String::new(),
                input_schema: json!({}),
            })
            .collect();
        ToolNames::of(&request)
    }

    #[test]
    fn dots_become_underscores_and_a_name_that_is_taken_gets_a_number() {
        let names = names(&["files.write", "a.b", "a_b", "a-b"]);
        assert_eq!(names.wire("files.write"), "files_write");
        assert_eq!(names.wire("a_b"), "a_b");
        assert_eq!(names.wire("a.b"), "a_b_2");
        assert_eq!(names.name("a_b_2"), "a.b");
        assert_eq!(names.name("files_write"), "files.write");
        assert_eq!(names.name("unknown.tool"), "unknown.tool");
    }

    proptest! {
        #[test]
        fn every_name_comes_back(
            offered in proptest::collection::vec("[a-c._é-]{0,4}|[a-b.]{62,70}", 0..12)
        ) {
            let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
            let map = names(&offered);
            for name in offered {
                let wire = map.wire(name);
                prop_assert!((1..=64).contains(&wire.len()));
                prop_assert!(wire.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
                prop_assert_eq!(map.name(&wire), name);
            }
        }
    }
}
