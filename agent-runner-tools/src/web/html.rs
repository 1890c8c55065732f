//! Pages: as Markdown or text, their links, and what a CSS selector picks.
//!
//! A page is a stranger's program for a parser, so the tree it may grow has a bound, and its
//! nesting too.

use std::time::{Duration, Instant};

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use dom_query::Document;
use dom_smoothie::{Config, Readability, TextMode};
use html5ever::{
    ParseOpts, parse_document,
    tendril::{StrTendril, TendrilSink as _},
    tree_builder::TreeSink,
};
use scraper::{ElementRef, Html, HtmlTreeSink, Node, Selector};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Most nodes of a page; what comes after is not read.
const NODES_MAX: usize = 100_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 256;
/// Bytes between two looks at the number of nodes. A few bytes can make the parser repeat
/// every open formatting element, so a step is small.
const STEP: usize = 32;
/// Longest time of parsing; what comes after is not read. The parser compares each attribute of an
/// element with all before it, which no bound of the tree sees.
const PARSING_MAX: Duration = Duration::from_secs(3);
/// Most bytes that are looked at to write a page out again. To write a text, each `&` in it makes
/// the rest of it be searched for `<` and `>`.
const ESCAPING_MAX: usize = 200_000_000;
/// Longest CSS selector, in bytes.
const SELECTOR_BYTES_MAX: usize = 300;
/// Longest text of one match, in bytes.
const MATCH_BYTES_MAX: usize = 64 * 1024;

/// Text of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Markdown,
    Text,
}

/// A link of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Link {
    /// Where it leads.
    url: String,
    /// Its text.
    text: String,
}

/// Grows a tree, a few bytes at a time, while `goes_on` says so. Whether all of the text was taken.
fn grow<S: TreeSink>(
    text: &str,
    sink: S,
    mut goes_on: impl FnMut(&S) -> bool,
) -> (S::Output, bool) {
    let mut parser = parse_document(sink, ParseOpts::default());
    let (mut rest, begun) = (text, Instant::now());
    while !rest.is_empty() && begun.elapsed() < PARSING_MAX && goes_on(&parser.tokenizer.sink.sink)
    {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(STEP.min(rest.len())));
        parser.process(StrTendril::from_slice(piece));
        rest = after;
    }
    (parser.finish(), rest.is_empty())
}

fn too_deep() -> ToolError {
    let said = "the page is nested too deeply to be read; fetch it with format `raw`";
    ToolError::new(ToolErrorKind::TooLarge, said).may_have_run()
}

/// A page, parsed. `cut` when it has more than was read.
pub(super) struct Parsed {
    html: Html,
    pub(super) cut: bool,
}

impl Parsed {
    pub(super) fn new(text: &str) -> Result<Self, ToolError> {
        // The parser looks at every open element again and again, so depth is watched while the
        // tree grows.
        let (mut seen, mut deep) = (0, false);
        let mut look = |html: &Html| {
            let nodes = html.tree.nodes();
            let (all, new) = (nodes.len(), nodes.len() - seen);
            deep = deep || nodes.rev().take(new).any(|n| n.ancestors().nth(DEPTH_MAX).is_some());
            seen = all;
            !deep && all < NODES_MAX
        };
        let sink = HtmlTreeSink::new(Html::new_document());
        let (html, whole) = grow(text, sink, |sink| look(&sink.0.borrow()));
        look(&html);
        if deep {
            return Err(too_deep());
        }
        Ok(Self { html, cut: !whole })
    }

    pub(super) fn title(&self) -> Option<String> {
        let selector = Selector::parse("title").ok()?;
        let title = self.html.select(&selector).next()?;
        Some(one_line(&title.text().collect::<String>(), 300)).filter(|text| !text.is_empty())
    }

    /// Links to the web, each once, in the order of the page.
    pub(super) fn links(&self, base: &Url, most: usize) -> Vec<Link> {
        let Ok(selector) = Selector::parse("a[href]") else { return Vec::new() };
        let own = Selector::parse("base[href]").ok().and_then(|selector| {
            let element = self.html.select(&selector).next()?;
            base.join(element.attr("href")?).ok()
        });
        let base = own.as_ref().unwrap_or(base);
        let mut seen = std::collections::HashSet::new();
        let mut links = Vec::new();
        for element in self.html.select(&selector) {
            let Some(mut url) = element.attr("href").and_then(|href| base.join(href).ok()) else {
                continue;
            };
            url.set_fragment(None);
            let fits = matches!(url.scheme(), "http" | "https") && url.as_str().len() <= 2_048;
            if fits && seen.insert(url.to_string()) {
                let text = one_line(&element.text().collect::<String>(), 200);
                links.push(Link { url: url.into(), text });
            }
            if links.len() == most {
                break;
            }
        }
        links
    }

