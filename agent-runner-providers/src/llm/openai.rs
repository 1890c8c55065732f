//! OpenAI's chat completions API and the many servers that speak it: llama.cpp, vLLM, LM Studio,
//! `OpenRouter`, Groq, `DeepSeek`, Mistral and others.

mod calls;
mod decode;
mod details;
mod embed;
mod encode;
mod error;
mod frames;
mod profile;
mod responses;
mod wire;

use std::borrow::Cow;

use agent_runner_core::llm::{
    BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
    ProviderError, SendState,
};
use async_trait::async_trait;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::Value;

pub use self::profile::{
    Echo, Effort, EffortWords, InstructionRole, OutputLimit, Profile, ReasoningField,
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

/// Talks to a server with OpenAI's chat completions API.
///
/// `extra` of a request goes into the body as it is; a field that is `null` there is taken out of
/// the body, for servers that refuse what others need (`"stream_options": null`).
#[derive(Debug)]
pub struct OpenAiProvider {
    http: HttpClient,
    api: OpenAiApi,
    profile: Profile,
    /// What the operator says, in place of what the profile says.
    capabilities: Option<Capabilities>,
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
        Ok(Self { http, api: OpenAiApi::default(), profile, capabilities: None })
    }

    /// With another id, so that a program can have several of them.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.http = self.http.with_id(id);
        self
    }

    /// With what its models can do, which this API does not tell. By default what the profile says.
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

    fn said(&self) -> Capabilities {
        self.capabilities.unwrap_or(self.profile.capabilities)
    }

    fn info(&self, model: &Value) -> Option<ModelInfo> {
        // vLLM, OpenRouter and llama.cpp say how long a conversation may be, each in its own field.
        let window = ["/max_model_len", "/context_length", "/meta/n_ctx"]
            .into_iter()
            .find_map(|path| model.pointer(path)?.as_u64());
        let mut capabilities = self.said();
        capabilities.context_window = capabilities.context_window.or(window);
        Some(ModelInfo { id: model.get("id")?.as_str()?.to_owned(), capabilities })
    }
}

type Encode = fn(&LlmRequest, &ToolNames, &Profile, &str) -> Result<Encoded, Fault>;

#[async_trait]
impl LlmProvider for OpenAiProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        self.said()
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
        let models = document.as_ref().and_then(|list| list.get("data")?.as_array());
        models
            .map(|models| models.iter().filter_map(|model| self.info(model)).collect())
            .ok_or_else(|| body.fault(Fault::malformed("the list of models cannot be read", &text)))
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
        let answer = self.http.send(Method::POST, path, Some(&encoded.body), cx).await?;
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
