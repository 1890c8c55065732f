//! The providers that the configuration asks for, and what is known of their models.

#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use agent_runner::{
    engine::EngineBuilder,
    http::Unconfigured,
    llm::{ErrorKind, LlmLayer as _, LlmProvider, ModelCatalog, ProviderError, ProviderRegistry},
    providers::{
        AnthropicProvider, GeminiProvider, GenaiPrices, ModelsFile, OllamaProvider, OpenAiApi,
        OpenAiProvider, Profile, ScriptedProvider, Timeouts,
        layer::{BreakerOptions, FallbackProvider, LimitOptions},
    },
};
use anyhow::Context as _;
use secrecy::SecretString;

use crate::config::{Config, ConfigError, Endpoint, Key, Kind, Limits};

/// Largest script or file about models that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// `prices_as` of a provider whose models have no listed price.
const NO_PRICES: &str = "none";

/// The providers of this process.
#[derive(Debug, Clone)]
pub(crate) struct Providers {
    /// Those that can be asked.
    pub(crate) all: Vec<Arc<dyn LlmProvider>>,
    /// Those that lack something.
    pub(crate) unconfigured: Vec<Unconfigured>,
    prices: Arc<GenaiPrices>,
    models: Option<Arc<ModelsFile>>,
}

impl Providers {
    /// Builds them; asks nobody.
    pub(crate) fn of(config: &Config) -> Result<Self, ConfigError> {
        let mut building = Building::default();
        building.services(config)?;
        building.endpoints(config)?;
        let models = match &config.models_file {
            Some(path) => Some(Arc::new(models_file(path).map_err(|error| {
                let place = config.given.place("models_file");
                ConfigError::new(format!("{place}: {}: {error:#}", path.display()))
            })?)),
            None => None,
        };
        let Building { all, unconfigured, prices, .. } = building;
        let all = all.into_values().collect();
        Ok(Self { all, unconfigured, prices: Arc::new(prices), models })
    }

    /// The engine with them.
    pub(crate) fn add_to(&self, mut builder: EngineBuilder) -> EngineBuilder {
        for provider in &self.all {
            builder = builder.shared_provider(Arc::clone(provider));
        }
        if let Some(models) = &self.models {
            builder = builder.operator_catalog(Arc::clone(models) as _);
        }
        builder.catalog(Arc::clone(&self.prices) as _)
    }

    /// The same as the engine has them, for a program without one.
    pub(crate) fn registry(&self) -> ProviderRegistry {
        let mut registry = ProviderRegistry::default();
        for provider in &self.all {
            registry.add(Arc::clone(provider));
        }
        if let Some(models) = &self.models {
            registry.set_operator(Arc::clone(models) as Arc<dyn ModelCatalog>);
        }
        registry.set_catalog(Arc::clone(&self.prices) as _);
        registry
    }
}

/// Providers as they are put together.
#[derive(Default)]
struct Building {
    all: BTreeMap<String, Arc<dyn LlmProvider>>,
    unconfigured: Vec<Unconfigured>,
    prices: GenaiPrices,
}

impl Building {
    fn add(&mut self, provider: Arc<dyn LlmProvider>) {
        self.all.insert(provider.id().to_owned(), provider);
    }

    fn lacks(&mut self, name: &str, hint: String) {
        self.unconfigured.push(Unconfigured::new(name, hint));
    }

    fn prices_at(&mut self, name: &str, base_url: &str) {
        self.prices = std::mem::take(&mut self.prices).with_address(name, base_url);
    }

    /// The providers that have settings of their own: Ollama and scripts always, the others when
    /// they are configured.
    fn services(&mut self, config: &Config) -> Result<(), ConfigError> {
        let claimed = |name: &str| config.endpoints.iter().any(|endpoint| endpoint.name == name);
        let settings = [
            (Kind::Anthropic, &config.anthropic_base_url, &config.anthropic_api_key),
            (Kind::Gemini, &config.gemini_base_url, &config.gemini_api_key),
            (Kind::Ollama, &config.ollama_host, &config.ollama_api_key),
            (Kind::OpenAi, &config.openai_base_url, &config.openai_api_key),
        ];
        for (kind, base_url, key) in settings {
            let name = kind.as_str();
            let configured = base_url.is_some() || key.is_some();
            if claimed(name) {
                if configured {
                    let (url, key) = setting_keys(kind);
                    let place = config.given.place(if base_url.is_some() { url } else { key });
                    return Err(ConfigError::new(format!(
                        "{place} and a table of [[providers]] both say what `{name}` is; keep one"
                    )));
                }
                continue;
            }
            if !configured && kind != Kind::Ollama {
                self.lacks(name, how_to_have(kind));
                continue;
            }
            let server = Server::new(kind, name, base_url.as_deref(), key.clone());
            let (url, key) = setting_keys(kind);
            let provider = server.build().map_err(|error| {
                let wrong = if error.kind() == ErrorKind::Auth { key } else { url };
                ConfigError::new(format!("{}: {error}", config.given.place(wrong)))
            })?;
            self.prices_at(name, server.base_url);
            self.add(provider);
        }
        if !claimed(Kind::Scripted.as_str()) {
            let scripted = scripted(config.scripts_dir.as_deref()).map_err(|error| {
                ConfigError::new(format!("{}: {error:#}", config.given.place("scripts_dir")))
            })?;
            self.add(Arc::new(scripted));
        }
        Ok(())
    }
}

