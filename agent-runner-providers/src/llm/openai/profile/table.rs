//! The profiles that have a name.

use std::{borrow::Cow, collections::BTreeMap};

use agent_runner_core::llm::Capabilities;

use super::{CallIdRule, Echo, Effort, InstructionRole, OutputLimit, Profile, ReasoningField};

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
    use agent_runner_core::llm::ReasoningEffort;
    use serde_json::{Value, json};

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
