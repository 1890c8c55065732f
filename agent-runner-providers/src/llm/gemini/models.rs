//! Which models there are, and what the service says of each.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use agent_runner_core::llm::{
    CallCx, Capabilities, ErrorKind, LlmProvider as _, ModelInfo, ProviderError,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::{
    GeminiProvider, Question, plain, rest,
    wire::{Model, Page},
};

/// Pages read. The service has one or two; bounds one that goes on and on.
const PAGES_MAX: usize = 32;
/// Models remembered; bounds the memory.
const KNOWN_MAX: usize = 4096;

/// What the service said of models, without what their names say.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<String, Capabilities>>);

impl Known {
    /// What it said of a model without its `models/`.
    pub(super) fn get(&self, model: &str) -> Option<Capabilities> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }

    /// Remembers what it said.
    pub(super) fn keep(&self, model: &str, capabilities: Capabilities) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(model.to_owned(), capabilities);
    }
}

/// The models that answer conversations. What the service says of them is remembered.
pub(super) async fn list(
    provider: &GeminiProvider,
    cx: &CallCx,
) -> Result<Vec<ModelInfo>, ProviderError> {
    let started = Instant::now();
    let mut found = Vec::new();
    let mut path = "models?pageSize=1000".to_owned();
    for _ in 0..PAGES_MAX {
        let what = "the list of models";
        let question = Question { path: &path, body: None, model: None, what };
        let page: Page = provider.ask(question, &rest(cx, started)).await?;
        let models = page.models.into_iter().flatten();
        found.extend(models.filter_map(|model| info(provider, model)));
        let Some(token) = page.next_page_token.filter(|token| !token.is_empty()) else {
            return Ok(found);
        };
        let token = utf8_percent_encode(&token, NON_ALPHANUMERIC);
        path = format!("models?pageSize=1000&pageToken={token}");
    }
    let message = format!("the list of models has more than {PAGES_MAX} pages");
    Err(provider.told(ErrorKind::MalformedResponse, message))
}

fn info(provider: &GeminiProvider, model: Model) -> Option<ModelInfo> {
    let methods = model.supported_generation_methods.unwrap_or_default();
    if !methods.iter().any(|method| method == "generateContent") {
        return None;
    }
    let name = model.name.filter(|name| !plain(name).is_empty())?;
    let id = plain(&name).to_owned();
    let said = Capabilities {
        // The service bounds the two sides each on its own.
        context_window: match (model.input_token_limit, model.output_token_limit) {
            (Some(input), output) => Some(input.saturating_add(output.unwrap_or(0))),
            (None, _) => None,
        },
        max_output: model.output_token_limit,
        reasoning: model.thinking,
        ..Capabilities::default()
    };
    provider.known.keep(&id, said);
    Some(ModelInfo { capabilities: provider.capabilities(&id), id })
}
