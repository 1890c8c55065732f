//! In what the servers that speak OpenAI's API differ, as data.

mod table;

use std::{borrow::Cow, collections::BTreeMap};

use agent_runner_core::llm::{Capabilities, ReasoningEffort};
use serde_json::{Map, Value, json};

use crate::llm::call_ids::{IdRule, is_short};

/// In what a server differs from others that speak the same API. Nothing else decides by server.
///
/// Begin with a named one and change what is different:
///
/// ```
/// use agent_runner_providers::Profile;
///
/// let mut profile = Profile::named("vllm").unwrap();
/// profile.ask_usage = false;
/// profile.extra.insert("top_k".to_owned(), 20.into());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// What people call it.
    pub name: Cow<'static, str>,
    /// Where replies carry the model's reasoning; the first field that is there counts.
    pub reasoning_fields: &'static [ReasoningField],
    /// When reasoning goes back with the turn that it belongs to.
    pub echo: Echo,
    /// Whether a turn that must carry reasoning carries an empty one when there is none.
    pub echo_empty: bool,
    /// Where the request says how much to reason.
    pub effort: Effort,
    /// The field for the output limit.
    pub output_limit: OutputLimit,
    /// Whether usage has to be asked for with `stream_options`, which some servers refuse.
    pub ask_usage: bool,
    /// Which ids of tool calls it takes back.
    pub call_ids: CallIdRule,
    /// Who gives instructions.
    pub instructions: InstructionRole,
    /// Whether a user may speak right after a tool. Where not, the model is made to say a word.
    pub user_after_tool: bool,
    /// Whether schemas can be marked as strict.
    pub strict_schemas: bool,
    /// Whether `usage.cost` is the price of the call in US dollars.
    pub tells_cost: bool,
    /// What all models behind it can do. `None` means that it depends.
    pub capabilities: Capabilities,
    /// Fields of every request's body; a request's own `extra` wins over them.
    pub extra: BTreeMap<String, Value>,
}

/// A field with a model's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningField {
    /// `reasoning_content`
    ReasoningContent,
    /// `reasoning`
    Reasoning,
}

impl ReasoningField {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReasoningContent => "reasoning_content",
            Self::Reasoning => "reasoning",
        }
    }

    /// The field of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::ReasoningContent, Self::Reasoning].into_iter().find(|field| field.as_str() == name)
    }
}

/// When a model's reasoning is sent back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Echo {
    /// Not at all.
    Never,
    /// With turns that call tools.
    WithToolCalls,
    /// With every turn.
    Always,
}

/// The words for [`ReasoningEffort::Off`], `Low`, `Medium`, `High` and `Max`.
pub type EffortWords = [&'static str; 5];

/// Where a request says how much to reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effort {
    /// Nowhere: the wish is left out, and the reply has a notice of it.
    Unsupported,
    /// In `reasoning_effort`.
    Word(EffortWords),
    /// In `reasoning_effort`, and `thinking` says whether at all.
    Switch(EffortWords),
}

impl Effort {
    /// The word for it.
    pub(super) fn word(self, effort: ReasoningEffort) -> Option<&'static str> {
        let (Self::Word(words) | Self::Switch(words)) = self else { return None };
        let [off, low, medium, high, max] = words;
        Some(match effort {
            ReasoningEffort::Off => off,
            ReasoningEffort::Low => low,
            ReasoningEffort::Medium => medium,
            ReasoningEffort::High => high,
            ReasoningEffort::Max => max,
        })
    }

    /// The fields of a chat completion that ask for it.
    pub(super) fn fields(self, effort: ReasoningEffort) -> Option<Map<String, Value>> {
        let mut fields = Map::new();
        if let Self::Switch(_) = self {
            let off = effort == ReasoningEffort::Off;
            let state = if off { "disabled" } else { "enabled" };
            fields.insert("thinking".to_owned(), json!({"type": state}));
            if off {
                return Some(fields);
            }
        }
        fields.insert("reasoning_effort".to_owned(), self.word(effort)?.into());
        Some(fields)
    }
}

/// The field for the output limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputLimit {
    /// `max_tokens`, the only one that many servers know.
    MaxTokens,
    /// `max_completion_tokens`, with which OpenAI replaced it.
    MaxCompletionTokens,
}

impl OutputLimit {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// Which ids of tool calls a server takes back. Ids that do not fit are replaced, the same one by
/// the same one as a conversation grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallIdRule {
    /// Any of at most 40 bytes.
    Any,
    /// Nine ASCII letters and digits.
    NineAlphanumerics,
}

impl CallIdRule {
    pub(super) fn rule(self) -> IdRule {
        match self {
            Self::Any => is_short,
            Self::NineAlphanumerics => {
                |id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
            }
        }
    }
}

/// Who gives instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstructionRole {
    /// `system`
    System,
    /// `developer`
    Developer,
}

impl InstructionRole {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
        }
    }
}