impl Building {
    /// The tables of the file; fallbacks last, because they are made of the others.
    fn endpoints(&mut self, config: &Config) -> Result<(), ConfigError> {
        let (chains, others): (Vec<&Endpoint>, Vec<&Endpoint>) =
            config.endpoints.iter().partition(|endpoint| endpoint.kind == Kind::Fallback);
        for endpoint in others {
            if let Key::Missing(variable) = &endpoint.key {
                self.lacks(&endpoint.name, format!("set {variable} to its key"));
                continue;
            }
            let provider = self.endpoint(endpoint)?;
            self.add(limited(provider, endpoint));
        }
        let mut fallbacks = Vec::new();
        for endpoint in chains {
            match self.chain(endpoint)? {
                Some(provider) => fallbacks.push(provider),
                None => self.lacks(&endpoint.name, "none of its models has a provider".to_owned()),
            }
        }
        fallbacks.into_iter().for_each(|provider| self.add(provider));
        Ok(())
    }

    fn endpoint(&mut self, endpoint: &Endpoint) -> Result<Arc<dyn LlmProvider>, ConfigError> {
        let wrong = |what: &dyn std::fmt::Display| {
            ConfigError::new(format!("{}: {what}", endpoint.place()))
        };
        if endpoint.kind == Kind::Scripted {
            let scripted = scripted(endpoint.scripts_dir.as_deref())
                .map_err(|error| wrong(&format_args!("scripts_dir: {error:#}")))?;
            return Ok(Arc::new(scripted.with_id(endpoint.name.clone())));
        }
        let mut server = Server::new(
            endpoint.kind,
            &endpoint.name,
            endpoint.base_url.as_deref(),
            endpoint.secret(),
        );
        server.endpoint = Some(endpoint);
        match endpoint.prices_as.as_deref() {
            None => self.prices_at(&endpoint.name, server.base_url),
            Some(NO_PRICES) => {}
            Some(list) if GenaiPrices::lists().any(|known| known == list) => {
                let prices = std::mem::take(&mut self.prices);
                self.prices = prices.with(endpoint.name.clone(), list);
            }
            Some(_) => {
                let known: Vec<&str> = GenaiPrices::lists().collect();
                return Err(wrong(&format_args!(
                    "prices_as: there is no such list; there are {NO_PRICES}, {}",
                    known.join(", ")
                )));
            }
        }
        server.build().map_err(|error| wrong(&error))
    }

    /// A fallback over the providers there are; nothing when it has none of them.
    fn chain(&self, endpoint: &Endpoint) -> Result<Option<Arc<dyn LlmProvider>>, ConfigError> {
        let mut routes = Vec::new();
        for (route, models) in &endpoint.routes {
            let mut members = Vec::new();
            for model in models {
                match self.all.get(model.provider()) {
                    Some(provider) => {
                        members.push((Arc::clone(provider), model.model().to_owned()));
                    }
                    None if self.unconfigured.iter().any(|it| it.name() == model.provider()) => {}
                    None => {
                        return Err(ConfigError::new(format!(
                            "{}: routes: {model}: there is no provider `{}` that is no fallback \
                             itself",
                            endpoint.place(),
                            model.provider()
                        )));
                    }
                }
            }
            if !members.is_empty() {
                routes.push((route.clone(), members));
            }
        }
        let provider = FallbackProvider::new(endpoint.name.clone(), routes.clone());
        Ok((!routes.is_empty()).then(|| Arc::new(provider) as Arc<dyn LlmProvider>))
    }
}

/// A server to be talked to.
#[derive(Clone)]
struct Server<'a> {
    kind: Kind,
    name: &'a str,
    base_url: &'a str,
    key: Option<SecretString>,
    endpoint: Option<&'a Endpoint>,
}

impl<'a> Server<'a> {
    fn new(kind: Kind, name: &'a str, url: Option<&'a str>, key: Option<SecretString>) -> Self {
        let base_url = url.or(kind.service()).unwrap_or_default();
        Self { kind, name, base_url, key, endpoint: None }
    }

