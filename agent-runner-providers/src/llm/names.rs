//! Tool names that an API accepts for ours, which may contain dots.

use std::collections::BTreeMap;

use agent_runner_core::{llm::LlmRequest, message::Part};

/// Which names an API takes. All of them take ASCII letters, digits and `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameRules {
    /// Longest name in characters.
    pub(crate) length_max: usize,
    /// What a name may contain besides letters, digits and `_`.
    pub(crate) also: &'static str,
    /// Whether a name may begin with something else than a letter or `_`.
    pub(crate) any_first: bool,
}

/// A reversible map for the names of one request.
#[derive(Debug)]
pub(crate) struct ToolNames {
    rules: NameRules,
    wire_of: BTreeMap<String, String>,
    name_of: BTreeMap<String, String>,
}

impl ToolNames {
    /// The names that a request offers and mentions. The offered ones that need no rewriting come
    /// first, so that `a_b` keeps its name beside `a.b`; the mentioned ones come last, so that a
    /// longer conversation begins with the same bytes.
    pub(crate) fn of(request: &LlmRequest, rules: NameRules) -> Self {
        let offered = || request.tools.iter().map(|tool| tool.name.as_str());
        let mentioned = request.messages.iter().flat_map(|message| &message.parts).filter_map(
            |part| match part {
                Part::ToolCall(call) => Some(call.name.as_str()),
                _ => None,
            },
        );
        let mut map = Self { rules, wire_of: BTreeMap::new(), name_of: BTreeMap::new() };
        let plain = offered().filter(|name| rules.rewritten(name) == *name);
        for name in plain.chain(offered()).chain(mentioned) {
            map.add(name);
        }
        map
    }

    fn add(&mut self, name: &str) {
        if self.wire_of.contains_key(name) {
            return;
        }
        let plain = self.rules.rewritten(name);
        let mut wire = plain.clone();
        let mut number = 2;
        while self.name_of.contains_key(&wire) {
            let suffix = format!("_{number}");
            wire = plain.chars().take(self.rules.length_max - suffix.len()).collect();
            wire.push_str(&suffix);
            number += 1;
        }
        self.name_of.insert(wire.clone(), name.to_owned());
        self.wire_of.insert(name.to_owned(), wire);
    }

    /// The name to send.
    pub(crate) fn wire(&self, name: &str) -> String {
        self.wire_of.get(name).cloned().unwrap_or_else(|| self.rules.rewritten(name))
    }

    /// The name that was meant; a name nobody offered stays as the model wrote it.
    pub(crate) fn name(&self, wire: &str) -> String {
        self.name_of.get(wire).map_or(wire, String::as_str).to_owned()
    }
}

impl NameRules {
    fn rewritten(self, name: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || self.also.contains(c);
        let mut wire: String =
            name.chars().take(self.length_max).map(|c| if fits(c) { c } else { '_' }).collect();
        // A model may have called a tool without a name; no API takes an empty one.
        let begins = wire.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if wire.is_empty() || !(self.any_first || begins) {
            wire.insert(0, '_');
            wire.truncate(self.length_max);
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use agent_runner_core::llm::ToolSpec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const RULES: NameRules = NameRules { length_max: 64, also: "-", any_first: true };

    fn names(offered: &[&str]) -> ToolNames {
        names_by(RULES, offered)
    }

    fn names_by(rules: NameRules, offered: &[&str]) -> ToolNames {
        let mut request = LlmRequest::new("m", Vec::new());
        request.tools = offered
            .iter()
            .map(|name| ToolSpec {
                name: (*name).to_owned(),
                description: String::new(),
                input_schema: json!({}),
            })
            .collect();
        ToolNames::of(&request, rules)
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

    #[test]
    fn an_api_that_wants_a_letter_first_gets_one() {
        let rules = NameRules { length_max: 8, also: "-.:", any_first: false };
        let names = names_by(rules, &["a.b", "7up", "-x", "1234567890", "é"]);
        let wires = ["a.b", "7up", "-x", "1234567890", "é"].map(|name| names.wire(name));
        assert_eq!(wires, ["a.b", "_7up", "_-x", "_1234567", "_"]);
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
