//! What is known of the generations of models, as data. What the service itself says of a model
//! counts more.

use agent_runner_core::llm::{Capabilities, ModelInfo};
use serde_json::Value;

use super::wire::Model;

/// What a generation takes as `thinking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Nothing.
    Never,
    /// A budget of tokens; without it the model does not think.
    Budget,
    /// The model decides; without the field it does not think.
    OnRequest,
    /// The model decides, unless told not to.
    ByDefault,
    /// The model decides; at least it thinks between its tool calls.
    BetweenTools,
    /// The model decides, and cannot be told not to.
    Always,
    /// Nobody knows; newer models have never refused to decide for themselves.
    Unknown,
}

/// The levels of `output_config.effort` that a generation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Efforts {
    /// None.
    Never,
    /// `low` to `high`.
    ToHigh,
    /// `low` to `max`.
    ToMax,
}

/// A generation of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) thinking: Thinking,
    pub(super) efforts: Efforts,
    /// Whether the text of its thinking is empty unless asked for.
    pub(super) silent: bool,
    /// Whether it can be held to a JSON Schema, where that is known.
    pub(super) schema: Option<bool>,
    /// Most tokens of a reply, where that is known.
    pub(super) max_output: Option<u64>,
}

/// A model that is not listed: newer than this table, or of another maker whose server speaks this
/// API. It is sent nothing that a generation since 5.5 refuses.
const UNKNOWN: Generation = Generation {
    thinking: Thinking::Unknown,
    efforts: Efforts::ToMax,
    silent: true,
    schema: None,
    max_output: None,
};

const fn generation(
    thinking: Thinking,
    efforts: Efforts,
    schema: Option<bool>,
    max_output: u64,
) -> Generation {
    let max_output = Some(max_output);
    Generation { thinking, efforts, silent: false, schema, max_output }
}

const fn silent(thinking: Thinking, schema: Option<bool>) -> Generation {
    Generation { silent: true, ..generation(thinking, Efforts::ToMax, schema, 128_000) }
}

/// The generations by the beginning of their models' ids, which a date may follow.
const TABLE: [(&str, Generation); 25] = [
    ("claude-fable-5-1", silent(Thinking::Always, None)),
    ("claude-fable-5", silent(Thinking::Always, Some(false))),
    ("claude-mythos-5-1", silent(Thinking::Always, None)),
    ("claude-mythos-5", silent(Thinking::Always, None)),
    ("claude-opus-5-5", silent(Thinking::Always, Some(true))),
    ("claude-sonnet-5-5", silent(Thinking::BetweenTools, Some(true))),
    ("claude-haiku-5-5", silent(Thinking::Always, Some(true))),
    ("claude-opus-5", silent(Thinking::ByDefault, Some(true))),
    ("claude-sonnet-5", silent(Thinking::ByDefault, Some(true))),
    ("claude-opus-4-8", silent(Thinking::OnRequest, Some(true))),
    ("claude-opus-4-7", silent(Thinking::OnRequest, Some(true))),
    ("claude-opus-4-6", generation(Thinking::OnRequest, Efforts::ToMax, Some(true), 128_000)),
    ("claude-sonnet-4-6", generation(Thinking::OnRequest, Efforts::ToMax, Some(true), 64_000)),
    ("claude-opus-4-5", generation(Thinking::Budget, Efforts::ToHigh, Some(true), 64_000)),
    ("claude-sonnet-4-5", generation(Thinking::Budget, Efforts::Never, Some(true), 64_000)),
    ("claude-haiku-4-5", generation(Thinking::Budget, Efforts::Never, Some(true), 64_000)),
    ("claude-opus-4-1", generation(Thinking::Budget, Efforts::Never, None, 32_000)),
    ("claude-opus-4-0", generation(Thinking::Budget, Efforts::Never, Some(false), 32_000)),
    ("claude-opus-4", generation(Thinking::Budget, Efforts::Never, Some(false), 32_000)),
    ("claude-sonnet-4-0", generation(Thinking::Budget, Efforts::Never, Some(false), 64_000)),
    ("claude-sonnet-4", generation(Thinking::Budget, Efforts::Never, Some(false), 64_000)),
    ("claude-3-7-sonnet", generation(Thinking::Budget, Efforts::Never, Some(false), 64_000)),
    ("claude-3-5-sonnet", generation(Thinking::Never, Efforts::Never, Some(false), 8_192)),
    ("claude-3-5-haiku", generation(Thinking::Never, Efforts::Never, Some(false), 8_192)),
    ("claude-3-haiku", generation(Thinking::Never, Efforts::Never, Some(false), 4_096)),
];