    /// What a CSS selector picks: the text of each element, or one of its attributes.
    pub(super) fn select(
        &self,
        selector: &str,
        attribute: Option<&str>,
        most: usize,
        cancel: &CancellationToken,
    ) -> Result<(Vec<String>, bool), ToolError> {
        let invalid = |said: String| ToolError::new(ToolErrorKind::InvalidArgs, said);
        if selector.len() > SELECTOR_BYTES_MAX || selector.matches(":has(").count() > 1 {
            let said = "the selector is too long, or has `:has()` more than once: simplify it";
            return Err(invalid(said.to_owned()));
        }
        let parsed = Selector::parse(selector)
            .map_err(|error| invalid(format!("that is no CSS selector: {error}")))?;
        let mut found = Vec::new();
        for node in self.html.tree.nodes() {
            if cancel.is_cancelled() {
                let said = "the call was cancelled";
                return Err(ToolError::new(ToolErrorKind::Cancelled, said).may_have_run());
            }
            let Some(element) = ElementRef::wrap(node).filter(|e| parsed.matches(e)) else {
                continue;
            };
            let text = match attribute {
                Some(name) => element.attr(name).map(str::to_owned),
                None => Some(element.text().collect()),
            };
            let Some(text) = text else { continue };
            if found.len() == most {
                return Ok((found, true));
            }
            found.push(one_line(&text, MATCH_BYTES_MAX));
        }
        Ok((found, self.cut))
    }

    /// The page as Markdown or text: its main part, or all of it.
    ///
    /// # Errors
    /// `TooLarge` for a page that cannot be written out in time.
    pub(super) fn render(&self, form: Form, whole: bool, base: &Url) -> Result<String, ToolError> {
        if self.escaping() > ESCAPING_MAX {
            let said = "the page has too much in one text; fetch it with format `raw`";
            return Err(ToolError::new(ToolErrorKind::TooLarge, said).may_have_run());
        }
        // Written out again, the page is a plain one: all that was left open is closed.
        let sane = self.html.html();
        let (document, _) =
            grow(&sane, Document::default(), |document| document.tree.len() < 2 * NODES_MAX);
        if !whole && let Some(text) = main_part(document.clone(), form, base) {
            return Ok(text);
        }
        let body = document.tree.body();
        let root = body.unwrap_or_else(|| document.tree.root());
        let text = match form {
            Form::Markdown => root.md(Some(&["script", "style", "noscript", "template", "svg"])),
            Form::Text => {
                for element in document.select("script, style, noscript, template, svg").nodes() {
                    element.remove_from_parent();
                }
                root.formatted_text()
            }
        };
        Ok(text.trim().to_owned())
    }

    /// How many bytes are looked at to write the page out.
    fn escaping(&self) -> usize {
        let values = self.html.tree.nodes().map(|node| match node.value() {
            Node::Element(element) => element.attrs().map(|(_, value)| searched(value)).sum(),
            Node::Text(text) if !is_verbatim(node.parent().map(|parent| parent.value())) => {
                searched(text)
            }
            _ => 0,
        });
        values.fold(0, usize::saturating_add)
    }
}

/// Whether the text of such an element is written as it is.
fn is_verbatim(element: Option<&Node>) -> bool {
    let name = element.and_then(Node::as_element).map(scraper::node::Element::name);
    matches!(
        name,
        Some("script" | "style" | "xmp" | "iframe" | "noembed" | "noframes" | "plaintext")
    )
}

/// From each `&` (and each byte that a no-break space begins with) to the next `<` or `>`.
fn searched(text: &str) -> usize {
    let (mut sum, mut run) = (0_usize, 0_usize);
    for byte in text.bytes().rev() {
        run = run.saturating_add(1);
        match byte {
            b'<' | b'>' => run = 0,
            b'&' | 0xC2 => sum = sum.saturating_add(run),
            _ => {}
        }
    }
    sum
}

/// The article of a page, if it has one.
fn main_part(document: Document, form: Form, base: &Url) -> Option<String> {
    let config = Config {
        max_elements_to_parse: NODES_MAX,
        text_mode: match form {
            Form::Markdown => TextMode::Markdown,
            Form::Text => TextMode::Formatted,
        },
        ..Config::default()
    };
    let mut reader =
        Readability::with_document(document, Some(base.as_str()), Some(config)).ok()?;
    let article = reader.parse().ok()?;
    let text = article.text_content.trim();
    if text.is_empty() {
        return None;
    }
    let title = one_line(&article.title, 300);
    let has_title = title.is_empty() || text.starts_with("# ") || form == Form::Text;
    Some(if has_title { text.to_owned() } else { format!("# {title}\n\n{text}") })
}

/// White space run together, and cut to so many bytes.
fn one_line(text: &str, most: usize) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(most));
    line
}
