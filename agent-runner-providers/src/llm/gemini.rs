//! Google's Gemini API: `generateContent` and its siblings.

mod decode;
mod embed;
mod encode;
mod error;
mod family;
mod models;
mod usage;
mod wire;

use std::borrow::Cow;

use agent_runner_core::llm::{
    BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
    ProviderError, SendState,
};
use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, header::HeaderName};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::{
    decode::Decoder,
    encode::{Outgoing, Target, outgoing},
    family::{Family, Thinking},
    models::Known,
};
use super::{
    Fault,
    json::parse,
    names::{NameRules, ToolNames},
    stream,
};
use crate::http::{HttpClient, Timeouts, base_url};

/// The names that the API takes: a letter or `_`, then letters, digits and `_.:-`.
const NAMES: NameRules = NameRules { length_max: 128, also: ".:-", any_first: false };
/// The header of the key; as a parameter of the URL it would be written into logs.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-goog-api-key");
/// Largest document read that is no reply, in bytes. A hundred vectors of 3,072 numbers, printed,
/// have about six megabytes.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is kept of the service's with a part, by the service's own names: the signature, the id
/// of a call, and with what a paused reply goes on.
const SIGNATURE: &str = "thoughtSignature";
const CALL_ID: &str = "id";
const CONTINUATION_TOKEN: &str = "continuationToken";
/// What may stand in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Talks to Google's Gemini API.
///
/// Models are named with or without `models/`. `extra` of a request goes into the body as it is
/// (`safetySettings`, `toolConfig`); its `generationConfig` is added to the one set here and wins
/// over it (`{"seed": 7}`). A field that is `null` there is taken out.
///
/// Signatures that the model attaches to its thoughts and calls are kept with the conversation and
/// sent back exactly as they came, to the model they came from.
#[derive(Debug)]
pub struct GeminiProvider {
    http: HttpClient,
    known: Known,
}

impl GeminiProvider {
    /// A provider with the id `gemini`. `base_url` is what stands before `/models`; an address
    /// without a path, such as `https://generativelanguage.googleapis.com`, means `/v1beta` there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the address is none, [`ErrorKind::Auth`] when the key
    /// cannot be a header, [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn new(base_url: &str, key: Option<SecretString>) -> Result<Self, ProviderError> {
        let base = self::base_url(base_url).map_err(|what| {
            ProviderError::new(ErrorKind::InvalidRequest, "gemini", what)
                .with_sent(SendState::NotSent)
        })?;
        let base = match base.path() {
            "/" => base.join("v1beta/").unwrap_or(base),
            _ => base,
        };
        let mut http = HttpClient::new("gemini", base)?;
        if let Some(key) = key {
            http = http.with_key_in(KEY_HEADER, "", key)?;
        }
        Ok(Self { http, known: Known::default() })
    }

    /// With another id, so that a program can have several of them.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.http = self.http.with_id(id);
        self
    }

    /// With other timeouts.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Result<Self, ProviderError> {
        self.http = self.http.with_timeouts(timeouts)?;
        Ok(self)
    }

    fn target<'a>(&'a self, model: &'a str) -> Target<'a> {
        let model = plain(model);
        let family = Family::of(model);
        // A variant of a thinking model may not think itself.
        let thinking = match self.known.get(model).and_then(|known| known.reasoning) {
            Some(false) => Thinking::No,
            Some(true) | None => family.thinking,
        };
        Target { provider: self.http.id(), model, family, thinking }
    }

    fn outgoing(&self, request: &LlmRequest, names: &ToolNames) -> Result<Outgoing, ProviderError> {
        outgoing(request, names, self.target(&request.model))
            .map_err(|fault| self.http.unsent(fault))
    }

    /// An error of what the service answered.
    fn told(&self, kind: ErrorKind, message: impl Into<String>) -> ProviderError {
        ProviderError::new(kind, self.http.id().to_owned(), message).with_sent(SendState::Sent)
    }

    /// Sends a request that is answered with a document. `what` it is, an error names.
    async fn ask<T: DeserializeOwned>(
        &self,
        question: Question<'_>,
        cx: &CallCx,
    ) -> Result<T, ProviderError> {
        let Question { path, body, model, what } = question;
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut answer = self.http.send(method, path, body, cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, model);
            return Err(refusal.into_error(fault));
        }
        let text = answer.document(DOCUMENT_BYTES_MAX).await?;
        let document: Option<Value> = parse(&text).ok();
        if let Some(fault) = document.as_ref().and_then(|it| error::reported(it, None)) {
            return Err(answer.fault(fault));
        }
        document
            .filter(Value::is_object)
            .and_then(|document| serde_json::from_value(document).ok())
            .ok_or_else(|| answer.fault(Fault::malformed(&format!("{what} cannot be read"), &text)))
    }
}

