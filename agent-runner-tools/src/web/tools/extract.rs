//! `web.extract`.

use std::borrow::Cow;

use agent_runner_core::tool::{
    EffectPolicy, Risk, ToolCx, ToolError, ToolErrorKind, ToolOutput, TypedTool,
};
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{TIMEOUT, apart, web_tool};
use crate::web::{
    html::Parsed,
    json,
    page::{Kind, Page},
};

web_tool! {
    /// Picks parts of a page or of a JSON document.
    WebExtract
}

/// Arguments of `web.extract`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtractArgs {
    /// The address in full, with http:// or https://.
    url: String,
    /// Of a page: the text of each element that this CSS selector picks, such as `h2 a`.
    #[serde(default)]
    css: Option<String>,
    /// With `css`: this attribute of each element instead of its text, such as `href`.
    #[serde(default)]
    attribute: Option<String>,
    /// Of a page: its links.
    #[serde(default)]
    links: bool,
    /// Of JSON: what this JSON Pointer names, such as `/items/0/name`.
    #[serde(default)]
    pointer: Option<String>,
    /// Of JSON: what this JSONPath query picks, such as `$.items[*].name`.
    #[serde(default)]
    jsonpath: Option<String>,
    /// Most matches, 1 to 1,000.
    #[serde(default = "matches")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: usize,
}

const fn matches() -> usize {
    100
}

/// What is picked.
enum Pick {
    Css(String, Option<String>),
    Links,
    Pointer(String),
    Path(String),
}

impl ExtractArgs {
    fn pick(&mut self) -> Result<Pick, ToolError> {
        let invalid = |said: &str| Err(ToolError::new(ToolErrorKind::InvalidArgs, said));
        if !(1..=1_000).contains(&self.limit) {
            return invalid("`limit` is 1 to 1,000");
        }
        if self.attribute.is_some() && self.css.is_none() {
            return invalid("`attribute` belongs to `css`: give a selector too");
        }
        let css = self.css.take().map(|css| Pick::Css(css, self.attribute.take()));
        let links = self.links.then_some(Pick::Links);
        let pointer = self.pointer.take().map(Pick::Pointer);
        let path = self.jsonpath.take().map(Pick::Path);
        let mut given = [css, links, pointer, path].into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(pick), None) => Ok(pick),
            _ => invalid("give one of `css`, `links`, `pointer` and `jsonpath`"),
        }
    }
}

impl TypedTool for WebExtract {
    const NAME: &'static str = "web.extract";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = ExtractArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Reads a web page or a JSON document and returns parts of it: what a CSS selector, a JSON \
         Pointer or a JSONPath query picks, or the page's links."
            .into()
    }

    fn timeout(&self) -> std::time::Duration {
        TIMEOUT
    }

    fn risk(&self) -> Risk {
        Risk::Read
    }

    async fn run(&self, mut args: ExtractArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let pick = args.pick()?;
        let request = self.web.get(Method::GET, &args.url)?;
        let dated = self.web.ask(request, &cx.cancel).await?;
        let page = Page::new(args.url, dated)?;
        let (status, source, origin) = (page.dated.answer.status, page.provenance(), page.origin());
        let (limit, cancel) = (args.limit, cx.cancel.child_token());
        let _stop_when_dropped = cancel.clone().drop_guard();
        let (found, more) = apart(&cx.cancel, move || take(&page, &pick, limit, &cancel)).await?;
        let output = json!({"status": status, "matches": found, "more": more, "source": source});
        Ok(ToolOutput::new(output).untrusted(origin))
    }
}

fn take(
    page: &Page,
    pick: &Pick,
    limit: usize,
    cancel: &CancellationToken,
) -> Result<(Value, bool), ToolError> {
    let text = page.text()?;
    let cut = page.dated.answer.truncated;
    let is = |kind, what: &str| {
        if page.kind == kind {
            return Ok(());
        }
        let is = page.media_type.as_deref().unwrap_or("of no stated type");
        let said = format!("that is for {what}, and the body is {is}");
        Err(ToolError::new(ToolErrorKind::InvalidArgs, said).may_have_run())
    };
    match pick {
        Pick::Css(selector, attribute) => {
            is(Kind::Html, "pages")?;
            let parsed = Parsed::new(&text)?;
            let (found, more) = parsed.select(selector, attribute.as_deref(), limit, cancel)?;
            Ok((json!(found), more || cut))
        }
        Pick::Links => {
            is(Kind::Html, "pages")?;
            let parsed = Parsed::new(&text)?;
            let found = parsed.links(&page.dated.answer.final_url, limit);
            let more = found.len() == limit || parsed.cut || cut;
            Ok((json!(found), more))
        }
        Pick::Pointer(pointer) => {
            is(Kind::Json, "JSON")?;
            Ok((json!([json::pointer(&json::parse(&text)?, pointer)?]), false))
        }
        Pick::Path(query) => {
            is(Kind::Json, "JSON")?;
            let (found, more) = json::path(&json::parse(&text)?, query, limit)?;
            Ok((json!(found), more))
        }
    }
}
