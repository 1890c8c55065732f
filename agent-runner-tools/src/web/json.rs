//! Parts of JSON documents.

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use serde_json::Value;
use serde_json_path::JsonPath;

/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 500;
/// Most steps of a query that look at a whole tree: each multiplies the work.
const WIDE_STEPS_MAX: usize = 2;
/// Most commas of a query.
const SELECTORS_MAX: usize = 8;

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
    if query.len() > QUERY_BYTES_MAX || !is_narrow(query) {
        return Err(invalid(
            "the JSONPath is longer than 500 bytes, has more than two of `..` and `?` or more than \
             eight of `,`, or names `$` within",
        ));
    }
    let parsed =
        JsonPath::parse(query).map_err(|error| invalid(format!("that is no JSONPath: {error}")))?;
    let found = parsed.query(value);
    let more = found.len() > most;
    Ok((found.into_iter().take(most).cloned().collect(), more))
}

/// Whether a query ends in time: it looks at a small multiple of what there is. A filter that
/// names the root looks at everything for everything, and lists of selectors multiply.
fn is_narrow(query: &str) -> bool {
    let bare = without_texts(query);
    let count = |what: &str| bare.matches(what).count();
    count("..") + count("?") <= WIDE_STEPS_MAX && count("$") <= 1 && count(",") <= SELECTORS_MAX
}

/// A query without what stands in quotes.
fn without_texts(query: &str) -> String {
    let (mut quote, mut escaped) = (None, false);
    let mut bare = String::new();
    for c in query.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None => bare.push(c),
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_quotes_counts_for_nothing() {
        for query in [
            "$.items[*].name",
            "$..name",
            "$['a','b']..x",
            "$[?@.price == '$5, or ..?']",
            r#"$[?@.a == "\"$$$"]"#,
        ] {
            assert!(is_narrow(query), "{query}");
        }
        for query in [
            "$..*..*..*",
            "$[?count($[*]) > 1]",
            "$[?@ == '$' && @ == $.a]",
            "$[0,1,2,3,4,5,6,7,8,9]",
        ] {
            assert!(!is_narrow(query), "{query}");
        }
    }
}
