//! In what the servers that speak OpenAI's API differ, as data.

use std::{borrow::Cow, collections::BTreeMap};

use agent_runner_core::llm::{Capabilities, ReasoningEffort};
use serde_json::{Map, Value, json};

use crate::llm::call_ids::CallIdRule;

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

/// What nobody said of a model, as a constant.
const UNKNOWN: Capabilities = Capabilities {
    tools: None,
    json_schema: None,
    schema_with_tools: None,
    vision: None,
    reasoning: None,
    context_window: None,
    max_output: None,
};

/// Services by their domains, and the names of their profiles.
const SERVICES: [(&str, &str); 9] = [
    ("api.openai.com", "openai"),
    ("openai.azure.com", "azure"),
    ("services.ai.azure.com", "azure"),
    ("cognitiveservices.azure.com", "azure"),
    ("openrouter.ai", "openrouter"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral"),
    ("api.x.ai", "xai"),
];

impl Profile {
    /// Any server. Asks for nothing that few know, and reads whatever any of them sends.
    #[must_use]
    pub const fn compatible() -> Self {
        Self {
            name: Cow::Borrowed("compatible"),
            reasoning_fields: &[ReasoningField::ReasoningContent, ReasoningField::Reasoning],
            echo: Echo::WithToolCalls,
            echo_empty: false,
            effort: Effort::Unsupported,
            output_limit: OutputLimit::MaxTokens,
            ask_usage: true,
            call_ids: CallIdRule::Any,
            instructions: InstructionRole::System,
            user_after_tool: true,
            strict_schemas: true,
            tells_cost: false,
            capabilities: Capabilities {
                json_schema: Some(true),
                schema_with_tools: Some(true),
                ..UNKNOWN
            },
            extra: BTreeMap::new(),
        }
    }

    /// OpenAI.
    #[must_use]
    pub fn openai() -> Self {
        Self {
            name: Cow::Borrowed("openai"),
            // Its chat completions show no reasoning.
            echo: Echo::Never,
            effort: Effort::Word(["none", "low", "medium", "high", "max"]),
            output_limit: OutputLimit::MaxCompletionTokens,
            instructions: InstructionRole::Developer,
            ..Self::compatible()
        }
    }

    /// Azure's OpenAI service.
    #[must_use]
    pub fn azure() -> Self {
        Self {
            name: Cow::Borrowed("azure"),
            // Models of an older API version do not know the newer role.
            instructions: InstructionRole::System,
            ..Self::openai()
        }
    }

    /// The server of llama.cpp.
    #[must_use]
    pub fn llama_cpp() -> Self {
        Self {
            name: Cow::Borrowed("llama.cpp"),
            // Its grammar is either that of the schema or that of the tools.
            capabilities: Capabilities {
                json_schema: Some(true),
                schema_with_tools: Some(false),
                ..UNKNOWN
            },
            strict_schemas: false,
            ..Self::compatible()
        }
    }

    /// vLLM, which renamed its reasoning field.
    #[must_use]
    pub fn vllm() -> Self {
        Self {
            name: Cow::Borrowed("vllm"),
            reasoning_fields: &[ReasoningField::Reasoning, ReasoningField::ReasoningContent],
            effort: Effort::Word(["none", "low", "medium", "high", "high"]),
            capabilities: Capabilities { json_schema: Some(true), ..UNKNOWN },
            ..Self::compatible()
        }
    }

    /// LM Studio.
    #[must_use]
    pub fn lmstudio() -> Self {
        Self {
            name: Cow::Borrowed("lmstudio"),
            capabilities: Capabilities { json_schema: Some(true), ..UNKNOWN },
            ..Self::compatible()
        }
    }

    /// `OpenRouter`, which tells the price of each call.
    #[must_use]
    pub fn openrouter() -> Self {
        Self {
            name: Cow::Borrowed("openrouter"),
            reasoning_fields: &[ReasoningField::Reasoning, ReasoningField::ReasoningContent],
            echo: Echo::Always,
            effort: Effort::Word(["none", "low", "medium", "high", "max"]),
            tells_cost: true,
            ..Self::compatible()
        }
    }

    /// `DeepSeek`, which refuses a conversation whose calls lack their reasoning.
    #[must_use]
    pub fn deepseek() -> Self {
        Self {
            name: Cow::Borrowed("deepseek"),
            echo_empty: true,
            effort: Effort::Switch(["none", "low", "high", "high", "max"]),
            strict_schemas: false,
            capabilities: Capabilities {
                tools: Some(true),
                json_schema: Some(false),
                schema_with_tools: Some(false),
                ..UNKNOWN
            },
            ..Self::compatible()
        }
    }

    /// Groq, which constrains no reply that is streamed.
    #[must_use]
    pub fn groq() -> Self {
        Self {
            name: Cow::Borrowed("groq"),
            reasoning_fields: &[ReasoningField::Reasoning],
            echo: Echo::Never,
            effort: Effort::Word(["none", "low", "medium", "high", "high"]),
            output_limit: OutputLimit::MaxCompletionTokens,
            capabilities: Capabilities {
                json_schema: Some(false),
                schema_with_tools: Some(false),
                ..UNKNOWN
            },
            ..Self::compatible()
        }
    }

    /// Mistral, which is strict about what it does not know.
    #[must_use]
    pub fn mistral() -> Self {
        Self {
            name: Cow::Borrowed("mistral"),
            echo: Echo::Never,
            ask_usage: false,
            call_ids: CallIdRule::NineAlphanumerics,
            user_after_tool: false,
            capabilities: Capabilities { tools: Some(true), json_schema: Some(true), ..UNKNOWN },
            ..Self::compatible()
        }
    }

    /// xAI.
    #[must_use]
    pub fn xai() -> Self {
        Self {
            name: Cow::Borrowed("xai"),
            echo: Echo::Never,
            effort: Effort::Word(["none", "low", "medium", "high", "high"]),
            output_limit: OutputLimit::MaxCompletionTokens,
            ..Self::compatible()
        }
    }

    /// Every one that has a name.
    #[must_use]
    pub fn all() -> [Self; 11] {
        [
            Self::compatible(),
            Self::openai(),
            Self::azure(),
            Self::llama_cpp(),
            Self::vllm(),
            Self::lmstudio(),
            Self::openrouter(),
            Self::deepseek(),
            Self::groq(),
            Self::mistral(),
            Self::xai(),
        ]
    }

    /// The one that people call so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|profile| profile.name == name)
    }

    /// The one of the service at `host`; [`Profile::compatible`] for a host that nobody knows.
    #[must_use]
    pub fn of_host(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        let within = |domain: &str| {
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let found = SERVICES.iter().find(|(domain, _)| within(domain));
        found.and_then(|(_, name)| Self::named(name)).unwrap_or_default()
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::compatible()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_and_every_service_by_its_host() {
        for profile in Profile::all() {
            assert_eq!(Profile::named(&profile.name), Some(profile));
        }
        assert_eq!(Profile::named("nobody"), None);
        let table = [
            ("api.openai.com", "openai"),
            ("eu.api.openai.com", "openai"),
            ("mine.openai.azure.com", "azure"),
            ("openrouter.ai", "openrouter"),
            ("API.DeepSeek.com", "deepseek"),
            ("api.groq.com", "groq"),
            ("api.mistral.ai", "mistral"),
            ("eu.api.x.ai", "xai"),
            ("api.openai.com.evil.example", "compatible"),
            ("notapi.x.ai", "compatible"),
            ("127.0.0.1", "compatible"),
            ("", "compatible"),
        ];
        for (host, name) in table {
            assert_eq!(Profile::of_host(host).name, name, "{host}");
        }
    }

    #[test]
    fn an_effort_is_a_word_a_switch_or_nothing() {
        let fields = |effort: Effort, how| effort.fields(how).map(Value::Object);
        let word = Profile::openai().effort;
        assert_eq!(fields(word, ReasoningEffort::Off), Some(json!({"reasoning_effort": "none"})));
        assert_eq!(fields(word, ReasoningEffort::Max), Some(json!({"reasoning_effort": "max"})));
        let switch = Profile::deepseek().effort;
        assert_eq!(
            fields(switch, ReasoningEffort::Off),
            Some(json!({"thinking": {"type": "disabled"}}))
        );
        assert_eq!(
            fields(switch, ReasoningEffort::Medium),
            Some(json!({"thinking": {"type": "enabled"}, "reasoning_effort": "high"}))
        );
        assert_eq!(fields(Effort::Unsupported, ReasoningEffort::High), None);
    }
}
