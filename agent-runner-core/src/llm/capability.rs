//! What models can do, and who says so.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// What a model can do. `None` means that nobody said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Takes tools and answers with tool calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Can constrain its output to a JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<bool>,
    /// Can do both in one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_with_tools: Option<bool>,
    /// Reads images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<bool>,
    /// Reasons before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    /// Most tokens of prompt and reply together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Most tokens of one reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
}

impl Capabilities {
    /// These, and where they say nothing, those of `weaker`.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            tools: self.tools.or(weaker.tools),
            json_schema: self.json_schema.or(weaker.json_schema),
            schema_with_tools: self.schema_with_tools.or(weaker.schema_with_tools),
            vision: self.vision.or(weaker.vision),
            reasoning: self.reasoning.or(weaker.reasoning),
            context_window: self.context_window.or(weaker.context_window),
            max_output: self.max_output.or(weaker.max_output),
        }
    }

    /// Whether it certainly takes tools.
    #[must_use]
    pub fn has_tools(&self) -> bool {
        self.tools == Some(true)
    }

    /// Whether it can certainly be held to a JSON Schema; with `tools`, beside tools.
    #[must_use]
    pub fn has_schema(&self, tools: bool) -> bool {
        self.json_schema == Some(true) && (!tools || self.schema_with_tools == Some(true))
    }

    /// The names of the fields that say something.
    fn said(&self) -> impl Iterator<Item = &'static str> {
        [
            ("tools", self.tools.is_some()),
            ("json_schema", self.json_schema.is_some()),
            ("schema_with_tools", self.schema_with_tools.is_some()),
            ("vision", self.vision.is_some()),
            ("reasoning", self.reasoning.is_some()),
            ("context_window", self.context_window.is_some()),
            ("max_output", self.max_output.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, said)| said.then_some(name))
    }
}

/// Who said something about a model, the most believed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FactSource {
    /// Who runs this program.
    Operator,
    /// The provider or its service.
    Provider,
    /// A catalog of models.
    Catalog,
    /// Nobody; what is usual.
    Assumed,
}

impl FactSource {
    /// The spelling used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Provider => "provider",
            Self::Catalog => "catalog",
            Self::Assumed => "assumed",
        }
    }
}

impl fmt::Display for FactSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a model can do, with who said each thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownCapabilities {
    /// What holds.
    pub capabilities: Capabilities,
    /// Who said it, by the names of the fields of [`Capabilities`].
    pub sources: BTreeMap<&'static str, FactSource>,
}

impl KnownCapabilities {
    /// What is usual when nobody says anything: a model takes tools, and nothing else is sure.
    const ASSUMED: Capabilities = Capabilities {
        tools: Some(true),
        json_schema: Some(false),
        schema_with_tools: Some(false),
        vision: Some(false),
        reasoning: Some(false),
        context_window: None,
        max_output: None,
    };

    /// Puts together what several parties say; the order of `said` is who is believed first.
    #[must_use]
    pub fn of(said: impl IntoIterator<Item = (FactSource, Capabilities)>) -> Self {
        let mut known = Self::default();
        for (source, capabilities) in said.into_iter().chain([(FactSource::Assumed, Self::ASSUMED)])
        {
            for name in capabilities.said() {
                known.sources.entry(name).or_insert(source);
            }
            known.capabilities = known.capabilities.or(capabilities);
        }
        known
    }
}

/// A model that a provider offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its id as the provider knows it.
    pub id: String,
    /// What it can do, as far as the provider says.
    pub capabilities: Capabilities,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_believed_first_wins_and_is_named() {
        let operator = Capabilities { context_window: Some(1), ..Capabilities::default() };
        let provider =
            Capabilities { context_window: Some(2), vision: Some(true), ..Capabilities::default() };
        let known = KnownCapabilities::of([
            (FactSource::Operator, operator),
            (FactSource::Provider, provider),
        ]);
        assert_eq!(known.capabilities.context_window, Some(1));
        assert_eq!(known.sources["context_window"], FactSource::Operator);
        assert_eq!(known.sources["vision"], FactSource::Provider);
        assert!(known.capabilities.has_tools());
        assert_eq!(known.sources["tools"], FactSource::Assumed);
        assert!(!known.sources.contains_key("max_output"));
    }
}
