//! The providers a program has, by their ids, and what is known of their models.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{Capabilities, FactSource, KnownCapabilities, LlmProvider, ModelCatalog, Price};
use crate::agent::ModelName;

/// The providers a program has.
#[derive(Debug, Clone, Default)]
pub struct ProviderRegistry {
    providers: BTreeMap<String, Arc<dyn LlmProvider>>,
    operator: Option<Arc<dyn ModelCatalog>>,
    catalog: Option<Arc<dyn ModelCatalog>>,
}

impl ProviderRegistry {
    /// Adds a provider under its own id; the last one of an id wins.
    pub fn add(&mut self, provider: Arc<dyn LlmProvider>) {
        self.providers.insert(provider.id().to_owned(), provider);
    }

    /// What the operator says of models: believed before anybody else.
    pub fn set_operator(&mut self, catalog: Arc<dyn ModelCatalog>) {
        self.operator = Some(catalog);
    }

    /// A list of models: believed where neither the operator nor the provider says anything.
    pub fn set_catalog(&mut self, catalog: Arc<dyn ModelCatalog>) {
        self.catalog = Some(catalog);
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

    /// What a model can do: what the operator says, else its provider, else the catalog, else what
    /// is usual.
    #[must_use]
    pub fn capabilities(&self, model: &ModelName) -> KnownCapabilities {
        let said = self.get(model.provider()).map(|it| it.capabilities(model.model()));
        self.capabilities_with(model, said.unwrap_or_default())
    }

    /// The same, with what the provider just said of the model.
    #[must_use]
    pub fn capabilities_with(
        &self,
        model: &ModelName,
        provider: Capabilities,
    ) -> KnownCapabilities {
        let said = |catalog: &Option<Arc<dyn ModelCatalog>>| {
            catalog.as_ref().map(|catalog| catalog.capabilities(model))
        };
        KnownCapabilities::of(
            [
                (FactSource::Operator, said(&self.operator)),
                (FactSource::Provider, Some(provider)),
                (FactSource::Catalog, said(&self.catalog)),
            ]
            .into_iter()
            .filter_map(|(source, said)| said.map(|said| (source, said))),
        )
    }

    /// What a model costs at that moment; `None` when nobody knows.
    #[must_use]
    pub fn price(&self, model: &ModelName, at: Timestamp) -> Option<Price> {
        [&self.operator, &self.catalog].into_iter().flatten().find_map(|list| list.price(model, at))
    }
}