/// Shortest number that is a date (`20250929`) and no part of a version.
const DATE_DIGITS: usize = 8;

/// The generation of a model. A version that is not listed is no listed one: `claude-opus-5-9` is
/// not `claude-opus-5`.
pub(super) fn generation_of(model: &str) -> Generation {
    let is_listed = |name: &str| {
        let Some(rest) = model.strip_prefix(name) else { return false };
        let Some(rest) = rest.strip_prefix(['-', '@']) else { return rest.is_empty() };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits == 0 || digits >= DATE_DIGITS
    };
    TABLE
        .iter()
        .find_map(|(name, generation)| is_listed(name).then_some(*generation))
        .unwrap_or(UNKNOWN)
}

impl Generation {
    /// What its models can do. Every one takes tools, and a schema beside them if it takes one.
    pub(super) const fn capabilities(self) -> Capabilities {
        let reasoning = match self.thinking {
            Thinking::Unknown => None,
            Thinking::Never => Some(false),
            _ => Some(true),
        };
        Capabilities {
            tools: Some(true),
            json_schema: self.schema,
            schema_with_tools: self.schema,
            vision: None,
            reasoning,
            context_window: None,
            max_output: self.max_output,
        }
    }
}

/// What the service says of a model; `None` for one that it no longer serves.
pub(super) fn info(model: &Model) -> Option<ModelInfo> {
    if model.lifecycle.as_ref().is_some_and(|state| state == "retired") {
        return None;
    }
    // A capability says whether it is supported, alone or with more.
    let can = |name: &str| {
        let said = model.capabilities.as_ref()?.get(name)?;
        said.as_bool().or_else(|| said.get("supported")?.as_bool())
    };
    let tokens = |said: &Option<Value>| said.as_ref().and_then(Value::as_u64).filter(|n| *n > 0);
    let said = Capabilities {
        tools: None,
        json_schema: can("structured_outputs"),
        schema_with_tools: can("structured_outputs"),
        vision: can("image_input"),
        reasoning: can("thinking"),
        context_window: tokens(&model.max_input_tokens),
        max_output: tokens(&model.max_tokens),
    };
    let capabilities = said.or(generation_of(&model.id).capabilities());
    Some(ModelInfo { id: model.id.clone(), capabilities })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_of_the_generation_that_its_whole_version_names() {
        let table = [
            ("claude-opus-5-5", Thinking::Always),
            ("claude-opus-5", Thinking::ByDefault),
            ("claude-opus-5-9", UNKNOWN.thinking),
            ("claude-sonnet-5-5", Thinking::BetweenTools),
            ("claude-sonnet-4-5-20250929", Thinking::Budget),
            ("claude-opus-4-20250514", Thinking::Budget),
            ("claude-sonnet-4@20250514", Thinking::Budget),
            ("claude-opus-4-6-latest", Thinking::OnRequest),
            ("claude-3-5-haiku-latest", Thinking::Never),
            ("qwen3", UNKNOWN.thinking),
        ];
        for (model, thinking) in table {
            assert_eq!(generation_of(model).thinking, thinking, "{model}");
        }
        assert_eq!(generation_of("claude-opus-5-9"), UNKNOWN);
    }

    #[test]
    fn what_the_service_says_counts_more_than_the_table() {
        let model = |json: &str| info(&serde_json::from_str(json).unwrap());
        let said = model(
            r#"{"id": "claude-3-haiku-20240307", "max_input_tokens": 7, "max_tokens": null,
                "capabilities": {"structured_outputs": {"supported": true}, "thinking": true}}"#,
        );
        let said = said.unwrap().capabilities;
        assert_eq!((said.json_schema, said.reasoning), (Some(true), Some(true)));
        assert_eq!((said.context_window, said.max_output), (Some(7), Some(4_096)));
        assert_eq!((said.vision, said.tools), (None, Some(true)));
        assert_eq!(model(r#"{"id": "x", "lifecycle": "retired"}"#), None);
        assert!(model(r#"{"id": "x", "lifecycle": "deprecated", "capabilities": 3}"#).is_some());
    }
}
