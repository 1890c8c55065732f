//! The providers a program has, by their ids.

use std::{collections::BTreeMap, sync::Arc};

use super::LlmProvider;

/// The providers a program has.
#[derive(Debug, Clone, Default)]
pub struct ProviderRegistry {
    providers: BTreeMap<String, Arc<dyn LlmProvider>>,
}

impl ProviderRegistry {
    /// Adds a provider under its own id; the last one of an id wins.
    pub fn add(&mut self, provider: Arc<dyn LlmProvider>) {
        self.providers.insert(provider.id().to_owned(), provider);
    }

    /// The provider of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<dyn LlmProvider>> {
        self.providers.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn LlmProvider>> {
        self.providers.values()
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }
}
