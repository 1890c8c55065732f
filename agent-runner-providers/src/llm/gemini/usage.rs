//! Tokens as the API counts them.

use agent_runner_core::llm::Usage;
use serde_json::Value;

/// The API counts cached tokens as part of the prompt and thoughts apart from the reply; the
/// results of its own tools are a prompt of their own.
pub(super) fn usage(reported: &Value) -> Usage {
    let count = |field: &str| reported.get(field).and_then(Value::as_u64);
    let plus = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    };
    let cache_read = count("cachedContentTokenCount");
    let uncached =
        count("promptTokenCount").map(|prompt| prompt.saturating_sub(cache_read.unwrap_or(0)));
    let reasoning = count("thoughtsTokenCount");
    Usage {
        input: plus(uncached, count("toolUsePromptTokenCount")),
        output: plus(count("candidatesTokenCount"), reasoning),
        cache_read,
        cache_write: None,
        cache_write_1h: None,
        reasoning,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cached_tokens_leave_the_input_and_thoughts_join_the_output() {
        let reported = json!({"promptTokenCount": 100, "cachedContentTokenCount": 60,
            "candidatesTokenCount": 10, "thoughtsTokenCount": 30, "toolUsePromptTokenCount": 5,
            "totalTokenCount": 145});
        assert_eq!(
            usage(&reported),
            Usage {
                input: Some(45),
                output: Some(40),
                cache_read: Some(60),
                cache_write: None,
                cache_write_1h: None,
                reasoning: Some(30),
            }
        );
        assert_eq!(usage(&json!({"promptTokenCount": null})), Usage::default());
        let thinking = usage(&json!({"promptTokenCount": 7, "thoughtsTokenCount": 3}));
        assert_eq!((thinking.input, thinking.output), (Some(7), Some(3)));
    }
}