    fn build(&self) -> Result<Arc<dyn LlmProvider>, ProviderError> {
        let (url, key) = (self.base_url, self.key.clone());
        let (id, timeouts) = (self.name.to_owned(), self.timeouts());
        Ok(match self.kind {
            Kind::Anthropic => {
                Arc::new(AnthropicProvider::new(url, key)?.with_id(id).with_timeouts(timeouts)?)
            }
            Kind::Gemini => {
                Arc::new(GeminiProvider::new(url, key)?.with_id(id).with_timeouts(timeouts)?)
            }
            Kind::OpenAi => Arc::new(
                self.openai(OpenAiProvider::new(url, key)?)?.with_id(id).with_timeouts(timeouts)?,
            ),
            Kind::Ollama | Kind::Scripted | Kind::Fallback => {
                let mut provider = OllamaProvider::new(url)?.with_id(id).with_timeouts(timeouts)?;
                if let Some(key) = key {
                    provider = provider.with_key(key)?;
                }
                if let Some(tokens) = self.endpoint.and_then(|endpoint| endpoint.context_max) {
                    provider = provider.with_context_max(tokens);
                }
                Arc::new(provider)
            }
        })
    }

    fn openai(&self, mut provider: OpenAiProvider) -> Result<OpenAiProvider, ProviderError> {
        let Some(endpoint) = self.endpoint else { return Ok(provider) };
        if endpoint.responses {
            provider = provider.with_api(OpenAiApi::Responses);
        }
        let Some(name) = &endpoint.profile else { return Ok(provider) };
        let profile = Profile::named(name).ok_or_else(|| {
            let known = Profile::all();
            let known: Vec<&str> = known.iter().map(|profile| profile.name.as_ref()).collect();
            ProviderError::new(
                ErrorKind::InvalidRequest,
                self.name.to_owned(),
                format!("profile: there is no such profile; there are {}", known.join(", ")),
            )
        })?;
        Ok(provider.with_profile(profile))
    }

    fn timeouts(&self) -> Timeouts {
        let wanted = self.endpoint.map(|endpoint| endpoint.timeouts).unwrap_or_default();
        let mut timeouts = Timeouts::default();
        if let Some(connect) = wanted.connect {
            timeouts = timeouts.with_connect(connect);
        }
        if let Some(first_byte) = wanted.first_byte {
            timeouts = timeouts.with_first_byte(first_byte);
        }
        if let Some(idle) = wanted.idle {
            timeouts = timeouts.with_idle(idle);
        }
        timeouts
    }
}

/// The provider within the limits that its table sets. The breaker is outside, so that a call that
/// it refuses waits for nothing.
fn limited(mut provider: Arc<dyn LlmProvider>, endpoint: &Endpoint) -> Arc<dyn LlmProvider> {
    let limits = endpoint.limits;
    if limits != Limits::default() {
        let options = LimitOptions {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            concurrent_max: limits.max_concurrency,
            ..LimitOptions::default()
        };
        provider = options.layer(provider);
    }
    if endpoint.breaker {
        provider = BreakerOptions::default().layer(provider);
    }
    provider
}

/// The keys of the settings of a kind: its address and its key.
const fn setting_keys(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Anthropic => ("anthropic_base_url", "anthropic_api_key"),
        Kind::Gemini => ("gemini_base_url", "gemini_api_key"),
        Kind::OpenAi => ("openai_base_url", "openai_api_key"),
        Kind::Ollama | Kind::Scripted | Kind::Fallback => ("ollama_host", "ollama_api_key"),
    }
}

/// What to set in order to have a provider.
fn how_to_have(kind: Kind) -> String {
    let name = kind.as_str().to_uppercase();
    match kind {
        Kind::OpenAi => format!("set {name}_BASE_URL or {name}_API_KEY"),
        Kind::Anthropic | Kind::Gemini | Kind::Ollama | Kind::Scripted | Kind::Fallback => {
            format!("set {name}_API_KEY")
        }
    }
}

/// What has to be set in order to have the provider of that name, if it is one that this program
/// knows.
pub(crate) fn hint(name: &str) -> Option<String> {
    let kinds = [Kind::Anthropic, Kind::Gemini, Kind::OpenAi];
    kinds.into_iter().find(|kind| kind.as_str() == name).map(how_to_have)
}

fn models_file(path: &Path) -> anyhow::Result<ModelsFile> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(ModelsFile::parse(&text_of(path)?, &name)?)
}

/// A file's text, unless it is larger than such files are.
fn text_of(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path)?.len();
    anyhow::ensure!(size <= FILE_BYTES_MAX, "larger than 1 MiB");
    Ok(std::fs::read_to_string(path)?)
}

fn scripted(directory: Option<&Path>) -> anyhow::Result<ScriptedProvider> {
    let mut provider = ScriptedProvider::demo()?;
    let Some(directory) = directory else { return Ok(provider) };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    // The order decides which of two scripts of one name is refused.
    files.sort();
    for file in files {
        let place = || file.display().to_string();
        let yaml = text_of(&file).with_context(place)?;
        provider = provider.with_yaml(&yaml).with_context(place)?;
    }
    Ok(provider)
}
