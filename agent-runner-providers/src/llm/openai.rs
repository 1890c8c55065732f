//! OpenAI's two APIs and the many servers that speak the older one: llama.cpp, vLLM, LM Studio,
//! `OpenRouter`, Groq, `DeepSeek`, Mistral and others. What is special about each of them is data
//! in its [`Profile`].

#[cfg(feature = "_bench")]
pub(crate) mod bench;
mod calls;
mod decode;
mod details;
mod embed;
mod encode;
mod error;
mod frames;
mod models;
mod profile;
mod responses;
mod wire;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use agent_runner_core::llm::{
    BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
    ProviderError, SendState,
};
use async_trait::async_trait;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::Value;

pub use self::profile::{
    CallIdRule, Echo, Effort, EffortWords, InstructionRole, OutputLimit, Profile, ReasoningField,
};
use self::{
    decode::ChatReader,
    encode::Encoded,
    frames::{Frames, Origin},
    responses::ResponseReader,
};
use super::{
    Fault, json,
    names::{NameRules, ToolNames},
    stream,
};
use crate::http::{HttpClient, Timeouts, base_url};

/// The names that the API takes: `^[a-zA-Z0-9_-]{1,64}$`.
const NAMES: NameRules = NameRules { length_max: 64, also: "-", any_first: true };
/// Largest list of models read, in bytes; `OpenRouter`'s has about one megabyte.
const MODELS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Models whose abilities are remembered. More than any service lists; bounds the memory.
const KNOWN_MAX: usize = 4096;

/// Talks to a server with OpenAI's chat completions API, or its Responses API.
///
/// `extra` of a request goes into the body as it is; a field that is `null` there is taken out of
/// the body, for servers that refuse what others need (`"stream_options": null`).
///
/// A number in the arguments of a tool call that has more digits than JSON values keep here, such
/// as an integer of more than 64 bits, becomes a string of its digits, and the reply has a notice.
#[derive(Debug)]
pub struct OpenAiProvider {
    http: HttpClient,
    api: OpenAiApi,
    profile: Profile,
    /// What the operator says, in place of what the profile says.
    capabilities: Option<Capabilities>,
    /// What the service told of its models the last time they were listed.
    known: Mutex<BTreeMap<String, Capabilities>>,
}

/// Which of OpenAI's two APIs to talk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenAiApi {
    /// `/chat/completions`, which every compatible server has.
    #[default]
    ChatCompletions,
    /// `/responses`, in which OpenAI's models keep their reasoning from one call to the next.
    /// Nothing is stored at the service.
    Responses,
}

impl OpenAiProvider {
    /// A provider with the id `openai`. `base_url` is what stands before `/chat/completions`,
    /// such as `https://api.openai.com/v1`; a bare `http://host:port` means `/v1` there. Without a
    /// key no `Authorization` is sent, as local servers want it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the address is none, [`ErrorKind::Auth`] when the key
    /// cannot be a header, [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn new(base_url: &str, key: Option<SecretString>) -> Result<Self, ProviderError> {
        let base = self::base_url(base_url).map_err(|what| {
            ProviderError::new(ErrorKind::InvalidRequest, "openai", what)
                .with_sent(SendState::NotSent)
        })?;
        let base = match base.path() {
            "/" => base.join("v1/").unwrap_or(base),
            _ => base,
        };
        let profile = Profile::of_host(base.host_str().unwrap_or_default());
        let mut http = HttpClient::new("openai", base)?;
        if let Some(key) = key {
            http = http.with_key(key)?;
        }
        Ok(Self {
            http,
            api: OpenAiApi::default(),
            profile,
            capabilities: None,
            known: Mutex::default(),
        })
    }

    /// With another id, so that a program can have several of them.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.http = self.http.with_id(id);
        self
    }

    /// With what its models can do, as far as the service does not tell. By default what the profile
    /// says.
    #[must_use]
    pub const fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = Some(capabilities);
        self
    }

    /// With what is special about the server. By default [`Profile::of_host`].
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// With the other API. By default [`OpenAiApi::ChatCompletions`].
    #[must_use]
    pub const fn with_api(mut self, api: OpenAiApi) -> Self {
        self.api = api;
        self
    }

    /// What is special about the server.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// With other timeouts.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Result<Self, ProviderError> {
        self.http = self.http.with_timeouts(timeouts)?;
        Ok(self)
    }

    /// What holds of a model: what the operator says, else its service, else the profile.
    fn said(&self, told: Capabilities) -> Capabilities {
        match self.capabilities {
            Some(own) => own.or(told),
            None => told.or(self.profile.capabilities),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Capabilities>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what the service told of its models.
    fn remember(&self, models: &[ModelInfo]) {
        let told = models.iter().take(KNOWN_MAX);
        *self.known() = told.map(|model| (model.id.clone(), model.capabilities)).collect();
    }
}

type Encode = fn(&LlmRequest, &ToolNames, &Profile, &str) -> Result<Encoded, Fault>;

#[async_trait]
impl LlmProvider for OpenAiProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        let told = self.known().get(model).copied();
        self.said(told.unwrap_or_default())
    }

    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        let mut body = self.http.send(Method::GET, "models", None, cx).await?;
        if !body.is_success() {
            let refusal = body.refusal().await;
            let fault = error::refused(&refusal, None);
            return Err(refusal.into_error(fault));
        }
        let text = body.document(MODELS_BYTES_MAX).await?;
        let document: Option<Value> = json::parse(&text).ok();
        let list = document.as_ref().and_then(|list| list.get("data")?.as_array());
        let Some(list) = list else {
            return Err(body.fault(Fault::malformed("the list of models cannot be read", &text)));
        };
        let mut models: Vec<ModelInfo> = list.iter().filter_map(models::info).collect();
        self.remember(&models);
        for model in &mut models {
            model.capabilities = self.said(model.capabilities);
        }
        Ok(models)
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let names = ToolNames::of(request, NAMES);
        let (path, encode): (_, Encode) = match self.api {
            OpenAiApi::ChatCompletions => ("chat/completions", encode::body),
            OpenAiApi::Responses => ("responses", responses::body),
        };
        let encoded = encode(request, &names, &self.profile, self.id())
            .map_err(|fault| self.http.unsent(fault))?;
        let answer = self.http.send(Method::POST, path, Some(encoded.body), cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, Some(&request.model));
            return Err(refusal.into_error(fault));
        }
        let origin = Origin {
            request_id: answer.request_id(),
            notices: encoded.notices,
            ..Origin::of(request, names, self.id())
        };
        Ok(match self.api {
            OpenAiApi::ChatCompletions => {
                let reader = ChatReader::new(request, origin, &self.profile);
                stream::events(answer, Frames::new(reader))
            }
            OpenAiApi::Responses => {
                let reader = ResponseReader::new(request, origin);
                stream::events(answer, Frames::new(reader))
            }
        })
    }
}