/// A request that is answered with a document.
#[derive(Debug, Clone)]
struct Question<'a> {
    path: &'a str,
    body: Option<Value>,
    model: Option<&'a str>,
    what: &'a str,
}

/// The name of a model as the API spells it, with nothing in it that could change the path.
fn resource(model: &str) -> String {
    let (collection, id) = match model.split_once('/') {
        Some(("tunedModels", id)) => ("tunedModels", id),
        _ => ("models", plain(model)),
    };
    format!("{collection}/{}", utf8_percent_encode(id, PLAIN))
}

/// A model's name without the `models/` that some write before it.
fn plain(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

/// The circumstances of a call that is made of several requests, for the next of them.
fn rest(cx: &CallCx, started: Instant) -> CallCx {
    let left = cx.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
    CallCx { timeout: left, ..cx.clone() }
}

#[async_trait]
impl LlmProvider for GeminiProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        let model = plain(model);
        self.known.get(model).unwrap_or_default().or(Family::of(model).capabilities())
    }

    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        models::list(self, cx).await
    }

    async fn count_tokens(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        let Outgoing { mut body, .. } = self.outgoing(request, &ToolNames::of(request, NAMES))?;
        if let Some(body) = body.as_object_mut() {
            body.insert("model".into(), format!("models/{}", plain(&request.model)).into());
        }
        // The short form counts the contents alone, without instructions and tools.
        let body = json!({"generateContentRequest": body});
        let counted: wire::Count = self
            .ask(
                Question {
                    path: &format!("{}:countTokens", resource(&request.model)),
                    body: Some(body),
                    model: Some(&request.model),
                    what: "the count of tokens",
                },
                cx,
            )
            .await?;
        Ok(counted.total_tokens)
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let names = ToolNames::of(request, NAMES);
        let Outgoing { body, notice } = self.outgoing(request, &names)?;
        let path = format!("{}:streamGenerateContent?alt=sse", resource(&request.model));
        let answer = self.http.send(Method::POST, &path, Some(body), cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, Some(&request.model));
            return Err(refusal.into_error(fault));
        }
        let decoder = Decoder::new(request, names, self.id(), plain(&request.model))
            .with_request_id(answer.request_id())
            .with_notice(notice);
        Ok(stream::events(answer, decoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_with_or_without_its_prefix_and_cannot_change_the_path() {
        let table = [
            ("gemini-2.5-pro", "models/gemini-2.5-pro"),
            ("models/gemini-2.5-pro", "models/gemini-2.5-pro"),
            ("tunedModels/mine-1", "tunedModels/mine-1"),
            ("../../files", "models/..%2F..%2Ffiles"),
            ("a?key=b#c", "models/a%3Fkey%3Db%23c"),
            ("a:countTokens", "models/a%3AcountTokens"),
            ("a/b", "models/a%2Fb"),
            ("ä\\%2e", "models/%C3%A4%5C%252e"),
        ];
        for (model, path) in table {
            assert_eq!(resource(model), path, "{model}");
        }
        let base = url::Url::parse("http://h/v1beta/").unwrap();
        for model in ["..", ".", "%2e%2e", "tunedModels/..", ""] {
            let url = base.join(&format!("{}:countTokens", resource(model))).unwrap();
            assert!(url.path().starts_with("/v1beta/"), "{model}: {url}");
            assert_eq!(url.path_segments().unwrap().count(), 3, "{model}: {url}");
        }
    }
}
