//! Questions to the web and their answers.

use agent_runner_core::{id::ProjectId, tool::ToolOutput};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A page to read or a body to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"url": "https://example.com/"})))]
pub(crate) struct WebFetch {
    /// For which project, whose policy counts; the default project when missing.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub(crate) project_id: Option<ProjectId>,
    /// The address in full.
    url: String,
    /// `GET` (when missing), `HEAD` or `POST`.
    #[serde(default)]
    method: WebMethod,
    /// With `POST`: what is sent.
    body: Option<String>,
    /// With `POST`: `application/json` (when missing), `application/x-www-form-urlencoded` or `text/plain`.
    content_type: Option<String>,
    /// How a page is shown: `markdown` (when missing), `text` or `raw`.
    format: Option<String>,
    /// Whether all of a page is shown rather than its main part.
    whole: Option<bool>,
    /// Whether the page's links are listed too; not with `POST`.
    links: Option<bool>,
}

/// How to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) enum WebMethod {
    /// Reads.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// Reads status and headers.
    #[serde(rename = "HEAD")]
    Head,
    /// Sends.
    #[serde(rename = "POST")]
    Post,
}

/// The fields that were given.
fn given(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

impl WebFetch {
    /// The tool that does it, and its arguments.
    pub(crate) fn call(self) -> (&'static str, Value) {
        let method = match self.method {
            WebMethod::Get => Some(json!("GET")),
            WebMethod::Head => Some(json!("HEAD")),
            WebMethod::Post => None,
        };
        let name = if method.is_none() { "web.post" } else { "web.fetch" };
        let arguments = given([
            ("url", Some(self.url.into())),
            ("method", method),
            ("body", self.body.map(Value::from)),
            ("content_type", self.content_type.map(Value::from)),
            ("format", self.format.map(Value::from)),
            ("whole", self.whole.map(Value::from)),
            ("links", self.links.map(Value::from)),
        ]);
        (name, arguments)
    }
}

/// Parts of a page or of a JSON document to pick: one of `css`, `links`, `pointer` and `jsonpath`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"url": "https://example.com/", "css": "h1"})))]
pub(crate) struct WebExtract {
    /// For which project, whose policy counts; the default project when missing.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub(crate) project_id: Option<ProjectId>,
    /// The address in full.
    url: String,
    /// A CSS selector: the text of each element that it picks.
    css: Option<String>,
    /// With `css`: this attribute instead of the text.
    attribute: Option<String>,
    /// The page's links.
    links: Option<bool>,
    /// A JSON Pointer (RFC 6901).
    pointer: Option<String>,
    /// A JSONPath query (RFC 9535).
    jsonpath: Option<String>,
    /// Most matches, 1 to 1,000; 100 when missing.
    limit: Option<u32>,
}

impl WebExtract {
    /// The arguments of the tool that does it.
    pub(crate) fn arguments(self) -> Value {
        given([
            ("url", Some(self.url.into())),
            ("css", self.css.map(Value::from)),
            ("attribute", self.attribute.map(Value::from)),
            ("links", self.links.map(Value::from)),
            ("pointer", self.pointer.map(Value::from)),
            ("jsonpath", self.jsonpath.map(Value::from)),
            ("limit", self.limit.map(Value::from)),
        ])
    }
}

/// What the web answered: the output of the tool, and who wrote it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebAnswer {
    /// Where it came from, such as `web:example.com`: nobody in charge wrote it.
    untrusted: Option<String>,
    /// `status`, `content` or `matches`, and `source` with `url`, `final_url`, `ip`, `sha256` and
    /// `fetched_at`; see docs/WEB.md.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    output: Value,
}

impl From<ToolOutput> for WebAnswer {
    fn from(output: ToolOutput) -> Self {
        Self { untrusted: output.untrusted, output: output.value }
    }
}
