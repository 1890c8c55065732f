//! What is known of models by their names, for what the service does not tell.

use agent_runner_core::llm::{Capabilities, ReasoningEffort};
use serde_json::{Value, json};

/// How a model is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It does not think, and refuses to be told.
    No,
    /// Nobody knows.
    Unknown,
    /// `thinkingBudget` in tokens.
    Budget {
        /// The least it takes; 0 turns thinking off.
        min: u32,
        /// The most it takes.
        max: u32,
    },
    /// `thinkingLevel`.
    Level {
        /// What to ask for in place of `MEDIUM`, which the first of these models lack.
        medium: &'static str,
    },
}

/// What models of a kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    prefix: &'static str,
    pub(super) thinking: Thinking,
    /// Refuses a conversation in which a step's first call lacks its signature.
    pub(super) wants_signatures: bool,
    /// Refuses a schema for its reply beside tools. Newer models are said to take both, some of
    /// them, so they are not told to do so but not kept from it either.
    pub(super) schema_excludes_tools: bool,
    json_schema: Option<bool>,
}

const BEFORE_THINKING: Family = Family {
    prefix: "",
    thinking: Thinking::No,
    wants_signatures: false,
    schema_excludes_tools: true,
    json_schema: Some(true),
};

const NEWEST: Family = Family {
    prefix: "gemini-",
    thinking: Thinking::Level { medium: "MEDIUM" },
    wants_signatures: true,
    schema_excludes_tools: false,
    json_schema: Some(true),
};

const OTHER: Family = Family {
    prefix: "",
    thinking: Thinking::Unknown,
    wants_signatures: false,
    schema_excludes_tools: false,
    json_schema: None,
};

const fn budget(prefix: &'static str, min: u32, max: u32) -> Family {
    Family { prefix, thinking: Thinking::Budget { min, max }, ..BEFORE_THINKING }
}

/// The first whose prefix fits counts. A `gemini-` that is not here is newer than this list, which
/// therefore names the old ones.
const FAMILIES: [Family; 10] = [
    Family { prefix: "gemini-1.", ..BEFORE_THINKING },
    Family { prefix: "gemini-2.0", ..BEFORE_THINKING },
    Family { prefix: "gemini-2.5-flash-image", ..BEFORE_THINKING },
    budget("gemini-2.5-flash-lite", 0, 24_576),
    budget("gemini-2.5-flash", 0, 24_576),
    budget("gemini-2.5", 128, 32_768),
    Family { prefix: "gemini-robotics", ..OTHER },
    Family { prefix: "gemini-exp", ..OTHER },
    Family { prefix: "gemini-3-pro", thinking: Thinking::Level { medium: "HIGH" }, ..NEWEST },
    NEWEST,
];

/// The least budget besides 0 that every model with a budget takes.
const BUDGET_LOW: u32 = 1024;
/// A generous budget that every model with a budget takes.
const BUDGET_HIGH: u32 = 16_384;

impl Family {
    /// The family of a model without its `models/`.
    pub(super) fn of(model: &str) -> Self {
        FAMILIES.into_iter().find(|family| model.starts_with(family.prefix)).unwrap_or(OTHER)
    }

    /// What its models can do. The service says more of each.
    pub(super) fn capabilities(self) -> Capabilities {
        Capabilities {
            json_schema: self.json_schema,
            schema_with_tools: Some(false),
            reasoning: match self.thinking {
                Thinking::No => Some(false),
                Thinking::Unknown => None,
                Thinking::Budget { .. } | Thinking::Level { .. } => Some(true),
            },
            ..Capabilities::default()
        }
    }
}

impl Thinking {
    /// `thinkingConfig` for an effort; `None` when the model cannot be told. Thoughts are asked for
    /// wherever there are some.
    pub(super) fn config(self, effort: ReasoningEffort) -> Option<Value> {
        match self {
            Self::No | Self::Unknown => None,
            Self::Budget { min, max } => Some(match effort {
                ReasoningEffort::Off => json!({"thinkingBudget": min}),
                ReasoningEffort::Low => spend(BUDGET_LOW.into()),
                ReasoningEffort::Medium => spend(-1),
                ReasoningEffort::High => spend(BUDGET_HIGH.into()),
                ReasoningEffort::Max => spend(max.into()),
            }),
            Self::Level { medium } => {
                let level = match effort {
                    // `MINIMAL` is refused by most models and `XHIGH` by all but the newest.
                    ReasoningEffort::Off | ReasoningEffort::Low => "LOW",
                    ReasoningEffort::Medium => medium,
                    ReasoningEffort::High | ReasoningEffort::Max => "HIGH",
                };
                Some(json!({"thinkingLevel": level, "includeThoughts": true}))
            }
        }
    }
}

fn spend(tokens: i64) -> Value {
    json!({"thinkingBudget": tokens, "includeThoughts": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_is_told_in_its_own_way_how_much_to_think() {
        use ReasoningEffort::{High, Low, Max, Medium, Off};
        let level = |level: &str| Some(json!({"thinkingLevel": level, "includeThoughts": true}));
        let budget = |tokens: i64| Some(spend(tokens));
        let table = [
            ("gemini-2.0-flash", Medium, None),
            ("gemini-2.5-flash-image", High, None),
            ("gemma-4-27b-it", High, None),
            ("gemini-2.5-flash", Off, Some(json!({"thinkingBudget": 0}))),
            ("gemini-2.5-pro", Off, Some(json!({"thinkingBudget": 128}))),
            ("gemini-2.5-pro", Low, budget(1024)),
            ("gemini-2.5-flash-lite-preview-09-2025", Medium, budget(-1)),
            ("gemini-2.5-flash", Max, budget(24_576)),
            ("gemini-2.5-pro", Max, budget(32_768)),
            ("gemini-3-pro-preview", Medium, level("HIGH")),
            ("gemini-3.8-flash", Medium, level("MEDIUM")),
            ("gemini-4-argon", Off, level("LOW")),
            ("gemini-4-argon", Max, level("HIGH")),
            ("gemini-flash-latest", Low, level("LOW")),
        ];
        for (model, effort, expected) in table {
            assert_eq!(Family::of(model).thinking.config(effort), expected, "{model} {effort:?}");
        }
    }

    #[test]
    fn only_models_from_the_third_generation_on_want_signatures() {
        for (model, wants) in [
            ("gemini-3-flash-preview", true),
            ("gemini-4-argon", true),
            ("gemini-10", true),
            ("gemini-2.5-pro", false),
            ("gemini-2.0-flash", false),
            ("gemma-4-27b-it", false),
        ] {
            assert_eq!(Family::of(model).wants_signatures, wants, "{model}");
        }
    }
}
