//! `http.get`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{EffectPolicy, Risk, ToolCx, ToolError, ToolErrorKind, TypedTool};
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, HeaderName, HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{Answer, BODY_BYTES_MAX, CALL_TIMEOUT, HttpClient, text_of};

/// Reads from a listed host.
#[derive(Debug, Clone)]
pub struct HttpGet {
    client: HttpClient,
}

impl HttpGet {
    /// A tool that reads what `client` reaches.
    #[must_use]
    pub const fn new(client: HttpClient) -> Self {
        Self { client }
    }
}

/// Arguments of `http.get`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetArgs {
    /// The address in full, with http:// or https://.
    url: String,
    /// Headers to send.
    #[serde(default)]
    headers: GetHeaders,
}

/// The headers that a model may choose. None of them can carry a credential or change what the
/// request is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetHeaders {
    /// The media types that are welcome, such as `application/json`.
    #[serde(rename = "Accept")]
    accept: Option<String>,
    /// The languages that are welcome, such as `en`.
    #[serde(rename = "Accept-Language")]
    accept_language: Option<String>,
}

/// What `http.get` returns.
#[derive(Debug, Serialize)]
pub struct GetOutput {
    status: u16,
    content_type: Option<String>,
    /// Where a redirect leads. It was not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    body: String,
    /// Whether bytes of the body that are no UTF-8 were replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lossy: bool,
}

impl TypedTool for HttpGet {
    const NAME: &'static str = "http.get";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = GetArgs;
    type Output = GetOutput;

    fn description(&self) -> Cow<'_, str> {
        let reachable = self.client.reachable();
        format!(
            "Reads a URL with HTTP GET and returns its status and text, 1 MiB at most. Redirects \
             are not followed: `location` says where they lead. {reachable}"
        )
        .into()
    }

    fn timeout(&self) -> Duration {
        CALL_TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Read
    }

    async fn run(&self, args: GetArgs, cx: &ToolCx) -> Result<GetOutput, ToolError> {
        let mut call = self.client.get(&args.url)?;
        for (name, value) in
            [(ACCEPT, args.headers.accept), (ACCEPT_LANGUAGE, args.headers.accept_language)]
        {
            if let Some(value) = value {
                let value = header_value(&name, &value)?;
                call.request = call.request.header(name, value);
            }
        }
        let answer = call.send(cx).await?;
        if let Some(error) = asked_to_wait(&answer) {
            return Err(error);
        }
        if answer.cut {
            let said = format!(
                "the answer is larger than {BODY_BYTES_MAX} bytes: ask for a part of it or for \
                 another URL"
            );
            return Err(ToolError::new(ToolErrorKind::TooLarge, said).may_have_run());
        }
        let (status, content_type, location) =
            (answer.status, answer.content_type(), answer.location());
        let (body, lossy) = text_of(answer.body);
        Ok(GetOutput { status, content_type, location, body, lossy })
    }
}

fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue, ToolError> {
    HeaderValue::from_str(value).map_err(|error| {
        let said = format!("the header `{name}` has a character that a header cannot have");
        ToolError::new(ToolErrorKind::InvalidArgs, said).with_source(error)
    })
}

/// 429 (RFC 6585, section 4) and 503 (RFC 9110, section 15.6.4) with a `Retry-After` in seconds.
/// One with a date is an answer like any other, for the model to read.
fn asked_to_wait(answer: &Answer) -> Option<ToolError> {
    if !matches!(answer.status, 429 | 503) {
        return None;
    }
    let seconds: u32 = answer.header(RETRY_AFTER.as_str())?.trim().parse().ok()?;
    let said = format!("the server asks to wait {seconds} s (status {})", answer.status);
    let wait = Duration::from_secs(seconds.into());
    Some(ToolError::new(ToolErrorKind::RateLimited, said).may_have_run().with_retry_after(wait))
}
