//! `http.post`.

use std::{borrow::Cow, fmt, time::Duration};

use agent_runner_core::tool::{EffectPolicy, ToolCx, ToolError, ToolErrorKind, Typed, TypedTool};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{BODY_BYTES_MAX, CALL_TIMEOUT, HttpClient, text_of};

/// A policy that `http.post` cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostPolicyError(EffectPolicy);

impl fmt::Display for PostPolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.0.as_str();
        write!(f, "http.post cannot be `{policy}`: choose `ask`, `at_most_once` or `idempotent`")
    }
}

impl std::error::Error for PostPolicyError {}

/// Sends to a listed host, with the step's idempotency key.
#[derive(Debug, Clone)]
pub struct HttpPost {
    client: HttpClient,
}

impl HttpPost {
    /// A tool that sends to what `client` reaches. The policy is [`EffectPolicy::Ask`] unless
    /// [`Self::with_policy`] says otherwise.
    #[must_use]
    pub fn new(client: HttpClient) -> Typed<Self> {
        Typed::new(Self { client })
    }

    /// The same under a policy that the operator chose: [`EffectPolicy::Idempotent`] when every
    /// listed host honours `Idempotency-Key`, [`EffectPolicy::AtMostOnce`] when a lost call is
    /// better than a second one, [`EffectPolicy::Ask`] otherwise.
    ///
    /// # Errors
    /// The other policies: a POST is not pure, and there is nothing to probe.
    pub fn with_policy(
        client: HttpClient,
        policy: EffectPolicy,
    ) -> Result<Typed<Self>, PostPolicyError> {
        match policy {
            EffectPolicy::Ask | EffectPolicy::AtMostOnce | EffectPolicy::Idempotent => {
                Ok(Self::new(client).with_policy(policy))
            }
            EffectPolicy::Pure | EffectPolicy::Reconcile => Err(PostPolicyError(policy)),
        }
    }
}

/// Arguments of `http.post`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostArgs {
    /// The address in full, with http:// or https://.
    url: String,
    /// What to send, as JSON. Not together with `text`.
    json: Option<Value>,
    /// What to send, as plain text. Not together with `json`.
    text: Option<String>,
}

/// What `http.post` returns.
#[derive(Debug, Serialize)]
pub struct PostOutput {
    status: u16,
    /// Where a redirect leads. It was not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    body: String,
    /// Whether bytes of the body that are no UTF-8 were replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lossy: bool,
    /// Whether the body was larger than 1 MiB and ends early. No error: the server has acted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl TypedTool for HttpPost {
    const NAME: &'static str = "http.post";
    const POLICY: EffectPolicy = EffectPolicy::Ask;
    type Args = PostArgs;
    type Output = PostOutput;

    fn description(&self) -> Cow<'_, str> {
        let reachable = self.client.reachable();
        format!(
            "Sends JSON or text to a URL with HTTP POST and returns the status and text of the \
             answer. {reachable}"
        )
        .into()
    }

    fn timeout(&self) -> Duration {
        CALL_TIMEOUT
    }

    async fn run(&self, args: PostArgs, cx: &ToolCx) -> Result<PostOutput, ToolError> {
        let mut call = self.client.post(&args.url)?;
        if let Some((media_type, body)) = body_of(args.json, args.text)? {
            call.request = call.request.header(CONTENT_TYPE, media_type).body(body);
        }
        let key = HeaderValue::from_str(&cx.idempotency_key).map_err(|error| {
            let said = "the step's idempotency key is not a header's value";
            ToolError::new(ToolErrorKind::Internal, said).with_source(error)
        })?;
        call.request = call.request.header("idempotency-key", key);
        let answer = call.send(cx).await?;
        let (status, location, truncated) = (answer.status, answer.location(), answer.cut);
        let (body, lossy) = text_of(answer.body);
        Ok(PostOutput { status, location, body, lossy, truncated })
    }
}

/// The media type and the bytes to send, if there are any.
fn body_of(
    json: Option<Value>,
    text: Option<String>,
) -> Result<Option<(&'static str, String)>, ToolError> {
    let body = match (json, text) {
        (Some(_), Some(_)) => {
            let said = "give `json` or `text`, not both";
            return Err(ToolError::new(ToolErrorKind::InvalidArgs, said));
        }
        (Some(json), None) => ("application/json", json.to_string()),
        (None, Some(text)) => ("text/plain; charset=utf-8", text),
        (None, None) => return Ok(None),
    };
    if body.1.len() > BODY_BYTES_MAX {
        let said = format!("the body has more than {BODY_BYTES_MAX} bytes: send less");
        return Err(ToolError::new(ToolErrorKind::TooLarge, said));
    }
    Ok(Some(body))
}
