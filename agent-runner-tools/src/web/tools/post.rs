//! `web.post`.

use std::borrow::Cow;

use agent_runner_core::tool::{
    EffectPolicy, Risk, ToolCx, ToolError, ToolErrorKind, ToolOutput, TypedTool,
};
use bytes::Bytes;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    TIMEOUT,
    fetch::{Format, View, show},
    web_tool,
};
use crate::web::page::Page;

/// Largest body that is sent, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

web_tool! {
    /// Sends something to a server of the web.
    WebPost
}

/// Arguments of `web.post`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostArgs {
    /// The address in full, with http:// or https://.
    url: String,
    /// What is sent.
    body: String,
    /// What the body is.
    #[serde(default)]
    content_type: Sent,
    /// How a page that answers is shown: as `markdown`, as `text`, or `raw` as it came.
    #[serde(default)]
    format: Format,
    /// Whether all of a page is shown rather than its main part.
    #[serde(default)]
    whole: bool,
    /// Keeps the body as an artifact of the run under this name.
    #[serde(default)]
    save_as: Option<String>,
}

/// Media types that are sent.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
enum Sent {
    #[default]
    #[serde(rename = "application/json")]
    Json,
    #[serde(rename = "application/x-www-form-urlencoded")]
    Form,
    #[serde(rename = "text/plain")]
    Text,
}

impl TypedTool for WebPost {
    const NAME: &'static str = "web.post";
    const POLICY: EffectPolicy = EffectPolicy::AtMostOnce;
    type Args = PostArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Sends a body to a URL with HTTP POST, once, and returns the answer. For APIs and forms \
         that need no login."
            .into()
    }

    fn timeout(&self) -> std::time::Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Outward
    }

    async fn run(&self, args: PostArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        if args.body.len() > BODY_BYTES_MAX {
            let said = "the body is larger than 1 MiB";
            return Err(ToolError::new(ToolErrorKind::TooLarge, said));
        }
        let sent = match args.content_type {
            Sent::Json => "application/json",
            Sent::Form => "application/x-www-form-urlencoded",
            Sent::Text => "text/plain; charset=utf-8",
        };
        let mut request = self.web.get(Method::POST, &args.url)?;
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(sent));
        request.body = Some(Bytes::from(args.body));
        let dated = self.web.ask(request, &cx.cancel).await?;
        let PostArgs { url, format, whole, save_as, .. } = args;
        show(Page::new(url, dated)?, View { format, whole, links: false, save_as }, cx).await
    }
}
