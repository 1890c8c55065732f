//! From a server's result to an output.

use agent_runner_core::{
    llm::BoxStream,
    tool::{KeptArtifact, NewArtifact, ToolCx, ToolError, ToolErrorKind, ToolOutput},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::StreamExt as _;
use rmcp::model::{CallToolResult, ContentBlock, Resource, ResourceContents};
use serde_json::{Map, Value, json};

use super::{link::Link, text};

/// Most pieces of a result that are looked at.
const BLOCKS_MAX: usize = 1_000;
/// Most files of a result that are kept.
const FILES_MAX: usize = 32;
/// Most of an error's text that the model is told, in bytes.
const ERROR_BYTES_MAX: usize = 4 * 1024;
/// Longest address or name in a result.
const LINE_BYTES_MAX: usize = 2_048;

/// Makes an output of a result, or an error of one that says that the call failed.
pub(super) async fn of_result(
    result: CallToolResult,
    link: &Link,
    tool: &str,
    cx: &ToolCx,
) -> Result<ToolOutput, ToolError> {
    if result.is_error == Some(true) {
        return Err(failed(&result, &link.server));
    }
    let mut making = Making {
        tool,
        room: link.limits.text_bytes_max,
        text: String::new(),
        resources: Vec::new(),
        files: Vec::new(),
        notes: Vec::new(),
        artifacts: Vec::new(),
    };
    let blocks = result.content.len();
    if blocks > BLOCKS_MAX {
        making.notes.push(format!("the result has {blocks} pieces; only {BLOCKS_MAX} were read"));
    }
    let all = async {
        for block in result.content.into_iter().take(BLOCKS_MAX) {
            making.take(block, cx).await?;
        }
        Ok(())
    };
    let taken: Option<Result<(), ToolError>> = cx.cancel.run_until_cancelled(all).await;
    taken.unwrap_or_else(|| {
        let told = "the call was cancelled after the server had done it";
        Err(ToolError::new(ToolErrorKind::Cancelled, told).may_have_run())
    })?;
    Ok(making.finish(result.structured_content, &link.server))
}

/// The server ran the tool, and the tool says that it failed. That is an answer and no mystery,
/// so it may be tried in another way: a conflict, which no engine repeats by itself, and not
/// `InvalidArgs`, which would be a call that does not count.
fn failed(result: &CallToolResult, server: &str) -> ToolError {
    let texts = result.content.iter().take(BLOCKS_MAX).filter_map(ContentBlock::as_text);
    let mut said = String::new();
    for text in texts {
        if said.len() > ERROR_BYTES_MAX {
            break;
        }
        said.push_str(text::cut(&text.text, ERROR_BYTES_MAX));
        said.push('\n');
    }
    if let (true, Some(data)) = (said.trim().is_empty(), &result.structured_content) {
        said = data.to_string();
    }
    let said = text::clean(said.trim(), ERROR_BYTES_MAX);
    let told = if said.is_empty() {
        format!("the MCP server `{server}` says that the call failed, and not why")
    } else {
        format!("the MCP server `{server}` says that the call failed: {said}")
    };
    ToolError::new(ToolErrorKind::Conflict, told)
        .with_code("mcp_tool_failed")
        .untrusted(format!("mcp:{server}"))
}

/// An output that is being made.
struct Making<'a> {
    tool: &'a str,
    /// Bytes of text that may still be taken.
    room: usize,
    text: String,
    resources: Vec<Value>,
    files: Vec<Value>,
    notes: Vec<String>,
    artifacts: Vec<KeptArtifact>,
}

