//! Parts of JSON documents.

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use serde_json::Value;
use serde_json_path::JsonPath;

/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 500;
/// Most steps of a query that look at a whole tree: each multiplies the work.
const WIDE_STEPS_MAX: usize = 2;

fn invalid(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::InvalidArgs, said)
}

pub(super) fn parse(text: &str) -> Result<Value, ToolError> {
    serde_json::from_str(text).map_err(|error| {
        let said = format!("the body is no JSON: line {}, {}", error.line(), error.column());
        ToolError::new(ToolErrorKind::Conflict, said).may_have_run().with_source(error)
    })
}

/// What a JSON Pointer (RFC 6901) names.
pub(super) fn pointer(value: &Value, pointer: &str) -> Result<Value, ToolError> {
    if pointer.len() > QUERY_BYTES_MAX {
        return Err(invalid("the JSON Pointer is longer than 500 bytes"));
    }
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(invalid("a JSON Pointer begins with `/`, such as `/items/0/name`"));
    }
    value.pointer(pointer).cloned().ok_or_else(|| {
        let said = format!("the document has nothing at `{pointer}`");
        ToolError::new(ToolErrorKind::NotFound, said).may_have_run()
    })
}

/// What a JSONPath query (RFC 9535) picks, and whether there is more of it.
pub(super) fn path(
    value: &Value,
    query: &str,
    most: usize,
) -> Result<(Vec<Value>, bool), ToolError> {
    let wide = query.matches("..").count() + query.matches('?').count();
    if query.len() > QUERY_BYTES_MAX || wide > WIDE_STEPS_MAX {
        return Err(invalid(
            "the JSONPath is longer than 500 bytes, or has more than two of `..` and `?`",
        ));
    }
    let parsed =
        JsonPath::parse(query).map_err(|error| invalid(format!("that is no JSONPath: {error}")))?;
    let found = parsed.query(value);
    let more = found.len() > most;
    Ok((found.into_iter().take(most).cloned().collect(), more))
}