impl Making<'_> {
    async fn take(&mut self, block: ContentBlock, cx: &ToolCx) -> Result<(), ToolError> {
        match block {
            ContentBlock::Text(text) => {
                if !self.text.is_empty() {
                    self.text.push('\n');
                }
                let text = self.fitting(text.text);
                self.text.push_str(&text);
                Ok(())
            }
            ContentBlock::Image(image) => {
                self.keep("image", &image.data, Some(&image.mime_type), cx).await
            }
            ContentBlock::Audio(audio) => {
                self.keep("audio", &audio.data, Some(&audio.mime_type), cx).await
            }
            ContentBlock::ResourceLink(link) => {
                self.link(&link);
                Ok(())
            }
            ContentBlock::Resource(embedded) => match embedded.resource {
                ResourceContents::TextResourceContents { uri, mime_type, text, .. } => {
                    let uri = text::line(&uri, LINE_BYTES_MAX);
                    let text = self.fitting(text);
                    let media_type = mime_type.map(|kind| text::line(&kind, 200));
                    self.resources
                        .push(json!({"uri": uri, "media_type": media_type, "text": text}));
                    Ok(())
                }
                ResourceContents::BlobResourceContents { mime_type, blob, .. } => {
                    self.keep("document", &blob, mime_type.as_deref(), cx).await
                }
                _ => self.unknown(),
            },
            _ => self.unknown(),
        }
    }

    fn unknown(&mut self) -> Result<(), ToolError> {
        let note = "a piece of the result is of a kind that is not known here";
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
        Ok(())
    }

    /// The text, or as much of it as there is room for.
    fn fitting(&mut self, mut text: String) -> String {
        let fitting = text::cut(&text, self.room).len();
        self.room -= fitting;
        if fitting < text.len() {
            self.notes.push(format!("a text of {} bytes was cut to {fitting}", text.len()));
            text.truncate(fitting);
        }
        text
    }

    fn link(&mut self, link: &Resource) {
        let line = |text: &str| text::line(text, LINE_BYTES_MAX);
        let mut data = Map::new();
        data.insert("uri".to_owned(), line(&link.uri).into());
        data.insert("name".to_owned(), line(&link.name).into());
        let more = [("description", &link.description), ("media_type", &link.mime_type)];
        for (key, value) in more {
            if let Some(value) = value {
                data.insert(key.to_owned(), line(value).into());
            }
        }
        if let Some(size) = link.size {
            data.insert("bytes".to_owned(), size.into());
        }
        self.resources.push(Value::Object(data));
    }

    /// Keeps bytes as an artifact; where that is not possible, says what they were.
    async fn keep(
        &mut self,
        kind: &str,
        base64: &str,
        media_type: Option<&str>,
        cx: &ToolCx,
    ) -> Result<(), ToolError> {
        if self.files.len() >= FILES_MAX {
            self.notes.push(format!("only {FILES_MAX} files of a result are kept"));
            self.files.truncate(FILES_MAX);
            return Ok(());
        }
        let media_type = media_type.filter(|kind| plain(kind));
        let media_type = media_type.unwrap_or("application/octet-stream").to_owned();
        let Ok(content) = STANDARD.decode(base64.trim()) else {
            let what = json!({"media_type": media_type, "kept": false, "why": "it is not base64"});
            self.files.push(what);
            return Ok(());
        };
        let size = content.len();
        let number = self.files.len() + 1;
        let name = format!("{}-{number}.{}", self.tool, extension(&media_type));
        let new = NewArtifact { name, kind: kind.to_owned(), media_type: media_type.clone() };
        let content: BoxStream<'static, _> =
            futures::stream::once(async move { Ok(Bytes::from(content)) }).boxed();
        let what = match cx.host.keep(new, content).await {
            Ok(kept) => {
                let what = json!({"artifact": kept.name, "media_type": media_type, "bytes": size});
                self.artifacts.push(kept);
                what
            }
            Err(error) if error.kind() == ToolErrorKind::Cancelled => {
                return Err(error.may_have_run());
            }
            Err(error) => {
                let why = error.for_model();
                json!({"media_type": media_type, "bytes": size, "kept": false, "why": why})
            }
        };
        self.files.push(what);
        Ok(())
    }

    /// Only text is a text; only data is that data; anything else is an object of its parts.
    fn finish(mut self, structured: Option<Value>, server: &str) -> ToolOutput {
        let structured = structured.filter(|data| {
            let size = data.to_string().len();
            let fits = size <= self.room + self.text.len();
            if !fits {
                self.notes.push(format!("structured data of {size} bytes was left out"));
            }
            fits
        });
        if structured.as_ref().is_some_and(|data| repeats(&self.text, data)) {
            self.text.clear();
        }
        let mut parts = Map::new();
        if !self.text.is_empty() {
            parts.insert("text".to_owned(), self.text.into());
        }
        if let Some(data) = structured {
            parts.insert("data".to_owned(), data);
        }
        for (key, list) in [("resources", self.resources), ("files", self.files)] {
            if !list.is_empty() {
                parts.insert(key.to_owned(), list.into());
            }
        }
        if !self.notes.is_empty() {
            self.notes.truncate(FILES_MAX);
            parts.insert("notes".to_owned(), self.notes.into());
        }
        let only = if parts.len() == 1 {
            parts.remove("text").or_else(|| parts.remove("data"))
        } else {
            None
        };
        let value = match only {
            Some(only) => only,
            None if parts.is_empty() => Value::String(String::new()),
            None => Value::Object(parts),
        };
        let output = ToolOutput::new(value).untrusted(format!("mcp:{server}"));
        self.artifacts.into_iter().fold(output, ToolOutput::with_artifact)
    }
}

/// Whether a text says what the data says: servers repeat their data as text, for clients that
/// know no better, and some put what is no object under `result` for that.
fn repeats(text: &str, data: &Value) -> bool {
    let says = |data: &Value| {
        data.as_str() == Some(text)
            || serde_json::from_str::<Value>(text).is_ok_and(|text| text == *data)
    };
    let wrapped = data.as_object().filter(|data| data.len() == 1);
    says(data) || wrapped.and_then(|data| data.get("result")).is_some_and(says)
}

/// Whether it is a media type without parameters.
fn plain(media_type: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_');
    let word = |word: &str| !word.is_empty() && word.chars().all(legal);
    media_type.len() <= 100
        && media_type.split_once('/').is_some_and(|(kind, sort)| word(kind) && word(sort))
}

fn extension(media_type: &str) -> &'static str {
    match media_type {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "audio/wav" | "audio/x-wav" => "wav",
        "application/pdf" => "pdf",
        "application/json" => "json",
        "application/zip" => "zip",
        "text/plain" => "txt",
        "text/csv" => "csv",
        "text/html" => "html",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_repeats_the_data_is_known() {
        for (text, data, repeated) in [
            (r#"{"a": 1}"#, json!({"a": 1}), true),
            ("3", json!({"result": 3}), true),
            ("three", json!({"result": "three"}), true),
            ("three", json!({"result": "three", "more": 1}), false),
            ("three", json!({"a": 3}), false),
            ("", json!({}), false),
        ] {
            assert_eq!(repeats(text, &data), repeated, "{text} {data}");
        }
    }

    #[test]
    fn a_media_type_is_plain() {
        assert!(plain("image/svg+xml"));
        for bad in ["", "image", "image/", "text/html; charset=x", "a/b\r\nc: d", "a/b/c"] {
            assert!(!plain(bad), "{bad}");
        }
    }
}
